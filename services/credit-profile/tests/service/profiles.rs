//! The credit profile alone, on a real database and broker: records in any order become the same profile.

use prost::Message as _;
use serde_json::json;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use zhirong_proto::{
    gov::v1::{Operation, Record},
    profile::v1::{
        Category, GetCategorySchemaRequest, GetProfileRequest, category_service_client::CategoryServiceClient,
        profile_service_client::ProfileServiceClient,
    },
};
use zhirong_testkit::eventually;

use crate::world::{PATIENCE, World, enterprise, observed, patent, record, withdrawal};

#[tokio::test(flavor = "multi_thread")]
async fn records_in_any_order_and_twice_give_the_same_profile() {
    let world = World::start().await;
    let (straight, shuffled) = (enterprise(1), enterprise(2));
    // A record's id is its source's own, so that two enterprises never share one.
    let history = |uscc: &zhirong_kernel::uscc::Uscc| {
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
        ..Record::default()
    };
    world.publish(observed("application/protobuf", message.encode_to_vec())).await;
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
async fn a_field_that_goes_takes_its_number_with_it() {
    let world = World::start().await;
    let refused = async |change: &dyn Fn(&mut Category)| {
        let mut category = patent();
        change(&mut category);
        let status = world.put_category(category).await.unwrap_err();
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "SCHEMA_INVALID");
        details.bad_request().unwrap().field_violations.iter().map(|of| of.field.clone()).collect::<Vec<_>>()
    };
    assert_eq!(refused(&|of| of.fields[0].number = 0).await, ["category.fields[0].number"]);
    assert_eq!(refused(&|of| of.fields[0].name = "patents".to_owned()).await, ["category.fields[0].number"]);
    assert_eq!(refused(&|of| of.fields[0].number = 2).await, ["category.withdrawn_numbers"]);
    let mut renamed = patent();
    renamed.fields[0].name = "patents".to_owned();
    renamed.fields[0].number = 2;
    renamed.withdrawn_numbers.push(1);
    assert_eq!(world.put_category(renamed.clone()).await.unwrap(), 2);
    // also when the version that had it is long gone
    renamed.fields[0].feature = String::new();
    assert_eq!(world.put_category(renamed).await.unwrap(), 3);
    assert_eq!(refused(&|_| {}).await, ["category.withdrawn_numbers"]);
    assert_eq!(refused(&|of| of.withdrawn_numbers = vec![1, 2]).await, ["category.fields[0].number"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_category_in_force_is_published_with_schema_and_example() {
    let world = World::start().await;
    let client = CategoryServiceClient::new(world.channel.clone());
    let ask = async |category: &str| {
        let request = GetCategorySchemaRequest { category: category.to_owned() };
        client.clone().get_category_schema(crate::world::as_staff(request)).await.map(tonic::Response::into_inner)
    };
    let published = ask("patent").await.unwrap();
    let schema: serde_json::Value = serde_json::from_str(&published.json_schema).unwrap();
    assert_eq!((schema["title"].as_str(), published.version), (Some("专利"), 1));
    assert_eq!(schema["properties"]["source"]["enum"], json!(["ip-office", "ip-centre"]));
    assert!(published.proto_file.contains("  optional int64 patent_count = 1 "), "{}", published.proto_file);
    // the example is taken as it stands
    world.publish(observed("application/json", published.example.into_bytes())).await;
    world.patents_become(&"91331102MA2X000010".parse().unwrap(), Some(3)).await;
    assert_eq!(ask("horoscope").await.unwrap_err().code(), Code::NotFound);
    world.stop().await;
}
