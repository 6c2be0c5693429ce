//! A running feedback, callers of each role, and what it has announced.

use async_nats::jetstream;
use feedback::{ChannelKind, Own, Personal, Sms as SmsSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    Fact,
    feedback::v1::{
        GetKeyRotationRequest, GetKeyRotationResponse, ListSmsRequest, RatingLevel, SetContactRequest, Sms, SmsState,
        SubmitRatingRequest, contact_service_client::ContactServiceClient,
        feedback_report_service_client::FeedbackReportServiceClient, rating_service_client::RatingServiceClient,
    },
    matching::v1::{Loan, LoanApproved},
    subsidy::v1::{Grant, GrantReserved},
};
use zhirong_runtime::{Error, config::Settings, streams};
use zhirong_testkit::{Deliveries, Event, TestBroker, TestDatabase, eventually};

pub use zhirong_testkit::PATIENCE;
pub const BANK: &str = "sample-bank";
/// The keys unless a test says otherwise; see [`keys`].
pub const KEYS: &str = "1=ONE";

/// One process of feedback.
struct Replica {
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
}

/// Feedback that serves.
pub struct World {
    pub channel: Channel,
    pub pool: sqlx::PgPool,
    pub events: jetstream::Context,
    provider_url: String,
    replicas: Vec<Replica>,
    pub database: TestDatabase,
    broker: TestBroker,
}

impl World {
    pub async fn start(provider_url: &str) -> Self {
        Self::on(TestDatabase::empty().await.unwrap(), provider_url).await
    }

    /// Starts on what another world has left, with a broker that knows nothing.
    pub async fn after(left: &TestDatabase, provider_url: &str) -> Self {
        Self::on(left.copy().await.unwrap(), provider_url).await
    }

    async fn on(database: TestDatabase, provider_url: &str) -> Self {
        let broker = TestBroker::start().await.unwrap();
        let events = broker.jetstream().await.unwrap();
        for stream in [streams::PROFILE, streams::MATCHING, streams::SUBSIDY] {
            streams::ensure(&events, stream, 1).await.unwrap();
        }
        let (replica, channel) = serve(&database, &broker, provider_url, KEYS).await;
        let pool = database.pool().await.unwrap();
        let provider_url = provider_url.to_owned();
        Self { channel, pool, events, provider_url, replicas: vec![replica], database, broker }
    }

    /// Stops it and starts it again, with these keys.
    pub async fn again(mut self, keys: &str) -> Self {
        stop_all(std::mem::take(&mut self.replicas)).await;
        let (replica, channel) = serve(&self.database, &self.broker, &self.provider_url, keys).await;
        Self { channel, replicas: vec![replica], ..self }
    }

    /// Starts one more process on the same database and broker.
    pub async fn add_replica(&mut self, provider_url: &str) {
        let (replica, _) = serve(&self.database, &self.broker, provider_url, KEYS).await;
        self.replicas.push(replica);
    }

    /// Stops it; it must end well. Leaves the database.
    pub async fn stop(self) -> TestDatabase {
        stop_all(self.replicas).await;
        self.database
    }

    /// Announces an approved loan as matching's relay does.
    pub async fn approve(&self, loan: &Loan) {
        Deliveries::new([approved(loan)]).publish(&self.events).await.unwrap();
    }

    /// Announces loans and waits until feedback knows them.
    pub async fn approve_all(&self, loans: &[Loan]) {
        Deliveries::new(loans.iter().map(approved)).publish(&self.events).await.unwrap();
        eventually(PATIENCE, "the loans are known", || async {
            Ok((self.messages().await.len() == loans.len()).then_some(()))
        })
        .await
        .unwrap();
    }

    pub fn contacts(&self) -> ContactServiceClient<Channel> {
        ContactServiceClient::new(self.channel.clone())
    }

    pub fn reports(&self) -> FeedbackReportServiceClient<Channel> {
        FeedbackReportServiceClient::new(self.channel.clone())
    }

    pub fn ratings(&self) -> RatingServiceClient<Channel> {
        RatingServiceClient::new(self.channel.clone())
    }

    /// How far the sealing of phones has come.
    pub async fn rotation(&self) -> GetKeyRotationResponse {
        let request = call(GetKeyRotationRequest {}, &[("zr-role", "operator"), ("zr-subject", "test")]);
        self.contacts().get_key_rotation(request).await.unwrap().into_inner()
    }

    /// Sets an enterprise's phone.
    pub async fn contact(&self, uscc: &Uscc) {
        let request = SetContactRequest {
            request_id: new_id(),
            enterprise_id: String::new(),
            phone: "１３８００００１２３４".to_owned(),
        };
        let response = self.contacts().set_contact(enterprise_call(uscc, request)).await.unwrap();
        assert_eq!(response.into_inner().phone_masked, "138****1234");
    }

    pub async fn messages(&self) -> Vec<Sms> {
        self.ratings().list_sms(staff(ListSmsRequest::default())).await.unwrap().into_inner().messages
    }

