//! Past releases, read again: by staff and the enterprise as they were, by an institution while the consent still covers them.

use jiff::Timestamp;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1 as pb;
use zhirong_runtime::{
    caller::{Caller, Role},
    problem::Problem,
};

use super::{
    Trust, audit,
    consents::is_live,
    id,
    releases::{Asked, consent_required},
    scope,
    store::{self, Past},
};
use crate::error::Error;

impl Trust {
    pub(super) async fn get_release(
        &self,
        caller: &Caller,
        request: &pb::GetReleaseRequest,
    ) -> Result<pb::GetReleaseResponse, Problem> {
        let id = id(&request.release_id).ok_or(Error::ReleaseNotFound)?;
        let mut tx = self.pool.begin().await?;
        let past = find(&mut tx, id).await?.ok_or(Error::ReleaseNotFound)?;
        if caller.role != Role::Bank {
            if caller.role != Role::Staff && caller.enterprise()?.as_str() != past.enterprise_id {
                return Err(Error::ReleaseNotFound.into());
            }
            return rebuilt(past)?.map_err(Into::into);
        }
        let now = self.now();
        let scope = past.release.scope.clone();
        let asked = Asked { caller, enterprise_id: &past.enterprise_id, purpose: past.release.purpose(), scope };
        let entry = pb::AuditEntry {
            consent_id: past.release.consent_id.clone(),
            release_id: past.release.release_id.clone(),
            order_id: past.order_id.clone(),
            ..asked.entry(pb::AuditKind::ReadAgain)
        };
        let outcome = match self.allowed(&mut tx, caller, &past, now).await? {
            Ok(()) => rebuilt(past)?.map_err(Problem::from),
            Err(refusal) => Err(refusal),
        };
        let entry = match &outcome {
            Ok(answer) => pb::AuditEntry {
                profile_version: answer.release.as_ref().and_then(|of| of.profile.as_ref()).map_or(0, |of| of.version),
                content_sha256: answer.content_sha256.clone(),
                ..entry
            },
            Err(problem) => {
                pb::AuditEntry { kind: pb::AuditKind::Refused.into(), reason: problem.reason().to_owned(), ..entry }
            }
        };
        audit::append(&mut tx, &self.signing, entry, now).await?;
        tx.commit().await?;
        outcome
    }

    /// Whether an institution may read a release now. The inner error is a refusal. The consent is locked, so that it is not
    /// taken back before the reading is on the trail.
    async fn allowed(
        &self,
        conn: &mut PgConnection,
        caller: &Caller,
        past: &Past,
        now: Timestamp,
    ) -> Result<Result<(), Problem>, Problem> {
        if caller.institution()?.as_str() != past.release.institution_id {
            return Ok(Err(Error::ReleaseNotFound.into()));
        }
        let consent = match id(&past.release.consent_id) {
            Some(id) => store::consent_for_share(conn, id).await?,
            None => None,
        };
        let covers = |consent: &pb::Consent| {
            let given = consent.scope.clone().unwrap_or_default();
            let ours = (&consent.enterprise_id, &consent.institution_id);
            ours == (&past.enterprise_id, &past.release.institution_id)
                && is_live(consent, now)
                && past.release.scope.as_ref().is_some_and(|left| scope::covers(&given, left))
        };
        Ok(if consent.as_ref().is_some_and(covers) { Ok(()) } else { Err(consent_required()) })
    }
}

async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Past>, Error> {
    match store::release(conn, id).await? {
        Some(past) => Ok(Some(past)),
        None => store::handed(conn, id).await,
    }
}

/// The release as it left; the inner error says that it can no longer be rebuilt.
fn rebuilt(past: Past) -> Result<Result<pb::GetReleaseResponse, Error>, Problem> {
    let Some(whole) = past.whole else { return Ok(Err(Error::ReleaseErased)) };
    let mut release = past.release;
    let profile = scope::part(&whole, &release.scope.clone().unwrap_or_default());
    // With an order the bank has the profile alone, so its hash is over that.
    let of_order = (!past.order_id.is_empty()).then(|| profile.encode_to_vec());
    release.profile = Some(profile);
    if audit::content_hash(&of_order.unwrap_or_else(|| release.encode_to_vec())) != past.content_sha256 {
        return Err(Problem::internal(format!("release {} can't be rebuilt as it was", release.release_id)));
    }
    Ok(Ok(pb::GetReleaseResponse {
        release: Some(release),
        content_sha256: past.content_sha256,
        order_id: past.order_id,
    }))
}
