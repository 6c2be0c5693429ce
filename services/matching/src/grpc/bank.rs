//! The institution's side: its inbox and its answers.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    clock::business_date,
    id::{InstitutionId, LoanId, OrderId},
};
use zhirong_proto::{
    catalog::v1::product_spec::Terms,
    matching::v1::{
        AcceptOrderRequest, AcceptOrderResponse, ApproveLoanRequest, ApproveLoanResponse, GetLoanRequest,
        GetLoanResponse, ListInboxRequest, ListInboxResponse, Loan, LoanApproved, LoanDisbursed, LoanState, Order,
        OrderAccepted, OrderRejected, OrderState, RecordDisbursementRequest, RecordDisbursementResponse,
        RejectOrderRequest, RejectOrderResponse, StreamInboxRequest, bank_order_service_server::BankOrderService,
        get_loan_request::Key,
    },
    profile::v1::{FeatureValue, Profile, feature_value::Kind},
};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    problem::Problem,
};

use super::{Matching, id, inbox::Entries, proto_time};
use crate::{
    error::Error,
    loan::{disburse, security},
    order::{Command, answer},
    store::{
        loan as loans,
        order::{self as orders, OrderRow, Owner},
    },
};

const HIGHEST_RATE_PPM: i64 = 360_000;
const LONGEST_REFERENCE: usize = 64;
const LONGEST_TEXT: usize = 200;

#[tonic::async_trait]
impl BankOrderService for Matching {
    type StreamInboxStream = Entries;

    async fn stream_inbox(&self, request: Request<StreamInboxRequest>) -> Result<Response<Entries>, Status> {
        let institution = Caller::from_request(&request)?.institution()?.clone();
        let after = request.into_inner().after_position;
        if after < 0 {
            return Err(Problem::invalid("POSITION_INVALID", "a position is not negative")
                .zh("起始位置有误")
                .field("after_position", "must be a position of this inbox, or 0")
                .into());
        }
        Ok(Response::new(self.clone().follow(institution, after)))
    }

    async fn list_inbox(&self, request: Request<ListInboxRequest>) -> Result<Response<ListInboxResponse>, Status> {
        let institution = Caller::from_request(&request)?.institution()?.clone();
        Ok(Response::new(self.list_inbox(&institution, &request.into_inner()).await?))
    }

    async fn accept_order(
        &self,
        request: Request<AcceptOrderRequest>,
    ) -> Result<Response<AcceptOrderResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.accept_order(&caller, request.into_inner()).await?))
    }

    async fn reject_order(
        &self,
        request: Request<RejectOrderRequest>,
    ) -> Result<Response<RejectOrderResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.reject_order(&caller, request.into_inner()).await?))
    }

    async fn approve_loan(
        &self,
        request: Request<ApproveLoanRequest>,
    ) -> Result<Response<ApproveLoanResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.approve_loan(&caller, request.into_inner()).await?))
    }

    async fn record_disbursement(
        &self,
        request: Request<RecordDisbursementRequest>,
    ) -> Result<Response<RecordDisbursementResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.record_disbursement(&caller, request.into_inner()).await?))
    }

    async fn get_loan(&self, request: Request<GetLoanRequest>) -> Result<Response<GetLoanResponse>, Status> {
        let institution = Caller::from_request(&request)?.institution()?.clone();
        Ok(Response::new(self.get_loan(&institution, request.into_inner()).await?))
    }
}

