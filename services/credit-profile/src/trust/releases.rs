//! Releases: made within consent, or refused; recorded either way before anybody has an answer.

use jiff::Timestamp;
use prost::Message as _;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_proto::profile::v1::{self as pb, release_service_server::ReleaseService};
use zhirong_runtime::{caller::Caller, problem::Problem};

use super::{Trust, audit, consents, id, keys::SigningKeys, scope, store};
use crate::{error::Error, profile::proto_time};

#[tonic::async_trait]
impl ReleaseService for Trust {
    async fn release_profile(
        &self,
        request: Request<pb::ReleaseProfileRequest>,
    ) -> Result<Response<pb::ReleaseProfileResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let release = self.release_profile(&caller, &request.into_inner()).await?;
        Ok(Response::new(pb::ReleaseProfileResponse { release: Some(release) }))
    }

    async fn get_release(
        &self,
        request: Request<pb::GetReleaseRequest>,
    ) -> Result<Response<pb::GetReleaseResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.get_release(&caller, &request.into_inner()).await?))
    }
}

/// Who asks for whose data; the part that every entry on the trail has.
pub(super) struct Asked<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// The enterprise; empty when nobody is named.
    pub enterprise_id: &'a str,
    /// What for.
    pub purpose: pb::Purpose,
    /// What of it.
    pub scope: Option<pb::Scope>,
}

impl Asked<'_> {
    pub(super) fn entry(&self, kind: pb::AuditKind) -> pb::AuditEntry {
        pb::AuditEntry {
            kind: kind.into(),
            enterprise_id: self.enterprise_id.to_owned(),
            institution_id: self.caller.institution.as_ref().map(ToString::to_string).unwrap_or_default(),
            caller: format!("{}:{}", self.caller.role, self.caller.subject),
            purpose: self.purpose.into(),
            scope: self.scope.clone(),
            ..pb::AuditEntry::default()
        }
    }
}

impl Trust {
    async fn release_profile(
        &self,
        caller: &Caller,
        request: &pb::ReleaseProfileRequest,
    ) -> Result<pb::Release, Problem> {
        let institution = caller.institution()?;
        let enterprise: zhirong_kernel::Uscc =
            request.enterprise_id.parse().map_err(|error: zhirong_kernel::uscc::Error| {
                Problem::invalid("USCC_INVALID", error.to_string())
                    .field("enterprise_id", error.to_string())
                    .zh("统一社会信用代码有误")
            })?;
        let purpose = consents::purpose(request.purpose)?;
        let asked = request.scope.as_ref().map(|scope| consents::canonical(Some(scope))).transpose()?;
        if asked.as_ref().is_some_and(|scope| scope.personal_data) {
            return Err(Problem::invalid("SCOPE_INVALID", "personal data are not part of a profile")
                .field("scope.personal_data", "must be false")
                .zh("信用画像不含个人信息"));
        }
        let now = self.now();
        let mut tx = self.pool.begin().await?;
        let fits = |given: &pb::Scope| {
            scope::shows_profile(given) && asked.as_ref().is_none_or(|asked| scope::covers(given, asked))
        };
        let (enterprise_id, institution_id) = (enterprise.as_str(), institution.as_str());
        let consent = consents::fitting(&mut tx, enterprise_id, institution_id, purpose, now, fits).await?;
        let asked = Asked { caller, enterprise_id: enterprise.as_str(), purpose, scope: asked };
        let outcome = match consent {
            Some(consent) => released(&mut tx, &self.signing, &asked, &consent, now).await?,
            None => Err(consent_required()),
        };
        self.conclude(tx, &asked, outcome, now).await
    }

    /// Ends the transaction of a release or a refusal; a refusal is put on the trail first.
    pub(super) async fn conclude(
        &self,
        mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
        asked: &Asked<'_>,
        outcome: Result<pb::Release, Problem>,
        now: Timestamp,
    ) -> Result<pb::Release, Problem> {
        if let Err(problem) = &outcome {
            let entry = pb::AuditEntry { reason: problem.reason().to_owned(), ..asked.entry(pb::AuditKind::Refused) };
            audit::append(&mut tx, &self.signing, entry, now).await?;
        }
        tx.commit().await?;
        outcome
    }
}

/// Makes a release by a consent that is live and locked, and puts it on the trail. The inner error is a refusal, to be put
/// on the trail by [`Trust::conclude`].
pub(super) async fn released(
    conn: &mut PgConnection,
    keys: &SigningKeys,
    asked: &Asked<'_>,
    consent: &pb::Consent,
    now: Timestamp,
) -> Result<Result<pb::Release, Problem>, Problem> {
    let consent_id = id(&consent.consent_id).ok_or_else(|| Problem::internal("a consent without an id"))?;
    let mut scope = asked.scope.clone().or_else(|| consent.scope.clone()).unwrap_or_default();
    // They leave on a way of their own.
    scope.personal_data = false;
    if !scope::shows_profile(&scope) {
        return Ok(Err(consent_required()));
    }
    store::keep_profiles(conn, &[asked.enterprise_id]).await?;
    let known = crate::store::profile(conn, asked.enterprise_id).await?;
    let Some(whole) = known.and_then(|known| known.profile) else {
        return Ok(Err(Error::ProfileNotFound.into()));
    };
    let shown = scope::part(&whole, &scope);
    let disputes = store::disputes(conn, asked.enterprise_id).await?;
    let (disputed, disputed_values) = scope::disputed(disputes, &scope, &shown);
    let release_id = Uuid::now_v7();
    let release = pb::Release {
        release_id: release_id.to_string(),
        consent_id: consent.consent_id.clone(),
        institution_id: consent.institution_id.clone(),
        purpose: consent.purpose,
        profile: Some(shown),
        scope: Some(scope.clone()),
        released_at: Some(proto_time(now)),
        disputed,
        disputed_values,
    };
    let content_sha256 = audit::content_hash(&release.encode_to_vec());
    store::add_release(conn, &release, release_id, consent_id, &whole, now, &content_sha256).await?;
    let entry = pb::AuditEntry {
        scope: Some(scope),
        consent_id: consent.consent_id.clone(),
        release_id: release.release_id.clone(),
        profile_version: whole.version,
        content_sha256,
        ..asked.entry(pb::AuditKind::Released)
    };
    audit::append(conn, keys, entry, now).await?;
    Ok(Ok(release))
}

/// The refusal that tells nothing but that consent is missing.
pub(super) fn consent_required() -> Problem {
    Problem::permission_denied(
        "CONSENT_REQUIRED",
        "the enterprise has not consented to this institution seeing this, for this purpose, now",
    )
    .zh("企业未授权，或授权已撤回、已到期、范围不足")
}
