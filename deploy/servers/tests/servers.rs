//! The servers run, survive a crash with their data, and go when they are told to.
#![allow(clippy::unwrap_used)]

use zhirong_servers::{Nats, NatsOptions, Postgres, PostgresOptions};

#[tokio::test]
async fn a_database_is_still_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut postgres = Postgres::start(&dir.path().join("pg"), PostgresOptions { durable: true }).await.unwrap();
    postgres.ensure_database("kept").await.unwrap();
    postgres.ensure_database("kept").await.unwrap();
    let url = postgres.url("kept");
    postgres.kill().await.unwrap();
    postgres.restart().await.unwrap();
    assert_eq!(postgres.url("kept"), url, "the same address");
    postgres.stop().await.unwrap();

    let again = Postgres::start(&dir.path().join("pg"), PostgresOptions { durable: true }).await.unwrap();
    again.ensure_database("kept").await.unwrap();
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_broker_comes_back_on_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let mut nats = Nats::start(dir.path(), NatsOptions { durable: true }).await.unwrap();
    let url = nats.url();
    nats.kill().await.unwrap();
    nats.delete_store().unwrap();
    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    nats.stop().await.unwrap();
}
