//! Government data as they come: refused precisely and answered, right in any order, reloaded while live data flow.

use async_nats::{HeaderMap, jetstream::consumer::PullConsumer};
use futures::StreamExt as _;
use prost::Message as _;
use serde_json::{Value, json};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    gov::v1::{DeliveryJudged, RecordRejected, RejectionCode},
    profile::v1::{
        DecideObjectionRequest, ObjectionState, RaiseObjectionRequest, objection_service_client::ObjectionServiceClient,
    },
};
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::world::{PATIENCE, World, enterprise, record, withdrawal};

const RECORD: &str = "cn.zhirong.gov.record.observed.v1";
const RELOAD: &str = "cn.zhirong.gov.reload.completed.v1";

fn event(ce_type: &str, content: &Value) -> Event {
    let source = content["source"].as_str().unwrap_or("ip-office");
    Event::new("gov.data.v1.patent", ce_type, "application/json", content.to_string()).with("ce-source", source)
}

fn with(mut record: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        record[*name] = value.clone();
    }
    record
}

/// Until every event was taken and every profile computed.
async fn settled(world: &World) {
    eventually(PATIENCE, "all is taken and computed", || async {
        let stream = world.events.get_stream(streams::GOVDATA).await?;
        let mut consumer: PullConsumer =
            stream.get_consumer("profile-records").await.map_err(anyhow::Error::from_boxed)?;
        let info = consumer.info().await?;
        let taken = info.num_pending == 0 && info.num_ack_pending == 0;
        let undone = "SELECT (SELECT count(*) FROM reload WHERE judged_to IS NOT NULL OR forgetting)
                             + (SELECT count(*) FROM profile WHERE stale)";
        Ok((taken && world.rows::<i64>(undone).await == [0]).then_some(()))
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

/// What the data platform is told, by record id or else by code.
async fn answers(world: &World, source: &str, count: usize) -> Vec<RecordRejected> {
    let stream = eventually(PATIENCE, "the stream of refusals is there", || async {
        Ok(world.events.get_stream(streams::GOVREJECTED).await.ok())
    })
    .await
    .unwrap();
    let subject = format!("gov.data.rejected.{source}");
    let config = async_nats::jetstream::consumer::pull::Config { filter_subject: subject, ..Default::default() };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let message = tokio::time::timeout(PATIENCE, messages.next()).await.expect("an answer").unwrap().unwrap();
        found.push(RecordRejected::decode(message.payload.clone()).unwrap());
        message.ack().await.unwrap();
    }
    found
}

fn with_id(uscc: &Uscc, id: &str) -> String {
    record(uscc, id, 1, 1).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_precise_and_answered_and_the_rest_is_used() {
    let world = World::start().await;
    let uscc = enterprise(21);
    let of = |id: &str, changes: &[(&str, Value)]| with(record(&uscc, id, 1, 1), changes).to_string().into_bytes();
    let deep = format!(r#"{{"record_id":"deep","data":{{"n":{}1{}}}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    // what no map can hold, written by hand
    let twice = |id: &str, part: &str, with: &str| {
        let text = with_id(&uscc, id);
        assert!(text.contains(part), "{text}");
        text.replacen(part, with, 1).into_bytes()
    };
    let last = if uscc.as_str().ends_with('0') { "1" } else { "0" };
    let miswritten = format!("{}{last}", &uscc.as_str()[..17]);
    let full_width: String = uscc.as_str().replacen('9', "９", 1);
    let cases: Vec<(RejectionCode, &str, Vec<u8>)> = vec![
        (RejectionCode::Schema, "missing", of("a1", &[("data", json!({}))])),
        (RejectionCode::Schema, "an integer", of("a2", &[("data", json!({ "patent_count": true }))])),
        (RejectionCode::Schema, "below 0", of("a3", &[("data", json!({ "patent_count": -1 }))])),
        (RejectionCode::Schema, "above 1000", of("a4", &[("data", json!({ "patent_count": 1001 }))])),
        (RejectionCode::Schema, "whole number", of("a5", &[("data", json!({ "patent_count": 1.5 }))])),
        (
            RejectionCode::Schema,
            "not a field",
            of("a6", &[("data", json!({ "patent_count": 1, "phone": "13800000000" }))]),
        ),
        (RejectionCode::Time, "future", of("a7", &[("observed_at", json!("2200-01-01T00:00:00Z"))])),
        (RejectionCode::Time, "no time", of("a8", &[("observed_at", json!("today"))])),
        (RejectionCode::Uscc, "full-width", of("a9", &[("uscc", json!(full_width))])),
        (RejectionCode::Uscc, "18 characters", of("b1", &[("uscc", json!("1"))])),
        (RejectionCode::Source, "comes from `ip-office`", of("b2", &[("source", json!("ip-centre"))])),
        (RejectionCode::Category, "subject is of `patent`", of("b3", &[("category", json!("trademark"))])),
        (RejectionCode::RecordId, "1 to 128", of("", &[])),
        (RejectionCode::Operation, "`operation`", of("b4", &[("operation", json!("OPERATION_ERASE"))])),
        (RejectionCode::Operation, "`revision`", of("b5", &[("revision", json!(-1))])),
        (RejectionCode::TooLarge, "more than 65536", of("b6", &[("data", json!({ "x": "x".repeat(100_000) }))])),
        (RejectionCode::Payload, "recursion limit", deep.into_bytes()),
        (RejectionCode::Payload, "not UTF-8", b"{\"source\":\"\xff\"}".to_vec()),
        (RejectionCode::Payload, "does not parse", b"no json".to_vec()),
        (RejectionCode::Payload, "unknown field", of("b7", &[("phone", json!("13800000000"))])),
        (
            RejectionCode::Payload,
            "duplicate field `source`",
            twice("b8", "\"source\":", "\"source\":\"ip-office\",\"source\":"),
        ),
        (
            RejectionCode::Payload,
            "duplicate field in the data",
            twice("b9", "\"patent_count\":", "\"patent_count\":5,\"patent_count\":"),
        ),
        (RejectionCode::Payload, "out of range", twice("d1", "\"patent_count\":1", "\"patent_count\":1e999")),
        (
            RejectionCode::Schema,
            "beyond 2^53",
            twice("d2", "\"patent_count\":1", "\"patent_count\":9223372036854775808"),
        ),
        (
            RejectionCode::Schema,
            "whole number",
            of("d3", &[("data", json!({ "patent_count": "9223372036854775808" }))]),
        ),
        (RejectionCode::Schema, "an integer", of("d4", &[("data", json!({ "patent_count": {} }))])),
        (RejectionCode::Schema, "missing", of("d5", &[("data", Value::Null)])),
        (RejectionCode::Payload, "not of its field's type", of("d6", &[("data", json!([1]))])),
        (RejectionCode::Time, "is missing", of("d7", &[("observed_at", Value::Null)])),
        (RejectionCode::Uscc, "check character", of("d8", &[("uscc", json!(miswritten))])),
        (RejectionCode::RecordId, "1 to 128", of(&"x".repeat(129), &[])),
        (RejectionCode::RecordId, "none of control", of("d9\u{7}", &[])),
        (RejectionCode::Source, "2 to 64", of("e1", &[("source", json!("IP Office"))])),
    ];
    let publish = async |subject: &'static str, source: &str, ce_type: &str, payload: Vec<u8>| {
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", uuid::Uuid::now_v7().to_string());
        headers.insert("ce-source", source);
        headers.insert("ce-type", ce_type);
        headers.insert("content-type", "application/json");
        world.publish_with(subject, headers, payload).await;
    };
    world.publish_with("gov.data.v1.patent", HeaderMap::new(), of("c4", &[])).await;
    for (number, (_, _, payload)) in cases.iter().enumerate() {
        publish("gov.data.v1.patent", "ip-office", RECORD, payload.clone()).await;
        // beside each a good one
        world.publish_json(&record(&uscc, &format!("good-{number}"), 1, 1)).await;
    }
    let unknown = of("c1", &[("category", json!("horoscope"))]);
    publish("gov.data.v1.horoscope", "ip-office", RECORD, unknown).await;
    publish("gov.data.v1.patent", "tax-office", RECORD, of("c2", &[("source", json!("tax-office"))])).await;
    publish("gov.data.v1.patent", "ip-office", "cn.zhirong.other.v1", of("c3", &[])).await;
    // who does not say who sends may say anything
    publish("gov.data.v1.patent", "", RECORD, of("c5", &[])).await;

    let good = i64::try_from(cases.len()).unwrap();
    world.patents_become(&uscc, Some(good)).await;
    let told = answers(&world, "ip-office", cases.len() + 3).await;
    let expected = cases.iter().map(|(code, word, _)| (*code, *word));
    let others = [
        (RejectionCode::Category, "does not exist"),
        (RejectionCode::Event, "type must be"),
        (RejectionCode::Source, "`ce-source` is missing"),
    ];
    for (code, word) in expected.chain(others) {
        let matches = |answer: &&RecordRejected| answer.code() == code && answer.reason.contains(word);
        let answer = told.iter().find(matches).unwrap_or_else(|| panic!("{code:?} {word}: {told:#?}"));
        assert!(
            !answer.reason_zh.is_ascii() && !answer.event_id.is_empty() && answer.stream_sequence > 0,
            "{answer:?}"
        );
        assert!(!answer.reason.contains("138") && !answer.reason_zh.contains("138"), "no personal data: {answer:?}");
    }
    let schema = told.iter().find(|answer| answer.record_id == "a3").unwrap();
    assert_eq!(
        (schema.field.as_str(), schema.reason_zh.as_str()),
        ("data.patent_count", "字段 data.patent_count 不得小于0")
    );
    // A refused record names nobody in the database, neither as text nor as bytes.
    let dump: String = world
        .rows::<String>(
            "SELECT table_to_xml(format('%I.%I', table_schema, table_name)::regclass, true, false, '')::text
             FROM information_schema.tables WHERE table_schema IN ('public', 'runtime') AND table_type = 'BASE TABLE'",
        )
        .await
        .concat();
    assert!(dump.contains("payload-sha256"), "the dead letters were looked at");
    let hex: String = "13800000000".bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "13800000000");
    for clear in ["13800000000", hex.as_str(), base64.as_str()] {
        assert!(!dump.to_lowercase().contains(&clear.to_lowercase()), "{clear} is in the database");
    }
    assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter WHERE payload <> ''").await, [0]);
    let stranger = answers(&world, "tax-office", 1).await;
    assert!(stranger[0].reason.contains("may not write"), "{stranger:?}");
    assert_eq!(answers(&world, "unknown", 1).await[0].code(), RejectionCode::Event);
    let stream = world.events.get_stream(streams::GOVREJECTED).await.unwrap();
    let offered: PullConsumer = stream.get_consumer("platform").await.expect("the data platform's own consumer");
    assert_eq!(offered.cached_info().num_pending, u64::try_from(told.len() + 2).unwrap());
    world.stop().await;
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

/// An event of a delivery.
fn of_delivery(delivery: &str, id: &str, record: &Value) -> Event {
    event(RECORD, record).with("ce-delivery", delivery).with("ce-id", &format!("{delivery}-{id}"))
}

/// The answer to the end of a delivery.
async fn judged(world: &World, delivery: &str, end: &str) -> DeliveryJudged {
    let content = json!({ "source": "zhirong-records", "delivery_id": delivery });
    let event = event("cn.zhirong.gov.delivery.ended.v1", &content).with("ce-id", end);
    Deliveries::new([event]).publish(&world.events).await.unwrap();
    eventually(PATIENCE, "the end is answered", || async {
        let stream = world.events.get_stream(streams::GOVREJECTED).await?;
        let answer = stream.direct_get_last_for_subject("gov.data.rejected.zhirong-records").await.ok();
        let answer = answer.map(|message| DeliveryJudged::decode(message.payload.as_ref())).transpose()?;
        Ok(answer.filter(|answer| answer.event_id == end))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_delivery_is_answered_when_all_before_it_was_judged() {
    let world = World::start().await;
    let uscc = enterprise(71);
    let send = async |delivery: &str, rows: usize| {
        let rows = (0..rows).map(|row| {
            let patents = if row % 50 == 0 { -1 } else { 1 };
            of_delivery(delivery, &row.to_string(), &record(&uscc, &format!("r{row}"), 1, patents))
        });
        Deliveries::new(rows).publish(&world.events).await.unwrap();
    };
    // Enough that several lanes are at them while the end comes; those of other deliveries do not count.
    send("other", 51).await;
    send("first", 2_000).await;
    let answer = judged(&world, "first", "end-1").await;
    assert_eq!((answer.refused_count, answer.delivery_id.as_str()), (40, "first"));
    let letters = world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await;
    assert_eq!(letters, [42], "all was judged when it was answered");
    // The same once more, as the broker may do, is no other refusal; and asked again it is said again.
    send("first", 2_000).await;
    assert_eq!(judged(&world, "first", "end-2").await.refused_count, 40);
    // Another delivery of the same rows is refused anew.
    send("second", 51).await;
    assert_eq!(judged(&world, "second", "end-3").await.refused_count, 2);
    assert_eq!(world.rows::<i64>("SELECT count(*) FROM delivery_end").await, [0]);

    // Who ends for another, or without a name, is refused.
    for (number, (delivery, source)) in [("x", "somebody-else"), ("No Name", "zhirong-records")].into_iter().enumerate()
    {
        let content = json!({ "source": "zhirong-records", "delivery_id": delivery });
        let id = format!("bad-{number}");
        let end = event("cn.zhirong.gov.delivery.ended.v1", &content).with("ce-source", source).with("ce-id", &id);
        Deliveries::new([end]).publish(&world.events).await.unwrap();
    }
    let reasons = eventually(PATIENCE, "both are refused", || async {
        let reasons =
            world.rows::<String>("SELECT reason FROM runtime.dead_letter WHERE event_id LIKE 'bad-%' ORDER BY 1").await;
        Ok((reasons.len() == 2).then_some(reasons))
    })
    .await
    .unwrap();
    assert!(reasons[0].contains("`delivery_id` must be") && reasons[1].contains("comes from"), "{reasons:?}");
    world.stop().await;
}
