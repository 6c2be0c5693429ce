//! The audit trail as it is read.

use tonic::{Request, Response, Status};
use zhirong_proto::profile::v1::{self as pb, audit_service_server::AuditService};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Trust, next, store};

#[tonic::async_trait]
impl AuditService for Trust {
    async fn list_audit_records(
        &self,
        request: Request<pb::ListAuditRecordsRequest>,
    ) -> Result<Response<pb::ListAuditRecordsResponse>, Status> {
        Ok(Response::new(self.records(&request.into_inner()).await?))
    }

    async fn list_audit_checkpoints(
        &self,
        request: Request<pb::ListAuditCheckpointsRequest>,
    ) -> Result<Response<pb::ListAuditCheckpointsResponse>, Status> {
        Ok(Response::new(self.checkpoints(&request.into_inner()).await?))
    }

    async fn list_disclosures(
        &self,
        request: Request<pb::ListDisclosuresRequest>,
    ) -> Result<Response<pb::ListDisclosuresResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.disclosures(&caller, &request.into_inner()).await?))
    }
}

impl Trust {
    async fn records(&self, request: &pb::ListAuditRecordsRequest) -> Result<pb::ListAuditRecordsResponse, Problem> {
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let records = store::records(&mut conn, page.after.unwrap_or(i64::MIN), page.size).await?;
        let next_page_token = next(&records, page.size, |last| last.sequence)?;
        Ok(pb::ListAuditRecordsResponse { records, next_page_token })
    }

    async fn checkpoints(
        &self,
        request: &pb::ListAuditCheckpointsRequest,
    ) -> Result<pb::ListAuditCheckpointsResponse, Problem> {
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let checkpoints = store::checkpoints(&mut conn, page.after.unwrap_or(i64::MIN), page.size).await?;
        let next_page_token = next(&checkpoints, page.size, |last| last.sequence)?;
        let signing_keys = self.signing.public().iter();
        let signing_keys = signing_keys
            .map(|(number, key)| pb::AuditSigningKey { number: *number, public_key: key.clone() })
            .collect();
        Ok(pb::ListAuditCheckpointsResponse {
            checkpoints,
            next_page_token,
            public_key: self.signing.public_key().to_vec(),
            signing_keys,
        })
    }

    async fn disclosures(
        &self,
        caller: &Caller,
        request: &pb::ListDisclosuresRequest,
    ) -> Result<pb::ListDisclosuresResponse, Problem> {
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let entries = store::disclosures(&mut conn, caller.enterprise()?.as_str(), page.after, page.size).await?;
        let next_page_token = next(&entries, page.size, |last| last.sequence)?;
        Ok(pb::ListDisclosuresResponse { entries, next_page_token })
    }
}
