//! The quality-enterprise pool, read.

use tonic::{Request, Response, Status};
use zhirong_proto::profile::v1::{
    GetQualityStandingRequest, GetQualityStandingResponse, ListQualityChangesRequest, ListQualityChangesResponse,
    ListQualityEnterprisesRequest, ListQualityEnterprisesResponse, quality_pool_service_server::QualityPoolService,
};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Profiles, full, whose};
use crate::{error::Error, store::quality};

#[tonic::async_trait]
impl QualityPoolService for Profiles {
    async fn get_quality_standing(
        &self,
        request: Request<GetQualityStandingRequest>,
    ) -> Result<Response<GetQualityStandingResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.get_quality_standing(&caller, request.into_inner()).await?))
    }

    async fn list_quality_enterprises(
        &self,
        request: Request<ListQualityEnterprisesRequest>,
    ) -> Result<Response<ListQualityEnterprisesResponse>, Status> {
        Ok(Response::new(self.list_quality_enterprises(request.into_inner()).await?))
    }

    async fn list_quality_changes(
        &self,
        request: Request<ListQualityChangesRequest>,
    ) -> Result<Response<ListQualityChangesResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_quality_changes(&caller, request.into_inner()).await?))
    }
}

impl Profiles {
    async fn get_quality_standing(
        &self,
        caller: &Caller,
        request: GetQualityStandingRequest,
    ) -> Result<GetQualityStandingResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let mut conn = self.pool.acquire().await?;
        let standing = quality::standing(&mut conn, enterprise.as_str()).await?.ok_or(Error::NoLoanHistory)?;
        Ok(GetQualityStandingResponse { standing: Some(standing) })
    }

    async fn list_quality_enterprises(
        &self,
        request: ListQualityEnterprisesRequest,
    ) -> Result<ListQualityEnterprisesResponse, Problem> {
        let page = page::parse::<String>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let (standings, enterprise_count) = quality::members(&mut conn, page.after.as_deref(), page.size).await?;
        let next_page_token = match standings.last() {
            Some(last) if full(standings.len(), page.size) => page::encode(&last.enterprise_id)?,
            _ => String::new(),
        };
        Ok(ListQualityEnterprisesResponse { standings, next_page_token, enterprise_count })
    }

    async fn list_quality_changes(
        &self,
        caller: &Caller,
        request: ListQualityChangesRequest,
    ) -> Result<ListQualityChangesResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let changes = quality::changes(&mut conn, enterprise.as_str(), page.after.unwrap_or(0), page.size).await?;
        let next_page_token = match changes.last() {
            Some(last) if full(changes.len(), page.size) => page::encode(&last.version)?,
            _ => String::new(),
        };
        Ok(ListQualityChangesResponse { changes, next_page_token })
    }
}
