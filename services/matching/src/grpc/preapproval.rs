//! What an enterprise is pre-approved for.

use tonic::{Request, Response, Status};
use zhirong_proto::matching::v1::{
    GetPreapprovalRequest, GetPreapprovalResponse, preapproval_service_server::PreapprovalService,
};
use zhirong_runtime::{caller::Caller, problem::Problem};

use super::{Matching, calculator::whose};
use crate::{error::Error, store::preapproval};

#[tonic::async_trait]
impl PreapprovalService for Matching {
    async fn get_preapproval(
        &self,
        request: Request<GetPreapprovalRequest>,
    ) -> Result<Response<GetPreapprovalResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.preapproval(&caller, &request.into_inner()).await?))
    }
}

impl Matching {
    async fn preapproval(
        &self,
        caller: &Caller,
        request: &GetPreapprovalRequest,
    ) -> Result<GetPreapprovalResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let mut conn = self.pool.acquire().await.map_err(Error::from)?;
        let found = preapproval::get(&mut conn, enterprise.as_str()).await?.ok_or(Error::PreapprovalNotFound)?;
        Ok(GetPreapprovalResponse { preapproval: Some(found) })
    }
}
