//! The appraisal of patents, computed when asked.

use tonic::{Request, Response, Status};
use zhirong_proto::profile::v1::{
    GetIpAppraisalRequest, GetIpAppraisalResponse, IpAppraisal, appraisal_service_server::AppraisalService,
};
use zhirong_runtime::{caller::Caller, problem::Problem};

use super::{Profiles, whose};
use crate::{appraisal::Model, error::Error, profile::known, store::scorecards};

#[tonic::async_trait]
impl AppraisalService for Profiles {
    async fn get_ip_appraisal(
        &self,
        request: Request<GetIpAppraisalRequest>,
    ) -> Result<Response<GetIpAppraisalResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.get_ip_appraisal(&caller, request.into_inner()).await?))
    }
}

impl Profiles {
    async fn get_ip_appraisal(
        &self,
        caller: &Caller,
        request: GetIpAppraisalRequest,
    ) -> Result<GetIpAppraisalResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let named = (request.profile_version != 0).then_some(request.profile_version);
        let mut conn = self.pool.acquire().await?;
        let profile = scorecards::profile_version(&mut conn, enterprise.as_str(), named).await?;
        let profile = profile.ok_or(Error::ProfileNotFound)?;
        let appraisal = Model::standard().map_err(Error::Seeds)?.appraise(&known(&profile)).ok_or(Error::NoPatents)?;
        let appraisal =
            IpAppraisal { enterprise_id: profile.enterprise_id, profile_version: profile.version, ..appraisal };
        Ok(GetIpAppraisalResponse { appraisal: Some(appraisal) })
    }
}
