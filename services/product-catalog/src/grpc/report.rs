//! The catalog's part of the outcome report.

use tonic::{Request, Response, Status};
use zhirong_proto::catalog::v1::{
    GetCatalogOutcomeRequest, GetCatalogOutcomeResponse, InstitutionIntent,
    catalog_report_service_server::CatalogReportService,
};
use zhirong_runtime::problem::Problem;

use super::{Catalog, day, snapshot};
use crate::{error::Error, store::agreement};

#[tonic::async_trait]
impl CatalogReportService for Catalog {
    async fn get_catalog_outcome(
        &self,
        request: Request<GetCatalogOutcomeRequest>,
    ) -> Result<Response<GetCatalogOutcomeResponse>, Status> {
        Ok(Response::new(self.outcome(&request.into_inner()).await?))
    }
}

impl Catalog {
    async fn outcome(&self, request: &GetCatalogOutcomeRequest) -> Result<GetCatalogOutcomeResponse, Problem> {
        let invalid =
            || Problem::invalid("PERIOD_INVALID", "the period can't be read; see the fields").zh("统计期间有误");
        let first = day(&request.from).ok_or_else(|| invalid().field("from", "must be a date, YYYY-MM-DD"))?;
        let last = day(&request.to).ok_or_else(|| invalid().field("to", "must be a date, YYYY-MM-DD"))?;
        if last < first {
            return Err(invalid().field("to", "must not be before `from`"));
        }
        let mut tx = snapshot(&self.pool).await?;
        let (institutions, credit_products, service_products) = agreement::counts(&mut tx).await?;
        let rows = agreement::intents(&mut tx, (first, last)).await?;
        tx.commit().await?;
        let mut intents = Vec::new();
        let (mut agreements, mut total) = (0_i64, 0_i64);
        for row in rows {
            // A sum that does not fit is told, never cut.
            let intent_fen = row.intent_fen.ok_or(Error::TooMuch("what an institution intends"))?;
            total = total.checked_add(intent_fen).ok_or(Error::TooMuch("what all institutions intend"))?;
            agreements = agreements.saturating_add(row.agreements);
            intents.push(InstitutionIntent {
                institution_id: row.institution_id,
                name_zh: row.name_zh,
                agreements: row.agreements,
                intent_fen,
            });
        }
        Ok(GetCatalogOutcomeResponse {
            institutions,
            credit_products,
            service_products,
            agreements,
            intent_fen: total,
            intents,
        })
    }
}