    /// Waits until there are so many messages and all are in this state.
    pub async fn all_become(&self, count: usize, state: SmsState) -> Vec<Sms> {
        eventually(PATIENCE, &format!("{count} messages are {state:?}"), || async {
            let messages = self.messages().await;
            let done = messages.len() == count && messages.iter().all(|message| message.state() == state);
            Ok(done.then_some(messages))
        })
        .await
        .unwrap()
    }

    /// What was announced of this kind, in the stream's order, once the broker has acknowledged every event there is.
    pub async fn announced<F: Fact>(&self) -> Vec<F> {
        eventually(PATIENCE, "every event is published", || async {
            Ok((self.count("SELECT count(*) FROM runtime.outbox WHERE published_at IS NULL").await == 0).then_some(()))
        })
        .await
        .unwrap();
        let payloads: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT payload FROM runtime.outbox WHERE event_type = $1 ORDER BY stream_sequence")
                .bind(F::TYPE)
                .fetch_all(&self.pool)
                .await
                .unwrap();
        payloads.iter().map(|payload| F::decode(payload.as_slice()).unwrap()).collect()
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }
}

/// The setting with these keys, each named by a word, and the index key that all share.
fn keys(text: &str) -> String {
    let text = text.replace("ONE", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let text = text.replace("TWO", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
    format!("index=CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=,{text}")
}

/// Own settings with these keys.
pub fn own(provider_url: &str, data_keys: String) -> Own {
    let sms = SmsSettings {
        channel: ChannelKind::Http,
        file: "unused".into(),
        url: provider_url.to_owned(),
        token_file: String::new(),
        timeout_ms: 5000,
        claim_s: 60,
    };
    Own { sms, personal: Personal { data_keys: data_keys.into(), data_keys_file: String::new() } }
}

async fn serve(
    database: &TestDatabase,
    broker: &TestBroker,
    provider_url: &str,
    data_keys: &str,
) -> (Replica, Channel) {
    let folder = zhirong_testkit::folder().unwrap();
    let address_file = folder.path().join("grpc");
    let common = zhirong_testkit::settings(database, broker, &address_file).unwrap();
    let settings = Settings { common, own: own(provider_url, keys(data_keys)) };
    let stop = CancellationToken::new();
    let served = tokio::spawn(feedback::serve(settings, stop.clone()));
    let address = eventually(PATIENCE, "the service listens", || async {
        Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
    })
    .await
    .unwrap();
    let channel = Endpoint::new(format!("http://{}", address.trim())).unwrap().connect().await.unwrap();
    (Replica { stop, served }, channel)
}

async fn stop_all(replicas: Vec<Replica>) {
    for replica in replicas {
        replica.stop.cancel();
        replica.served.await.unwrap().unwrap();
    }
}

/// The fact that money is set aside for a loan, by a grant of its own, under a new id.
pub fn reserved(loan: &Loan) -> Event {
    let grant = Grant {
        grant_id: new_id(),
        loan_id: loan.loan_id.clone(),
        enterprise_id: loan.enterprise_id.clone(),
        planned_fen: 1_500_000,
        ..Grant::default()
    };
    Event::of(&grant.grant_id, &GrantReserved { grant: Some(grant.clone()) })
}

/// The fact that a loan was approved, under a new id.
pub fn approved(loan: &Loan) -> Event {
    Event::of(&loan.loan_id, &LoanApproved { loan: Some(loan.clone()), ..LoanApproved::default() })
}

/// A request with the metadata that the gateway sets.
pub fn call<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub fn enterprise_call<T>(uscc: &Uscc, message: T) -> Request<T> {
    call(message, &[("zr-role", "enterprise"), ("zr-subject", "test"), ("zr-enterprise", uscc.as_str())])
}

pub fn bank_call<T>(institution: &str, message: T) -> Request<T> {
    call(message, &[("zr-role", "bank"), ("zr-subject", "core"), ("zr-institution", institution)])
}

pub fn staff<T>(message: T) -> Request<T> {
    call(message, &[("zr-role", "staff"), ("zr-subject", "test")])
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

pub fn enterprise(number: u32) -> Uscc {
    Uscc::with_check(&format!("91331102MA2W{number:05}")).unwrap()
}

/// An approved loan of a product of its own.
pub fn loan(uscc: &Uscc) -> Loan {
    Loan {
        loan_id: new_id(),
        enterprise_id: uscc.to_string(),
        institution_id: BANK.to_owned(),
        institution_name_zh: "示例银行".to_owned(),
        product_id: new_id(),
        approved_at: Some(prost_types::Timestamp { seconds: 1_772_323_200, nanos: 0 }),
        version: 1,
        ..Loan::default()
    }
}

/// A good rating of a loan under a new request id.
pub fn rating(loan: &Loan, level: RatingLevel) -> SubmitRatingRequest {
    SubmitRatingRequest {
        request_id: new_id(),
        loan_id: loan.loan_id.clone(),
        level: level.into(),
        comment_zh: "很好".to_owned(),
    }
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
