//! Grants: an enterprise sees its own, a bank those of its loans, staff see all.

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::Uscc;
use zhirong_proto::subsidy::v1::{self as pb, grant_service_server::GrantService};
use zhirong_runtime::{
    caller::{Caller, Role},
    page,
    problem::Problem,
};

use super::{Api, id, next};
use crate::{store, wire};

#[tonic::async_trait]
impl GrantService for Api {
    async fn list_grants(
        &self,
        request: Request<pb::ListGrantsRequest>,
    ) -> Result<Response<pb::ListGrantsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        caller.require(&[Role::Enterprise, Role::Bank, Role::Staff, Role::Operator])?;
        let request = request.into_inner();
        let enterprise = whose(&caller, &request.enterprise_id)?;
        let institution = (caller.role == Role::Bank).then(|| caller.institution()).transpose()?;
        let loan = Some(request.loan_id.as_str()).filter(|named| !named.is_empty());
        let loan = loan.map(|named| id(named, "loan_id")).transpose()?;
        let page = page::parse::<(Timestamp, Uuid)>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await.map_err(Problem::from)?;
        let wanted = store::grant::Wanted { enterprise: enterprise.as_ref(), institution, loan };
        let grants = store::grant::list(&mut conn, &wanted, page.after, page.size).await.map_err(Problem::from)?;
        Ok(Response::new(pb::ListGrantsResponse {
            next_page_token: next(&grants, page.size, |grant| (grant.created_at, grant.grant_id.uuid()))?,
            grants: grants.iter().map(wire::grant).collect(),
        }))
    }
}

/// Whose grants are asked for; none means all.
pub(super) fn whose(caller: &Caller, named: &str) -> Result<Option<Uscc>, Problem> {
    if caller.role == Role::Enterprise {
        let own = caller.enterprise()?;
        if !named.is_empty() && named != own.as_str() {
            return Err(Problem::permission_denied("NOT_YOURS", "an enterprise sees its own grants only")
                .zh("只能查看本企业的贴息"));
        }
        return Ok(Some(own.clone()));
    }
    Some(named).filter(|named| !named.is_empty()).map(str::parse::<Uscc>).transpose().map_err(|error| {
        Problem::invalid("USCC_INVALID", error.to_string())
            .field("enterprise_id", error.to_string())
            .zh("统一社会信用代码有误")
    })
}
