//! Every event committed reaches the broker, whatever the broker forgets.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::StreamExt as _;
use zhirong_runtime::{Error, streams};

use crate::support::{World, run, until, world, write, write_all};

const UNPUBLISHED: &str = "SELECT count(*) FROM runtime.outbox WHERE published_at IS NULL";
const PUBLISHED: &str = "SELECT count(*) FROM runtime.outbox WHERE published_at IS NOT NULL";

/// The ids of all messages in the stream, in order.
async fn stored(world: &World) -> Vec<String> {
    let context = world.jetstream().await;
    let stream = context.get_stream(streams::MATCHING).await.unwrap();
    let count = stream.get_info().await.unwrap().state.messages;
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.fetch().max_messages(usize::try_from(count).unwrap().max(1)).messages().await.unwrap();
    let ids = messages.map(|message| {
        let message = message.unwrap();
        message.headers.as_ref().unwrap().get("ce-id").unwrap().to_string()
    });
    ids.collect().await
}

#[tokio::test]
async fn events_are_published_in_order_once_and_marked() {
    let world = world().await;
    let service = world.start("matching").await;
    let mut written = Vec::new();
    for n in 0..40 {
        written.push(write(&world.pool, &service.outbox(), &format!("order-{n}"), 1).await.unwrap().to_string());
    }
    until("all are marked", || async { world.count(PUBLISHED).await == 40 }).await;
    assert_eq!(stored(&world).await, written);
    let sequences: Vec<i64> = sqlx::query_scalar("SELECT stream_sequence FROM runtime.outbox ORDER BY event_id")
        .fetch_all(&world.pool)
        .await
        .unwrap();
    assert_eq!(sequences, (1..=40).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_message_carries_the_cloudevents_attributes() {
    let world = world().await;
    let service = world.start("matching").await;
    let id = write(&world.pool, &service.outbox(), "莲都-1", 1).await.unwrap().to_string();
    until("it is marked", || async { world.count(PUBLISHED).await == 1 }).await;
    let context = world.jetstream().await;
    let stream = context.get_stream(streams::MATCHING).await.unwrap();
    let message = stream.get_raw_message(1).await.unwrap();
    assert_eq!(message.subject.as_str(), "zr.matching.v1.order.placed.莲都-1");
    let header = |name: &str| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
    assert_eq!(header("ce-id"), id);
    assert_eq!(header("Nats-Msg-Id"), id);
    assert_eq!(header("ce-type"), "cn.zhirong.matching.order.placed.v1");
    assert_eq!(header("ce-source"), "/zhirong/matching");
    assert_eq!(header("ce-subject"), "%E8%8E%B2%E9%83%BD-1");
    assert_eq!(header("content-type"), "application/protobuf");
}

#[tokio::test]
async fn a_version_is_reported_once_and_never_backwards() {
    let world = world().await;
    let service = world.start("matching").await;
    let wake = service.outbox();
    write(&world.pool, &wake, "a", 1).await.unwrap();
    write(&world.pool, &wake, "a", 2).await.unwrap();
    for version in [1, 2] {
        let refused = write(&world.pool, &wake, "a", version).await;
        assert!(matches!(refused, Err(Error::VersionTaken { .. })), "{refused:?}");
    }
    write(&world.pool, &wake, "b", 1).await.unwrap();
    assert!(matches!(write(&world.pool, &wake, "a.b", 1).await, Err(Error::SubjectKey(_))));
    for many in [[("c", 1), ("b", 1)], [("c", 1), ("a", 2)], [("c", 1), ("a", 1)]] {
        let refused = write_all(&world.pool, &many).await;
        assert!(matches!(refused, Err(Error::VersionTaken { .. })), "{refused:?}");
    }
    assert_eq!(world.count("SELECT count(*) FROM runtime.outbox").await, 3);
}

#[tokio::test]
async fn nothing_leaves_before_its_transaction_commits() {
    let world = world().await;
    let service = world.start("matching").await;
    let mut open = world.pool.begin().await.unwrap();
    let aggregate = zhirong_runtime::outbox::Aggregate { kind: "order", id: "late", version: 1 };
    let fact = crate::support::order("late");
    let late =
        zhirong_runtime::outbox::append(&mut open, aggregate, "late", &fact, jiff::Timestamp::now()).await.unwrap();
    // a later event overtakes it: a cursor would now skip the late one
    let early = write(&world.pool, &service.outbox(), "early", 1).await.unwrap();
    until("the other is marked", || async { world.count(PUBLISHED).await == 1 }).await;
    open.commit().await.unwrap();
    service.outbox().notify();
    until("both are marked", || async { world.count(PUBLISHED).await == 2 }).await;
    assert_eq!(stored(&world).await, [early.to_string(), late.to_string()]);
}

#[tokio::test]
async fn a_stream_created_anew_is_filled_again() {
    let mut world = world().await;
    world.settings.outbox.compare_interval_s = 0;
    let service = world.start("matching").await;
    let mut written = Vec::new();
    for n in 0..30 {
        written.push(write(&world.pool, &service.outbox(), &format!("order-{n}"), 1).await.unwrap().to_string());
    }
    until("all are marked", || async { world.count(PUBLISHED).await == 30 }).await;

    let context = world.jetstream().await;
    context.delete_stream(streams::MATCHING).await.unwrap();
    until("the stream holds everything again", || async {
        match context.get_stream(streams::MATCHING).await {
            Ok(stream) => stream.get_info().await.is_ok_and(|info| info.state.messages == 30),
            Err(_) => false,
        }
    })
    .await;
    until("all are marked again", || async { world.count(UNPUBLISHED).await == 0 }).await;
    assert_eq!(stored(&world).await, written);
}

#[tokio::test]
async fn one_of_two_relays_is_active_and_the_other_takes_over() {
    let world = world().await;
    let first = world.start("matching").await;
    let second = world.start("matching").await;
    let (first_wake, second_wake) = (first.outbox(), second.outbox());
    let (first, second) = (run(first), run(second));
    for n in 0..20 {
        let wake = if n % 2 == 0 { &first_wake } else { &second_wake };
        write(&world.pool, wake, &format!("before-{n}"), 1).await.unwrap();
    }
    until("all are marked", || async { world.count(PUBLISHED).await == 20 }).await;
    first.stop().await;
    for n in 0..20 {
        write(&world.pool, &second_wake, &format!("after-{n}"), 1).await.unwrap();
    }
    until("all are marked by the one left", || async { world.count(PUBLISHED).await == 40 }).await;
    assert_eq!(stored(&world).await.len(), 40, "no event is in the stream twice");
    second.stop().await;
}

#[tokio::test]
async fn a_stream_configured_otherwise_is_refused() {
    let world = world().await;
    let context = world.jetstream().await;
    let mut config = streams::configuration(streams::CATALOG, 1).unwrap();
    config.max_age = std::time::Duration::from_secs(3600);
    context.create_stream(config).await.unwrap();
    let refused = streams::ensure(&context, streams::CATALOG, 1).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Mismatch { what, difference } if what == "stream CATALOG" && difference.contains("max_age")),
        "{refused}"
    );
}

