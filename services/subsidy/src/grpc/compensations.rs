//! Compensations of losses.

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    Uscc,
    clock::business_date,
    id::{CompensationId, PolicyId},
};
use zhirong_proto::subsidy::v1::{self as pb, compensation_service_server::CompensationService};
use zhirong_runtime::{
    caller::{Caller, Role},
    page,
    problem::Problem,
};

use super::{Api, date, id, ledger::receipt, next, reason, staff, write};
use crate::{
    flow::{
        compensation::{self, Payer},
        till,
    },
    policy::is_text,
    store, wire,
};

const MOST_EVIDENCE: usize = 32;
const LONGEST_DOCUMENT: usize = 200;

#[tonic::async_trait]
impl CompensationService for Api {
    async fn claim_compensation(
        &self,
        request: Request<pb::ClaimCompensationRequest>,
    ) -> Result<Response<pb::ClaimCompensationResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        caller.require(&[Role::Bank])?;
        Ok(Response::new(self.claim(&caller, request.into_inner()).await?))
    }

    async fn review_compensation(
        &self,
        request: Request<pb::ReviewCompensationRequest>,
    ) -> Result<Response<pb::ReviewCompensationResponse>, Status> {
        let caller = staff(&request)?;
        let mut exhausted = None;
        let reviewed = self.review_compensation(&caller, request.into_inner(), &mut exhausted).await;
        if let Some(budget) = exhausted {
            // Should this fail, the caller is told so, and the review that comes again is refused and told.
            self.tell_exhausted(budget).await?;
        }
        Ok(Response::new(reviewed?))
    }

    async fn pay_compensation(
        &self,
        request: Request<pb::PayCompensationRequest>,
    ) -> Result<Response<pb::PayCompensationResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        caller.require(&[Role::Staff, Role::Bank])?;
        Ok(Response::new(self.pay(&caller, request.into_inner()).await?))
    }

    async fn record_pool_return(
        &self,
        request: Request<pb::RecordPoolReturnRequest>,
    ) -> Result<Response<pb::RecordPoolReturnResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.pool_return(&caller, request.into_inner()).await?))
    }

    async fn list_compensations(
        &self,
        request: Request<pb::ListCompensationsRequest>,
    ) -> Result<Response<pb::ListCompensationsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        caller.require(&[Role::Bank, Role::Staff, Role::Operator])?;
        Ok(Response::new(self.compensations(&caller, request.into_inner()).await?))
    }
}

impl Api {
    async fn claim(
        &self,
        caller: &Caller,
        request: pb::ClaimCompensationRequest,
    ) -> Result<pb::ClaimCompensationResponse, Problem> {
        let found: CompensationId = id(&request.compensation_id, "compensation_id")?;
        let lender = caller.institution()?;
        check_evidence(&request.evidence)?;
        write!(self, caller, "CompensationService/ClaimCompensation", request, |tx, now| {
            let claimed = compensation::claim(tx, found, lender, request.evidence.clone(), now).await?;
            pb::ClaimCompensationResponse { compensation: Some(wire::compensation(&claimed)) }
        })
    }

    async fn review_compensation(
        &self,
        caller: &Caller,
        request: pb::ReviewCompensationRequest,
        exhausted: &mut Option<(PolicyId, i32)>,
    ) -> Result<pb::ReviewCompensationResponse, Problem> {
        let found: CompensationId = id(&request.compensation_id, "compensation_id")?;
        let decision = (request.approve, caller.subject.as_str(), reason(&request.reason_zh, !request.approve)?);
        write!(self, caller, "CompensationService/ReviewCompensation", request, |tx, now| {
            let reviewed = compensation::review(tx, &self.desk, found, decision, now).await;
            let reviewed = reviewed.inspect_err(|error| *exhausted = error.exhausted())?;
            pb::ReviewCompensationResponse { compensation: Some(wire::compensation(&reviewed)) }
        })
    }

    async fn tell_exhausted(&self, budget: (PolicyId, i32)) -> Result<(), Problem> {
        let mut transaction = self.pool.begin().await?;
        till::tell_exhausted(&mut transaction, &self.desk, budget, self.clock.now()).await?;
        transaction.commit().await?;
        self.outbox.notify();
        Ok(())
    }

