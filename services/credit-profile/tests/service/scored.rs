//! The credit profile with enterprises that are known well enough to be scored.
#![allow(clippy::needless_update, reason = "a category may get more fields")]

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;
use zhirong_kernel::{
    clock::{Clock, SystemClock},
    feature::{FeatureDictionary, FeatureType},
    uscc::Uscc,
};
use zhirong_proto::{
    Fact,
    profile::v1::{
        Category, CategoryField, FieldType, GetProfileRequest, Profile, PutCategoryRequest,
        category_service_client::CategoryServiceClient, feature_value::Kind,
        profile_service_client::ProfileServiceClient,
    },
};
use zhirong_runtime::{
    config::{self, Settings},
    streams,
};
use zhirong_testkit::{TestBroker, TestDatabase, eventually};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    database: TestDatabase,
    broker: TestBroker,
    pub channel: Channel,
    pub events: jetstream::Context,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), zhirong_runtime::Error>>,
}

impl World {
    /// A running service that knows one category with these features as fields.
    pub async fn start(features: &[&str]) -> Self {
        Self::start_by(Arc::new(SystemClock), features).await
    }

    /// The same by another clock.
    pub async fn start_by(clock: Arc<dyn Clock>, features: &[&str]) -> Self {
        let (database, broker) = (TestDatabase::empty().await.unwrap(), TestBroker::start().await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let address_file = folder.path().join("grpc");
        let mut common = config::defaults().unwrap();
        common.database.url = database.url().to_owned().into();
        common.nats.url = broker.url();
        common.grpc.address_file = address_file.display().to_string();
        common.shutdown.notice_ms = 0;
        let stop = CancellationToken::new();
        let settings = Settings { common, own: credit_profile::Own::for_tests() };
        let served = tokio::spawn(credit_profile::serve_by(clock, settings, stop.clone()));
        let address = eventually(PATIENCE, "the service listens", || async {
            Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
        })
        .await
        .unwrap();
        let channel = Endpoint::new(format!("http://{}", address.trim())).unwrap().connect().await.unwrap();
        let events = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        for stream in [streams::GOVDATA, streams::MATCHING, streams::FEEDBACK, streams::PROFILE] {
            streams::ensure(&events, stream, 1).await.unwrap();
        }
        let world = Self { database, broker, channel, events, stop, served };
        world.put_category(features).await;
        world
    }

    async fn put_category(&self, features: &[&str]) {
        let field = |name: &&str| {
            let feature = FeatureDictionary::standard().get(name).unwrap();
            let kind = match feature.kind {
                FeatureType::Int => FieldType::Integer,
                FeatureType::Bool => FieldType::Boolean,
                FeatureType::Text => FieldType::Text,
            };
            CategoryField {
                name: (*name).to_owned(),
                label_zh: feature.label_zh.clone(),
                r#type: kind.into(),
                unit: feature.unit.clone(),
                feature: (*name).to_owned(),
                ..CategoryField::default()
            }
        };
        let category = Category {
            category: "annual_report".to_owned(),
            label_zh: "企业年报".to_owned(),
            department_zh: "市场监管部门".to_owned(),
            fields: features.iter().map(field).collect(),
            ..Category::default()
        };
        let request = PutCategoryRequest { request_id: new_id(), category: Some(category) };
        CategoryServiceClient::new(self.channel.clone()).put_category(staff("test", request)).await.unwrap();
    }

    /// Publishes what is known of an enterprise as of a day of October 2026.
    pub async fn observe(&self, uscc: &Uscc, day: u32, data: &Value) {
        let record = json!({
            "source": "market-office", "category": "annual_report", "record_id": uscc.as_str(), "uscc": uscc.as_str(),
            "observed_at": format!("2026-10-{day:02}T00:00:00Z"), "data": data,
        });
        let id = new_id();
        let subject = "gov.data.v1.annual_report".to_owned();
        let kind = "cn.zhirong.gov.record.observed.v1";
        self.publish(subject, &id, "market-office", kind, "application/json", record.to_string().into_bytes()).await;
    }

    /// Publishes a fact of another service with an id of its own.
    pub async fn tell<F: Fact>(&self, id: &str, key: &str, fact: &F) {
        let subject = format!("{}.{key}", F::SUBJECT);
        self.publish(subject, id, "test", F::TYPE, "application/protobuf", fact.encode_to_vec()).await;
    }

    async fn publish(&self, subject: String, id: &str, source: &str, kind: &str, media: &str, payload: Vec<u8>) {
        let mut headers = HeaderMap::new();
        let all = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", source), ("ce-type", kind)];
        for (name, value) in all.into_iter().chain([("content-type", media)]) {
            headers.insert(name, value);
        }
        self.events.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }

    pub async fn profile(&self, uscc: &Uscc) -> Option<Profile> {
        let request = GetProfileRequest { enterprise_id: uscc.to_string() };
        match ProfileServiceClient::new(self.channel.clone()).get_profile(staff("test", request)).await {
            Ok(response) => response.into_inner().profile,
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
                None
            }
        }
    }

    /// The profile once it is as expected.
    pub async fn profile_when(&self, uscc: &Uscc, what: &str, expected: impl Fn(&Profile) -> bool) -> Profile {
        eventually(PATIENCE, what, || async { Ok(self.profile(uscc).await.filter(|profile| expected(profile))) })
            .await
            .unwrap()
    }

    /// The events of an aggregate kind in the outbox: type and payload in order of aggregate and version.
    pub async fn told(&self, kind: &str) -> Vec<(String, Vec<u8>)> {
        let pool = self.database.pool().await.unwrap();
        sqlx::query_as(
            "SELECT event_type, payload FROM runtime.outbox WHERE aggregate_kind = $1
             ORDER BY aggregate_id, aggregate_version",
        )
        .bind(kind)
        .fetch_all(&pool)
        .await
        .unwrap()
    }

    /// The service's own database, as nobody but a test sees it.
    pub async fn pool(&self) -> sqlx::PgPool {
        self.database.pool().await.unwrap()
    }

    /// Runs SQL on the service's own database, as nobody but a test does.
    pub async fn execute(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        let pool = self.database.pool().await.unwrap();
        Ok(sqlx::query(sql).execute(&pool).await?.rows_affected())
    }

    pub async fn dead_letters(&self) -> Vec<String> {
        let pool = self.database.pool().await.unwrap();
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT reason FROM runtime.dead_letter ORDER BY reason").fetch_all(&pool).await.unwrap();
        rows.into_iter().map(|(reason,)| reason).collect()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        drop(self.broker);
    }
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

pub fn staff<T>(name: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("zr-role", "staff".parse().unwrap());
    request.metadata_mut().insert("zr-subject", name.parse().unwrap());
    request
}

pub fn as_enterprise<T>(uscc: &Uscc, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("zr-role", "enterprise".parse().unwrap());
    request.metadata_mut().insert("zr-subject", uscc.as_str().parse().unwrap());
    request.metadata_mut().insert("zr-enterprise", uscc.as_str().parse().unwrap());
    request
}

pub fn enterprise(number: u32) -> Uscc {
    Uscc::with_check(&format!("91331102MA2Y{number:05}")).unwrap()
}

pub fn integer(profile: &Profile, feature: &str) -> Option<i64> {
    match profile.features.get(feature)?.kind {
        Some(Kind::Integer(number)) => Some(number),
        _ => None,
    }
}

pub fn flag(profile: &Profile, feature: &str) -> Option<bool> {
    match profile.features.get(feature)?.kind {
        Some(Kind::Flag(flag)) => Some(flag),
        _ => None,
    }
}