#[tokio::test]
async fn old_days_are_dropped_only_when_everything_in_them_was_published() {
    let world = world().await;
    let _service = world.start("matching").await;
    sqlx::raw_sql(
        "CREATE TABLE runtime.outbox_20240101 PARTITION OF runtime.outbox FOR VALUES FROM ('2024-01-01') TO ('2024-01-02');
         CREATE TABLE runtime.outbox_20240102 PARTITION OF runtime.outbox FOR VALUES FROM ('2024-01-02') TO ('2024-01-03');
         INSERT INTO runtime.outbox (created_on, event_id, aggregate_kind, aggregate_id, aggregate_version, stream, subject, event_type,
             occurred_at, payload, published_at, stream_epoch, stream_sequence)
         VALUES ('2024-01-01', gen_random_uuid(), 'k', 'a', 1, 'NONE', 's', 't', now(), '', now(), 'e', 1),
                ('2024-01-02', gen_random_uuid(), 'k', 'b', 1, 'NONE', 's', 't', now(), '', NULL, NULL, NULL)",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    let held = world.count("SELECT runtime.maintain_outbox(7, 14)::bigint").await;
    assert_eq!(held, 1);
    let left: Vec<String> =
        sqlx::query_scalar("SELECT aggregate_id FROM runtime.outbox").fetch_all(&world.pool).await.unwrap();
    assert_eq!(left, ["b"]);
}
