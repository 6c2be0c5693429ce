//! Events count once and never stand in each other's way.

use std::sync::atomic::Ordering;

use prost::Message as _;
use zhirong_proto::{Fact as _, matching::v1::OrderPlaced};

use crate::support::{Orders, Versions, headers, order, publish, subject, until, world};

const EFFECTS: &str = "SELECT count(*) FROM effect";
const DISTINCT_EFFECTS: &str = "SELECT count(DISTINCT event_id) FROM effect";
const LETTERS: &str = "SELECT count(*) FROM runtime.dead_letter";

#[tokio::test]
async fn duplicated_and_shuffled_events_count_once_with_two_replicas() {
    let world = world().await;
    let context = world.jetstream().await;
    // each event three times, neighbours swapped, the copies far apart
    for round in 0..3 {
        for n in 0..60_u32 {
            let n = if round % 2 == 0 { n ^ 1 } else { 59 - n };
            publish(&context, &format!("event-{n}"), &format!("order-{n}")).await;
        }
    }
    let replicas = [world.orders_service(Orders::default()).await, world.orders_service(Orders::default()).await];
    until("every delivery is acknowledged", || async {
        let stream = context.get_stream("MATCHING").await.unwrap();
        stream.consumer_info("test-orders").await.is_ok_and(|info| info.num_pending == 0 && info.num_ack_pending == 0)
    })
    .await;
    assert_eq!(world.count(EFFECTS).await, 60);
    assert_eq!(world.count(DISTINCT_EFFECTS).await, 60);
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn poison_is_set_aside_and_its_neighbours_are_applied() {
    let world = world().await;
    let context = world.jetstream().await;
    publish(&context, "good-1", "a").await;
    publish(&context, "bad-1", "poison").await;
    let garbage =
        context.publish_with_headers(subject(), headers("bad-2", OrderPlaced::TYPE), "\u{7f}garbage".into()).await;
    garbage.unwrap().await.unwrap();
    let unknown = context.publish_with_headers(subject(), headers("bad-3", "cn.zhirong.other.v1"), "".into()).await;
    unknown.unwrap().await.unwrap();
    let nameless = context.publish(subject(), order("b").encode_to_vec().into()).await;
    nameless.unwrap().await.unwrap();
    publish(&context, "good-2", "b").await;

    let handler = Orders::default();
    let service = world.orders_service(handler.clone()).await;
    until("four are set aside", || async { world.count(LETTERS).await == 4 }).await;
    until("the good ones are applied", || async { world.count(EFFECTS).await == 2 }).await;
    until("the handler hears of the commit", async || handler.committed.load(Ordering::SeqCst) > 0).await;
    let reasons: Vec<(String, String)> =
        sqlx::query_as("SELECT event_id, reason FROM runtime.dead_letter ORDER BY stream_sequence")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    assert_eq!(reasons[0], ("bad-1".to_owned(), "never".to_owned()));
    assert!(reasons[1].1.starts_with("the payload does not parse"), "{reasons:?}");
    assert!(reasons[2].1.starts_with("the type is cn.zhirong.other.v1"), "{reasons:?}");
    assert_eq!(reasons[3], (String::new(), "the header ce-id is missing".to_owned()));
    service.stop().await;
}

#[tokio::test]
async fn where_nothing_is_remembered_a_refused_event_is_still_answered_once() {
    let world = world().await;
    let context = world.jetstream().await;
    for round in 0..3 {
        for n in 0..40 {
            publish(&context, &format!("event-{n}"), &format!("order-{n}")).await;
        }
        publish(&context, "bad", "poison").await;
        publish(&context, &format!("bad-{round}"), "poison").await;
    }
    let service = world.orders_service(Versions).await;
    until("every delivery is acknowledged", || async {
        let stream = context.get_stream("MATCHING").await.unwrap();
        stream.consumer_info("test-orders").await.is_ok_and(|info| info.num_pending == 0 && info.num_ack_pending == 0)
    })
    .await;
    assert_eq!(world.count("SELECT count(DISTINCT order_id) FROM effect").await, 40);
    assert_eq!(world.count(LETTERS).await, 4);
    assert_eq!(world.count("SELECT count(*) FROM runtime.inbox").await, 4, "ids of the refused ones only");
    service.stop().await;
}

#[tokio::test]
async fn what_the_database_will_always_refuse_is_set_aside_and_not_tried_again() {
    let world = world().await;
    let context = world.jetstream().await;
    let refused = ["against a check", "against a check at the commit", "out of range"];
    for order in ["a", refused[0], "b", refused[1], refused[2], "c"] {
        publish(&context, &format!("event {order}"), order).await;
    }
    let service = world.orders_service(Orders::default()).await;
    until("three are set aside", || async { world.count(LETTERS).await == 3 }).await;
    until("the others are applied", || async { world.count(EFFECTS).await == 3 }).await;
    let reasons: Vec<(String, String)> =
        sqlx::query_as("SELECT event_id, reason FROM runtime.dead_letter ORDER BY stream_sequence")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    for ((event, reason), (order, why)) in reasons.iter().zip(refused.into_iter().zip([
        "violates check constraint",
        "it does not balance",
        "out of range",
    ])) {
        assert_eq!(event, &format!("event {order}"));
        assert!(reason.starts_with("the database refuses it: ") && reason.contains(why), "{reason}");
    }
    assert_eq!(world.count("SELECT count(*) FROM checked").await, 0);
    service.stop().await;
}

#[tokio::test]
async fn an_early_event_comes_again_until_it_can_be_applied() {
    let world = world().await;
    let context = world.jetstream().await;
    publish(&context, "early-1", "early").await;
    publish(&context, "good-1", "a").await;
    let service = world.orders_service(Orders::default()).await;
    until("both are applied", || async { world.count(DISTINCT_EFFECTS).await == 2 }).await;
    assert_eq!(world.count(EFFECTS).await, 2, "the refused attempts left no trace");
    assert_eq!(world.count(LETTERS).await, 0);
    service.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_or_breaks_its_transaction_stops_nobody_else() {
    let world = world().await;
    let context = world.jetstream().await;
    for (id, order) in [("panic-1", "panic"), ("sql-1", "broken sql"), ("good-1", "a"), ("good-2", "b")] {
        publish(&context, id, order).await;
    }
    let service = world.orders_service(Orders::default()).await;
    until("the good ones are applied", || async { world.count(EFFECTS).await == 2 }).await;
    until("the panic is set aside", || async { world.count(LETTERS).await == 1 }).await;
    let reason: String =
        sqlx::query_scalar("SELECT reason FROM runtime.dead_letter").fetch_one(&world.pool).await.unwrap();
    assert_eq!(reason, "the handler panicked: a bug in a handler");
    service.stop().await;
}

#[tokio::test]
async fn json_counts_as_protobuf_does() {
    let world = world().await;
    let context = world.jetstream().await;
    let mut binary = headers("json-1", OrderPlaced::TYPE);
    binary.insert("content-type", "application/json");
    let body = r#"{"order":{"orderId":"a"}}"#;
    context.publish_with_headers(subject(), binary.clone(), body.into()).await.unwrap().await.unwrap();
    let structured = format!(
        r#"{{"specversion":"1.0","id":"json-2","source":"/test","type":"{}","datacontenttype":"application/json","data":{body}}}"#,
        OrderPlaced::TYPE
    );
    let mut mode = async_nats::HeaderMap::new();
    mode.insert("content-type", "application/cloudevents+json; charset=utf-8");
    context.publish_with_headers(subject(), mode, structured.into()).await.unwrap().await.unwrap();
    binary.insert("ce-id", "json-3");
    context
        .publish_with_headers(subject(), binary, r#"{"order":{"noSuchField":1}}"#.into())
        .await
        .unwrap()
        .await
        .unwrap();

    let service = world.orders_service(Orders::default()).await;
    until("two are applied and one set aside", || async {
        world.count(EFFECTS).await == 2 && world.count(LETTERS).await == 1
    })
    .await;
    service.stop().await;
}
