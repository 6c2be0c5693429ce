#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use async_nats::{Message, jetstream::stream::Stream};
use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::sync::watch;
use zhirong_proto::{
    Fact,
    gov::v1::{DeliveryJudged, RecordRejected, RejectionCode},
};
use zhirong_servers::{Nats, NatsOptions};

use super::*;

/// A broker with the streams of records and answers, and somebody who judges as credit-profile does: each record whose id begins
/// with `bad` is refused, and the number of a delivery's refusals is told at its end.
struct World {
    dir: TempDir,
    nats: Nats,
    stream: Stream,
    /// Whether it judges; what comes meanwhile waits.
    judging: watch::Sender<bool>,
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let nats = Nats::start(&dir.path().join("nats"), NatsOptions { durable: false }).await.unwrap();
        let client = async_nats::connect(nats.url()).await.unwrap();
        let context = jetstream::new(client.clone());
        let config = |name: &str, subject: &str| jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            allow_direct: true,
            ..Default::default()
        };
        let stream = context.create_stream(config("GOVDATA", "gov.data.v1.>")).await.unwrap();
        context.create_stream(config("GOVREJECTED", "gov.data.rejected.*")).await.unwrap();
        let mut events = client.subscribe("gov.data.v1.>").await.unwrap();
        client.flush().await.unwrap();
        let judging = watch::Sender::new(true);
        let mut may = judging.subscribe();
        tokio::spawn(async move {
            let mut refused: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            while let Some(message) = events.next().await {
                may.wait_for(|may| *may).await.unwrap();
                judge(&context, &message, &mut refused).await;
            }
        });
        Self { dir, nats, stream, judging }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, text).unwrap();
        file
    }

    fn options(&self, file: &Path) -> Options {
        let categories = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds/categories");
        Options { categories, wait_s: 60, from_start: false, ..Options::plain(&Broker::open(&self.nats.url()), file) }
    }

    async fn messages(&mut self) -> u64 {
        self.stream.info().await.unwrap().state.messages
    }

    /// The payload of the n-th record that came.
    async fn payload(&self, sequence: u64) -> serde_json::Value {
        serde_json::from_slice(&self.stream.get_raw_message(sequence).await.unwrap().payload).unwrap()
    }
}

async fn judge(context: &jetstream::Context, message: &Message, refused: &mut BTreeMap<String, BTreeSet<String>>) {
    let header = |name: &str| message.headers.as_ref().unwrap().get(name).unwrap().to_string();
    let content: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    let of_delivery = refused.entry(header("ce-delivery")).or_default();
    if header("ce-type") == ENDED {
        let answer = DeliveryJudged {
            event_id: header("ce-id"),
            delivery_id: header("ce-delivery"),
            refused_count: of_delivery.len().try_into().unwrap(),
            ..DeliveryJudged::default()
        };
        say(context, &answer).await;
    } else if content["record_id"].as_str().is_some_and(|id| id.starts_with("bad"))
        && of_delivery.insert(header("ce-id"))
    {
        let answer = RecordRejected {
            event_id: header("ce-id"),
            record_id: content["record_id"].as_str().unwrap().to_owned(),
            code: RejectionCode::Schema.into(),
            field: "data.n".to_owned(),
            reason: "`data.n` is missing".to_owned(),
            reason_zh: "字段 data.n 缺失".to_owned(),
            ..RecordRejected::default()
        };
        say(context, &answer).await;
    }
}

