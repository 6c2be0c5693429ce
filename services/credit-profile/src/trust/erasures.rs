//! The erasure of what need not be kept.

use tonic::{Request, Response, Status};
use zhirong_proto::profile::v1::{self as pb, erasure_service_server::ErasureService};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    problem::Problem,
};

use super::{Trust, audit, persons::whose, releases::Asked};
use crate::store::erasure;

/// Calls whose kept answers hold an enterprise's person or words.
const ANSWERS: &[&str] = &[
    "/zhirong.profile.v1.PersonalDataService/PutLegalRepresentative",
    "/zhirong.profile.v1.ObjectionService/RaiseObjection",
    "/zhirong.profile.v1.ObjectionService/DecideObjection",
];

#[tonic::async_trait]
impl ErasureService for Trust {
    async fn erase_enterprise(
        &self,
        request: Request<pb::EraseEnterpriseRequest>,
    ) -> Result<Response<pb::EraseEnterpriseResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.erase(&caller, &request.into_inner()).await?))
    }
}

impl Trust {
    async fn erase(
        &self,
        caller: &Caller,
        request: &pb::EraseEnterpriseRequest,
    ) -> Result<pb::EraseEnterpriseResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let now = self.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ErasureService/EraseEnterprise";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        // Whoever decides an objection holds it when it comes to the profile.
        erasure::objections(&mut tx, enterprise.as_str()).await?;
        let fact = erasure::note(&mut tx, enterprise.as_str(), now).await?;
        let personal_data = erasure::person(&mut tx, enterprise.as_str()).await?;
        let versions = erasure::released(&mut tx, enterprise.as_str()).await?;
        erasure::versions(&mut tx, &[enterprise.as_str()]).await?;
        erasure::history(&mut tx, enterprise.as_str()).await?;
        idempotency::forget_answers(&mut tx, ANSWERS, enterprise.as_str()).await?;
        let aggregate = Aggregate { kind: "erasure", id: enterprise.as_str(), version: fact.version };
        outbox::append(&mut tx, aggregate, enterprise.as_str(), &fact, now).await?;
        let response = pb::EraseEnterpriseResponse {
            personal_data,
            released_versions: i64::try_from(versions).unwrap_or(i64::MAX),
        };
        slot.complete(&mut tx, &response).await?;
        let scope = Some(pb::Scope { personal_data, ..pb::Scope::default() });
        let asked = Asked { caller, enterprise_id: enterprise.as_str(), purpose: pb::Purpose::Unspecified, scope };
        audit::append(&mut tx, &self.signing, asked.entry(pb::AuditKind::Erased), now).await?;
        tx.commit().await?;
        self.outbox.notify();
        self.stale.notify_one();
        Ok(response)
    }
}
