//! The credit profile alone, on a real database and broker: records in any order become the same profile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
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
    gov::v1::{Operation, Record},
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

const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    database: TestDatabase,
    broker: TestBroker,
    channel: Channel,
    events: jetstream::Context,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), zhirong_runtime::Error>>,
}

impl World {
    async fn start() -> Self {
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

    async fn put_category(&self, category: Category) -> Result<i64, tonic::Status> {
        let request = PutCategoryRequest { request_id: Uuid::now_v7().to_string(), category: Some(category) };
        let response =
            CategoryServiceClient::new(self.channel.clone()).put_category(as_staff(request)).await?.into_inner();
        Ok(response.version)
    }

    /// Publishes as the data platform does; without the broker's own de-duplication.
    async fn publish(&self, event_id: &str, content_type: &str, payload: Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", event_id);
        headers.insert("ce-source", "test");
        headers.insert("ce-type", "cn.zhirong.gov.record.observed.v1");
        headers.insert("content-type", content_type);
        self.events.publish_with_headers("gov.data.v1.patent", headers, payload.into()).await.unwrap().await.unwrap();
    }

    async fn publish_json(&self, record: &Value) {
        let id = Uuid::now_v7().to_string();
        self.publish(&id, "application/json", record.to_string().into_bytes()).await;
    }

    async fn profile(&self, uscc: &Uscc) -> Option<Profile> {
        let request = GetProfileRequest { enterprise_id: uscc.to_string() };
        match ProfileServiceClient::new(self.channel.clone()).get_profile(as_staff(request)).await {
            Ok(response) => response.into_inner().profile,
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
                None
            }
        }
    }

    async fn patents_become(&self, uscc: &Uscc, patents: Option<i64>) -> Profile {
        eventually(PATIENCE, &format!("the profile shows {patents:?} patents"), || async {
            Ok(self.profile(uscc).await.filter(|profile| count(profile) == patents))
        })
        .await
        .unwrap()
    }

    async fn rows<T>(&self, query: &'static str) -> Vec<T>
    where
        (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
        T: Send + Unpin,
    {
        let pool = self.database.pool().await.unwrap();
        let rows: Vec<(T,)> = sqlx::query_as(query).fetch_all(&pool).await.unwrap();
        rows.into_iter().map(|(value,)| value).collect()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        drop(self.broker);
    }
}

fn as_staff<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("zr-role", "staff".parse().unwrap());
    request.metadata_mut().insert("zr-subject", "test".parse().unwrap());
    request
}

fn patent() -> Category {
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
    }
}

fn enterprise(number: u32) -> Uscc {
    Uscc::with_check(&format!("91331102MA2Y{number:05}")).unwrap()
}

fn record(uscc: &Uscc, id: &str, day: u32, patents: i64) -> Value {
    json!({
        "source": "ip-office", "category": "patent", "record_id": id, "uscc": uscc.as_str(),
        "observed_at": format!("2026-03-{day:02}T00:00:00Z"), "data": { "patent_count": patents },
    })
}

fn withdrawal(uscc: &Uscc, id: &str, day: u32) -> Value {
    json!({
        "source": "ip-office", "category": "patent", "record_id": id, "uscc": uscc.as_str(),
        "observed_at": format!("2026-03-{day:02}T00:00:00Z"), "operation": "OPERATION_WITHDRAW",
    })
}

