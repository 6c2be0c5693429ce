//! Government data as they come: right in any order, reloaded while live data flow.

use prost::Message as _;
use serde_json::{Value, json};
use zhirong_proto::profile::v1::{
    DecideObjectionRequest, ObjectionState, RaiseObjectionRequest, objection_service_client::ObjectionServiceClient,
};
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::world::{PATIENCE, RECORD, World, enterprise, record, withdrawal};

const RELOAD: &str = "cn.zhirong.gov.reload.completed.v1";

pub fn event(ce_type: &str, content: &Value) -> Event {
    let source = content["source"].as_str().unwrap_or("ip-office");
    Event::new("gov.data.v1.patent", ce_type, "application/json", content.to_string()).with("ce-source", source)
}

pub fn with(mut record: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        record[*name] = value.clone();
    }
    record
}

/// Until every event was taken and every profile computed.
async fn settled(world: &World) {
    eventually(PATIENCE, "all is taken and computed", || async {
        let taken = zhirong_testkit::heard(&world.events, streams::GOVDATA, "profile-records").await?;
        Ok((taken && world.computed().await).then_some(()))
    })
    .await
    .unwrap();
}

/// All that is known, in a fixed order; without what only tells when and how often it was computed.
async fn state(world: &World) -> Vec<String> {
    let mut all = world.rows::<String>("SELECT r::text FROM record r ORDER BY source, category, record_id").await;
    let reloads = "SELECT row(source, category, reload_id, as_of, record_count, member_count, applied_as_of, judged_to,
                              forgetting)::text
                   FROM reload ORDER BY source, category, reload_id";
    all.extend(world.rows::<String>(reloads).await);
    all.extend(world.rows::<String>("SELECT m::text FROM reload_member m ORDER BY m::text").await);
    let profiles = world.rows::<Vec<u8>>("SELECT content FROM profile ORDER BY enterprise_id").await;
    all.extend(profiles.into_iter().map(|content| {
        let mut profile = zhirong_proto::profile::v1::Profile::decode(content.as_slice()).unwrap();
        (profile.version, profile.computed_at) = (0, None);
        format!("{:?}", profile.encode_to_vec())
    }));
    all
}

