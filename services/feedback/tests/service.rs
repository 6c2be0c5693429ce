//! Feedback alone, on a real database and broker, with a provider that counts: one SMS a loan, whatever comes twice, late or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{HeaderMap, jetstream};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use feedback::{ChannelKind, Own, Sms as SmsSettings};
use prost::Message as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    Fact as _,
    feedback::v1::{
        ListSmsRequest, RatingLevel, SetContactRequest, Sms, SmsState, SubmitRatingRequest,
        contact_service_client::ContactServiceClient, rating_service_client::RatingServiceClient,
    },
    matching::v1::{Loan, LoanApproved},
};
use zhirong_runtime::{
    config::{self, Settings},
    streams,
};
use zhirong_testkit::{TestBroker, TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(40);

/// How the provider behaves when a message is handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    TakesAndFallsSilent,
    Fails,
    Refuses,
}

/// A provider that remembers how often it was handed each message.
#[derive(Clone)]
struct Provider {
    mood: Arc<Mutex<Mood>>,
    taken: Arc<Mutex<HashMap<String, u32>>>,
    asked: Arc<Mutex<u32>>,
}

impl Provider {
    async fn start(mood: Mood) -> (Self, String) {
        let provider = Self { mood: Arc::new(Mutex::new(mood)), taken: Arc::default(), asked: Arc::default() };
        let router = Router::new()
            .route("/sms", post(Self::take))
            .route("/sms/{id}", get(Self::tell))
            .with_state(provider.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sms", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, url)
    }

    async fn take(State(provider): State<Self>, Json(message): Json<Value>) -> Result<Json<Value>, StatusCode> {
        let mood = *provider.mood.lock().unwrap();
        match mood {
            Mood::Fails => return Err(StatusCode::INTERNAL_SERVER_ERROR),
            Mood::Refuses => return Err(StatusCode::BAD_REQUEST),
            Mood::Takes | Mood::TakesAndFallsSilent => {}
        }
        let id = message["id"].as_str().unwrap().to_owned();
        *provider.taken.lock().unwrap().entry(id.clone()).or_default() += 1;
        if mood == Mood::TakesAndFallsSilent {
            std::future::pending::<()>().await;
        }
        Ok(Json(json!({ "message_id": format!("provider-{id}") })))
    }

    async fn tell(State(provider): State<Self>, Path(id): Path<String>) -> Result<Json<Value>, StatusCode> {
        *provider.asked.lock().unwrap() += 1;
        let known = provider.taken.lock().unwrap().contains_key(&id);
        if known { Ok(Json(json!({ "message_id": format!("provider-{id}") }))) } else { Err(StatusCode::NOT_FOUND) }
    }

    fn counts(&self) -> Vec<u32> {
        self.taken.lock().unwrap().values().copied().collect()
    }
}

struct World {
    channel: Channel,
    events: jetstream::Context,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), zhirong_runtime::Error>>,
    _database: TestDatabase,
    _broker: TestBroker,
}

