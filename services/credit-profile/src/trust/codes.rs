//! Enterprise codes: issued for a consent, resolved once by the institution that the consent names.

use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_proto::profile::v1::{self as pb, enterprise_code_service_server::EnterpriseCodeService};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    problem::Problem,
};

use super::{
    Trust,
    code::Code,
    consents::is_live,
    id,
    releases::{Asked, consent_required, released},
    store,
};
use crate::{error::Error, profile::proto_time};

const LONGEST_S: i32 = 300;
const USUAL_S: i32 = 120;

#[tonic::async_trait]
impl EnterpriseCodeService for Trust {
    async fn issue_enterprise_code(
        &self,
        request: Request<pb::IssueEnterpriseCodeRequest>,
    ) -> Result<Response<pb::IssueEnterpriseCodeResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.issue(&caller, &request.into_inner()).await?))
    }

    async fn resolve_enterprise_code(
        &self,
        request: Request<pb::ResolveEnterpriseCodeRequest>,
    ) -> Result<Response<pb::ResolveEnterpriseCodeResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let release = self.resolve(&caller, &request.into_inner()).await?;
        Ok(Response::new(pb::ResolveEnterpriseCodeResponse { release: Some(release) }))
    }
}

impl Trust {
    async fn issue(
        &self,
        caller: &Caller,
        request: &pb::IssueEnterpriseCodeRequest,
    ) -> Result<pb::IssueEnterpriseCodeResponse, Problem> {
        let enterprise = caller.enterprise()?;
        let seconds = match request.valid_for_s {
            0 => USUAL_S,
            seconds @ 1..=LONGEST_S => seconds,
            _ => {
                return Err(Problem::invalid("VALIDITY_INVALID", "a code holds for 1 to 300 seconds")
                    .field("valid_for_s", "must be 0 to 300")
                    .zh("企业码有效期须为 1 至 300 秒"));
            }
        };
        let now = self.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.EnterpriseCodeService/IssueEnterpriseCode";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let consent_id = id(&request.consent_id).ok_or(Error::ConsentNotFound)?;
        let consent =
            store::consent_for_update(&mut tx, consent_id, enterprise.as_str()).await?.ok_or(Error::ConsentNotFound)?;
        if !is_live(&consent, now) {
            return Err(Error::ConsentNotLive.into());
        }
        let expires_at = now + SignedDuration::from_secs(i64::from(seconds));
        let expires_at = Timestamp::from_second(expires_at.as_second()).map_err(Problem::internal)?;
        let code = Code { id: Uuid::now_v7(), expires_at };
        store::add_code(&mut tx, code.id, consent_id, expires_at).await?;
        let response = pb::IssueEnterpriseCodeResponse {
            code: code.write(&self.signing),
            expires_at: Some(proto_time(expires_at)),
        };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn resolve(
        &self,
        caller: &Caller,
        request: &pb::ResolveEnterpriseCodeRequest,
    ) -> Result<pb::Release, Problem> {
        caller.institution()?;
        let request_id = id(&request.request_id).ok_or_else(|| {
            Problem::invalid("REQUEST_ID_INVALID", "the request id is not a UUID")
                .field("request_id", "must be a UUID chosen by the caller")
                .zh("请求编号必须为 UUID")
        })?;
        let now = self.now();
        let mut tx = self.pool.begin().await?;
        let nobody = Asked { caller, enterprise_id: "", purpose: pb::Purpose::Unspecified, scope: None };
        let Some(code) = Code::read(&request.code, &self.signing) else {
            return self.conclude(tx, &nobody, Err(forged()), now).await;
        };
        let Some(row) = store::code_for_update(&mut tx, code.id).await? else {
            // Signed by us and not there: it expired long ago.
            return self.conclude(tx, &nobody, Err(expired()), now).await;
        };
        let consent = store::consent_for_share(&mut tx, row.consent_id).await?;
        let consent = consent.ok_or_else(|| Problem::internal("a code without a consent"))?;
        let asked = Asked { caller, enterprise_id: &consent.enterprise_id, purpose: consent.purpose(), scope: None };
        let outcome = match refusal(caller, request_id, &code, &row, &consent, now)? {
            Some(refusal) => Err(refusal),
            None => released(&mut tx, &self.signing, &asked, &consent, now).await?,
        };
        if outcome.is_ok() {
            store::use_code(&mut tx, code.id, &caller.key(), request_id).await?;
        }
        self.conclude(tx, &asked, outcome, now).await
    }
}

/// Why a code can't be resolved by this caller now. Whom it names comes first: another one learns nothing else of it.
fn refusal(
    caller: &Caller,
    request_id: Uuid,
    code: &Code,
    row: &store::CodeRow,
    consent: &pb::Consent,
    now: Timestamp,
) -> Result<Option<Problem>, Problem> {
    if caller.institution()?.as_str() != consent.institution_id {
        return Ok(Some(
            Problem::permission_denied("CODE_NOT_FOR_YOU", "the code was issued for another institution")
                .zh("该企业码授权给其他机构，本机构无权解析"),
        ));
    }
    let again = row.used_by.as_deref() == Some(caller.key().as_str()) && row.used_request_id == Some(request_id);
    if row.used_by.is_some() && !again {
        return Ok(Some(
            Problem::failed_precondition("CODE_USED", "the code was resolved before; a code can be used once")
                .zh("该企业码已被使用，请企业重新出示"),
        ));
    }
    if now >= code.expires_at {
        return Ok(Some(expired()));
    }
    Ok((!is_live(consent, now)).then(consent_required))
}

fn forged() -> Problem {
    Problem::invalid("CODE_FORGED", "this is not a code issued here")
        .field("code", "must be the text of an enterprise code")
        .zh("企业码无效")
}

fn expired() -> Problem {
    Problem::failed_precondition("CODE_EXPIRED", "the code has expired").zh("企业码已过期，请企业重新出示")
}
