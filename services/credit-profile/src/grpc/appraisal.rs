//! The appraisal of patents, computed when asked.

use tonic::{Request, Response, Status};
use zhirong_kernel::feature::{FeatureValue, Features};
use zhirong_proto::profile::v1::{
    GetIpAppraisalRequest, GetIpAppraisalResponse, GetIpOverviewRequest, GetIpOverviewResponse, IpAppraisal,
    appraisal_service_server::AppraisalService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    problem::Problem,
};

use super::{Profiles, whose};
use crate::{
    appraisal::{FEATURE, Model},
    error::Error,
    profile::known,
    store::scorecards,
};

/// Profiles that are looked at together for the overview.
const TOGETHER: i64 = 1_000;

#[tonic::async_trait]
impl AppraisalService for Profiles {
    async fn get_ip_appraisal(
        &self,
        request: Request<GetIpAppraisalRequest>,
    ) -> Result<Response<GetIpAppraisalResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.get_ip_appraisal(&caller, request.into_inner()).await?))
    }

    async fn get_ip_overview(
        &self,
        request: Request<GetIpOverviewRequest>,
    ) -> Result<Response<GetIpOverviewResponse>, Status> {
        Caller::from_request(&request)?.require(&[Role::Staff, Role::Operator])?;
        Ok(Response::new(self.ip_overview().await?))
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

    async fn ip_overview(&self) -> Result<GetIpOverviewResponse, Problem> {
        let (mut overview, mut after) = (GetIpOverviewResponse::default(), String::new());
        let mut conn = self.pool.acquire().await?;
        loop {
            let profiles = scorecards::with_property(&mut conn, &after, TOGETHER).await?;
            let Some(last) = profiles.last() else { return Ok(overview) };
            after.clone_from(&last.enterprise_id);
            for profile in &profiles {
                add(&mut overview, &known(profile));
            }
        }
    }
}

/// Adds what an enterprise has, if it has anything.
fn add(overview: &mut GetIpOverviewResponse, features: &Features) {
    let of = |name: &str| match features.get(name) {
        Some(FeatureValue::Int(number)) => *number,
        _ => 0,
    };
    let (patents, trademarks, pledges) = (of("patent_count"), of("trademark_count"), of("ip_pledge_count"));
    if patents == 0 && trademarks == 0 && pledges == 0 {
        return;
    }
    for (sum, more) in [
        (&mut overview.enterprises, 1),
        (&mut overview.patents, patents),
        (&mut overview.invention_patents, of("invention_patent_count")),
        (&mut overview.trademarks, trademarks),
        (&mut overview.pledges, pledges),
        (&mut overview.pledged_fen, of("ip_pledge_fen")),
        (&mut overview.value_fen, of(FEATURE)),
    ] {
        *sum = sum.saturating_add(more);
    }
}
