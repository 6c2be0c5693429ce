//! Matching's part of the outcome report.

use jiff::{Timestamp, ToSpan as _, civil::Date};
use tonic::{Request, Response, Status};
use zhirong_kernel::clock::start_of_business_date;
use zhirong_proto::matching::v1::{
    GetMatchingOutcomeRequest, GetMatchingOutcomeResponse, matching_report_service_server::MatchingReportService,
};
use zhirong_runtime::problem::Problem;

use super::Matching;
use crate::store::report;

#[tonic::async_trait]
impl MatchingReportService for Matching {
    async fn get_matching_outcome(
        &self,
        request: Request<GetMatchingOutcomeRequest>,
    ) -> Result<Response<GetMatchingOutcomeResponse>, Status> {
        Ok(Response::new(self.outcome(&request.into_inner()).await?))
    }
}

impl Matching {
    async fn outcome(&self, request: &GetMatchingOutcomeRequest) -> Result<GetMatchingOutcomeResponse, Problem> {
        let (days, instants) = period(&request.from, &request.to)?;
        let mut conn = self.pool.acquire().await?;
        let outcome = report::outcome(&mut conn, days, instants).await?;
        let (ip_pledge_loans, ip_pledge_fen) = report::ip_pledged(&mut conn, instants.0, instants.1).await?;
        Ok(GetMatchingOutcomeResponse {
            computed_enterprises: outcome.computed_enterprises,
            orders_placed: outcome.orders_placed,
            orders_rejected: outcome.orders_rejected,
            loans_approved: outcome.loans_approved,
            approved_fen: outcome.approved_fen,
            loans_disbursed: outcome.loans_disbursed,
            disbursed_fen: outcome.disbursed_fen,
            enterprises_with_loan: outcome.enterprises_with_loan,
            institutions_with_loan: outcome.institutions_with_loan,
            preapproved_enterprises: outcome.preapproved_enterprises,
            preapproved_fen: outcome.preapproved_fen,
            ip_pledge_loans,
            ip_pledge_fen,
        })
    }
}

/// First and last day; and the instants from which until before which they are.
type Period = ((Date, Date), (Timestamp, Timestamp));

/// The days of a period, first and last, and the instants from the first one's beginning until before the day after the last.
pub(super) fn period(from: &str, to: &str) -> Result<Period, Problem> {
    let invalid = || Problem::invalid("PERIOD_INVALID", "the period can't be read; see the fields").zh("统计期间有误");
    let first: Date = from.parse().map_err(|_| invalid().field("from", "must be a date, YYYY-MM-DD"))?;
    let last: Date = to.parse().map_err(|_| invalid().field("to", "must be a date, YYYY-MM-DD"))?;
    if last < first {
        return Err(invalid().field("to", "must not be before `from`"));
    }
    let after = last.checked_add(1.day()).map_err(|_| invalid().field("to", "is out of range"))?;
    let instant =
        |day| start_of_business_date(day).ok_or_else(|| invalid().field("from", "the period is out of range"));
    Ok(((first, last), (instant(first)?, instant(after)?)))
}
