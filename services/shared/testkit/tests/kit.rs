//! The kit keeps tests apart and does to services what crashes do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    borrow::Cow,
    path::PathBuf,
    time::{Duration, Instant},
};

use async_nats::jetstream::stream;
use sqlx::{
    Connection as _, PgConnection, SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zhirong_testkit::{Aside, Deliveries, Event, ServiceProcess, State, TestBroker, TestDatabase, eventually, program};

const PATIENCE: Duration = Duration::from_secs(20);

fn migrator(statement: &'static str) -> Migrator {
    let (kind, text) = (MigrationType::Simple, SqlStr::from_static(statement));
    Migrator::with_migrations(vec![Migration::new(1, Cow::Borrowed("first"), kind, text, false)])
}

#[tokio::test]
async fn each_test_has_its_own_copy_of_the_migrated_database() {
    let thing = migrator("CREATE TABLE thing (id BIGINT PRIMARY KEY)");
    let migrators = [&thing];
    let (one, two) = tokio::join!(TestDatabase::new(&migrators), TestDatabase::new(&migrators));
    let (one, two) = (one.unwrap(), two.unwrap());
    let (mine, theirs) = (one.pool().await.unwrap(), two.pool().await.unwrap());
    sqlx::raw_sql("INSERT INTO thing VALUES (1)").execute(&mine).await.unwrap();
    for (pool, expected) in [(&mine, 1), (&theirs, 0)] {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM thing").fetch_one(pool).await.unwrap();
        assert_eq!(count, expected);
    }
    // A service that migrates at its start finds nothing to do.
    thing.run(&mine).await.unwrap();

    let other = TestDatabase::new(&[&migrator("CREATE TABLE other (id BIGINT)")]).await.unwrap();
    let found: bool = sqlx::query_scalar("SELECT to_regclass('thing') IS NOT NULL")
        .fetch_one(&other.pool().await.unwrap())
        .await
        .unwrap();
    assert!(!found, "other migrations, another template");
}

#[tokio::test]
async fn a_copy_begins_with_all_that_is_there_and_goes_its_own_way() {
    let thing = migrator("CREATE TABLE thing (id BIGINT PRIMARY KEY)");
    let left = TestDatabase::new(&[&thing]).await.unwrap();
    // who is connected does not stand in the way
    let mut mine = PgConnection::connect(left.url()).await.unwrap();
    sqlx::raw_sql("INSERT INTO thing VALUES (1)").execute(&mut mine).await.unwrap();
    for _ in 0..2 {
        let copy = left.copy().await.unwrap();
        let theirs = copy.pool().await.unwrap();
        sqlx::raw_sql("INSERT INTO thing VALUES (2)").execute(&theirs).await.unwrap();
        let all: Vec<i64> = sqlx::query_scalar("SELECT id FROM thing ORDER BY id").fetch_all(&theirs).await.unwrap();
        assert_eq!(all, [1, 2]);
    }
}

#[tokio::test]
async fn a_state_is_all_rows_but_for_what_is_set_aside() {
    const ASIDES: [Aside; 5] = [
        Aside::columns("thing", &["stamped_at"], "the clock"),
        Aside::within(
            "thing",
            "content",
            |bytes| Ok(bytes.get(1..).unwrap_or_default().to_vec()),
            "one byte is the way's",
        ),
        Aside::older("log", &["id"], "number", "each step is kept"),
        Aside::table("way", "only the way"),
        Aside::untouched("never", "nobody writes it"),
    ];
    let schema = migrator(
        "CREATE SCHEMA runtime;
         CREATE TABLE runtime.dead_letter (consumer TEXT, reason TEXT);
         CREATE TABLE thing (id BIGINT, content BYTEA, stamped_at TIMESTAMPTZ DEFAULT clock_timestamp());
         CREATE TABLE log (id BIGINT, number BIGINT, word TEXT);
         CREATE TABLE way (id BIGINT); CREATE TABLE never (id BIGINT)",
    );
    let state = async |statements: &'static str, asides: &[Aside]| {
        let database = TestDatabase::new(&[&schema]).await.unwrap();
        let pool = database.pool().await.unwrap();
        sqlx::raw_sql(statements).execute(&pool).await.unwrap();
        State::of(&pool, asides).await
    };
    let first = "INSERT INTO thing VALUES (1, '\\x0102'), (2, '\\x0103');
                 INSERT INTO log VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c'); INSERT INTO way VALUES (1)";
    let same = "INSERT INTO thing VALUES (2, '\\xff03'), (1, '\\xff02');
                INSERT INTO log VALUES (2, 7, 'c'), (1, 9, 'b')";
    let other =
        "INSERT INTO thing VALUES (1, '\\x0102'), (2, '\\x0104'); INSERT INTO log VALUES (1, 1, 'b'), (2, 1, 'c')";
    let end = state(first, &ASIDES).await.unwrap();
    end.ensure_same(&state(same, &ASIDES).await.unwrap()).unwrap();
    end.ensure_same(&state(other, &ASIDES).await.unwrap()).unwrap_err();
    let fault = async |statements, asides: &[Aside]| state(statements, asides).await.err().unwrap().to_string();
    assert!(fault("INSERT INTO thing VALUES (1, '')", &ASIDES).await.contains("leaves nothing in log"));
    assert!(
        fault("INSERT INTO never VALUES (1); INSERT INTO log VALUES (1, 1, 'a')", &ASIDES)
            .await
            .contains("never has rows")
    );
    let stale = [Aside::columns("log", &["gone"], "it was there once")];
    assert!(fault(first, &stale).await.contains("log.gone"));
    assert!(fault("INSERT INTO runtime.dead_letter VALUES ('c', 'why')", &ASIDES).await.contains("c: why"));
}

