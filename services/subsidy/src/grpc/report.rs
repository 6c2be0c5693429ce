//! Subsidy's part of the outcome report (成效报告).

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use zhirong_kernel::clock::start_of_business_date;
use zhirong_proto::subsidy::v1::{self as pb, subsidy_report_service_server::SubsidyReportService};
use zhirong_runtime::{
    caller::{Caller, Role},
    problem::Problem,
};

use super::{Api, date};
use crate::store;

#[tonic::async_trait]
impl SubsidyReportService for Api {
    async fn get_subsidy_outcome(
        &self,
        request: Request<pb::GetSubsidyOutcomeRequest>,
    ) -> Result<Response<pb::GetSubsidyOutcomeResponse>, Status> {
        Caller::from_request(&request)?.require(&[Role::Staff, Role::Operator])?;
        Ok(Response::new(self.outcome(&request.into_inner()).await?))
    }
}

impl Api {
    async fn outcome(&self, request: &pb::GetSubsidyOutcomeRequest) -> Result<pb::GetSubsidyOutcomeResponse, Problem> {
        let (from, until) = period(&request.from, &request.to)?;
        // One snapshot, so that the parts add up to the whole.
        let mut tx = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let outcome = store::report::outcome(&mut tx, from, until).await?;
        let policies = store::report::by_policy(&mut tx, from, until).await?;
        tx.commit().await?;
        Ok(pb::GetSubsidyOutcomeResponse {
            grants: outcome.grants,
            enterprises: outcome.enterprises,
            planned_fen: outcome.planned_fen,
            waiting: outcome.waiting,
            waiting_fen: outcome.waiting_fen,
            accrued_fen: outcome.accrued_fen,
            payable_fen: outcome.payable_fen,
            paid_fen: outcome.paid_fen,
            clawed_back_fen: outcome.clawed_back_fen,
            policies: policies
                .into_iter()
                .map(|policy| pb::PolicyOutcome {
                    policy_id: policy.policy_id.to_string(),
                    name_zh: policy.name_zh,
                    grants: policy.grants,
                    planned_fen: policy.planned_fen,
                    accrued_fen: policy.accrued_fen,
                    payable_fen: policy.payable_fen,
                    paid_fen: policy.paid_fen,
                })
                .collect(),
        })
    }
}

/// The instants from the first day's beginning to the last day's end in Asia/Shanghai.
fn period(from: &str, to: &str) -> Result<(Timestamp, Timestamp), Problem> {
    let (first, last) = (date(from), date(to));
    let start = first.and_then(start_of_business_date);
    let end = last.and_then(|day| day.tomorrow().ok()).and_then(start_of_business_date);
    let mut problem = Problem::invalid("PERIOD_INVALID", "the period can't be read; see the fields").zh("统计期间有误");
    if start.is_none() {
        problem = problem.field("from", "must be a date, YYYY-MM-DD");
    }
    if end.is_none() {
        problem = problem.field("to", "must be a date, YYYY-MM-DD");
    }
    match (start, end) {
        (Some(start), Some(end)) if first <= last => Ok((start, end)),
        (Some(_), Some(_)) => Err(problem.field("to", "must not be before `from`")),
        _ => Err(problem),
    }
}
