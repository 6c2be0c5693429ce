//! Proto to domain and back, one function an RPC.

use std::sync::Arc;

use prost::Message as _;
use sqlx::PgPool;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};
use zhirong_kernel::{clock::Clock, uscc::Uscc};
use zhirong_proto::profile::v1::{
    self as pb, Category, category_service_server::CategoryService, profile_service_server::ProfileService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    page,
    problem::Problem,
};

use crate::{
    error::{Error, schema_invalid},
    published, schema, store,
};

mod appraisal;
mod quality;
mod reloads;
mod scorecard;
mod tier;
mod trial;

/// The gRPC face of the credit profile.
#[derive(Clone)]
pub struct Profiles {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes whoever computes profiles.
    pub stale: Arc<Notify>,
}

#[tonic::async_trait]
impl ProfileService for Profiles {
    async fn get_profile(
        &self,
        request: Request<pb::GetProfileRequest>,
    ) -> Result<Response<pb::GetProfileResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.get_profile(&caller, request.into_inner()).await?))
    }

    async fn list_profiles(
        &self,
        request: Request<pb::ListProfilesRequest>,
    ) -> Result<Response<pb::ListProfilesResponse>, Status> {
        Ok(Response::new(self.list_profiles(request.into_inner()).await?))
    }
}

#[tonic::async_trait]
impl CategoryService for Profiles {
    async fn put_category(
        &self,
        request: Request<pb::PutCategoryRequest>,
    ) -> Result<Response<pb::PutCategoryResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.put_category(&caller, request.into_inner()).await?))
    }

    async fn list_categories(
        &self,
        request: Request<pb::ListCategoriesRequest>,
    ) -> Result<Response<pb::ListCategoriesResponse>, Status> {
        Ok(Response::new(self.list_categories(request.into_inner()).await?))
    }

    async fn get_category_schema(
        &self,
        request: Request<pb::GetCategorySchemaRequest>,
    ) -> Result<Response<pb::GetCategorySchemaResponse>, Status> {
        Ok(Response::new(self.get_category_schema(request.into_inner()).await?))
    }

    async fn list_reloads(
        &self,
        request: Request<pb::ListReloadsRequest>,
    ) -> Result<Response<pb::ListReloadsResponse>, Status> {
        Ok(Response::new(self.list_reloads(request.into_inner()).await?))
    }

    async fn give_up_reload(
        &self,
        request: Request<pb::GiveUpReloadRequest>,
    ) -> Result<Response<pb::GiveUpReloadResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.give_up_reload(&caller, request.into_inner()).await?))
    }
}

impl Profiles {
    async fn get_profile(
        &self,
        caller: &Caller,
        request: pb::GetProfileRequest,
    ) -> Result<pb::GetProfileResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let mut conn = self.pool.acquire().await?;
        Ok(store::profile(&mut conn, enterprise.as_str()).await?.ok_or(Error::ProfileNotFound)?)
    }

    async fn list_profiles(&self, request: pb::ListProfilesRequest) -> Result<pb::ListProfilesResponse, Problem> {
        let page = page::parse::<String>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let profiles = store::list_profiles(&mut conn, page.after.as_deref(), page.size).await?;
        let next_page_token = match profiles.last() {
            Some(last) if full(profiles.len(), page.size) => page::encode(&last.enterprise_id)?,
            _ => String::new(),
        };
        Ok(pb::ListProfilesResponse { profiles, next_page_token })
    }

    async fn put_category(
        &self,
        caller: &Caller,
        request: pb::PutCategoryRequest,
    ) -> Result<pb::PutCategoryResponse, Problem> {
        let category = request.category.clone().unwrap_or_default();
        let violations = schema::violations(&category);
        if !violations.is_empty() {
            return Err(schema_invalid(violations));
        }
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.CategoryService/PutCategory";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let version = store::put_category(&mut tx, &category).await?;
        let response = pb::PutCategoryResponse { category: Some(category), version };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.stale.notify_one();
        Ok(response)
    }

    async fn list_categories(&self, request: pb::ListCategoriesRequest) -> Result<pb::ListCategoriesResponse, Problem> {
        let page = page::parse::<String>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let rows = store::list_categories(&mut conn, page.after.as_deref(), page.size).await?;
        let next_page_token = match rows.last() {
            Some(last) if full(rows.len(), page.size) => page::encode(&last.category)?,
            _ => String::new(),
        };
        let categories = rows
            .into_iter()
            .map(|row| {
                Ok(pb::CategoryStatus {
                    category: Some(Category::decode(row.content.as_slice())?),
                    version: row.version,
                    record_count: row.record_count,
                    enterprise_count: row.enterprise_count,
                })
            })
            .collect::<Result<_, prost::DecodeError>>()
            .map_err(|error| Problem::from(Error::from(error)))?;
        Ok(pb::ListCategoriesResponse { categories, next_page_token })
    }
}

impl Profiles {
    async fn get_category_schema(
        &self,
        request: pb::GetCategorySchemaRequest,
    ) -> Result<pb::GetCategorySchemaResponse, Problem> {
        let mut conn = self.pool.acquire().await?;
        let (category, version) =
            store::category(&mut conn, &request.category).await?.ok_or(Error::CategoryNotFound)?;
        Ok(pb::GetCategorySchemaResponse {
            json_schema: published::json_schema(&category).to_string(),
            example: published::example(&category).to_string(),
            version,
            proto_file: published::proto_file(&category).unwrap_or_default(),
        })
    }
}

/// An enterprise means itself; staff name one. Another's profile does not exist for an enterprise.
fn whose(caller: &Caller, named: &str) -> Result<Uscc, Problem> {
    if caller.role == Role::Enterprise {
        let own = caller.enterprise()?;
        if !named.is_empty() && named != own.as_str() {
            return Err(Error::ProfileNotFound.into());
        }
        return Ok(own.clone());
    }
    named.parse().map_err(|error: zhirong_kernel::uscc::Error| {
        Problem::invalid("USCC_INVALID", error.to_string())
            .field("enterprise_id", error.to_string())
            .zh("统一社会信用代码有误")
    })
}

fn full(length: usize, size: i64) -> bool {
    i64::try_from(length).is_ok_and(|length| length >= size)
}
