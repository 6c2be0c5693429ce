//! Running replicas of matching on a clock that stands still, and callers of each role.

use std::sync::Arc;

use async_nats::jetstream;
use jiff::{Timestamp, civil::Date};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_kernel::{Uscc, clock::start_of_business_date};
use zhirong_proto::{
    Fact,
    matching::v1::{
        AcceptOrderRequest, ApproveLoanRequest, CalculateRequest, Consent, DataScope, InboxEntry, ListInboxRequest,
        Loan, Order, PlaceOrderRequest, RecordDisbursementRequest, RejectOrderRequest, WithdrawOrderRequest,
        bank_order_service_client::BankOrderServiceClient, calculator_service_client::CalculatorServiceClient,
        institution_report_service_client::InstitutionReportServiceClient, loan_service_client::LoanServiceClient,
        matching_report_service_client::MatchingReportServiceClient, order_service_client::OrderServiceClient,
        preapproval_service_client::PreapprovalServiceClient, targeting_service_client::TargetingServiceClient,
    },
};
use zhirong_runtime::{Error, config::Settings, streams};
use zhirong_testkit::{Deliveries, Event, ManualClock, TestBroker, TestDatabase, eventually, heard_by_all};

pub use crate::{registry::Registry, told::*};
pub use zhirong_testkit::PATIENCE;

pub const BANK: &str = "sample-one-bank";
pub const OTHER_BANK: &str = "sample-two-bank";
/// A Wednesday. Its answers are due within 5 working days, by the Wednesday after.
pub const TODAY: Date = jiff::civil::date(2031, 3, 5);
pub const DUE: Date = jiff::civil::date(2031, 3, 12);
/// By the service's clock, an answer about consents stands for less than this.
pub const STALE: jiff::SignedDuration = jiff::SignedDuration::from_millis(21);
/// Of an enterprise with 5 patents.
pub const LIMIT_FEN: i64 = 50_000_000;

/// The streams it listens to.
const HEARD: [&str; 4] = [streams::PROFILE, streams::CATALOG, streams::FEEDBACK, streams::SUBSIDY];

struct Replica {
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
    endpoint: Endpoint,
    channel: Channel,
}

/// Replicas of matching on one database, one broker and one clock.
pub struct World {
    pub pool: sqlx::PgPool,
    pub clock: Arc<ManualClock>,
    /// What it asks about consents.
    pub registry: Registry,
    jetstream: jetstream::Context,
    replicas: Vec<Replica>,
    database: TestDatabase,
    _broker: TestBroker,
}

impl World {
    /// Starts so many replicas with nothing in them.
    pub async fn empty(replicas: usize) -> Self {
        Self::asking(replicas, 0).await
    }

    /// One that asks about consents for as long as a test may take.
    pub async fn patient() -> Self {
        let world = Self::asking(1, 600_000).await;
        world.deliver(Deliveries::new(reference())).await;
        world
    }

    async fn asking(replicas: usize, patience_ms: u64) -> Self {
        Self::on(TestDatabase::empty().await.unwrap(), replicas, patience_ms).await
    }

    /// Starts a replica on what another world has left, with a broker that knows nothing.
    pub async fn after(left: &TestDatabase) -> Self {
        Self::on(left.copy().await.unwrap(), 1, 0).await
    }

    async fn on(database: TestDatabase, replicas: usize, patience_ms: u64) -> Self {
        let broker = TestBroker::start().await.unwrap();
        let clock = Arc::new(ManualClock::new(at(TODAY, 10)));
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::start().await;
        let mut running = Vec::new();
        for number in 0..replicas {
            let address_file = folder.path().join(format!("grpc-{number}"));
            let common = zhirong_testkit::settings(&database, &broker, &address_file).unwrap();
            let stop = CancellationToken::new();
            let settings = Settings { common, own: own(&registry, patience_ms) };
            let served = tokio::spawn(matching::serve_by(clock.clone(), settings, stop.clone()));
            let address = eventually(PATIENCE, "matching listens", || async {
                Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
            })
            .await
            .unwrap();
            let endpoint = Endpoint::new(format!("http://{}", address.trim())).unwrap();
            let channel = endpoint.connect().await.unwrap();
            running.push(Replica { stop, served, endpoint, channel });
        }
        let jetstream = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        let pool = database.pool().await.unwrap();
        Self { pool, clock, registry, jetstream, replicas: running, database, _broker: broker }
    }

    /// Starts replicas that know two banks, the LPR and the calendar.
    pub async fn with_reference(replicas: usize) -> Self {
        let world = Self::empty(replicas).await;
        world.deliver(Deliveries::new(reference())).await;
        world
    }

