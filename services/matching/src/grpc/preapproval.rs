//! What an enterprise is pre-approved for, and was.

use jiff::Timestamp;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use zhirong_kernel::{Uscc, clock::business_date};
use zhirong_proto::matching::v1::{
    GetPreapprovalRequest, GetPreapprovalResponse, ListPreapprovalVersionsRequest, ListPreapprovalVersionsResponse,
    Preapproval, preapproval_service_server::PreapprovalService,
};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Matching, calculator::whose, cut};
use crate::{
    error::Error,
    preapproval::limits,
    store::{kept, preapproval, read_model},
};

#[tonic::async_trait]
impl PreapprovalService for Matching {
    async fn get_preapproval(
        &self,
        request: Request<GetPreapprovalRequest>,
    ) -> Result<Response<GetPreapprovalResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.preapproval(&caller, &request.into_inner()).await?))
    }

    async fn list_preapproval_versions(
        &self,
        request: Request<ListPreapprovalVersionsRequest>,
    ) -> Result<Response<ListPreapprovalVersionsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.preapproval_versions(&caller, &request.into_inner()).await?))
    }
}

impl Matching {
    async fn preapproval(
        &self,
        caller: &Caller,
        request: &GetPreapprovalRequest,
    ) -> Result<GetPreapprovalResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let mut conn = self.pool.acquire().await?;
        let stands = preapproval::get(&mut conn, enterprise.as_str()).await?.ok_or(Error::PreapprovalNotFound)?;
        let found = if [0, stands.version].contains(&request.version) {
            stands
        } else {
            self.preapproval_at(&mut conn, &enterprise, request.version).await?
        };
        Ok(GetPreapprovalResponse { preapproval: Some(found) })
    }

    /// A version of the past, computed again.
    async fn preapproval_at(
        &self,
        conn: &mut PgConnection,
        enterprise: &Uscc,
        version: i64,
    ) -> Result<Preapproval, Error> {
        let missing = Error::VersionNotFound { of: "pre-approval", version };
        let before = version.saturating_add(1);
        let found = kept::preapprovals(conn, enterprise.as_str(), Some(before), 1).await?.pop();
        let rests = found.filter(|found| found.version == version).ok_or(missing)?;
        let time = rests.computed_at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
        let computed_at = time.ok_or_else(|| Error::Stored("preapproval_version.computed_at".to_owned()))?;
        let catalog = self.snapshots.at(rests.catalog_version).await?;
        let profile = read_model::profile_at(conn, enterprise.as_str(), rests.profile_version).await?;
        let again = Preapproval {
            enterprise_id: enterprise.to_string(),
            version,
            limits: limits(&catalog, &profile, business_date(computed_at))?,
            profile_version: rests.profile_version,
            catalog_version: rests.catalog_version,
            computed_at: rests.computed_at,
        };
        if kept::sha256(&again) != rests.content_sha256 {
            return Err(Error::ComputedOtherwise(format!("version {version} of the pre-approval of {enterprise}")));
        }
        Ok(again)
    }

    async fn preapproval_versions(
        &self,
        caller: &Caller,
        request: &ListPreapprovalVersionsRequest,
    ) -> Result<ListPreapprovalVersionsResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let most = page.size.saturating_add(1);
        let (versions, more) =
            cut(kept::preapprovals(&mut conn, enterprise.as_str(), page.after, most).await?, page.size);
        let next_page_token = match versions.last() {
            Some(last) if more => page::encode(&last.version)?,
            _ => String::new(),
        };
        Ok(ListPreapprovalVersionsResponse { versions, next_page_token })
    }
}
