//! Settlement batches.

use std::collections::HashSet;

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    clock::business_date,
    id::{LineId, PolicyId, SettlementId},
};
use zhirong_proto::subsidy::v1::{
    self as pb, compute_settlement_request::Period as Asked, payment_result::Outcome as Result_,
    settlement_service_server::SettlementService,
};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Api, date, id, next, reason, staff, watcher, write};
use crate::{
    error::Error,
    flow::settlement::{self, Outcome},
    policy::is_text,
    settlement::Period,
    store, wire,
};

const MOST_RESULTS: usize = 500;
const LONGEST_FAILURE: usize = 200;

#[tonic::async_trait]
impl SettlementService for Api {
    async fn compute_settlement(
        &self,
        request: Request<pb::ComputeSettlementRequest>,
    ) -> Result<Response<pb::ComputeSettlementResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.compute_settlement(&caller, request.into_inner()).await?))
    }

    async fn review_settlement(
        &self,
        request: Request<pb::ReviewSettlementRequest>,
    ) -> Result<Response<pb::ReviewSettlementResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.review_settlement(&caller, request.into_inner()).await?))
    }

    async fn export_settlement(
        &self,
        request: Request<pb::ExportSettlementRequest>,
    ) -> Result<Response<pb::ExportSettlementResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.export_settlement(&caller, request.into_inner()).await?))
    }

    async fn record_payments(
        &self,
        request: Request<pb::RecordPaymentsRequest>,
    ) -> Result<Response<pb::RecordPaymentsResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.record_payments(&caller, request.into_inner()).await?))
    }

    async fn list_settlements(
        &self,
        request: Request<pb::ListSettlementsRequest>,
    ) -> Result<Response<pb::ListSettlementsResponse>, Status> {
        watcher(&request)?;
        let request = request.into_inner();
        let page = page::parse::<(Timestamp, Uuid)>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await.map_err(Problem::from)?;
        let batches = store::settlement::list(&mut conn, page.after, page.size).await.map_err(Problem::from)?;
        Ok(Response::new(pb::ListSettlementsResponse {
            next_page_token: next(&batches, page.size, |batch| (batch.computed_at.to_jiff(), batch.batch_id))?,
            settlements: batches.iter().map(wire::settlement).collect(),
        }))
    }

    async fn list_settlement_lines(
        &self,
        request: Request<pb::ListSettlementLinesRequest>,
    ) -> Result<Response<pb::ListSettlementLinesResponse>, Status> {
        watcher(&request)?;
        let request = request.into_inner();
        let batch: SettlementId = id(&request.batch_id, "batch_id")?;
        let page = page::parse::<i32>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await.map_err(Problem::from)?;
        let lines = store::settlement::lines(&mut conn, batch, page.after.unwrap_or(0), page.size)
            .await
            .map_err(Problem::from)?;
        Ok(Response::new(pb::ListSettlementLinesResponse {
            next_page_token: next(&lines, page.size, |line| line.number)?,
            lines: lines.iter().map(wire::line).collect(),
        }))
    }
}

impl Api {
    async fn compute_settlement(
        &self,
        caller: &Caller,
        request: pb::ComputeSettlementRequest,
    ) -> Result<pb::ComputeSettlementResponse, Problem> {
        let what = parse_period(&request)?;
        write!(self, caller, "SettlementService/ComputeSettlement", request, |tx, now| {
            let batch = settlement::compute(tx, &self.desk, what, &caller.subject, now).await?;
            pb::ComputeSettlementResponse { settlement: Some(load(tx, batch).await?) }
        })
    }

    async fn review_settlement(
        &self,
        caller: &Caller,
        request: pb::ReviewSettlementRequest,
    ) -> Result<pb::ReviewSettlementResponse, Problem> {
        let batch: SettlementId = id(&request.batch_id, "batch_id")?;
        let decision = (request.approve, caller.subject.as_str(), reason(&request.reason_zh, !request.approve)?);
        write!(self, caller, "SettlementService/ReviewSettlement", request, |tx, now| {
            settlement::review(tx, batch, decision, now).await?;
            pb::ReviewSettlementResponse { settlement: Some(load(tx, batch).await?) }
        })
    }

