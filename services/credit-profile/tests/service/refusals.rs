//! What is refused: each bad record precisely and answered, beside good ones that are used; nothing of it is kept.

use std::collections::BTreeSet;

use async_nats::{HeaderMap, jetstream::consumer::PullConsumer};
use futures::StreamExt as _;
use prost::Message as _;
use serde_json::{Value, json};
use tonic_types::StatusExt as _;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    gov::v1::{RecordRejected, RejectionCode},
    ops::v1::{ListDeadLettersRequest, ReplayDeadLetterRequest, dead_letter_service_client::DeadLetterServiceClient},
};
use zhirong_runtime::streams;
use zhirong_testkit::{Kept, eventually};

use crate::{
    records::with,
    world::{PATIENCE, RECORD, World, as_operator, enterprise, record},
};

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
        let id = headers.get("ce-id").unwrap().to_string();
        world.publish_with(subject, headers, payload).await;
        id
    };
    let mut ids = Vec::new();
    world.publish_with("gov.data.v1.patent", HeaderMap::new(), of("c4", &[])).await;
    for (number, (_, _, payload)) in cases.iter().enumerate() {
        ids.push(publish("gov.data.v1.patent", "ip-office", RECORD, payload.clone()).await);
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
    let stranger = answers(&world, "tax-office", 1).await;
    assert!(stranger[0].reason.contains("may not write"), "{stranger:?}");
    assert_eq!(answers(&world, "unknown", 1).await[0].code(), RejectionCode::Event);
    for ((code, word, _), id) in cases.iter().zip(&ids) {
        let field = match code {
            RejectionCode::Schema if *word == "not a field" => "data.phone",
            RejectionCode::Schema => "data.patent_count",
            RejectionCode::Time => "observed_at",
            RejectionCode::Uscc => "uscc",
            RejectionCode::Source => "source",
            RejectionCode::Category => "category",
            RejectionCode::RecordId => "record_id",
            RejectionCode::Operation => word.trim_matches('`'),
            _ => "",
        };
        let answer = told.iter().find(|answer| answer.event_id == *id).expect("each is answered");
        assert_eq!((answer.code(), answer.field.as_str()), (*code, field), "{answer:?}");
        assert!(answer.reason.contains(word), "{word}: {answer:?}");
    }
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
    let kept = Kept::in_database(world.database.url()).await.unwrap();
    assert!(kept.has_text("payload-sha256"), "the dead letters were looked at");
    assert!(kept.has_bytes("data.phone"), "and the answers, which are in bytes");
    assert!(!kept.has("13800000000"), "the phone is in the database");
    assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter WHERE payload <> ''").await, [0]);
    // Without its payload a letter can't be handled again: who asks is told, and it stays as it is, whoever marked it.
    let mut letters = DeadLetterServiceClient::new(world.channel.clone());
    let all = letters.list_dead_letters(as_operator(ListDeadLettersRequest::default())).await.unwrap().into_inner();
    let dead_letter_id = all.dead_letters[0].dead_letter_id.clone();
    let request = ReplayDeadLetterRequest { request_id: uuid::Uuid::now_v7().to_string(), dead_letter_id };
    let refused = letters.replay_dead_letter(as_operator(request)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "PAYLOAD_NOT_KEPT");
    let untouched = "SELECT count(*) FROM runtime.dead_letter WHERE replay_requested_at IS NULL AND replays = 0";
    assert_eq!(world.rows::<i64>(untouched).await, [i64::try_from(all.dead_letters.len()).unwrap()]);
    let asked: Vec<String> = world
        .rows("UPDATE runtime.dead_letter SET replay_requested_at = now() WHERE event_id <> '' RETURNING dead_letter_id || reason")
        .await;
    let left = eventually(PATIENCE, "all were looked at", || async {
        let left = world
            .rows::<String>(
                "SELECT dead_letter_id || reason FROM runtime.dead_letter
                 WHERE event_id <> '' AND replays = 1 AND replay_requested_at IS NULL AND resolved_at IS NULL",
            )
            .await;
        Ok((left.len() == asked.len()).then_some(left))
    })
    .await
    .unwrap();
    assert_eq!(BTreeSet::from_iter(left), BTreeSet::from_iter(asked));
    let stream = world.events.get_stream(streams::GOVREJECTED).await.unwrap();
    let offered: PullConsumer = stream.get_consumer("platform").await.expect("the data platform's own consumer");
    assert_eq!(offered.cached_info().num_pending, u64::try_from(told.len() + 2).unwrap());
    world.stop().await;
}