    async fn pay(
        &self,
        caller: &Caller,
        request: pb::PayCompensationRequest,
    ) -> Result<pb::PayCompensationResponse, Problem> {
        let found: CompensationId = id(&request.compensation_id, "compensation_id")?;
        let today = business_date(self.clock.now());
        let (part, paid_on) = (usize::try_from(request.part), date(&request.paid_on).filter(|day| *day <= today));
        let (Ok(part), Some(paid_on)) = (part, paid_on) else {
            return Err(Problem::invalid("PAYMENT_INVALID", "the payment can't be taken; see the fields")
                .field("part", "must be the place of a part, from 0")
                .field("paid_on", "must be a date up to today, YYYY-MM-DD")
                .zh("支付信息有误"));
        };
        let payer = match caller.role {
            Role::Bank => Payer::Institution(caller.institution()?),
            _ => Payer::Staff(&caller.subject),
        };
        write!(self, caller, "CompensationService/PayCompensation", request, |tx, now| {
            let paid = compensation::pay(tx, &self.desk, (found, part), (payer, paid_on), now).await?;
            pb::PayCompensationResponse { compensation: Some(wire::compensation(&paid)) }
        })
    }

    async fn pool_return(
        &self,
        caller: &Caller,
        request: pb::RecordPoolReturnRequest,
    ) -> Result<pb::RecordPoolReturnResponse, Problem> {
        let found: CompensationId = id(&request.compensation_id, "compensation_id")?;
        let returned = receipt(request.amount_fen, &request.document_zh, caller)?;
        write!(self, caller, "CompensationService/RecordPoolReturn", request, |tx, now| {
            let found = compensation::returned(tx, &self.desk, found, returned, now).await?;
            pb::RecordPoolReturnResponse { compensation: Some(wire::compensation(&found)) }
        })
    }

    async fn compensations(
        &self,
        caller: &Caller,
        request: pb::ListCompensationsRequest,
    ) -> Result<pb::ListCompensationsResponse, Problem> {
        let institution = if caller.role == Role::Bank { Some(caller.institution()?.as_str()) } else { None };
        let enterprise = Some(request.enterprise_id.as_str()).filter(|text| !text.is_empty());
        if let Some(error) = enterprise.and_then(|text| text.parse::<Uscc>().err()) {
            return Err(Problem::invalid("USCC_INVALID", error.to_string())
                .field("enterprise_id", error.to_string())
                .zh("统一社会信用代码有误"));
        }
        let page = page::parse::<(Timestamp, Uuid)>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let found = store::compensation::list(&mut conn, (institution, enterprise), page.after, page.size).await?;
        let cursor = |found: &store::compensation::Compensation| (found.opened_at, found.compensation_id.uuid());
        Ok(pb::ListCompensationsResponse {
            next_page_token: next(&found, page.size, cursor)?,
            compensations: found.iter().map(wire::compensation).collect(),
        })
    }
}

fn check_evidence(evidence: &[pb::Evidence]) -> Result<(), Problem> {
    let mut problem =
        Problem::invalid("EVIDENCE_INVALID", "the evidence can't be taken; see the fields").zh("证明材料有误");
    let mut wrong = !(1..=MOST_EVIDENCE).contains(&evidence.len());
    if wrong {
        problem = problem.field("evidence", "must be 1 to 32 documents");
    }
    for (place, document) in evidence.iter().enumerate() {
        if !is_text(&document.document_zh, LONGEST_DOCUMENT) {
            let must = "must have 1 to 200 characters, without control characters";
            (wrong, problem) = (true, problem.field(format!("evidence[{place}].document_zh"), must));
        }
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if document.sha256.len() != 64 || !document.sha256.bytes().all(hex) {
            let must = "must have 64 hexadecimal digits in lower case";
            (wrong, problem) = (true, problem.field(format!("evidence[{place}].sha256"), must));
        }
    }
    if wrong { Err(problem) } else { Ok(()) }
}