    async fn export_settlement(
        &self,
        caller: &Caller,
        request: pb::ExportSettlementRequest,
    ) -> Result<pb::ExportSettlementResponse, Problem> {
        let batch: SettlementId = id(&request.batch_id, "batch_id")?;
        write!(self, caller, "SettlementService/ExportSettlement", request, |tx, now| {
            let csv = settlement::export(tx, batch, now).await?;
            let settlement = load(tx, batch).await?;
            let file_name = format!("settlement-{}-{}-{batch}.csv", settlement.from, settlement.to);
            pb::ExportSettlementResponse { settlement: Some(settlement), file_name, csv }
        })
    }

    async fn record_payments(
        &self,
        caller: &Caller,
        request: pb::RecordPaymentsRequest,
    ) -> Result<pb::RecordPaymentsResponse, Problem> {
        let batch: SettlementId = id(&request.batch_id, "batch_id")?;
        let results = parse_results(&request, business_date(self.clock.now()))?;
        write!(self, caller, "SettlementService/RecordPayments", request, |tx, now| {
            settlement::record(tx, &self.desk, batch, &results, now).await?;
            pb::RecordPaymentsResponse { settlement: Some(load(tx, batch).await?) }
        })
    }
}

async fn load(conn: &mut sqlx::PgConnection, batch: SettlementId) -> Result<pb::Settlement, Error> {
    let found = store::settlement::lock(conn, batch).await?.ok_or(Error::SettlementNotFound(batch))?;
    Ok(wire::settlement(&found))
}

type What = ((jiff::civil::Date, jiff::civil::Date), Option<PolicyId>);

fn parse_period(request: &pb::ComputeSettlementRequest) -> Result<What, Problem> {
    let policy = Some(request.policy_id.as_str()).filter(|text| !text.is_empty());
    let policy = policy.map(|text| id::<PolicyId>(text, "policy_id")).transpose()?;
    let year = i16::try_from(request.year).ok().filter(|year| (2019..=2100).contains(year));
    let (period, field) = match request.period {
        Some(Asked::Month(month)) => (i8::try_from(month).ok().map(Period::Month), "month"),
        Some(Asked::Quarter(quarter)) => (i8::try_from(quarter).ok().map(Period::Quarter), "quarter"),
        None => (None, "period"),
    };
    let problem = Problem::invalid("PERIOD_INVALID", "the period can't be read; see the field").zh("结算期有误");
    let Some(year) = year else { return Err(problem.field("year", "must be between 2019 and 2100")) };
    let days = period.and_then(|period| period.days(year));
    let days = days.ok_or_else(|| problem.field(field, "must be a month from 1 to 12 or a quarter from 1 to 4"))?;
    Ok((days, policy))
}

fn parse_results(
    request: &pb::RecordPaymentsRequest,
    today: jiff::civil::Date,
) -> Result<Vec<(LineId, Outcome)>, Problem> {
    let mut problem =
        Problem::invalid("PAYMENTS_INVALID", "the results can't be taken; see the fields").zh("付款结果有误");
    let (mut wrong, mut seen, mut found) = (false, HashSet::new(), Vec::new());
    if request.results.is_empty() || request.results.len() > MOST_RESULTS {
        return Err(problem.field("results", "must be 1 to 500"));
    }
    for (place, result) in request.results.iter().enumerate() {
        let line: Option<LineId> = result.reference.parse().ok().filter(|line| seen.insert(*line));
        let outcome = match &result.outcome {
            Some(Result_::PaidOn(day)) => date(day).filter(|day| *day <= today).map(Outcome::Paid),
            Some(Result_::FailedZh(why)) => is_text(why, LONGEST_FAILURE).then(|| Outcome::Failed(why.clone())),
            None => None,
        };
        if line.is_none() {
            let must = "must be the reference of a line, each once";
            (wrong, problem) = (true, problem.field(format!("results[{place}].reference"), must));
        }
        if outcome.is_none() {
            let must = "must be a value date up to today, or the reason of a failure with 1 to 200 characters";
            (wrong, problem) = (true, problem.field(format!("results[{place}].outcome"), must));
        }
        found.extend(line.zip(outcome));
    }
    if wrong { Err(problem) } else { Ok(found) }
}
