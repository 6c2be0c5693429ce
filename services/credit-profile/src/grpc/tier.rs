//! The tiers on the way to a listing, read.

use tonic::{Request, Response, Status};
use zhirong_proto::profile::v1::{
    GetListingTierRequest, GetListingTierResponse, ListTierChangesRequest, ListTierChangesResponse,
    ListTierEnterprisesRequest, ListTierEnterprisesResponse, listing_tier_service_server::ListingTierService,
};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Profiles, full, whose};
use crate::{error::Error, store::tiers};

#[tonic::async_trait]
impl ListingTierService for Profiles {
    async fn get_listing_tier(
        &self,
        request: Request<GetListingTierRequest>,
    ) -> Result<Response<GetListingTierResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.get_listing_tier(&caller, request.into_inner()).await?))
    }

    async fn list_tier_enterprises(
        &self,
        request: Request<ListTierEnterprisesRequest>,
    ) -> Result<Response<ListTierEnterprisesResponse>, Status> {
        Ok(Response::new(self.list_tier_enterprises(request.into_inner()).await?))
    }

    async fn list_tier_changes(
        &self,
        request: Request<ListTierChangesRequest>,
    ) -> Result<Response<ListTierChangesResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_tier_changes(&caller, request.into_inner()).await?))
    }
}

impl Profiles {
    async fn get_listing_tier(
        &self,
        caller: &Caller,
        request: GetListingTierRequest,
    ) -> Result<GetListingTierResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let mut conn = self.pool.acquire().await?;
        let standing = tiers::standing(&mut conn, enterprise.as_str()).await?.ok_or(Error::NoTier)?;
        Ok(GetListingTierResponse { standing: Some(standing) })
    }

    async fn list_tier_enterprises(
        &self,
        request: ListTierEnterprisesRequest,
    ) -> Result<ListTierEnterprisesResponse, Problem> {
        let page = page::parse::<String>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let tier = (!request.tier.is_empty()).then_some(request.tier.as_str());
        let (standings, enterprise_count) = tiers::list(&mut conn, tier, page.after.as_deref(), page.size).await?;
        let next_page_token = match standings.last() {
            Some(last) if full(standings.len(), page.size) => page::encode(&last.enterprise_id)?,
            _ => String::new(),
        };
        Ok(ListTierEnterprisesResponse { standings, next_page_token, enterprise_count })
    }

    async fn list_tier_changes(
        &self,
        caller: &Caller,
        request: ListTierChangesRequest,
    ) -> Result<ListTierChangesResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let changes = tiers::changes(&mut conn, enterprise.as_str(), page.after.unwrap_or(0), page.size).await?;
        let next_page_token = match changes.last() {
            Some(last) if full(changes.len(), page.size) => page::encode(&last.version)?,
            _ => String::new(),
        };
        Ok(ListTierChangesResponse { changes, next_page_token })
    }
}
