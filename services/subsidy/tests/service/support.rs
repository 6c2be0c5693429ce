//! Running replicas of subsidy, and callers of each role.

use async_nats::{HeaderMap, jetstream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_proto::{
    Fact,
    matching::v1::{Loan, LoanApproved, LoanDisbursed, LoanRepaid, LoanSettled, LoanState},
    subsidy::v1::{
        Budget, Grant, ListBudgetsRequest, ListGrantsRequest, Policy, PolicySpec, PublishPolicyRequest,
        SubmitPolicyRequest, compensation_service_client::CompensationServiceClient,
        coupon_service_client::CouponServiceClient, grant_service_client::GrantServiceClient,
        ledger_service_client::LedgerServiceClient, policy_review_service_client::PolicyReviewServiceClient,
        policy_service_client::PolicyServiceClient, settlement_service_client::SettlementServiceClient,
        subsidy_report_service_client::SubsidyReportServiceClient,
    },
};
use zhirong_runtime::{
    Error,
    config::{Nothing, Settings},
    streams,
};
use zhirong_testkit::{Deliveries, TestBroker, TestDatabase, eventually};

pub use crate::samples::*;
pub use zhirong_testkit::PATIENCE;

/// One replica.
struct Replica {
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
}

/// Replicas of subsidy on one database and one broker.
pub struct World {
    pub pool: sqlx::PgPool,
    pub database: TestDatabase,
    channel: Channel,
    jetstream: jetstream::Context,
    replicas: Vec<Replica>,
    _broker: TestBroker,
}

impl World {
    /// Starts so many replicas with nothing in them.
    pub async fn start(replicas: usize) -> Self {
        // small batches, so that every replica gets some
        Self::on(TestDatabase::empty().await.unwrap(), replicas, 5).await
    }

    /// Starts a replica on what another world has left, with a broker that knows nothing.
    pub async fn after(left: &TestDatabase) -> Self {
        // some at a time, so that not all that came early comes to be sorted with what it waits for
        Self::on(left.copy().await.unwrap(), 1, 20).await
    }

    async fn on(database: TestDatabase, replicas: usize, batch: usize) -> Self {
        let broker = TestBroker::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut running = Vec::new();
        let mut address_file = folder.path().join("none");
        for number in 0..replicas {
            address_file = folder.path().join(format!("grpc-{number}"));
            let mut common = zhirong_testkit::settings(&database, &broker, &address_file).unwrap();
            common.inbox.batch = batch;
            let stop = CancellationToken::new();
            let settings = Settings { common, own: Nothing {} };
            let served = tokio::spawn(subsidy::serve(settings, stop.clone()));
            running.push(Replica { stop, served });
        }
        let address = eventually(PATIENCE, "subsidy listens", || async {
            Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
        })
        .await
        .unwrap();
        let channel = Endpoint::new(format!("http://{}", address.trim())).unwrap().connect().await.unwrap();
        let jetstream = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        let pool = database.pool().await.unwrap();
        Self { pool, database, channel, jetstream, replicas: running, _broker: broker }
    }

    /// Replicas that know the LPR: 3.10 % at the end of 2024, 3.00 % at the end of 2025; half a point more over five years.
    pub async fn with_lpr(replicas: usize) -> Self {
        let world = Self::start(replicas).await;
        world.publish_lpr(1, &[("2024-10-21", 31_000), ("2025-05-20", 30_000)], "2025-12-31").await;
        eventually(PATIENCE, "the LPR arrives", || async {
            Ok((world.count("SELECT count(*) FROM lpr_table").await == 1).then_some(()))
        })
        .await
        .unwrap();
        world
    }

    /// Stops all; each must end well, and the ledger must balance. Leaves the database.
    pub async fn stop(self) -> TestDatabase {
        self.assert_ledger_balances().await;
        for replica in self.replicas {
            replica.stop.cancel();
            replica.served.await.unwrap().unwrap();
        }
        self.database
    }

    pub fn policies(&self) -> PolicyServiceClient<Channel> {
        PolicyServiceClient::new(self.channel.clone())
    }

    pub fn grants(&self) -> GrantServiceClient<Channel> {
        GrantServiceClient::new(self.channel.clone())
    }

    pub fn reviews(&self) -> PolicyReviewServiceClient<Channel> {
        PolicyReviewServiceClient::new(self.channel.clone())
    }

    pub fn settlements(&self) -> SettlementServiceClient<Channel> {
        SettlementServiceClient::new(self.channel.clone())
    }

    pub fn ledger(&self) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.channel.clone())
    }

    pub fn coupons(&self) -> CouponServiceClient<Channel> {
        CouponServiceClient::new(self.channel.clone())
    }

    pub fn compensations(&self) -> CompensationServiceClient<Channel> {
        CompensationServiceClient::new(self.channel.clone())
    }

    pub fn reports(&self) -> SubsidyReportServiceClient<Channel> {
        SubsidyReportServiceClient::new(self.channel.clone())
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn assert_ledger_balances(&self) {
        assert_eq!(self.count("SELECT count(*) FROM ledger_difference").await, 0);
        let unbalanced =
            "SELECT count(*) FROM (SELECT FROM ledger_posting GROUP BY transaction_id HAVING sum(amount_fen) <> 0) u";
        assert_eq!(self.count(unbalanced).await, 0);
    }

    /// A version that `zhao` has written and handed in.
    pub async fn submitted(&self, policy_id: &str, spec: PolicySpec) -> Policy {
        let request = staff("zhao", draft(policy_id, spec));
        let drafted = self.policies().draft_policy(request).await.unwrap().into_inner().policy.unwrap();
        let request = SubmitPolicyRequest {
            request_id: new_id(),
            policy_id: drafted.policy_id.clone(),
            version: drafted.version,
            reason_zh: String::new(),
        };
        self.reviews().submit_policy(staff("zhao", request)).await.unwrap().into_inner().policy.unwrap()
    }

    /// A policy in force, written by `zhao` and published by `qian`.
    pub async fn policy(&self, spec: PolicySpec) -> Policy {
        let drafted = self.submitted("", spec).await;
        let request =
            PublishPolicyRequest { request_id: new_id(), policy_id: drafted.policy_id, version: drafted.version };
        self.policies().publish_policy(staff("qian", request)).await.unwrap().into_inner().policy.unwrap()
    }

    pub async fn appropriate(&self, policy: &Policy, year: i32, amount_fen: i64) -> Budget {
        let request = appropriation(&policy.policy_id, year, amount_fen);
        self.policies().appropriate_budget(staff("zhao", request)).await.unwrap().into_inner().budget.unwrap()
    }

    pub async fn budget(&self, policy: &Policy) -> Budget {
        let request = ListBudgetsRequest { page_size: 500, page_token: String::new() };
        let budgets = self.policies().list_budgets(staff("zhao", request)).await.unwrap().into_inner().budgets;
        budgets.into_iter().find(|budget| budget.policy_id == policy.policy_id).unwrap()
    }

    pub async fn all_grants(&self) -> Vec<Grant> {
        let request = ListGrantsRequest { page_size: 500, ..ListGrantsRequest::default() };
        self.grants().list_grants(staff("zhao", request)).await.unwrap().into_inner().grants
    }

    pub async fn grant_of(&self, loan: &Loan) -> Grant {
        self.all_grants().await.into_iter().find(|grant| grant.loan_id == loan.loan_id).expect("a grant")
    }

    /// What was announced of this kind, in order of its writing.
    pub async fn announced<F: Fact>(&self) -> Vec<F> {
        let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload FROM runtime.outbox WHERE event_type = $1 ORDER BY occurred_at, event_id",
        )
        .bind(F::TYPE)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        payloads.iter().map(|payload| F::decode(payload.as_slice()).unwrap()).collect()
    }

    /// Publishes a fact as another service's relay would, without the broker's own de-duplication.
    pub async fn publish<F: Fact>(&self, event_id: &str, key: &str, fact: &F) {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", event_id),
            ("ce-type", F::TYPE),
            ("ce-source", "/test"),
            ("content-type", "application/protobuf"),
        ] {
            headers.insert(name, value);
        }
        let subject = format!("{}.{key}", F::SUBJECT);
        let ack = self.jetstream.publish_with_headers(subject, headers, fact.encode_to_vec().into()).await.unwrap();
        ack.await.unwrap();
    }

    /// Publishes facts in the order in which a broker may bring them.
    pub async fn deliver(&self, deliveries: Deliveries) {
        deliveries.publish(&self.jetstream).await.unwrap();
    }

    pub async fn publish_lpr(&self, version: i64, changes: &[(&str, i64)], known_through: &str) {
        self.publish(&new_id(), "lpr", &lpr(version, changes, known_through)).await;
    }

    pub async fn approve(&self, loan: &Loan) {
        let fact = LoanApproved { loan: Some(loan.clone()), ..LoanApproved::default() };
        self.publish(&format!("approved-{}", loan.loan_id), &loan.loan_id, &fact).await;
    }

    pub async fn disburse(&self, loan: &Loan, amount_fen: i64, on: &str) {
        let fact = LoanDisbursed { loan: Some(disbursed(loan, amount_fen, on)) };
        self.publish(&format!("disbursed-{}", loan.loan_id), &loan.loan_id, &fact).await;
    }

    /// A payment of principal and interest as version `version` of the loan.
    pub async fn repay(&self, loan: &Loan, version: i64, (principal_fen, interest_fen): (i64, i64), on: &str) {
        let fact = LoanRepaid {
            loan: Some(Loan { version, ..loan.clone() }),
            principal_fen,
            interest_fen,
            paid_on: on.to_owned(),
            overdue: false,
        };
        self.publish(&format!("{}-{version}", loan.loan_id), &loan.loan_id, &fact).await;
    }

    pub async fn settle(&self, loan: &Loan, version: i64, on: &str) {
        let loan = Loan { version, state: LoanState::Settled.into(), ..loan.clone() };
        let fact = LoanSettled { loan: Some(loan.clone()), settled_on: on.to_owned() };
        self.publish(&format!("{}-{version}", loan.loan_id), &loan.loan_id, &fact).await;
    }

    /// A loan on 1 March 2026 that has money and was paid out in full on that day.
    pub async fn running_loan(&self, number: usize) -> Loan {
        let loan = loan(number);
        self.approve(&loan).await;
        self.disburse(&loan, loan.amount_fen, "2026-03-01").await;
        self.handled().await;
        loan
    }

    /// Waits until every fact about loans was handled.
    pub async fn handled(&self) {
        self.drained(streams::MATCHING, "subsidy-loan-life").await;
    }

    pub async fn drained(&self, stream: &str, durable: &str) {
        eventually(PATIENCE, "every fact is acknowledged", || async {
            Ok(zhirong_testkit::heard(&self.jetstream, stream, durable).await?.then_some(()))
        })
        .await
        .unwrap();
    }

    pub async fn dead_letters(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT reason FROM runtime.dead_letter ORDER BY stream_sequence")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

/// A request with the metadata that the gateway sets.
pub fn call<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

/// A request of a member of the staff.
pub fn staff<T>(person: &str, message: T) -> Request<T> {
    call(message, &[("zr-role", "staff"), ("zr-subject", person)])
}

/// A request of a bank.
pub fn bank<T>(institution: &str, message: T) -> Request<T> {
    call(message, &[("zr-role", "bank"), ("zr-subject", "core"), ("zr-institution", institution)])
}

/// A request of an enterprise.
pub fn enterprise<T>(uscc: &str, message: T) -> Request<T> {
    call(message, &[("zr-role", "enterprise"), ("zr-subject", "boss"), ("zr-enterprise", uscc)])
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// A refusal as a program reads it.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    pub fields: Vec<String>,
}

/// Reads a refusal; each must have a reason and a Chinese sentence.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> Refusal {
    let status = answer.unwrap_err();
    let details = status.get_error_details();
    assert!(!details.localized_message().unwrap().message.is_empty(), "{status:?}");
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    Refusal {
        code: status.code(),
        reason: details.error_info().unwrap().reason.clone(),
        fields: violations.into_iter().map(|violation| violation.field).collect(),
    }
}
