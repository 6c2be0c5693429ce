#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fmt::Write as _, path::Path};

use async_nats::jetstream::stream::Stream;
use tempfile::TempDir;
use zhirong_proto::gov::v1::RejectionCode;
use zhirong_servers::{Nats, NatsOptions};

use super::*;

/// A broker with the stream of records, and somebody who refuses each record whose id begins with `bad`.
struct World {
    dir: TempDir,
    nats: Nats,
    stream: Stream,
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let nats = Nats::start(&dir.path().join("nats"), NatsOptions { durable: false }).await.unwrap();
        let client = async_nats::connect(nats.url()).await.unwrap();
        let config = jetstream::stream::Config {
            name: "GOVDATA".to_owned(),
            subjects: vec!["gov.data.v1.>".to_owned()],
            ..Default::default()
        };
        let stream = jetstream::new(client.clone()).create_stream(config).await.unwrap();
        let mut records = client.subscribe("gov.data.v1.>").await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(message) = records.next().await {
                let record: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                if record["record_id"].as_str().is_some_and(|id| id.starts_with("bad")) {
                    let answer = RecordRejected {
                        event_id: message.headers.unwrap().get("ce-id").unwrap().to_string(),
                        code: RejectionCode::Schema.into(),
                        field: "data.n".to_owned(),
                        reason: "`data.n` is missing".to_owned(),
                        reason_zh: "字段 data.n 缺失".to_owned(),
                        ..RecordRejected::default()
                    };
                    client.publish("gov.data.rejected.s1", answer.encode_to_vec().into()).await.unwrap();
                }
            }
        });
        Self { dir, nats, stream }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    fn options(&self, file: &Path) -> Options {
        let categories = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds/categories");
        Options { categories, quiet_s: 1, from_start: false, ..Options::plain(&Broker::open(&self.nats.url()), file) }
    }

    async fn messages(&mut self) -> u64 {
        self.stream.info().await.unwrap().state.messages
    }

    /// The payload of the n-th record that came.
    async fn payload(&self, sequence: u64) -> serde_json::Value {
        serde_json::from_slice(&self.stream.get_raw_message(sequence).await.unwrap().payload).unwrap()
    }
}

fn line(id: &str) -> String {
    json!({ "source": "s1", "category": "patent", "record_id": id, "data": { "n": 1 } }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_named_and_the_others_are_sent() {
    let mut world = World::start().await;
    let file = world.file("some.ndjson", &format!("{}\n\nnot json\n{}\n{}\n", line("a"), line("bad-1"), line("b")));
    let outcome = publish(&world.options(&file)).await.unwrap();
    assert_eq!((outcome.sent, outcome.refused), (3, 2));
    let report = fs::read_to_string(&outcome.report).unwrap();
    let rows: Vec<&str> = report.lines().collect();
    assert_eq!(rows[0], "row,record_id,code,field,reason,reason_zh");
    assert!(rows.contains(&"3,bad-1,SCHEMA,data.n,`data.n` is missing,字段 data.n 缺失"), "{report}");
    assert!(rows.iter().any(|row| row.starts_with("2,,UNSENT,")), "{report}");
    assert_eq!(world.messages().await, 3);
    publish(&world.options(&file)).await.unwrap();
    assert_eq!(world.messages().await, 3, "the broker knows them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_goes_on_where_it_was() {
    const ROWS: u64 = 20_000;
    let mut world = World::start().await;
    let mut text = String::new();
    for row in 0..ROWS {
        writeln!(text, "{}", line(&format!("r{row}"))).unwrap();
    }
    let file = world.file("many.ndjson", &text);
    let options = world.options(&file);
    let run = tokio::spawn(async move { publish(&options).await });
    while world.messages().await < 1_000 {
        assert!(!run.is_finished(), "it was too fast to be killed");
    }
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    let outcome = publish(&world.options(&file)).await.unwrap();
    assert!(outcome.sent < ROWS - 500, "{} rows were sent again", outcome.sent);
    assert_eq!((world.messages().await, outcome.refused), (ROWS, 0), "each once");
    assert!(!self::exists(&file, ".progress") && !self::exists(&file, ".refused.csv"));
}

fn exists(file: &Path, ending: &str) -> bool {
    Path::new(&format!("{}{ending}", file.display())).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_becomes_records_by_the_categories_types() {
    let mut world = World::start().await;
    let text = "\u{feff}record_id,uscc,observed_at,is_abnormal,reason\n1,91331102MA2X000010,2026-03-01T00:00:00Z,是,\"a, b\"\n\
                2,91331102MA2X000010,2026-03-01T00:00:00Z,false,\n3,too,few\n";
    let file = world.file("table.csv", text);
    let named = Some("market".to_owned());
    let options = Options { source: named, category: Some("abnormal_list".to_owned()), ..world.options(&file) };
    let outcome = publish(&options).await.unwrap();
    assert_eq!((outcome.sent, outcome.refused, world.messages().await), (2, 1, 2));
    let first = world.payload(1).await;
    assert_eq!(first["data"], json!({ "is_abnormal": true, "reason": "a, b" }));
    assert_eq!(
        (&first["source"], &first["category"], &first["record_id"]),
        (&json!("market"), &json!("abnormal_list"), &json!("1"))
    );
    assert_eq!(world.payload(2).await["data"], json!({ "is_abnormal": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_ended_when_nothing_was_refused_and_not_before() {
    let mut world = World::start().await;
    let reload = |file: &Path, world: &World| Options {
        reload: Some("full-1".to_owned()),
        as_of: Some("2026-03-01T00:00:00Z".parse().unwrap()),
        ..world.options(file)
    };
    let bad = world.file("reload.ndjson", &format!("{}\n{}\n", line("a"), line("bad-1")));
    let refused = publish(&reload(&bad, &world)).await.unwrap_err();
    assert!(refused.to_string().contains("not ended"), "{refused}");
    assert_eq!(world.messages().await, 2);
    let good = world.file("reload.ndjson", &format!("{}\n{}\n{}\n", line("a"), line("b"), line("a")));
    publish(&reload(&good, &world)).await.unwrap();
    assert_eq!(world.messages().await, 4, "b and the end; a is known");
    assert_eq!(world.payload(3).await["reload_id"], "full-1");
    let end = world.payload(4).await;
    assert_eq!((&end["reload_id"], &end["record_count"], &end["source"]), (&json!("full-1"), &json!(2), &json!("s1")));
}