fn history() -> Vec<Event> {
    let mut all = Vec::new();
    for number in 30..36 {
        let (uscc, other) = (enterprise(number), enterprise(number + 10));
        let id = |name: &str| format!("{number}-{name}");
        let at = |day: u32| json!(format!("2026-03-{day:02}T00:00:00Z"));
        let end = |name: &str, day: u32, count: u32| json!({ "source": "ip-centre", "category": "patent", "reload_id": format!("{name}"), "as_of": at(day), "record_count": count });
        let centre = |name: &str, day: u32, patents: i64, reload: &str| {
            with(
                record(&uscc, &id(name), day, patents),
                &[("source", json!("ip-centre")), ("reload_id", json!(reload))],
            )
        };
        let records = [
            record(&uscc, &id("late"), 1, 10),
            record(&uscc, &id("late"), 5, 4),
            with(record(&uscc, &id("late"), 5, 5), &[("revision", json!(1))]),
            with(record(&uscc, &id("late"), 5, 6), &[("revision", json!(2))]),
            record(&uscc, &id("gone"), 1, 50),
            withdrawal(&uscc, &id("gone"), 3),
            record(&uscc, &id("gone"), 2, 60),
            record(&uscc, &id("back"), 1, 7),
            withdrawal(&uscc, &id("back"), 2),
            record(&uscc, &id("back"), 3, 8),
            record(&other, &id("moved"), 1, 9),
            record(&uscc, &id("moved"), 4, 9),
            record(&other, &id("stays"), 1, 3),
            // the same instant and revision: whichever comes last must not matter
            record(&uscc, &id("tie"), 1, 1),
            record(&uscc, &id("tie"), 1, 2),
            // reloaded twice; "m3" is in the first alone, "m4" in none but newer than both
            centre("m1", 1, 100, "spring"),
            centre("m3", 1, 300, "spring"),
            centre("m1", 2, 101, "summer"),
            centre("m2", 6, 200, "summer"),
            centre("m4", 20, 400, ""),
            centre("m5", 7, 500, ""),
        ];
        all.extend(records.iter().map(|record| event(RECORD, record)));
        if number == 30 {
            // of all six enterprises together
            all.push(event(RELOAD, &end("spring", 8, 12)));
            all.push(event(RELOAD, &end("summer", 10, 12)));
            all.push(event(RELOAD, &end("never", 25, 1000)));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upheld_objection_stays_whatever_is_delivered_again_or_reloaded() {
    let (wrong, newer, other) = (enterprise(1), enterprise(2), enterprise(3));
    let send = async |world: &World, events: Vec<Event>, seed: u64| {
        Deliveries::new(events).twice().shuffled(seed).publish(&world.events).await.unwrap();
        settled(world).await;
    };
    let disputed = [record(&wrong, "w", 2, 5), record(&newer, "n", 2, 7), record(&other, "o", 2, 1)];
    let reload = |record: &Value| event(RECORD, &with(record.clone(), &[("reload_id", json!("full-1"))]));
    let end = json!({ "source": "ip-office", "category": "patent", "reload_id": "full-1", "as_of": "2026-03-10T00:00:00Z",
        "record_count": 3 });
    let mut first: Option<Vec<String>> = None;
    for seed in 1..=2 {
        let world = World::start().await;
        send(&world, disputed.iter().map(|record| event(RECORD, record)).collect(), seed).await;
        for (uscc, record_id) in [(&wrong, "w"), (&newer, "n")] {
            let mut client = ObjectionServiceClient::new(world.channel.clone());
            let request = RaiseObjectionRequest {
                request_id: uuid::Uuid::now_v7().to_string(),
                source: "ip-office".to_owned(),
                category: "patent".to_owned(),
                record_id: record_id.to_owned(),
                statement: "有误".to_owned(),
            };
            let raised = client.raise_objection(crate::world::as_enterprise(uscc, request)).await.unwrap().into_inner();
            let request = DecideObjectionRequest {
                request_id: uuid::Uuid::now_v7().to_string(),
                objection_id: raised.objection.unwrap().objection_id,
                decision: ObjectionState::Upheld.into(),
                answer: "已核实".to_owned(),
            };
            client.decide_objection(crate::world::as_staff(request)).await.unwrap();
        }
        // All of it once more, as a full reload as well, with a correction of one.
        let mut again: Vec<Event> = disputed.iter().map(|record| event(RECORD, record)).collect();
        again.extend(disputed.iter().map(reload));
        again.extend([event(RELOAD, &end), event(RECORD, &record(&newer, "n", 3, 2))]);
        send(&world, again, seed).await;
        for (uscc, patents) in [(&wrong, None), (&newer, Some(2)), (&other, Some(1))] {
            assert_eq!(world.profile(uscc).await.as_ref().and_then(crate::world::count), patents, "seed {seed}");
        }
        let left = state(&world).await;
        assert_eq!(&left, first.get_or_insert_with(|| left.clone()), "seed {seed}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_and_doubled_the_end_state_is_the_same_byte_for_byte() {
    let mut reference: Option<Vec<String>> = None;
    for seed in 0..4 {
        let world = World::start().await;
        let deliveries = Deliveries::new(history());
        let deliveries = if seed == 0 { deliveries } else { deliveries.twice().shuffled(seed) };
        deliveries.publish(&world.events).await.unwrap();
        settled(&world).await;
        assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await, [0]);
        for number in 30..36 {
            let profile = world.profile(&enterprise(number)).await.unwrap();
            // late 6, back 8, moved 9, tie 1 or 2, m1 101, m2 200, m4 400
            let patents = crate::world::count(&profile).unwrap();
            assert!([725, 726].contains(&patents), "seed {seed}: {patents}");
        }
        let end = state(&world).await;
        match &reference {
            None => reference = Some(end),
            Some(reference) => assert_eq!(&end, reference, "seed {seed}"),
        }
        world.stop().await;
    }
}

/// Batches are at work at the same time: whoever writes a record last, no profile keeps one that has left it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_moves_while_others_write_it_leaves_no_trace() {
    let world = World::start().await;
    let moves = (0..4_000).map(|number| {
        let to = enterprise(200 + number * 7 % 20);
        let moved = with(record(&to, &format!("m{}", number % 9), 1, 1), &[("revision", json!(number))]);
        event(RECORD, &moved)
    });
    Deliveries::new(moves).shuffled(5).publish(&world.events).await.unwrap();
    settled(&world).await;
    assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await, [0]);
    assert_eq!(world.rows::<i32>("SELECT revision FROM record ORDER BY revision").await, Vec::from_iter(3_991..4_000));
    let mut held = 0;
    for number in 200..220 {
        held += world.profile(&enterprise(number)).await.and_then(|profile| crate::world::count(&profile)).unwrap_or(0);
    }
    assert_eq!(held, 9, "each of the nine counts in one profile");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_reloaded_while_live_data_flow() {
    let world = World::start().await;
    let (kept, dropped, new) = (enterprise(51), enterprise(52), enterprise(53));
    for (uscc, id) in [(&kept, "k"), (&dropped, "d")] {
        world.publish_json(&record(uscc, id, 1, 5)).await;
        world.patents_become(uscc, Some(5)).await;
    }
    let send = async |ce_type: &str, content: &Value| {
        Deliveries::new([event(ce_type, content)]).publish(&world.events).await.unwrap();
    };
    let member = |uscc, id: &str, patents| with(record(uscc, id, 2, patents), &[("reload_id", json!("full-1"))]);
    let end = json!({ "source": "ip-office", "category": "patent", "reload_id": "full-1", "as_of": "2026-03-10T00:00:00Z",
        "record_count": 2 });
    send(RELOAD, &end).await;
    send(RECORD, &member(&kept, "k", 6)).await;
    world.patents_become(&kept, Some(6)).await;
    // live data observed after the reload's instant, before its last record is here
    send(RECORD, &record(&new, "n", 11, 1)).await;
    world.patents_become(&new, Some(1)).await;
    assert_eq!(
        crate::world::count(&world.profile(&dropped).await.unwrap()),
        Some(5),
        "nothing goes before all is here"
    );
    send(RECORD, &member(&kept, "k2", 3)).await;
    world.patents_become(&kept, Some(9)).await;
    world.patents_become(&dropped, None).await;
    assert_eq!(crate::world::count(&world.profile(&new).await.unwrap()), Some(1));
    // what was observed before the reload and comes late is not there any more
    send(RECORD, &record(&dropped, "d", 9, 7)).await;
    settled(&world).await;
    assert_eq!(crate::world::count(&world.profile(&dropped).await.unwrap()), None);
    send(RECORD, &record(&dropped, "d", 12, 8)).await;
    world.patents_become(&dropped, Some(8)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_says_which_versions_of_which_records_it_comes_from() {
    let world = World::start().await;
    let uscc = enterprise(61);
    let send = async |content: &Value| {
        Deliveries::new([event(RECORD, content)]).publish(&world.events).await.unwrap();
    };
    send(&record(&uscc, "a", 2, 1)).await;
    send(&with(record(&uscc, "b", 1, 2), &[("revision", json!(0))])).await;
    send(&with(record(&uscc, "b", 1, 3), &[("revision", json!(1))])).await;
    send(&withdrawal(&uscc, "c", 1)).await;
    world.patents_become(&uscc, Some(4)).await;
    let answer = world.answer(&uscc).await.unwrap();
    let [patents] = answer.provenance.as_slice() else { panic!("{answer:?}") };
    let named: Vec<(&str, i32)> = patents.records.iter().map(|r| (r.record_id.as_str(), r.revision)).collect();
    assert_eq!((patents.feature.as_str(), patents.record_count), ("patent_count", 2));
    assert_eq!(named, [("b", 1), ("a", 0)], "in order of observation");
    // by the clock of whoever runs this long after 2026 the observations are old as well, but patents have no limit
    assert!(answer.outdated.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_else_writes_meanwhile_is_renewed_and_its_neighbours_stay() {
    let world = World::start().await;
    let uscc = enterprise(50);
    // as another replica would write an older version, not committed yet
    let mut other = world.pool().await.begin().await.unwrap();
    sqlx::query(
        r#"INSERT INTO record (source, category, record_id, uscc, observed_at, withdrawn, data, tie_break)
           VALUES ('ip-office', 'patent', 'held', $1, '2026-03-01', false, '{"patent_count": 100}', '')"#,
    )
    .bind(uscc.as_str())
    .execute(&mut *other)
    .await
    .unwrap();
    for record in [record(&uscc, "beside", 2, 5), record(&uscc, "held", 2, 7), record(&uscc, "too", 2, 11)] {
        world.publish_json(&record).await;
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO record%'";
    eventually(PATIENCE, "the record is waited for", || async {
        Ok((world.rows::<i64>(waiting).await == [1]).then_some(()))
    })
    .await
    .unwrap();
    other.commit().await.unwrap();
    world.patents_become(&uscc, Some(23)).await;
    world.stop().await;
}