impl Matching {
    async fn accept_order(&self, caller: &Caller, request: AcceptOrderRequest) -> Result<AcceptOrderResponse, Problem> {
        let institution = caller.institution()?.clone();
        let order_id: OrderId = id(&request.order_id, "order_id")?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.BankOrderService/AcceptOrder";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let mut order = orders::lock(&mut tx, order_id, Owner::Institution(institution.as_str())).await?.order;
        order.set_state(answered(&order, Command::Accept, now)?);
        order.version = order.version.saturating_add(1);
        orders::update(&mut tx, order_id, &order, now).await?;
        let fact = OrderAccepted { order: Some(order.clone()) };
        let aggregate = Aggregate { kind: "order", id: &order.order_id, version: order.version };
        outbox::append(&mut tx, aggregate, &order.order_id, &fact, now).await.map_err(Error::from)?;
        let response = AcceptOrderResponse { order: Some(order) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.wake();
        Ok(response)
    }

    async fn reject_order(&self, caller: &Caller, request: RejectOrderRequest) -> Result<RejectOrderResponse, Problem> {
        let institution = caller.institution()?.clone();
        let order_id: OrderId = id(&request.order_id, "order_id")?;
        if !(1..=LONGEST_TEXT).contains(&request.reason_zh.trim().chars().count()) {
            let why = format!("must have 1 to {LONGEST_TEXT} characters");
            return Err(Problem::invalid("REASON_INVALID", "a rejection says why")
                .field("reason_zh", why)
                .zh("请填写拒绝原因"));
        }
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.BankOrderService/RejectOrder";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let mut order = orders::lock(&mut tx, order_id, Owner::Institution(institution.as_str())).await?.order;
        order.set_state(answered(&order, Command::Reject, now)?);
        order.version = order.version.saturating_add(1);
        order.reason_zh = request.reason_zh.clone();
        orders::update(&mut tx, order_id, &order, now).await?;
        let fact = OrderRejected { order: Some(order.clone()) };
        let aggregate = Aggregate { kind: "order", id: &order.order_id, version: order.version };
        outbox::append(&mut tx, aggregate, &order.order_id, &fact, now).await.map_err(Error::from)?;
        let response = RejectOrderResponse { order: Some(order) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.wake();
        Ok(response)
    }

    async fn approve_loan(&self, caller: &Caller, request: ApproveLoanRequest) -> Result<ApproveLoanResponse, Problem> {
        let institution = caller.institution()?.clone();
        let (order_id, renews) = check_approval(&request, institution.as_str())?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.BankOrderService/ApproveLoan";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let mut row = orders::lock(&mut tx, order_id, Owner::Institution(institution.as_str())).await?;
        row.order.set_state(answered(&row.order, Command::Approve, now)?);
        let loan_id = LoanId::new(Uuid::now_v7());
        let institution_name = self.snapshots.current().institution_name(institution.as_str()).to_owned();
        let loan = Loan { approved_at: Some(proto_time(now)), ..loan_of(loan_id, &row, &request, institution_name)? };
        if let Some(old) = renews {
            super::loan::check_renewable(&mut tx, old, &loan).await?;
        }
        row.order.version = row.order.version.saturating_add(1);
        row.order.loan_id = loan_id.to_string();
        loans::insert(&mut tx, loan_id, order_id, &loan, renews, now).await?;
        orders::update(&mut tx, order_id, &row.order, now).await?;
        let (features, profile_version) = (known(&row.profile), row.profile.version);
        let fact = LoanApproved { loan: Some(loan.clone()), features, profile_version };
        let aggregate = Aggregate { kind: "loan", id: &loan.loan_id, version: loan.version };
        outbox::append(&mut tx, aggregate, &loan.loan_id, &fact, now).await.map_err(Error::from)?;
        let response = ApproveLoanResponse { loan: Some(loan) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.wake();
        Ok(response)
    }

    async fn record_disbursement(
        &self,
        caller: &Caller,
        request: RecordDisbursementRequest,
    ) -> Result<RecordDisbursementResponse, Problem> {
        let institution = caller.institution()?.clone();
        let (loan_id, date) = check_disbursement(&request)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.BankOrderService/RecordDisbursement";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let row = loans::lock(&mut tx, loan_id, institution.as_str()).await?;
        let approved_on = business_date(row.approved_at);
        let loan =
            disburse(&row.loan, request.amount_fen, date, approved_on, business_date(now)).map_err(Error::from)?;
        loans::disburse(&mut tx, loan_id, &loan, date).await?;
        let fact = LoanDisbursed { loan: Some(loan.clone()) };
        let aggregate = Aggregate { kind: "loan", id: &loan.loan_id, version: loan.version };
        outbox::append(&mut tx, aggregate, &loan.loan_id, &fact, now).await.map_err(Error::from)?;
        super::loan::settle_renewed(&mut tx, &loan, date, now).await?;
        let response = RecordDisbursementResponse { loan: Some(loan) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.wake();
        Ok(response)
    }

    async fn get_loan(&self, institution: &InstitutionId, request: GetLoanRequest) -> Result<GetLoanResponse, Problem> {
        let (loan_id, reference) = match &request.key {
            Some(Key::LoanId(text)) => (Some(id::<LoanId>(text, "loan_id")?), None),
            Some(Key::BankReference(reference)) => (None, Some(reference.as_str())),
            None => {
                return Err(Problem::invalid("KEY_MISSING", "name the loan by `loan_id` or by `bank_reference`")
                    .zh("请填写贷款编号或银行业务编号")
                    .field("key", "one of loan_id and bank_reference must be set"));
            }
        };
        let mut conn = self.pool.acquire().await?;
        let loan = loans::find(&mut conn, institution.as_str(), loan_id, reference).await?;
        Ok(GetLoanResponse { loan: Some(loan) })
    }

    pub(super) fn wake(&self) {
        self.outbox.notify();
        self.inbox.notify_waiters();
    }
}

/// The state of an order after the institution's answer.
fn answered(order: &Order, command: Command, now: Timestamp) -> Result<OrderState, Error> {
    let due = order.answer_due_on.parse().map_err(|_| Error::Stored("orders.content".to_owned()))?;
    Ok(answer(order.state(), command, due, business_date(now))?)
}

fn check_approval(request: &ApproveLoanRequest, lender: &str) -> Result<(OrderId, Option<LoanId>), Problem> {
    let mut violations: Vec<(&'static str, String)> = Vec::new();
    let order_id = request.order_id.parse::<OrderId>();
    if order_id.is_err() {
        violations.push(("order_id", "must be a UUID".to_owned()));
    }
    if request.amount_fen <= 0 {
        violations.push(("amount_fen", "must be positive".to_owned()));
    }
    if !(0..=HIGHEST_RATE_PPM).contains(&request.rate_ppm) {
        violations.push(("rate_ppm", format!("must be 0 to {HIGHEST_RATE_PPM}")));
    }
    let reference = &request.bank_reference;
    let printable = reference.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable || !(1..=LONGEST_REFERENCE).contains(&reference.len()) {
        violations.push(("bank_reference", format!("must be 1 to {LONGEST_REFERENCE} printable ASCII characters")));
    }
    violations.extend(request.guarantee.iter().flat_map(|guarantee| security::guarantee(guarantee, lender)));
    violations.extend(security::pledges(&request.ip_pledges));
    let renews =
        Some(request.renews_loan_id.as_str()).filter(|id| !id.is_empty()).map(str::parse::<LoanId>).transpose();
    if renews.is_err() {
        violations.push(("renews_loan_id", "must be a UUID, or empty".to_owned()));
    }
    match (order_id, renews) {
        (Ok(order_id), Ok(renews)) if violations.is_empty() => Ok((order_id, renews)),
        _ => {
            let problem = Problem::invalid("APPROVAL_INVALID", "the approval can't be taken; see the fields")
                .zh("批准内容有误，请逐项核对");
            Err(violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why)))
        }
    }
}

fn check_disbursement(request: &RecordDisbursementRequest) -> Result<(LoanId, Date), Problem> {
    let problem = Problem::invalid("DISBURSEMENT_INVALID", "the disbursement can't be taken; see the fields")
        .zh("放款内容有误，请逐项核对");
    let loan_id = request.loan_id.parse::<LoanId>();
    let date = request.disbursed_on.parse::<Date>();
    if let (Ok(loan_id), Ok(date), 1..) = (&loan_id, &date, request.amount_fen) {
        return Ok((*loan_id, *date));
    }
    let wrong = [
        (loan_id.is_err(), "loan_id", "must be a UUID"),
        (date.is_err(), "disbursed_on", "must be a date, YYYY-MM-DD"),
        (request.amount_fen <= 0, "amount_fen", "must be positive"),
    ];
    Err(wrong.into_iter().filter(|(is, ..)| *is).fold(problem, |problem, (_, field, why)| problem.field(field, why)))
}

/// What was known of the enterprise, without where it comes from.
fn known(profile: &Profile) -> BTreeMap<String, FeatureValue> {
    let bare = |value: &FeatureValue| FeatureValue { kind: value.kind.clone(), ..FeatureValue::default() };
    profile.features.iter().map(|(name, value)| (name.clone(), bare(value))).collect()
}

/// The loan that an approval makes of an order.
fn loan_of(
    loan_id: LoanId,
    row: &OrderRow,
    request: &ApproveLoanRequest,
    institution_name_zh: String,
) -> Result<Loan, Error> {
    let order: &Order = &row.order;
    if request.amount_fen > order.amount_fen {
        return Err(Error::AmountAboveRequest { approved: request.amount_fen, asked: order.amount_fen });
    }
    let spec = row.product.spec.as_ref();
    if let Some(Terms::Credit(terms)) = spec.and_then(|spec| spec.terms.as_ref())
        && !(terms.min_term_months..=terms.max_term_months).contains(&request.term_months)
    {
        return Err(Error::TermOutOfBounds {
            asked: request.term_months,
            shortest: terms.min_term_months,
            longest: terms.max_term_months,
        });
    }
    let class = row.profile.features.get("enterprise_class").and_then(|value| value.kind.as_ref());
    Ok(Loan {
        loan_id: loan_id.to_string(),
        order_id: order.order_id.clone(),
        enterprise_id: order.enterprise_id.clone(),
        institution_id: order.institution_id.clone(),
        institution_name_zh,
        product_id: order.product_id.clone(),
        product_version: order.product_version,
        product_name_zh: spec.map(|spec| spec.name_zh.clone()).unwrap_or_default(),
        product_tags: spec.map(|spec| spec.tags.clone()).unwrap_or_default(),
        enterprise_class: match class {
            Some(Kind::Text(class)) => class.clone(),
            _ => String::new(),
        },
        amount_fen: request.amount_fen,
        rate_ppm: request.rate_ppm,
        term_months: request.term_months,
        bank_reference: request.bank_reference.clone(),
        renews_loan_id: request.renews_loan_id.clone(),
        guarantee: request.guarantee.clone(),
        ip_pledges: request.ip_pledges.clone(),
        coupon_id: order.coupon_id.clone(),
        state: LoanState::Approved.into(),
        version: 1,
        ..Loan::default()
    })
}
