//! What was set aside is shown and handled again.

use uuid::Uuid;
use zhirong_runtime::{dead_letter, page};

use crate::support::{Orders, publish, until, world};

#[tokio::test]
async fn a_replay_goes_through_the_handler_and_settles_the_letter() {
    let world = world().await;
    let context = world.jetstream().await;
    publish(&context, "bad-1", "poison").await;
    publish(&context, "bad-2", "poison").await;
    let service = world.orders_service(Orders::default()).await;
    let first = page::parse(10, "").unwrap();
    until("both are set aside", || async { dead_letter::list(&world.pool, None, &first).await.unwrap().len() == 2 })
        .await;

    // one is mended, as a fixed handler would; the other stays what it is
    let letters = dead_letter::list(&world.pool, Some(dead_letter::State::Open), &first).await.unwrap();
    let mended = letters.iter().find(|letter| letter.event_id == "bad-1").unwrap().id;
    let still_bad = letters.iter().find(|letter| letter.event_id == "bad-2").unwrap().id;
    sqlx::query("UPDATE runtime.dead_letter SET payload = $2 WHERE dead_letter_id = $1")
        .bind(mended)
        .bind(prost::Message::encode_to_vec(&crate::support::order("mended")))
        .execute(&world.pool)
        .await
        .unwrap();
    let mut connection = world.pool.acquire().await.unwrap();
    for id in [mended, still_bad] {
        let letter = dead_letter::request_replay(&mut connection, id).await.unwrap().unwrap();
        assert_eq!(letter.state, dead_letter::State::ReplayRequested);
    }
    until("no replay waits", || async {
        dead_letter::list(&world.pool, Some(dead_letter::State::ReplayRequested), &first).await.unwrap().is_empty()
    })
    .await;
    let state = async |id: Uuid| {
        let mut connection = world.pool.acquire().await.unwrap();
        dead_letter::show(&mut connection, id).await.unwrap().unwrap().state
    };
    assert_eq!(state(mended).await, dead_letter::State::Resolved);
    assert_eq!(state(still_bad).await, dead_letter::State::Open);
    assert_eq!(world.count("SELECT count(*) FROM effect WHERE order_id = 'mended'").await, 1);
    service.stop().await;
}

#[tokio::test]
async fn pages_show_each_letter_once_newest_first() {
    let world = world().await;
    let _service = world.start("orders").await;
    sqlx::query(
        "INSERT INTO runtime.dead_letter (dead_letter_id, consumer, event_id, event_type, subject, stream, stream_sequence, headers, payload, reason, recorded_at)
         SELECT gen_random_uuid(), 'c', n::text, 't', 's', 'S', n, '{}', '', 'r', now() - make_interval(secs => n / 2) FROM generate_series(1, 25) n",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let page = page::parse(10, &token).unwrap();
        let letters = dead_letter::list(&world.pool, None, &page).await.unwrap();
        let Some(last) = letters.last() else { break };
        token = page::encode(&last.cursor()).unwrap();
        seen.extend(letters.into_iter().map(|letter| (letter.recorded_at, letter.event_id)));
    }
    assert!(seen.is_sorted_by(|a, b| a.0 >= b.0), "newest first");
    let mut ids: Vec<_> = seen.into_iter().map(|(_, id)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 25);
}