#[tokio::test]
async fn a_database_goes_with_its_test_even_while_connected() {
    let (database, watcher) = (TestDatabase::empty().await.unwrap(), TestDatabase::empty().await.unwrap());
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    let _connected = PgConnection::connect(database.url()).await.unwrap();
    let pool = watcher.pool().await.unwrap();
    let exists = || async {
        sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert!(exists().await);
    drop(database);
    eventually(PATIENCE, "the database is gone", || async { Ok((!exists().await).then_some(())) }).await.unwrap();
}

#[tokio::test]
async fn a_broker_keeps_its_messages_over_a_crash_and_loses_them_with_its_store() {
    let mut broker = TestBroker::start().await.unwrap();
    let configuration =
        || stream::Config { name: "TEST".to_owned(), subjects: vec!["test.>".to_owned()], ..Default::default() };
    let jetstream = broker.jetstream().await.unwrap();
    jetstream.create_stream(configuration()).await.unwrap();
    let events = [Event::new("test.a", "a", "text/plain", "1"), Event::new("test.b", "b", "text/plain", "2")];
    Deliveries::new(events).twice().shuffled(1).publish(&jetstream).await.unwrap();
    let (url, pid) = (broker.url(), broker.pid().unwrap());

    broker.kill().await.unwrap();
    broker.restart().await.unwrap();
    assert_eq!(broker.url(), url);
    assert_ne!(broker.pid(), Some(pid));
    let again = broker.jetstream().await.unwrap();
    assert_eq!(again.get_stream("TEST").await.unwrap().cached_info().state.messages, 4, "duplicates included");

    broker.kill().await.unwrap();
    broker.delete_store().unwrap();
    broker.restart().await.unwrap();
    let empty = broker.jetstream().await.unwrap();
    assert!(empty.get_stream("TEST").await.is_err());
    let stored = empty.create_stream(configuration()).await.unwrap().cached_info().state.messages;
    assert_eq!(stored, 0);
}

#[tokio::test]
async fn a_client_in_the_middle_of_its_login_does_not_hold_up_the_end_of_a_test() {
    let database = TestDatabase::empty().await.unwrap();
    let address = database.url().split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).unwrap().to_owned();
    let mut login = tokio::net::TcpStream::connect(address).await.unwrap();
    // A startup message of protocol 3.0 for our user; the answer asks for a password, which never comes.
    let parameters = b"user\0zhirong\0database\0postgres\0\0";
    let length = u32::try_from(parameters.len() + 8).unwrap();
    login.write_all(&[&length.to_be_bytes()[..], &196_608_u32.to_be_bytes(), parameters].concat()).await.unwrap();
    assert_eq!(login.read_u8().await.unwrap(), b'R', "the server asks who this is");
    let began = Instant::now();
    drop(database);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

fn sample_service() -> PathBuf {
    program("examples/sample-service").unwrap()
}

#[tokio::test]
async fn a_service_comes_back_where_it_was() {
    let mut service = ServiceProcess::start(&sample_service(), []).await.unwrap();
    let (grpc, ops, pid) = (service.grpc(), service.ops(), service.pid().unwrap());
    assert!(service.log().unwrap().contains("asked 3: 200 OK"), "it was asked until it was ready");
    assert!(service.restart().await.is_err(), "it still runs");
    service.kill9().await.unwrap();
    service.restart().await.unwrap();
    assert_eq!((service.grpc(), service.ops()), (grpc, ops));
    assert_ne!(service.pid(), Some(pid));
    assert!(service.stop().await.unwrap().success());
    assert_eq!(service.pid(), None);
}

#[tokio::test]
async fn a_service_that_ends_at_once_tells_why() {
    let settings = [("ZHIRONG__SAMPLE__BROKEN", "the moon is full".to_owned())];
    let Err(error) = ServiceProcess::start(&sample_service(), settings).await else { panic!("it can't start") };
    assert!(error.to_string().contains("the moon is full"), "{error:#}");
}

#[tokio::test]
async fn a_dropped_service_is_gone() {
    let service = ServiceProcess::start(&sample_service(), []).await.unwrap();
    let pid = service.pid().unwrap();
    drop(service);
    eventually(PATIENCE, "the process is gone", || async {
        Ok(std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty()).then_some(()))
    })
    .await
    .unwrap();
}
