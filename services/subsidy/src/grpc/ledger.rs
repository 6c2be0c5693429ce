//! Reversals, returns, and the check of the ledger.

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{Fen, id::GrantId};
use zhirong_proto::subsidy::v1::{self as pb, ledger_service_server::LedgerService};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Api, id, next, reason, staff, watcher, write};
use crate::{
    flow::reversal,
    policy::is_text,
    store::{self, budget::Paper},
    wire,
};

const LONGEST_DOCUMENT: usize = 200;

#[tonic::async_trait]
impl LedgerService for Api {
    async fn request_reversal(
        &self,
        request: Request<pb::RequestReversalRequest>,
    ) -> Result<Response<pb::RequestReversalResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.request_reversal(&caller, request.into_inner()).await?))
    }

    async fn decide_reversal(
        &self,
        request: Request<pb::DecideReversalRequest>,
    ) -> Result<Response<pb::DecideReversalResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.decide_reversal(&caller, request.into_inner()).await?))
    }

    async fn list_reversals(
        &self,
        request: Request<pb::ListReversalsRequest>,
    ) -> Result<Response<pb::ListReversalsResponse>, Status> {
        watcher(&request)?;
        Ok(Response::new(self.reversals(&request.into_inner()).await?))
    }

    async fn record_return(
        &self,
        request: Request<pb::RecordReturnRequest>,
    ) -> Result<Response<pb::RecordReturnResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.record_return(&caller, request.into_inner()).await?))
    }

    async fn check_ledger(
        &self,
        request: Request<pb::CheckLedgerRequest>,
    ) -> Result<Response<pb::CheckLedgerResponse>, Status> {
        watcher(&request)?;
        Ok(Response::new(self.check().await?))
    }
}

impl Api {
    async fn request_reversal(
        &self,
        caller: &Caller,
        request: pb::RequestReversalRequest,
    ) -> Result<pb::RequestReversalResponse, Problem> {
        let grant: GrantId = id(&request.grant_id, "grant_id")?;
        let asked = (caller.subject.as_str(), reason(&request.reason_zh, true)?);
        write!(self, caller, "LedgerService/RequestReversal", request, |tx, now| {
            let reversal = reversal::request(tx, &self.desk, grant, asked, now).await?;
            pb::RequestReversalResponse { reversal: Some(wire::reversal(&reversal)) }
        })
    }

    async fn decide_reversal(
        &self,
        caller: &Caller,
        request: pb::DecideReversalRequest,
    ) -> Result<pb::DecideReversalResponse, Problem> {
        let reversal_id: Uuid = id(&request.reversal_id, "reversal_id")?;
        let decision = (request.approve, caller.subject.as_str(), reason(&request.reason_zh, false)?);
        write!(self, caller, "LedgerService/DecideReversal", request, |tx, now| {
            let (reversal, grant) = reversal::decide(tx, &self.desk, reversal_id, decision, now).await?;
            pb::DecideReversalResponse { reversal: Some(wire::reversal(&reversal)), grant: Some(wire::grant(&grant)) }
        })
    }

    async fn reversals(&self, request: &pb::ListReversalsRequest) -> Result<pb::ListReversalsResponse, Problem> {
        let page = page::parse::<(Timestamp, Uuid)>(request.page_size, &request.page_token)?;
        let state = match pb::ReversalState::try_from(request.state) {
            Ok(pb::ReversalState::Unspecified) => None,
            Ok(pb::ReversalState::Requested) => Some("requested"),
            Ok(pb::ReversalState::Approved) => Some("approved"),
            Ok(pb::ReversalState::Declined) => Some("declined"),
            Err(_) => {
                let problem = Problem::invalid("STATE_INVALID", "the state is not known here; see the field");
                return Err(problem.field("state", "must be a state of a reversal, or unspecified").zh("状态有误"));
            }
        };
        let found = store::reversal::list(&mut *self.pool.acquire().await?, state, page.after, page.size).await?;
        Ok(pb::ListReversalsResponse {
            next_page_token: next(&found, page.size, |one| (one.requested_at.to_jiff(), one.reversal_id))?,
            reversals: found.iter().map(wire::reversal).collect(),
        })
    }

    async fn record_return(
        &self,
        caller: &Caller,
        request: pb::RecordReturnRequest,
    ) -> Result<pb::RecordReturnResponse, Problem> {
        let grant: GrantId = id(&request.grant_id, "grant_id")?;
        let returned = receipt(request.amount_fen, &request.document_zh, caller)?;
        write!(self, caller, "LedgerService/RecordReturn", request, |tx, now| {
            let grant = reversal::returned(tx, &self.desk, grant, returned, now).await?;
            pb::RecordReturnResponse { grant: Some(wire::grant(&grant)) }
        })
    }

    async fn check(&self) -> Result<pb::CheckLedgerResponse, Problem> {
        let mut tx = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let (budgets, postings) = store::report::ledger_size(&mut tx).await?;
        let differences = store::report::ledger_differences(&mut tx).await?;
        tx.commit().await?;
        Ok(pb::CheckLedgerResponse {
            budgets,
            postings,
            differences: differences
                .into_iter()
                .map(|found| pb::LedgerDifference {
                    policy_id: found.policy_id.to_string(),
                    year: found.year,
                    account: found.kind,
                    stored_fen: found.stored,
                    replayed_fen: found.replayed,
                })
                .collect(),
        })
    }
}

/// Money that came back, with its receipt.
pub(super) fn receipt(amount_fen: i64, document_zh: &str, caller: &Caller) -> Result<(Fen, Paper), Problem> {
    let mut problem =
        Problem::invalid("RETURN_INVALID", "the return can't be taken; see the fields").zh("退回信息有误");
    if amount_fen <= 0 {
        problem = problem.field("amount_fen", "must be positive");
    }
    if !is_text(document_zh, LONGEST_DOCUMENT) {
        problem = problem.field("document_zh", "must have 1 to 200 characters, without control characters");
    }
    if amount_fen <= 0 || !is_text(document_zh, LONGEST_DOCUMENT) {
        return Err(problem);
    }
    let paper = Paper { document_zh: document_zh.to_owned(), entered_by: caller.subject.clone() };
    Ok((Fen::new(amount_fen), paper))
}