impl World {
    async fn start(provider_url: &str) -> Self {
        let (database, broker) = (TestDatabase::empty().await.unwrap(), TestBroker::start().await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let address_file = folder.path().join("grpc");
        let mut common = config::defaults().unwrap();
        common.database.url = database.url().to_owned().into();
        common.nats.url = broker.url();
        common.grpc.address_file = address_file.display().to_string();
        common.shutdown.notice_ms = 0;
        let sms = SmsSettings {
            channel: ChannelKind::Http,
            file: folder.path().join("unused"),
            url: provider_url.to_owned(),
            token_file: String::new(),
            timeout_ms: 500,
        };
        let stop = CancellationToken::new();
        let served = tokio::spawn(feedback::serve(Settings { common, own: Own { sms } }, stop.clone()));
        let address = eventually(PATIENCE, "the service listens", || async {
            Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
        })
        .await
        .unwrap();
        let channel = Endpoint::new(format!("http://{}", address.trim())).unwrap().connect().await.unwrap();
        let events = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        streams::ensure(&events, streams::MATCHING, 1).await.unwrap();
        Self { channel, events, stop, served, _database: database, _broker: broker }
    }

    /// Announces an approved loan as matching's relay does, under an event id.
    async fn approve(&self, event_id: &str, loan: &Loan) {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", event_id);
        headers.insert("ce-source", "/zhirong/matching");
        headers.insert("ce-type", LoanApproved::TYPE);
        headers.insert("content-type", "application/protobuf");
        let payload = LoanApproved { loan: Some(loan.clone()) }.encode_to_vec();
        let subject = format!("{}.{}", LoanApproved::SUBJECT, loan.loan_id);
        self.events.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }

    async fn contact(&self, uscc: &Uscc) {
        let request = SetContactRequest {
            request_id: Uuid::now_v7().to_string(),
            enterprise_id: String::new(),
            phone: "１３８００００１２３４".to_owned(),
        };
        let response =
            ContactServiceClient::new(self.channel.clone()).set_contact(as_enterprise(uscc, request)).await.unwrap();
        assert_eq!(response.into_inner().phone_masked, "138****1234");
    }

    async fn messages(&self) -> Vec<Sms> {
        let mut request = Request::new(ListSmsRequest::default());
        request.metadata_mut().insert("zr-role", "staff".parse().unwrap());
        request.metadata_mut().insert("zr-subject", "test".parse().unwrap());
        RatingServiceClient::new(self.channel.clone()).list_sms(request).await.unwrap().into_inner().messages
    }

    async fn all_become(&self, count: usize, state: SmsState) -> Vec<Sms> {
        eventually(PATIENCE, &format!("{count} messages are {state:?}"), || async {
            let messages = self.messages().await;
            let done = messages.len() == count && messages.iter().all(|message| message.state() == state);
            Ok(done.then_some(messages))
        })
        .await
        .unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }
}

fn as_enterprise<T>(uscc: &Uscc, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("zr-role", "enterprise".parse().unwrap());
    request.metadata_mut().insert("zr-subject", "test".parse().unwrap());
    request.metadata_mut().insert("zr-enterprise", uscc.as_str().parse().unwrap());
    request
}

fn enterprise(number: u32) -> Uscc {
    Uscc::with_check(&format!("91331102MA2W{number:05}")).unwrap()
}

fn loan(uscc: &Uscc) -> Loan {
    Loan {
        loan_id: Uuid::now_v7().to_string(),
        enterprise_id: uscc.to_string(),
        institution_id: "sample-bank".to_owned(),
        institution_name_zh: "示例银行".to_owned(),
        product_id: Uuid::now_v7().to_string(),
        approved_at: Some(prost_types::Timestamp { seconds: 1_772_323_200, nanos: 0 }),
        version: 1,
        ..Loan::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_announced_twice_gets_one_message_when_its_contact_is_known() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (early, late) = (enterprise(1), enterprise(2));
    world.contact(&early).await;
    for uscc in [&early, &late] {
        let loan = loan(uscc);
        // Under the same id, and again under another one, as after a loss of the broker's memory.
        world.approve(&format!("event-{uscc}"), &loan).await;
        world.approve(&format!("event-{uscc}"), &loan).await;
        world.approve(&format!("again-{uscc}"), &loan).await;
    }
    eventually(PATIENCE, "one is sent and one waits", || async {
        let mut states: Vec<SmsState> = world.messages().await.iter().map(Sms::state).collect();
        states.sort();
        Ok((states == [SmsState::WaitingContact, SmsState::Sent]).then_some(()))
    })
    .await
    .unwrap();
    world.contact(&late).await;
    let messages = world.all_become(2, SmsState::Sent).await;
    assert!(messages.iter().all(|message| message.text_zh.starts_with("【智融】")));
    assert!(messages.iter().all(|message| message.text_zh.contains("示例银行")));
    assert_eq!(provider.counts(), [1, 1], "the provider got each message once");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_unknown_fate_is_asked_about_and_not_sent_again() {
    let (provider, url) = Provider::start(Mood::TakesAndFallsSilent).await;
    let world = World::start(&url).await;
    let uscc = enterprise(3);
    world.contact(&uscc).await;
    world.approve("event-1", &loan(&uscc)).await;
    let messages = world.all_become(1, SmsState::Sent).await;
    assert_eq!(provider.counts(), [1], "taken once, although the first answer never came");
    assert!(*provider.asked.lock().unwrap() >= 1);
    assert!(messages[0].provider_message_id.starts_with("provider-"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_provider_is_tried_again_and_a_refusal_is_final() {
    let (provider, url) = Provider::start(Mood::Fails).await;
    let world = World::start(&url).await;
    let (patient, refused) = (enterprise(4), enterprise(5));
    world.contact(&patient).await;
    world.approve("event-1", &loan(&patient)).await;
    world.all_become(1, SmsState::Unknown).await;
    *provider.mood.lock().unwrap() = Mood::Takes;
    world.all_become(1, SmsState::Sent).await;
    assert_eq!(provider.counts(), [1]);

    *provider.mood.lock().unwrap() = Mood::Refuses;
    world.contact(&refused).await;
    world.approve("event-2", &loan(&refused)).await;
    eventually(PATIENCE, "the second one is refused for good", || async {
        let messages = world.messages().await;
        Ok(messages.iter().any(|message| message.state() == SmsState::Failed).then_some(()))
    })
    .await
    .unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_is_rated_once_and_by_its_borrower() {
    let (_, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (own, other) = (enterprise(6), enterprise(7));
    let loan = loan(&own);
    world.approve("event-1", &loan).await;
    world.all_become(1, SmsState::WaitingContact).await;

    let request = SubmitRatingRequest {
        request_id: Uuid::now_v7().to_string(),
        loan_id: loan.loan_id.clone(),
        level: RatingLevel::Satisfied.into(),
        comment_zh: "很好".to_owned(),
    };
    let client = RatingServiceClient::new(world.channel.clone());
    let rate = async |uscc: &Uscc, request: SubmitRatingRequest| {
        client.clone().submit_rating(as_enterprise(uscc, request)).await.map(tonic::Response::into_inner)
    };
    assert_eq!(rate(&other, request.clone()).await.unwrap_err().code(), Code::NotFound, "another's loan");
    let bad = SubmitRatingRequest { level: 6, comment_zh: "长".repeat(501), ..request.clone() };
    assert_eq!(rate(&own, bad).await.unwrap_err().code(), Code::InvalidArgument);
    let first = rate(&own, request.clone()).await.unwrap();
    assert_eq!(rate(&own, request.clone()).await.unwrap(), first, "the same request, the same answer");
    let again = SubmitRatingRequest { request_id: Uuid::now_v7().to_string(), ..request.clone() };
    assert_eq!(rate(&own, again).await.unwrap_err().code(), Code::AlreadyExists);
    let other_body = SubmitRatingRequest { level: RatingLevel::VeryDissatisfied.into(), ..request };
    assert!(rate(&own, other_body).await.is_err(), "the same id with another body");
    world.stop().await;
}