/// What stands where it should not: a name, a phone, an id number (the example of GB 11643).
const PERSONAL: [&str; 3] = ["张三", "13800000001", "11010519491231002X"];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_is_repeated_wherever_in_an_event_it_stands() {
    let world = World::start().await;
    let uscc = enterprise(22);
    let [name, phone, id_number] = PERSONAL;
    let structured = "application/cloudevents+json";
    let event = |id: &str, data: Value| {
        json!({ "specversion": "1.0", "id": id, "source": "ip-office", "type": RECORD, "data": data }).to_string()
    };
    let unknown = |field: &str| with(record(&uscc, "r", 1, 1), &[(field, json!(1))]);
    let cases = [
        // no event at all; who sent it stands in a header
        (RejectionCode::Event, "a value is not of its field's type", json!(format!("{name} {phone}")).to_string()),
        (RejectionCode::Event, "a value is not of its field's type", phone.to_owned()),
        (RejectionCode::Event, "a value is not of its field's type", r#"{"id":13800000001}"#.to_owned()),
        (RejectionCode::Event, "a value is not of its field's type", r#"{"id":"1","source":13800000001}"#.to_owned()),
        (RejectionCode::Event, "data_base64 does not decode", json!({ "id": "1", "data_base64": name }).to_string()),
        (
            RejectionCode::Event,
            "CloudEvents *********** is not",
            json!({ "id": "1", "specversion": phone }).to_string(),
        ),
        // an event of a record with what nobody has declared
        (RejectionCode::Payload, "unknown field `**_***********_`", event("e1", unknown(&format!("{name}_{phone}_")))),
        (RejectionCode::Schema, "`data.******************` is", {
            event("e2", with(record(&uscc, "r", 1, 1), &[("data", json!({ "patent_count": 1, id_number: 1 }))]))
        }),
        (RejectionCode::Category, "is `**`", event("e3", with(record(&uscc, "r", 1, 1), &[("category", json!(name))]))),
        // columns that slipped
        (RejectionCode::Uscc, "18 characters", event("e4", with(record(&uscc, phone, 1, 1), &[("uscc", json!(name))]))),
        (
            RejectionCode::Uscc,
            "18 characters",
            event("e5", with(record(&uscc, id_number, 1, 1), &[("uscc", json!("1"))])),
        ),
        (RejectionCode::Uscc, "18 characters", event("e6", with(record(&uscc, name, 1, 1), &[("uscc", json!("1"))]))),
    ];
    for (_, _, payload) in &cases {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", structured);
        headers.insert("ce-source", "ip-office");
        world.publish_with("gov.data.v1.patent", headers, payload.clone().into_bytes()).await;
    }
    // the same in binary mode, and who sent it all the same
    let mut headers = HeaderMap::new();
    headers.insert("ce-source", "ip-office");
    world.publish_with("gov.data.v1.patent", headers, phone.into()).await;

    let mut told = answers(&world, "ip-office", cases.len() + 1).await;
    told.sort_by_key(|answer| answer.stream_sequence);
    for ((code, why, _), answer) in cases.iter().zip(&told) {
        assert!(answer.code() == *code && answer.reason.contains(why), "{why}: {answer:?}");
    }
    assert!(told[cases.len()].reason.contains("ce-id is missing"), "{:?}", told[cases.len()]);
    let ids: Vec<&str> = told.iter().map(|answer| answer.record_id.as_str()).filter(|id| id.len() > 1).collect();
    assert_eq!(ids, ["138******01", "110*************2X", "**"]);
    // Neither in the answers, nor in what is kept of them and of the events.
    let mut kept = Kept::in_database(world.database.url()).await.unwrap();
    kept.add_stream(&world.events, streams::GOVREJECTED).await.unwrap();
    assert!(kept.has_bytes("ce-id is missing") && kept.has_text("payload-sha256"), "they were looked at");
    for personal in PERSONAL {
        assert!(!kept.has(personal), "{personal} is kept");
    }
    world.stop().await;
}