async fn say<F: Fact>(context: &jetstream::Context, answer: &F) {
    let mut headers = HeaderMap::new();
    headers.insert("ce-type", F::TYPE);
    let payload = prost::Message::encode_to_vec(answer).into();
    context.publish_with_headers("gov.data.rejected.s1", headers, payload).await.unwrap().await.unwrap();
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
    assert_eq!(world.messages().await, 4, "the rows and the end");
    // the same file again: it is judged again, and said again
    let again = publish(&world.options(&file)).await.unwrap();
    assert_eq!((again.sent, again.refused), (3, 2));
    assert_eq!(fs::read_to_string(&outcome.report).unwrap(), report);
    // and once more, put right
    let file = world.file("some.ndjson", &line("a"));
    assert_eq!(publish(&world.options(&file)).await.unwrap().refused, 0);
    assert!(!exists(&file, ".refused.csv"), "nothing is left of the report");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_after_a_kill_is_in_the_report_of_the_next_run() {
    const ROWS: usize = 600;
    let mut world = World::start().await;
    // two rows that say the same are two rows
    let ids = (0..ROWS).map(|row| if row % 100 == 7 { "bad".to_owned() } else { format!("r{row}") });
    let text: String = ids.map(|id| line(&id) + "\n").collect();
    let file = world.file("some.ndjson", &text);
    world.judging.send_replace(false);
    let options = world.options(&file);
    let run = tokio::spawn(async move { publish(&options).await });
    while world.messages().await < 601 {
        assert!(!run.is_finished(), "nothing was judged yet");
        tokio::task::yield_now().await;
    }
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    // who waits is told what to do, and that the rows are there
    let short = Options { wait_s: 1, ..world.options(&file) };
    let waited = publish(&short).await.unwrap_err().to_string();
    assert!(waited.contains("run the same command again") && exists(&file, ".progress"), "{waited}");
    world.judging.send_replace(true);
    let outcome = publish(&world.options(&file)).await.unwrap();
    assert_eq!((outcome.sent, outcome.refused), (0, 6));
    let report = fs::read_to_string(&outcome.report).unwrap();
    let rows: Vec<&str> = report.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(rows, ["8", "108", "208", "308", "408", "508"], "each once");
    assert!(!exists(&file, ".progress"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_goes_on_where_it_was() {
    const ROWS: u64 = 20_000;
    let mut text = String::new();
    for row in 0..ROWS {
        writeln!(text, "{}", line(&format!("r{row}"))).unwrap();
    }
    let (mut world, file) = loop {
        let mut world = World::start().await;
        let file = world.file("many.ndjson", &text);
        // without an answer it does not end by itself
        world.judging.send_replace(false);
        let options = world.options(&file);
        let run = tokio::spawn(async move { publish(&options).await });
        while world.messages().await < 1_000 {
            assert!(!run.is_finished(), "nothing was judged yet");
        }
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        world.judging.send_replace(true);
        // once more when this test was held up until everything was sent
        if world.messages().await < ROWS {
            break (world, file);
        }
    };
    let outcome = publish(&world.options(&file)).await.unwrap();
    assert!(outcome.sent < ROWS - 500, "{} rows were sent again", outcome.sent);
    assert_eq!((world.messages().await, outcome.refused), (ROWS + 1, 0), "each once, and the end");
    assert!(!exists(&file, ".progress") && !exists(&file, ".refused.csv"));
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
    assert_eq!((outcome.sent, outcome.refused, world.messages().await), (2, 1, 3));
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
    for messages in [3, 6] {
        let refused = publish(&reload(&bad, &world)).await.unwrap_err();
        assert!(refused.to_string().contains("not ended"), "{refused}");
        assert_eq!(world.messages().await, messages, "two rows and the delivery's end");
    }
    let good = world.file("reload.ndjson", &format!("{}\n{}\n{}\n", line("a"), line("b"), line("a")));
    publish(&reload(&good, &world)).await.unwrap();
    assert_eq!(
        world.messages().await,
        12,
        "three rows and the delivery's end, the reload's end and the delivery's again"
    );
    assert_eq!(world.payload(7).await["reload_id"], "full-1");
    let end = world.payload(11).await;
    assert_eq!((&end["reload_id"], &end["record_count"], &end["source"]), (&json!("full-1"), &json!(2), &json!("s1")));
    let unwatched = Options { wait_s: 0, ..reload(&good, &world) };
    assert!(publish(&unwatched).await.unwrap_err().to_string().contains("--wait-s"));
}

/// What a file holds that can't be sent is named by its row; what the program can send goes as it stands, for credit-profile to
/// judge; the rows around it are sent.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_broken_row_is_named_and_its_neighbours_are_sent() {
    let world = World::start().await;
    let large = line(&"x".repeat(10_000_000));
    let deep =
        format!(r#"{{"source":"s1","category":"patent","data":{{"n":{}1{}}}}}"#, "[".repeat(500), "]".repeat(500));
    let lines: Vec<(&[u8], &str, &str)> = vec![
        (b"not json", "does not parse", ""),
        (b"[1]", "must be an object", ""),
        (b"{\"source\":\"\xff\"}", "not UTF-8", ""),
        (b"{\"source\":\"s1\"}", "`category` is missing", "category"),
        (b"{\"category\":\"patent\"}", "`source` is missing", "source"),
        (br#"{"source":"s1","category":"a.b"}"#, "can't be part of a subject", "category"),
        ("{\"source\":\"ｓ1\",\"category\":\"patent\"}".as_bytes(), "can't be part of a header", "source"),
        (br#"{"source":"s1","category":"patent","data":{"n":1e999}}"#, "does not parse", ""),
        (deep.as_bytes(), "does not parse", ""),
        (large.as_bytes(), "more than the broker takes", ""),
    ];
    let mut bytes = b"\xef\xbb\xbf".to_vec();
    for (bad, ..) in &lines {
        bytes.extend(line("good").bytes().chain(*b"\r\n").chain(bad.iter().copied()).chain(*b"\r\n"));
    }
    let file = world.dir.path().join("lines.ndjson");
    fs::write(&file, bytes).unwrap();
    named(&world, world.options(&file), &lines).await;

    let rows: Vec<(&[u8], &str, &str)> = vec![
        (b"1,2026-03-01T00:00:00Z", "2 cells", ""),
        (b"1,2026-03-01T00:00:00Z,1,2", "4 cells", ""),
        (b"1,2026-03-01T00:00:00Z,\xff", "column reason is not UTF-8", "reason"),
    ];
    let mut bytes = "\u{feff}record_id,observed_at,reason\r\n".as_bytes().to_vec();
    for (bad, ..) in &rows {
        bytes.extend(b"g,2026-03-01T00:00:00Z,1\r\n".iter().chain(bad.iter()).chain(b"\r\n"));
    }
    let file = world.dir.path().join("rows.csv");
    fs::write(&file, bytes).unwrap();
    let (source, category) = (Some("s1".to_owned()), Some("patent".to_owned()));
    let of_all = Options { source, category, ..world.options(&file) };
    named(&world, of_all.clone(), &rows).await;

    for (name, text, why) in [
        ("empty.ndjson", "", "holds no record"),
        ("empty.csv", "", "holds no record"),
        ("head.csv", "record_id,observed_at\n", "holds no record"),
        ("twice.csv", "record_id,reason,reason\n1,a,b\n", "column `reason` twice"),
    ] {
        let file = world.file(name, text);
        let error = publish(&Options { file, ..of_all.clone() }).await.unwrap_err().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
}

/// Every second row was refused for its reason at its field, in both languages, and the others were sent.
async fn named(world: &World, options: Options, bad: &[(&[u8], &str, &str)]) {
    let outcome = publish(&options).await.unwrap();
    let count = u64::try_from(bad.len()).unwrap();
    assert_eq!((outcome.sent, outcome.refused), (count, count), "{:?}", fs::read_to_string(&outcome.report));
    let mut report = csv::Reader::from_path(&outcome.report).unwrap();
    for (place, (row, (_, why, field))) in report.records().zip(bad).enumerate() {
        let row = row.unwrap();
        assert_eq!((&row[0], &row[2]), ((2 * place + 2).to_string().as_str(), "UNSENT"), "{row:?}");
        assert!(row[4].contains(why), "{row:?}");
        assert_eq!(&row[3], *field, "{row:?}");
        assert!(row[5].chars().any(|c| ('一'..='鿿').contains(&c)), "{row:?}");
    }
    assert!(world.stream.get_last_raw_message_by_subject("gov.data.v1.patent").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_goes_as_it_stands_with_what_holds_for_the_whole_file() {
    let world = World::start().await;
    let file = world.file("row.ndjson", r#"{ "source":"s1","data":{"n":1,"n":2.50} }"#);
    let options = Options { category: Some("patent".to_owned()), ..world.options(&file) };
    publish(&options).await.unwrap();
    let sent = world.stream.get_raw_message(1).await.unwrap().payload;
    assert_eq!(sent.as_ref(), br#"{"category":"patent", "source":"s1","data":{"n":1,"n":2.50} }"#);
}
