//! What was set aside is shown, handled again, or closed.

use uuid::Uuid;
use zhirong_proto::ops::v1::{CloseDeadLettersRequest, dead_letter_service_client::DeadLetterServiceClient};
use zhirong_runtime::{dead_letter, page};

use crate::support::{Orders, publish, run, until, world};

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

#[tokio::test]
async fn what_is_closed_is_resolved_without_its_payload_and_goes_in_time() {
    let mut world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("grpc");
    world.settings.grpc.address_file = file.display().to_string();
    let running = run(world.start("orders").await);
    until("the address is written", || async { file.exists() }).await;
    sqlx::query(
        "INSERT INTO runtime.dead_letter (dead_letter_id, consumer, event_id, event_type, subject, stream, stream_sequence, headers, payload, reason, resolved_at)
         SELECT gen_random_uuid(), 'c', n::text, 't', 's', 'S', n, '{}', 'words', 'r', CASE WHEN n = 3 THEN now() END FROM generate_series(1, 3) n",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    let letters = dead_letter::list(&world.pool, None, &page::parse(10, "").unwrap()).await.unwrap();
    let id = |event: &str| letters.iter().find(|letter| letter.event_id == event).unwrap().id;
    let address = format!("http://{}", std::fs::read_to_string(&file).unwrap());
    let mut client = DeadLetterServiceClient::connect(address).await.unwrap();
    let as_operator = |message| {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("zr-role", "operator".parse().unwrap());
        request.metadata_mut().insert("zr-subject", "duty".parse().unwrap());
        request
    };
    let request = CloseDeadLettersRequest {
        request_id: Uuid::now_v7().to_string(),
        dead_letter_ids: vec![id("1").to_string(), id("3").to_string()],
        note: "sent again".to_owned(),
    };
    for _ in 0..2 {
        let answer = client.close_dead_letters(as_operator(request.clone())).await.unwrap().into_inner();
        assert_eq!(answer.closed, 1, "the first answer, also when it is asked again");
    }
    let mut connection = world.pool.acquire().await.unwrap();
    let mut show = async |event: &str| {
        let letter = dead_letter::show(&mut connection, id(event)).await.unwrap().unwrap();
        (letter.state, letter.payload.len(), letter.closed_by, letter.note)
    };
    let nobody = (String::new(), String::new());
    assert_eq!(show("1").await, (dead_letter::State::Resolved, 0, "duty".to_owned(), "sent again".to_owned()));
    assert_eq!(show("2").await, (dead_letter::State::Open, 5, nobody.0.clone(), nobody.1.clone()));
    assert_eq!(show("3").await, (dead_letter::State::Resolved, 5, nobody.0, nobody.1), "it was resolved before");
    let without = CloseDeadLettersRequest { request_id: Uuid::now_v7().to_string(), note: String::new(), ..request };
    let refused = client.close_dead_letters(as_operator(without)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    running.stop().await;

    // Whatever is resolved for long enough is gone after the next start; what is open stays.
    sqlx::query("UPDATE runtime.dead_letter SET recorded_at = now() - interval '1 year', resolved_at = resolved_at - interval '91 days'")
        .execute(&world.pool)
        .await
        .unwrap();
    let running = run(world.start("orders").await);
    until("the resolved ones are gone", || async {
        world.count("SELECT count(*) FROM runtime.dead_letter").await == 1
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM runtime.dead_letter WHERE resolved_at IS NULL").await, 1);
    running.stop().await;
}
