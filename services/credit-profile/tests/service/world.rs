//! The credit profile alone, on a database and a broker of its own: the one harness of these tests. What only some of them need is
//! beside: `trusted` for consents and the trail, `scored` for what scores and lists are made of.

use std::sync::Arc;

use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_kernel::{
    clock::{Clock, SystemClock},
    uscc::Uscc,
};
use zhirong_proto::profile::v1::{
    Category, CategoryField, FieldType, GetProfileRequest, GetProfileResponse, Profile, PutCategoryRequest,
    category_service_client::CategoryServiceClient, feature_value::Kind, profile_service_client::ProfileServiceClient,
};
use zhirong_runtime::{config::Settings, streams};
use zhirong_testkit::{Deliveries, Event, TestBroker, TestDatabase, eventually};

pub const RECORD: &str = "cn.zhirong.gov.record.observed.v1";

pub use zhirong_testkit::PATIENCE;

pub struct World {
    pub database: TestDatabase,
    pub channel: Channel,
    pub events: jetstream::Context,
    broker: TestBroker,
    replicas: Vec<Replica>,
}

struct Replica {
    channel: Channel,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), zhirong_runtime::Error>>,
}

impl World {
    /// A running service that knows the category of patents.
    pub async fn start() -> Self {
        let world = Self::bare_by(Arc::new(SystemClock)).await;
        world.put_category(patent()).await.unwrap();
        world
    }

    /// A running service that knows no category, on a clock of the test's own.
    pub async fn bare_by(clock: Arc<dyn Clock>) -> Self {
        let (database, broker) = (TestDatabase::empty().await.unwrap(), TestBroker::start().await.unwrap());
        Self::on(database, broker, credit_profile::Own::for_tests(), clock).await
    }

    /// Stops the service, all its replicas, and starts one again, with other settings.
    pub async fn again(self, own: credit_profile::Own) -> Self {
        stop_all(self.replicas).await;
        Self::on(self.database, self.broker, own, Arc::new(SystemClock)).await
    }

    /// Starts another replica beside, and gives the way to it.
    pub async fn beside(&mut self, own: credit_profile::Own) -> Channel {
        let replica = Replica::start(&self.database, &self.broker, own, Arc::new(SystemClock)).await;
        let channel = replica.channel.clone();
        self.replicas.push(replica);
        channel
    }

    /// A service on what another world has left, with a broker that knows nothing.
    pub async fn after(left: &TestDatabase, clock: Arc<dyn Clock>) -> Self {
        let (database, broker) = (left.copy().await.unwrap(), TestBroker::start().await.unwrap());
        Self::on(database, broker, credit_profile::Own::for_tests(), clock).await
    }

    async fn on(database: TestDatabase, broker: TestBroker, own: credit_profile::Own, clock: Arc<dyn Clock>) -> Self {
        let replica = Replica::start(&database, &broker, own, clock).await;
        let events = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        for stream in [streams::GOVDATA, streams::PROFILE, streams::CATALOG, streams::MATCHING, streams::FEEDBACK] {
            streams::ensure(&events, stream, 1).await.unwrap();
        }
        Self { database, channel: replica.channel.clone(), events, broker, replicas: vec![replica] }
    }

    pub async fn put_category(&self, category: Category) -> Result<i64, tonic::Status> {
        let request = PutCategoryRequest { request_id: id(), category: Some(category) };
        let response =
            CategoryServiceClient::new(self.channel.clone()).put_category(as_staff(request)).await?.into_inner();
        Ok(response.version)
    }

    pub async fn publish(&self, event: Event) {
        Deliveries::new([event]).publish(&self.events).await.unwrap();
    }

    pub async fn publish_with(&self, subject: &'static str, headers: HeaderMap, payload: Vec<u8>) {
        self.events.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }

    pub async fn publish_json(&self, record: &Value) {
        self.publish(observed("application/json", record.to_string())).await;
    }

    pub async fn profile(&self, uscc: &Uscc) -> Option<Profile> {
        self.answer(uscc).await?.profile
    }

