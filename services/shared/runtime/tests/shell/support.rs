//! A database and a broker for each test, services on them, and a handler whose effects can be counted.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{HeaderMap, jetstream};
use prost::Message as _;
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;
use zhirong_proto::{
    Fact as _,
    matching::v1::{Order, OrderPlaced},
};
use zhirong_runtime::{
    Error, Service,
    config::Common,
    inbox::{Delivery, Handler, Rejection, Subscription},
    outbox::{self, Aggregate, OutboxWake},
    streams,
};
use zhirong_testkit::{TestBroker, TestDatabase};

/// The service's own tables come from the test, not from migrations.
static NO_MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| Migrator::with_migrations(Vec::new()));

pub(crate) use zhirong_testkit::PATIENCE;

pub(crate) const ORDERS: Subscription =
    Subscription { durable: "test-orders", stream: streams::MATCHING, subjects: &["zr.matching.v1.order.>"] };

pub(crate) struct World {
    pub(crate) settings: Common,
    pub(crate) pool: PgPool,
    _database: TestDatabase,
    pub(crate) broker: TestBroker,
}

pub(crate) async fn world() -> World {
    let database = TestDatabase::empty().await.unwrap();
    let broker = TestBroker::start().await.unwrap();
    let mut settings = zhirong_testkit::settings(&database, &broker, Path::new("")).unwrap();
    settings.inbox.replay_interval_ms = 50;
    settings.shutdown.drain_ms = 2000;
    let pool = PgPool::connect(database.url()).await.unwrap();
    World { settings, pool, _database: database, broker }
}

impl World {
    pub(crate) async fn start(&self, name: &'static str) -> Service {
        Service::start(name, self.settings.clone(), &NO_MIGRATIONS, CancellationToken::new()).await.unwrap()
    }

    /// A service that applies orders.
    pub(crate) async fn orders_service<H: Handler>(&self, handler: H) -> Running {
        let mut service = self.start("orders").await;
        effects_table(&self.pool).await;
        service.consume(ORDERS, handler);
        run(service)
    }

    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        let client = async_nats::connect(self.broker.url()).await.unwrap();
        let context = jetstream::new(client);
        streams::ensure(&context, streams::MATCHING, 1).await.unwrap();
        context
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }
}

pub(crate) async fn effects_table(pool: &PgPool) {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS effect (event_id TEXT NOT NULL, order_id TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS checked (n INT CHECK (n > 0), on_day DATE);
         CREATE TABLE IF NOT EXISTS checked_late (n INT);
         CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'it does not balance' USING ERRCODE = 'check_violation'; END $$;
         DROP TRIGGER IF EXISTS late ON checked_late;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON checked_late
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .execute(pool)
    .await
    .unwrap();
}

pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

pub(crate) fn run(service: Service) -> Running {
    let stop = service.shutdown();
    Running { stop, task: tokio::spawn(service.serve(Routes::default())) }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Writes one effect an order; an order named for a failure fails.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    pub(crate) committed: Arc<AtomicUsize>,
}

impl Handler for Orders {
    async fn handle(&self, tx: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let order = delivery.decode::<OrderPlaced>()?.order.ok_or_else(|| Rejection::poison("`order` is missing"))?;
        sqlx::query("INSERT INTO effect VALUES ($1, $2)")
            .bind(&delivery.id)
            .bind(&order.order_id)
            .execute(&mut *tx)
            .await?;
        match order.order_id.as_str() {
            "poison" => Err(Rejection::poison("never")),
            "panic" => panic!("a bug in a handler"),
            "early" if delivery.attempt < 3 => Err(Rejection::not_yet("the loan is not here")),
            "against a check" => {
                sqlx::query("INSERT INTO checked (n) VALUES (0)").execute(tx).await?;
                Ok(())
            }
            "against a check at the commit" => {
                sqlx::query("INSERT INTO checked_late VALUES (0)").execute(tx).await?;
                Ok(())
            }
            "out of range" => {
                sqlx::query("INSERT INTO checked (on_day) VALUES ('2026-02-30')").execute(tx).await?;
                Ok(())
            }
            "broken sql" => {
                sqlx::query("SELECT * FROM no_such_table").execute(tx).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn committed(&self) {
        self.committed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Writes each order once by itself, so that nothing needs to be remembered; in several batches at the same time.
pub(crate) struct Versions;

impl Handler for Versions {
    const LANES: usize = 3;
    const REMEMBERS: bool = false;

    async fn handle(&self, tx: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let order = delivery.decode::<OrderPlaced>()?.order.ok_or_else(|| Rejection::poison("`order` is missing"))?;
        if order.order_id == "poison" {
            return Err(Rejection::poison("never"));
        }
        sqlx::query("INSERT INTO effect SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM effect WHERE order_id = $2)")
            .bind(&delivery.id)
            .bind(&order.order_id)
            .execute(tx)
            .await?;
        Ok(())
    }
}

pub(crate) fn order(id: &str) -> OrderPlaced {
    OrderPlaced { order: Some(Order { order_id: id.to_owned(), ..Order::default() }) }
}

/// Publishes an order as another service's relay would, without the broker's own de-duplication.
pub(crate) async fn publish(context: &jetstream::Context, event_id: &str, order_id: &str) {
    let payload = order(order_id).encode_to_vec();
    let headers = headers(event_id, OrderPlaced::TYPE);
    let ack = context.publish_with_headers(subject(), headers, payload.into()).await.unwrap();
    ack.await.unwrap();
}

pub(crate) fn subject() -> String {
    format!("{}.{}", OrderPlaced::SUBJECT, Uuid::now_v7())
}

pub(crate) fn headers(event_id: &str, ce_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", event_id),
        ("ce-type", ce_type),
        ("ce-source", "/test"),
        ("content-type", "application/protobuf"),
    ] {
        headers.insert(name, value);
    }
    headers
}

/// Writes the n-th version of an order, as a service would.
pub(crate) async fn write(pool: &PgPool, wake: &OutboxWake, order_id: &str, version: i64) -> Result<Uuid, Error> {
    let mut tx = pool.begin().await?;
    let aggregate = Aggregate { kind: "order", id: order_id, version };
    let id = outbox::append(&mut tx, aggregate, order_id, &order(order_id), jiff::Timestamp::now()).await?;
    tx.commit().await?;
    wake.notify();
    Ok(id)
}

/// Writes versions of orders in one transaction and one statement.
pub(crate) async fn write_all(pool: &PgPool, orders: &[(&str, i64)]) -> Result<(), Error> {
    let event = |(id, version): &(&str, i64)| {
        let aggregate = Aggregate { kind: "order", id, version: *version };
        outbox::Prepared::new(aggregate, id, &order(id), jiff::Timestamp::now())
    };
    let events = orders.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let mut tx = pool.begin().await?;
    outbox::append_all(&mut tx, &events).await?;
    Ok(tx.commit().await?)
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
