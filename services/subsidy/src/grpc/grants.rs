//! Grants: an enterprise sees its own, a bank those of its loans, staff see all.

use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{Uscc, id::GrantId};
use zhirong_proto::subsidy::v1::{self as pb, grant_service_server::GrantService};
use zhirong_runtime::{
    caller::{Caller, Role},
    page,
    problem::Problem,
};

use super::{Api, id, next};
use crate::{
    error::Error,
    store::{
        self,
        grant::Wanted,
        grant_change::{self, Cursor},
    },
    wire,
};

#[tonic::async_trait]
impl GrantService for Api {
    async fn list_grants(
        &self,
        request: Request<pb::ListGrantsRequest>,
    ) -> Result<Response<pb::ListGrantsResponse>, Status> {
        let caller = reader(&request)?;
        let request = request.into_inner();
        let enterprise = whose(&caller, &request.enterprise_id)?;
        let loan = Some(request.loan_id.as_str()).filter(|named| !named.is_empty());
        let loan = loan.map(|named| id(named, "loan_id")).transpose()?;
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await.map_err(Problem::from)?;
        let wanted = Wanted { loan, ..seen_by(&caller, enterprise.as_ref())? };
        let grants = store::grant::list(&mut conn, &wanted, page.after, page.size).await.map_err(Problem::from)?;
        Ok(Response::new(pb::ListGrantsResponse {
            next_page_token: next(&grants, page.size, |grant| grant.grant_id.uuid())?,
            grants: grants.iter().map(wire::grant).collect(),
        }))
    }

    async fn get_grant(&self, request: Request<pb::GetGrantRequest>) -> Result<Response<pb::GetGrantResponse>, Status> {
        let caller = reader(&request)?;
        let wanted: GrantId = id(&request.into_inner().grant_id, "grant_id")?;
        Ok(Response::new(self.grant(&caller, wanted).await?))
    }

    async fn list_grant_changes(
        &self,
        request: Request<pb::ListGrantChangesRequest>,
    ) -> Result<Response<pb::ListGrantChangesResponse>, Status> {
        let caller = reader(&request)?;
        Ok(Response::new(self.changes(&caller, request.into_inner()).await?))
    }
}

impl Api {
    async fn grant(&self, caller: &Caller, wanted: GrantId) -> Result<pb::GetGrantResponse, Problem> {
        let enterprise = whose(caller, "")?;
        let seen = seen_by(caller, enterprise.as_ref())?;
        let mut conn = self.pool.acquire().await?;
        let found = store::grant::find(&mut conn, wanted).await?.ok_or(Error::GrantNotFound(wanted))?;
        let of_enterprise = seen.enterprise.is_none_or(|own| *own == found.enterprise_id);
        let of_institution = match seen.institution {
            Some(own) => {
                let loan = store::loan::find(&mut conn, found.loan_id).await?;
                loan.is_some_and(|approved| approved.loan.institution_id == *own)
            }
            None => true,
        };
        if !(of_enterprise && of_institution) {
            return Err(Error::GrantNotFound(wanted).into());
        }
        Ok(pb::GetGrantResponse { grant: Some(wire::grant(&found)) })
    }

    async fn changes(
        &self,
        caller: &Caller,
        request: pb::ListGrantChangesRequest,
    ) -> Result<pb::ListGrantChangesResponse, Problem> {
        let enterprise = whose(caller, "")?;
        let seen = seen_by(caller, enterprise.as_ref())?;
        let page = page::parse::<Cursor>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        if let Some(after) = page.after
            && !(after.0 >= 0 && grant_change::may_follow(&mut conn, after).await?)
        {
            return Err(Problem::failed_precondition(
                "PAGE_TOKEN_OUTLIVED",
                "the token is of a database that was rebuilt since; begin anew without one",
            )
            .zh("数据库已重建，该标识失效，请从头获取"));
        }
        let found = grant_change::list(&mut conn, &seen, page.after, page.size).await?;
        let next_page_token = match found.last() {
            Some((cursor, _)) => page::encode(cursor)?,
            None => request.page_token,
        };
        Ok(pb::ListGrantChangesResponse {
            grants: found.iter().map(|(_, grant)| wire::grant(grant)).collect(),
            next_page_token,
        })
    }
}

fn reader<T>(request: &Request<T>) -> Result<Caller, Problem> {
    let caller = Caller::from_request(request)?;
    caller.require(&[Role::Enterprise, Role::Bank, Role::Staff, Role::Operator])?;
    Ok(caller)
}

/// The grants that a caller may see, of one enterprise when given.
fn seen_by<'a>(caller: &'a Caller, enterprise: Option<&'a Uscc>) -> Result<Wanted<'a>, Problem> {
    let institution = (caller.role == Role::Bank).then(|| caller.institution()).transpose()?;
    Ok(Wanted { enterprise, institution, loan: None })
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