    pub async fn answer(&self, uscc: &Uscc) -> Option<GetProfileResponse> {
        let request = GetProfileRequest { enterprise_id: uscc.to_string() };
        match ProfileServiceClient::new(self.channel.clone()).get_profile(as_staff(request)).await {
            Ok(response) => Some(response.into_inner()),
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
                None
            }
        }
    }

    pub async fn patents_become(&self, uscc: &Uscc, patents: Option<i64>) -> Profile {
        eventually(PATIENCE, &format!("the profile shows {patents:?} patents"), || async {
            Ok(self.profile(uscc).await.filter(|profile| count(profile) == patents))
        })
        .await
        .unwrap()
    }

    /// The service's own database, as nobody but a test sees it.
    pub async fn pool(&self) -> sqlx::PgPool {
        self.database.pool().await.unwrap()
    }

    pub async fn rows<T>(&self, query: &'static str) -> Vec<T>
    where
        (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
        T: Send + Unpin,
    {
        let rows: Vec<(T,)> = sqlx::query_as(query).fetch_all(&self.pool().await).await.unwrap();
        rows.into_iter().map(|(value,)| value).collect()
    }

    /// Whether every reload is applied and every profile computed that is marked.
    pub async fn computed(&self) -> bool {
        let undone = "SELECT (SELECT count(*) FROM reload WHERE judged_to IS NOT NULL OR forgetting)
                           + (SELECT count(*) FROM profile WHERE stale OR changed IS NOT NULL)";
        self.rows::<i64>(undone).await == [0]
    }

    /// Stops it; it must end well. Leaves the database.
    pub async fn stop(self) -> TestDatabase {
        stop_all(self.replicas).await;
        self.database
    }
}

impl Replica {
    async fn start(
        database: &TestDatabase,
        broker: &TestBroker,
        own: credit_profile::Own,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address_file = folder.path().join("grpc");
        let common = zhirong_testkit::settings(database, broker, &address_file).unwrap();
        let stop = CancellationToken::new();
        let settings = Settings { common, own };
        let served = tokio::spawn(credit_profile::serve_by(clock, settings, stop.clone()));
        let address = eventually(PATIENCE, "the service listens", || async {
            Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
        })
        .await
        .unwrap();
        let channel = Endpoint::new(format!("http://{}", address.trim())).unwrap().connect().await.unwrap();
        Self { channel, stop, served }
    }
}

async fn stop_all(replicas: Vec<Replica>) {
    for replica in &replicas {
        replica.stop.cancel();
    }
    for replica in replicas {
        replica.served.await.unwrap().unwrap();
    }
}

pub fn id() -> String {
    Uuid::now_v7().to_string()
}

pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

pub fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

fn request<T>(role: &str, more: Option<(&'static str, &str)>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("zr-role", role.parse().unwrap());
    request.metadata_mut().insert("zr-subject", "test".parse().unwrap());
    if let Some((key, value)) = more {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    request
}

/// As a person of the staff.
pub fn staff<T>(name: &str, message: T) -> Request<T> {
    let mut request = request("staff", None, message);
    request.metadata_mut().insert("zr-subject", name.parse().unwrap());
    request
}

pub fn as_staff<T>(message: T) -> Request<T> {
    request("staff", None, message)
}

pub fn as_operator<T>(message: T) -> Request<T> {
    request("operator", None, message)
}

pub fn as_bank<T>(bank: &str, message: T) -> Request<T> {
    request("bank", Some(("zr-institution", bank)), message)
}

pub fn as_enterprise<T>(uscc: &Uscc, message: T) -> Request<T> {
    request("enterprise", Some(("zr-enterprise", uscc.as_str())), message)
}

/// A record of patents as the data platform tells it.
pub fn observed(content_type: &str, payload: impl Into<Vec<u8>>) -> Event {
    Event::new("gov.data.v1.patent", RECORD, content_type, payload.into()).with("ce-source", "ip-office")
}

pub fn patent() -> Category {
    let field = CategoryField {
        name: "patent_count".to_owned(),
        label_zh: "有效专利数".to_owned(),
        r#type: FieldType::Integer.into(),
        unit: "count".to_owned(),
        required: true,
        minimum: Some(0),
        maximum: Some(1000),
        feature: "patent_count".to_owned(),
        number: 1,
        ..CategoryField::default()
    };
    Category {
        category: "patent".to_owned(),
        label_zh: "专利".to_owned(),
        department_zh: "知识产权部门".to_owned(),
        fields: vec![field],
        sources: vec!["ip-office".to_owned(), "ip-centre".to_owned()],
        ..Category::default()
    }
}

pub fn enterprise(number: u32) -> Uscc {
    Uscc::with_check(&format!("91331102MA2Y{number:05}")).unwrap()
}

pub fn record(uscc: &Uscc, id: &str, day: u32, patents: i64) -> Value {
    json!({
        "source": "ip-office", "category": "patent", "record_id": id, "uscc": uscc.as_str(),
        "observed_at": format!("2026-03-{day:02}T00:00:00Z"), "data": { "patent_count": patents },
    })
}

pub fn withdrawal(uscc: &Uscc, id: &str, day: u32) -> Value {
    json!({
        "source": "ip-office", "category": "patent", "record_id": id, "uscc": uscc.as_str(),
        "observed_at": format!("2026-03-{day:02}T00:00:00Z"), "operation": "OPERATION_WITHDRAW",
    })
}

pub fn count(profile: &Profile) -> Option<i64> {
    match profile.features.get("patent_count")?.kind {
        Some(Kind::Integer(number)) => Some(number),
        _ => None,
    }
}
