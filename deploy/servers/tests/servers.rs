//! The servers run, survive a crash with their data, and go when they are told to or when their program dies.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};
use zhirong_servers::{Error, Nats, NatsOptions, Postgres, PostgresOptions};

const DURABLE: PostgresOptions = PostgresOptions { durable: true };

/// A folder that the database's user can reach when the test runs as root.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

/// As [`until`], for a thread without a runtime of its own.
fn until_now(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn runs(pid: u32) -> bool {
    // A zombie has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn a_database_is_still_there_after_a_crash() {
    let dir = folder();
    let place = dir.path().join("pg");
    let mut postgres = Postgres::start(&place, DURABLE).await.unwrap();
    postgres.ensure_database("kept").await.unwrap();
    postgres.ensure_database("kept").await.unwrap();
    let (url, first) = (postgres.url("kept"), postgres.pid().unwrap());
    postgres.kill().await.unwrap();
    assert!(!runs(first));
    assert!(postgres.dir().join("data/postmaster.pid").exists(), "a crash leaves it behind");
    postgres.restart().await.unwrap();
    assert_eq!(postgres.url("kept"), url, "the same address and password");
    assert_ne!(postgres.pid(), Some(first));
    postgres.stop().await.unwrap();

    let again = Postgres::start(&place, DURABLE).await.unwrap();
    let password = url.split('@').next().unwrap();
    assert!(again.url("kept").starts_with(password), "the same cluster");
    let pid = again.pid().unwrap();
    drop(again);
    assert!(!runs(pid), "dropping stops it");
    assert!(!place.join("data/postmaster.pid").exists(), "gently");
}

#[tokio::test]
async fn a_pid_file_whose_number_another_program_has_is_no_obstacle() {
    let dir = folder();
    let postgres = Postgres::start(dir.path(), DURABLE).await.unwrap();
    let data = postgres.dir().join("data");
    postgres.stop().await.unwrap();
    let mut other = as_server(Command::new("sleep").arg("600"), &data);
    let stale = format!("{}\n{}\n", other.id().unwrap(), data.display());
    fs::write(data.join("postmaster.pid"), stale).unwrap();
    Postgres::start(dir.path(), DURABLE).await.unwrap().stop().await.unwrap();
    other.kill().await.unwrap();
}

/// Runs a command as the user who owns a folder: PostgreSQL minds only processes of its own user.
fn as_server(command: &mut Command, folder: &Path) -> tokio::process::Child {
    use std::os::unix::fs::MetadataExt as _;
    let owner = fs::metadata(folder).unwrap();
    command.uid(owner.uid()).gid(owner.gid()).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn two_servers_on_one_folder_are_refused() {
    let dir = folder();
    let (place, store) = (dir.path().join("pg"), dir.path().join("nats"));
    let postgres = Postgres::start(&place, DURABLE).await.unwrap();
    let nats = Nats::start(&store, NatsOptions { durable: true }).await.unwrap();
    let (second, other) =
        tokio::join!(Postgres::start(&place, DURABLE), Nats::start(&store, NatsOptions { durable: true }));
    assert!(matches!(second, Err(Error::Busy { pid, .. }) if u32::try_from(pid) == Ok(postgres.pid().unwrap())));
    assert!(matches!(other, Err(Error::Busy { pid, .. }) if u32::try_from(pid) == Ok(nats.pid().unwrap())));
}

#[tokio::test]
async fn a_broker_comes_back_on_its_address() {
    let dir = folder();
    let mut nats = Nats::start(dir.path(), NatsOptions { durable: true }).await.unwrap();
    let url = nats.url();
    assert!(matches!(nats.delete_store(), Err(Error::Folder { .. })), "it runs");
    nats.kill().await.unwrap();
    nats.delete_store().unwrap();
    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    let pid = nats.pid().unwrap();
    assert!(runs(pid));
    nats.stop().await.unwrap();
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_server_outlives_the_thread_that_asked_for_it() {
    let runtime = tokio::runtime::Handle::current();
    let dir = folder();
    let path = dir.path().to_path_buf();
    let asked = std::thread::spawn(move || {
        let nats = runtime.block_on(Nats::start(&path, NatsOptions { durable: false })).unwrap();
        // Bound to the thread itself, as the server must not be.
        let mut bound = std::process::Command::new("setpriv");
        let bound = bound.args(["--pdeathsig", "TERM", "--", "sleep", "600"]).spawn().unwrap();
        until_now("the other has become `sleep`", || {
            fs::read(format!("/proc/{}/cmdline", bound.id())).is_ok_and(|line| line.starts_with(b"sleep"))
        });
        (nats, bound)
    });
    let (nats, mut bound) = tokio::task::spawn_blocking(|| asked.join().unwrap()).await.unwrap();
    // The kernel tells all children of a thread at once: when this one has gone the server would go too.
    tokio::task::spawn_blocking(move || bound.wait().unwrap()).await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    client.flush().await.unwrap();
    assert!(runs(nats.pid().unwrap()));
}

#[tokio::test]
async fn servers_go_when_their_program_is_killed_and_the_next_start_takes_over() {
    let dir = folder();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "program_that_is_killed", "--nocapture"])
        .env("FOLDER", dir.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let pids: Vec<u32> = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some((_, pids)) = line.split_once("pids:") {
            break pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        }
    };
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| runs(*pid)));
    program.kill().await.unwrap();

    let postgres = Postgres::start(&dir.path().join("pg"), DURABLE).await.unwrap();
    postgres.stop().await.unwrap();
    until("both are gone", || pids.iter().all(|pid| !runs(*pid))).await;
}

#[tokio::test]
#[ignore = "started by another test, which kills it"]
async fn program_that_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "the test that starts this one says it so")]
    let dir = std::env::var("FOLDER").unwrap();
    let postgres = Postgres::start(&Path::new(&dir).join("pg"), DURABLE).await.unwrap();
    let nats = Nats::start(&Path::new(&dir).join("nats"), NatsOptions { durable: true }).await.unwrap();
    println!("pids: {} {}", postgres.pid().unwrap(), nats.pid().unwrap());
    std::future::pending::<()>().await;
}
