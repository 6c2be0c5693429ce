//! The credit profile alone, on a database and a broker of its own.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{
    Category, CategoryField, FieldType, GetProfileRequest, GetProfileResponse, Profile, PutCategoryRequest,
    category_service_client::CategoryServiceClient, feature_value::Kind, profile_service_client::ProfileServiceClient,
};
use zhirong_runtime::{
    config::{self, Settings},
    streams,
};
use zhirong_testkit::{TestBroker, TestDatabase, eventually};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub database: TestDatabase,
    broker: TestBroker,
    pub channel: Channel,
    pub events: jetstream::Context,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), zhirong_runtime::Error>>,
}

impl World {
    pub async fn start() -> Self {
        let (database, broker) = (TestDatabase::empty().await.unwrap(), TestBroker::start().await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let address_file = folder.path().join("grpc");
        let mut common = config::defaults().unwrap();
        common.database.url = database.url().to_owned().into();
        common.nats.url = broker.url();
        common.grpc.address_file = address_file.display().to_string();
        common.shutdown.notice_ms = 0;
        let stop = CancellationToken::new();
        let served = tokio::spawn(credit_profile::serve(
            Settings { common, own: credit_profile::Own::for_tests() },
            stop.clone(),
        ));
        let address = eventually(PATIENCE, "the service listens", || async {
            Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
        })
        .await
        .unwrap();
        let channel = Endpoint::new(format!("http://{}", address.trim())).unwrap().connect().await.unwrap();
        let events = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        streams::ensure(&events, streams::GOVDATA, 1).await.unwrap();
        let world = Self { database, broker, channel, events, stop, served };
        world.put_category(patent()).await.unwrap();
        world
    }

    pub async fn put_category(&self, category: Category) -> Result<i64, tonic::Status> {
        let request = PutCategoryRequest { request_id: Uuid::now_v7().to_string(), category: Some(category) };
        let response =
            CategoryServiceClient::new(self.channel.clone()).put_category(as_staff(request)).await?.into_inner();
        Ok(response.version)
    }

    /// Publishes as the data platform does; without the broker's own de-duplication.
    pub async fn publish(&self, event_id: &str, content_type: &str, payload: Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", event_id);
        headers.insert("ce-source", "ip-office");
        headers.insert("ce-type", "cn.zhirong.gov.record.observed.v1");
        headers.insert("content-type", content_type);
        self.publish_with("gov.data.v1.patent", headers, payload).await;
    }

    pub async fn publish_with(&self, subject: &'static str, headers: HeaderMap, payload: Vec<u8>) {
        self.events.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }

    pub async fn publish_json(&self, record: &Value) {
        let id = Uuid::now_v7().to_string();
        self.publish(&id, "application/json", record.to_string().into_bytes()).await;
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

    pub async fn rows<T>(&self, query: &'static str) -> Vec<T>
    where
        (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
        T: Send + Unpin,
    {
        let pool = self.database.pool().await.unwrap();
        let rows: Vec<(T,)> = sqlx::query_as(query).fetch_all(&pool).await.unwrap();
        rows.into_iter().map(|(value,)| value).collect()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        drop(self.broker);
    }
}

pub fn as_staff<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("zr-role", "staff".parse().unwrap());
    request.metadata_mut().insert("zr-subject", "test".parse().unwrap());
    request
}

pub fn as_enterprise<T>(uscc: &Uscc, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("zr-role", "enterprise".parse().unwrap());
    request.metadata_mut().insert("zr-subject", "test".parse().unwrap());
    request.metadata_mut().insert("zr-enterprise", uscc.as_str().parse().unwrap());
    request
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
        ..CategoryField::default()
    };
    Category {
        category: "patent".to_owned(),
        label_zh: "专利".to_owned(),
        department_zh: "知识产权部门".to_owned(),
        fields: vec![field],
        sources: vec!["ip-office".to_owned(), "ip-centre".to_owned()],
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
