//! Matching's part of the outcome report, institution by institution.

use tonic::{Request, Response, Status};
use zhirong_proto::matching::v1::{
    GetInstitutionOutcomesRequest, GetInstitutionOutcomesResponse, InstitutionOutcome,
    institution_report_service_server::InstitutionReportService,
};
use zhirong_runtime::problem::Problem;

use super::{Matching, report::period};
use crate::store::institution_report;

#[tonic::async_trait]
impl InstitutionReportService for Matching {
    async fn get_institution_outcomes(
        &self,
        request: Request<GetInstitutionOutcomesRequest>,
    ) -> Result<Response<GetInstitutionOutcomesResponse>, Status> {
        Ok(Response::new(self.institution_outcomes(&request.into_inner()).await?))
    }
}

impl Matching {
    async fn institution_outcomes(
        &self,
        request: &GetInstitutionOutcomesRequest,
    ) -> Result<GetInstitutionOutcomesResponse, Problem> {
        let (days, instants) = period(&request.from, &request.to)?;
        let mut conn = self.pool.acquire().await?;
        let rows = institution_report::lent(&mut conn, days, instants).await?;
        let institutions = rows.into_iter().map(|row| InstitutionOutcome {
            institution_id: row.institution_id,
            loans_approved: row.loans_approved,
            approved_fen: row.approved_fen,
            loans_disbursed: row.loans_disbursed,
            disbursed_fen: row.disbursed_fen,
        });
        Ok(GetInstitutionOutcomesResponse { institutions: institutions.collect() })
    }
}