    /// One replica, a product of the first bank, an enterprise that may have it.
    pub async fn ready() -> (Self, String, Uscc) {
        let world = Self::with_reference(1).await;
        let (product, enterprise) = (new_id(), uscc(1));
        world.deliver(Deliveries::new([published(&product, BANK, 1), profile(&enterprise, 1, 5)])).await;
        (world, product, enterprise)
    }

    /// Stops all; each must end well. Leaves the database.
    pub async fn stop(self) -> TestDatabase {
        for replica in &self.replicas {
            replica.stop.cancel();
        }
        for replica in self.replicas {
            replica.served.await.unwrap().unwrap();
        }
        self.database
    }

    /// Asks all to stop.
    pub fn ask_to_stop(&self) {
        for replica in &self.replicas {
            replica.stop.cancel();
        }
    }

    pub fn calculator(&self) -> CalculatorServiceClient<Channel> {
        CalculatorServiceClient::new(self.replicas[0].channel.clone())
    }

    pub fn orders(&self) -> OrderServiceClient<Channel> {
        self.orders_at(0)
    }

    pub fn orders_at(&self, replica: usize) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.replicas[replica].channel.clone())
    }

    pub fn banks(&self) -> BankOrderServiceClient<Channel> {
        self.banks_at(0)
    }

    pub fn banks_at(&self, replica: usize) -> BankOrderServiceClient<Channel> {
        BankOrderServiceClient::new(self.replicas[replica].channel.clone())
    }

    /// For a bank that has little on its way at a time.
    pub async fn slow_banks(&self) -> BankOrderServiceClient<Channel> {
        let endpoint = self.replicas[0].endpoint.clone().initial_stream_window_size(1_000);
        BankOrderServiceClient::new(endpoint.connect().await.unwrap())
    }

    /// For a bank that has little on its way at a time.
    pub async fn slow_targeting(&self) -> TargetingServiceClient<Channel> {
        let endpoint = self.replicas[0].endpoint.clone().initial_stream_window_size(1_000);
        TargetingServiceClient::new(endpoint.connect().await.unwrap())
    }

    pub fn loans(&self) -> LoanServiceClient<Channel> {
        LoanServiceClient::new(self.replicas[0].channel.clone())
    }

    pub fn targeting(&self) -> TargetingServiceClient<Channel> {
        TargetingServiceClient::new(self.replicas[0].channel.clone())
    }

    pub fn preapprovals(&self) -> PreapprovalServiceClient<Channel> {
        PreapprovalServiceClient::new(self.replicas[0].channel.clone())
    }

    pub fn reports(&self) -> MatchingReportServiceClient<Channel> {
        MatchingReportServiceClient::new(self.replicas[0].channel.clone())
    }

    pub fn institution_reports(&self) -> InstitutionReportServiceClient<Channel> {
        InstitutionReportServiceClient::new(self.replicas[0].channel.clone())
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// Publishes facts and waits until each has been dealt with.
    pub async fn deliver(&self, deliveries: Deliveries) {
        for stream in HEARD {
            streams::ensure(&self.jetstream, stream, 1).await.unwrap();
        }
        for event in deliveries.events() {
            self.registry.knows(event);
        }
        deliveries.publish(&self.jetstream).await.unwrap();
        let ids: Vec<String> =
            deliveries.events().iter().map(|event| event.header("ce-id").unwrap().to_owned()).collect();
        eventually(PATIENCE, "the facts are dealt with", || async {
            let missing: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM unnest($1::text[]) id WHERE id NOT IN (SELECT event_id FROM runtime.inbox)",
            )
            .bind(&ids)
            .fetch_one(&self.pool)
            .await?;
            if missing > 0 {
                return Ok(None);
            }
            // some facts are for two of its consumers
            for stream in HEARD {
                if !heard_by_all(&self.jetstream, stream).await? {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
        .unwrap();
    }

    /// What was announced of this kind, in order, once the broker has acknowledged every event there is.
    pub async fn announced<F: Fact>(&self) -> Vec<F> {
        eventually(PATIENCE, "every event is published", || async {
            let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM runtime.outbox WHERE published_at IS NULL")
                .fetch_one(&self.pool)
                .await?;
            Ok((waiting == 0).then_some(()))
        })
        .await
        .unwrap();
        let rows: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT payload FROM runtime.outbox WHERE event_type = $1 ORDER BY stream_sequence")
                .bind(F::TYPE)
                .fetch_all(&self.pool)
                .await
                .unwrap();
        rows.into_iter().map(|payload| F::decode(payload.as_slice()).unwrap()).collect()
    }

    pub async fn place(&self, enterprise: &Uscc, product: &str) -> Order {
        let answer = self.orders().place_order(as_enterprise(enterprise, order(product, 10_000_000))).await;
        answer.unwrap().into_inner().order.unwrap()
    }

    pub async fn approve(&self, request: ApproveLoanRequest) -> Loan {
        self.banks().approve_loan(as_bank(BANK, request)).await.unwrap().into_inner().loan.unwrap()
    }

    /// The whole inbox of a bank.
    pub async fn inbox(&self, institution: &str) -> Vec<InboxEntry> {
        let request = ListInboxRequest { page_size: 500, ..ListInboxRequest::default() };
        let page = self.banks().list_inbox(as_bank(institution, request)).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.entries
    }
}

/// Two banks, the LPR and the calendar.
fn reference() -> [Event; 4] {
    [institution(BANK, 1), institution(OTHER_BANK, 1), lpr(1, 30_000), calendar(1)]
}

/// Ranked by rate alone; asks about consents so long.
fn own(registry: &Registry, patience_ms: u64) -> matching::Own {
    let ranking = matching::calculate::Weights { level_worth_ppm: 0, unrated_level_ppm: 3_000_000 };
    let checks = matching::checks::Settings { profile: registry.address.clone(), timeout_ms: 60_000, patience_ms };
    matching::Own { ranking, checks }
}

/// An hour of a day in Shanghai.
pub fn at(day: Date, hour: i64) -> Timestamp {
    start_of_business_date(day).unwrap() + jiff::SignedDuration::from_hours(hour)
}

/// A request with the metadata that the gateway sets.
pub fn call<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub fn as_enterprise<T>(enterprise: &Uscc, message: T) -> Request<T> {
    call(message, &[("zr-role", "enterprise"), ("zr-subject", "wang"), ("zr-enterprise", enterprise.as_str())])
}

pub fn as_bank<T>(institution: &str, message: T) -> Request<T> {
    call(message, &[("zr-role", "bank"), ("zr-subject", "core"), ("zr-institution", institution)])
}

pub fn as_staff<T>(message: T) -> Request<T> {
    call(message, &[("zr-role", "staff"), ("zr-subject", "li")])
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Made-up enterprises.
pub fn uscc(number: usize) -> Uscc {
    Uscc::with_check(&format!("9133000000{number:07}")).unwrap()
}

pub fn order(product: &str, amount_fen: i64) -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: new_id(),
        product_id: product.to_owned(),
        amount_fen,
        term_months: 12,
        purpose_zh: "购置设备".to_owned(),
        consent: Some(Consent {
            scopes: vec![DataScope::Score.into(), DataScope::Features.into()],
            text_version: "2031-01".to_owned(),
            expires_on: "2031-12-31".to_owned(),
            ..Consent::default()
        }),
        coupon_id: String::new(),
    }
}

pub fn approval(order: &Order, reference: &str) -> ApproveLoanRequest {
    ApproveLoanRequest {
        request_id: new_id(),
        order_id: order.order_id.clone(),
        amount_fen: 8_000_000,
        rate_ppm: 34_500,
        term_months: 12,
        bank_reference: reference.to_owned(),
        ..ApproveLoanRequest::default()
    }
}

pub fn acceptance(order: &Order) -> AcceptOrderRequest {
    AcceptOrderRequest { request_id: new_id(), order_id: order.order_id.clone() }
}

pub fn rejection(order: &Order) -> RejectOrderRequest {
    let (request_id, order_id) = (new_id(), order.order_id.clone());
    RejectOrderRequest { request_id, order_id, reason_zh: "材料不足".to_owned() }
}

pub fn withdrawal(order: &Order) -> WithdrawOrderRequest {
    let (request_id, order_id) = (new_id(), order.order_id.clone());
    WithdrawOrderRequest { request_id, order_id, reason_zh: "暂不需要".to_owned() }
}

pub fn disbursement(loan: &Loan, amount_fen: i64, day: Date) -> RecordDisbursementRequest {
    let (request_id, loan_id) = (new_id(), loan.loan_id.clone());
    RecordDisbursementRequest { request_id, loan_id, amount_fen, disbursed_on: day.to_string() }
}

pub fn wish() -> CalculateRequest {
    CalculateRequest::default()
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

/// Code and reason of a refusal.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let refusal = refusal(answer);
    (refusal.code, refusal.reason)
}
