//! Consents: granted, narrowed, taken back.

use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::InstitutionId;
use zhirong_proto::{
    Fact,
    profile::v1::{self as pb, consent_service_server::ConsentService},
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Trust, id, next, scope, store, time};
use crate::error::Error;

/// A consent holds at most two years.
const LONGEST: SignedDuration = SignedDuration::from_hours(731 * 24);

#[tonic::async_trait]
impl ConsentService for Trust {
    async fn grant_consent(
        &self,
        request: Request<pb::GrantConsentRequest>,
    ) -> Result<Response<pb::GrantConsentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.grant(&caller, &request.into_inner()).await?))
    }

    async fn narrow_consent(
        &self,
        request: Request<pb::NarrowConsentRequest>,
    ) -> Result<Response<pb::NarrowConsentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.narrow(&caller, &request.into_inner()).await?))
    }

    async fn revoke_consent(
        &self,
        request: Request<pb::RevokeConsentRequest>,
    ) -> Result<Response<pb::RevokeConsentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.revoke(&caller, &request.into_inner()).await?))
    }

    async fn list_consents(
        &self,
        request: Request<pb::ListConsentsRequest>,
    ) -> Result<Response<pb::ListConsentsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list(&caller, &request.into_inner()).await?))
    }
}

impl Trust {
    async fn grant(
        &self,
        caller: &Caller,
        request: &pb::GrantConsentRequest,
    ) -> Result<pb::GrantConsentResponse, Problem> {
        let enterprise = caller.enterprise()?;
        let institution: InstitutionId = request
            .institution_id
            .parse()
            .map_err(|error: zhirong_kernel::id::Error| invalid("institution_id", error.to_string()))?;
        let purpose = purpose(request.purpose)?;
        let scope = canonical(request.scope.as_ref())?;
        let now = self.now();
        let expires_at = expiry(request.expires_at.as_ref(), now)?;

        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ConsentService/GrantConsent";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        if !store::has_institution(&mut tx, institution.as_str()).await? {
            return Err(Error::InstitutionNotFound.into());
        }
        let new = store::NewConsent {
            id: Uuid::now_v7(),
            enterprise_id: enterprise.as_str(),
            institution_id: institution.as_str(),
            purpose,
            scope: &scope,
            expires_at,
        };
        let consent = store::add_consent(&mut tx, &new, now).await?;
        let fact = pb::ConsentGranted { consent: Some(consent.clone()) };
        tell(&mut tx, &consent, &fact, now).await?;
        let response = pb::GrantConsentResponse { consent: Some(consent) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn narrow(
        &self,
        caller: &Caller,
        request: &pb::NarrowConsentRequest,
    ) -> Result<pb::NarrowConsentResponse, Problem> {
        let enterprise = caller.enterprise()?;
        let asked = request.scope.as_ref().map(|scope| canonical(Some(scope))).transpose()?;
        let now = self.now();
        let asked_expiry = request.expires_at.as_ref().map(|at| expiry(Some(at), now)).transpose()?;

        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ConsentService/NarrowConsent";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let id = id(&request.consent_id).ok_or(Error::ConsentNotFound)?;
        let consent =
            store::consent_for_update(&mut tx, id, enterprise.as_str()).await?.ok_or(Error::ConsentNotFound)?;
        if !is_live(&consent, now) {
            return Err(Error::ConsentNotLive.into());
        }
        let (before, ends) = (consent.scope.unwrap_or_default(), stored_time(consent.expires_at.as_ref())?);
        let scope = asked.unwrap_or_else(|| before.clone());
        let expires_at = asked_expiry.unwrap_or(ends);
        if !scope::covers(&before, &scope) {
            return Err(wider("scope"));
        }
        if expires_at > ends {
            return Err(wider("expires_at"));
        }
        let consent = store::change_consent(&mut tx, id, &scope, expires_at, false, now).await?;
        tell(&mut tx, &consent, &pb::ConsentNarrowed { consent: Some(consent.clone()) }, now).await?;
        let response = pb::NarrowConsentResponse { consent: Some(consent) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn revoke(
        &self,
        caller: &Caller,
        request: &pb::RevokeConsentRequest,
    ) -> Result<pb::RevokeConsentResponse, Problem> {
        let enterprise = caller.enterprise()?;
        let now = self.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ConsentService/RevokeConsent";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let id = id(&request.consent_id).ok_or(Error::ConsentNotFound)?;
        let mut consent =
            store::consent_for_update(&mut tx, id, enterprise.as_str()).await?.ok_or(Error::ConsentNotFound)?;
        if consent.state() != pb::ConsentState::Revoked {
            let ends = stored_time(consent.expires_at.as_ref())?;
            let scope = consent.scope.clone().unwrap_or_default();
            consent = store::change_consent(&mut tx, id, &scope, ends, true, now).await?;
            tell(&mut tx, &consent, &pb::ConsentRevoked { consent: Some(consent.clone()) }, now).await?;
        }
        let response = pb::RevokeConsentResponse { consent: Some(consent) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn list(
        &self,
        caller: &Caller,
        request: &pb::ListConsentsRequest,
    ) -> Result<pb::ListConsentsResponse, Problem> {
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let (enterprise, institution) = match caller.role {
            Role::Bank => (None, Some(caller.institution()?.as_str())),
            _ => (Some(caller.enterprise()?.as_str()), None),
        };
        let mut conn = self.pool.acquire().await?;
        let consents = store::list_consents(&mut conn, enterprise, institution, page.after, page.size).await?;
        let next_page_token = next(&consents, page.size, |last| last.consent_id.clone())?;
        Ok(pb::ListConsentsResponse { consents, next_page_token })
    }
}

/// The newest live consent whose scope fits, locked: it is not taken back before the release that goes by it is on the trail. No
/// other is locked, so that releases hold up neither each other's consents nor wait for them in a circle.
pub(super) async fn fitting(
    conn: &mut PgConnection,
    enterprise_id: &str,
    institution_id: &str,
    purpose: pb::Purpose,
    now: Timestamp,
    fits: impl Fn(&pb::Scope) -> bool,
) -> Result<Option<pb::Consent>, Error> {
    let holds = |consent: &pb::Consent| is_live(consent, now) && consent.scope.as_ref().is_some_and(&fits);
    for seen in store::live_consents(conn, enterprise_id, institution_id, purpose, now).await? {
        if let Some(id) = id(&seen.consent_id).filter(|_| holds(&seen))
            && let Some(consent) = store::consent_for_share(conn, id).await?
            && holds(&consent)
        {
            return Ok(Some(consent));
        }
    }
    Ok(None)
}

/// Whether a consent holds now.
pub(super) fn is_live(consent: &pb::Consent, now: Timestamp) -> bool {
    consent.state() == pb::ConsentState::Granted
        && consent.expires_at.as_ref().and_then(time).is_some_and(|expires_at| now < expires_at)
}

/// A purpose of the request.
pub(super) fn purpose(number: i32) -> Result<pb::Purpose, Problem> {
    match pb::Purpose::try_from(number) {
        Ok(pb::Purpose::Unspecified) | Err(_) => Err(invalid("purpose", "must be one of the purposes")),
        Ok(purpose) => Ok(purpose),
    }
}

/// A scope of the request in its one spelling.
pub(super) fn canonical(scope: Option<&pb::Scope>) -> Result<pb::Scope, Problem> {
    let scope = scope.ok_or_else(|| invalid("scope", "is missing"))?;
    scope::canonical(scope).map_err(|why| invalid("scope", why))
}

fn expiry(at: Option<&prost_types::Timestamp>, now: Timestamp) -> Result<Timestamp, Problem> {
    let at = at.and_then(time).ok_or_else(|| invalid("expires_at", "must be a time"))?;
    if at <= now || at > now + LONGEST {
        return Err(invalid("expires_at", "must be in the future, at most two years from now"));
    }
    Timestamp::from_microsecond(at.as_microsecond()).map_err(Problem::internal)
}

fn stored_time(at: Option<&prost_types::Timestamp>) -> Result<Timestamp, Problem> {
    at.and_then(time).ok_or_else(|| Problem::internal("a consent without a time"))
}

fn invalid(field: &'static str, why: impl Into<String>) -> Problem {
    let why = why.into();
    Problem::invalid("CONSENT_INVALID", format!("`{field}` {why}")).field(field, why).zh("授权内容有误，请核对后重试")
}

fn wider(field: &'static str) -> Problem {
    Problem::invalid("CONSENT_WIDER", "a consent can only be narrowed; grant another one to allow more")
        .field(field, "must not allow more than before")
        .zh("只能缩小授权范围或期限；如需扩大，请重新授权")
}

/// Tells of a consent at its new version.
pub(super) async fn tell<F: Fact>(
    conn: &mut PgConnection,
    consent: &pb::Consent,
    fact: &F,
    now: Timestamp,
) -> Result<(), Error> {
    let aggregate = Aggregate { kind: "consent", id: &consent.consent_id, version: consent.version };
    outbox::append(conn, aggregate, &consent.consent_id, fact, now).await?;
    Ok(())
}