fn count(profile: &Profile) -> Option<i64> {
    match profile.features.get("patent_count")?.kind {
        Some(Kind::Integer(number)) => Some(number),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_any_order_and_twice_give_the_same_profile() {
    let world = World::start().await;
    let (straight, shuffled) = (enterprise(1), enterprise(2));
    // A record's id is its source's own, so that two enterprises never share one.
    let history = |uscc: &Uscc| {
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("{uscc}-{name}"));
        vec![
            record(uscc, &a, 1, 10),
            record(uscc, &a, 2, 4),
            record(uscc, &b, 1, 3),
            record(uscc, &c, 1, 50),
            withdrawal(uscc, &c, 3),
            record(uscc, &c, 2, 60),
        ]
    };
    for record in history(&straight) {
        world.publish_json(&record).await;
    }
    let mut other = history(&shuffled);
    other.reverse();
    for record in other.iter().chain(&other) {
        world.publish_json(record).await;
    }
    // 4 of the newer a, 3 of b, nothing of c, which was taken back after all of it.
    let first = world.patents_become(&straight, Some(7)).await;
    let second = world.patents_become(&shuffled, Some(7)).await;
    assert_eq!(first.features, second.features);
    assert_eq!(first.score, second.score);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_protobuf_say_the_same() {
    let world = World::start().await;
    let (in_json, in_protobuf) = (enterprise(3), enterprise(4));
    world.publish_json(&record(&in_json, "a", 1, 5)).await;
    let number = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(5.0)) };
    let message = Record {
        source: "ip-office".to_owned(),
        category: "patent".to_owned(),
        record_id: "p".to_owned(),
        uscc: in_protobuf.to_string(),
        observed_at: Some(prost_types::Timestamp { seconds: 1_772_323_200, nanos: 0 }),
        operation: Operation::Upsert.into(),
        data: Some(prost_types::Struct { fields: [("patent_count".to_owned(), number)].into() }),
    };
    world.publish("protobuf-1", "application/protobuf", message.encode_to_vec()).await;
    let first = world.patents_become(&in_json, Some(5)).await;
    let second = world.patents_become(&in_protobuf, Some(5)).await;
    assert_eq!(first.features, second.features);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_schema_is_set_aside_and_its_neighbours_are_used() {
    let world = World::start().await;
    let uscc = enterprise(5);
    let mut unknown_field = record(&uscc, "u", 1, 1);
    unknown_field["data"]["owner_phone"] = json!("13800000000");
    for bad in [record(&uscc, "x", 1, -1), record(&uscc, "y", 1, 1001), unknown_field] {
        world.publish_json(&bad).await;
    }
    world.publish_json(&record(&uscc, "good", 1, 2)).await;
    world.patents_become(&uscc, Some(2)).await;
    let reasons: Vec<String> = eventually(PATIENCE, "three are set aside", || async {
        let reasons = world.rows::<String>("SELECT reason FROM runtime.dead_letter ORDER BY reason").await;
        Ok((reasons.len() == 3).then_some(reasons))
    })
    .await
    .unwrap();
    assert!(reasons.iter().any(|reason| reason.contains("below 0")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("above 1000")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("not a field")), "{reasons:?}");
    assert!(!reasons.iter().any(|reason| reason.contains("13800000000")), "no personal data in a reason");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_moves_to_another_enterprise_changes_both() {
    let world = World::start().await;
    let (from, to) = (enterprise(6), enterprise(7));
    world.publish_json(&record(&from, "a", 1, 9)).await;
    world.patents_become(&from, Some(9)).await;
    world.publish_json(&record(&to, "a", 2, 9)).await;
    world.patents_become(&to, Some(9)).await;
    world.patents_become(&from, None).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_announced_once_and_a_changed_schema_is_followed() {
    let world = World::start().await;
    let uscc = enterprise(8);
    world.publish_json(&record(&uscc, "a", 1, 1)).await;
    world.patents_become(&uscc, Some(1)).await;
    world.publish_json(&record(&uscc, "a", 2, 2)).await;
    world.patents_become(&uscc, Some(2)).await;
    assert_eq!(world.put_category(patent()).await.unwrap(), 1, "saying the same again changes nothing");
    let mut silent = patent();
    silent.fields[0].feature = String::new();
    assert_eq!(world.put_category(silent).await.unwrap(), 2);
    let last = world.patents_become(&uscc, None).await;

    let versions = world
        .rows::<i64>("SELECT aggregate_version FROM runtime.outbox WHERE aggregate_kind = 'profile' ORDER BY 1")
        .await;
    assert_eq!(versions, (1..=last.version).collect::<Vec<_>>(), "without gap, without double");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enterprise_sees_its_own_profile_only() {
    let world = World::start().await;
    let (own, other) = (enterprise(9), enterprise(10));
    for uscc in [&own, &other] {
        world.publish_json(&record(uscc, &format!("of-{uscc}"), 1, 1)).await;
        world.patents_become(uscc, Some(1)).await;
    }
    let ask = async |named: &str| {
        let mut request = Request::new(GetProfileRequest { enterprise_id: named.to_owned() });
        request.metadata_mut().insert("zr-role", "enterprise".parse().unwrap());
        request.metadata_mut().insert("zr-subject", "test".parse().unwrap());
        request.metadata_mut().insert("zr-enterprise", own.as_str().parse().unwrap());
        ProfileServiceClient::new(world.channel.clone()).get_profile(request).await
    };
    assert_eq!(ask("").await.unwrap().into_inner().profile.unwrap().enterprise_id, own.as_str());
    assert_eq!(ask(other.as_str()).await.unwrap_err().code(), Code::NotFound);
    world.stop().await;
}
