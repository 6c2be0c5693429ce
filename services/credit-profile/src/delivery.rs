//! Ends of deliveries: each is answered once everything that stands before it in the stream was judged, with the number of
//! events of its delivery that were refused. By it a sender knows that it has heard all its refusals.
//!
//! The end itself is taken like any event and noted; whether everything before it was taken too only the broker knows,
//! because several lanes and replicas share the stream.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zhirong_kernel::clock::Clock;
use zhirong_proto::gov::v1::DeliveryJudged;
use zhirong_runtime::{
    broker::Broker,
    inbox::Delivery,
    outbox::{self, Aggregate, OutboxWake},
};

use crate::{arrival::DeliveryEnd, error::Error, events::SUBSCRIPTION, profile::proto_time};

/// Between two looks at how far the stream was judged, while an end waits; the broker tells it to nobody by itself.
const LOOK: Duration = Duration::from_millis(250);
/// Looks for what other replicas left.
const POLL: Duration = Duration::from_secs(5);
/// An end that is not answered by then never is: the stream keeps no event longer.
const KEPT_DAYS: i32 = 14;

/// The end of a delivery, in good order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    event_id: String,
    delivery_id: String,
    source: String,
    stream_sequence: i64,
}

impl Ended {
    /// One that came as this event.
    pub fn of(end: DeliveryEnd, event: &Delivery) -> Self {
        Self {
            event_id: event.id.clone(),
            delivery_id: end.delivery_id,
            source: end.source,
            stream_sequence: i64::try_from(event.stream_sequence).unwrap_or(i64::MAX),
        }
    }
}

/// Notes an end, to be answered. One that comes again after its answer is answered again.
pub async fn note(conn: &mut PgConnection, end: &Ended, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO delivery_end (event_id, delivery_id, source, stream_sequence, ended_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        end.event_id,
        end.delivery_id,
        end.source,
        end.stream_sequence,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Answers the ends of deliveries.
pub struct Deliveries {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Knows how far the stream was judged.
    pub broker: Broker,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// Tells that an end may have come.
    pub ended: Arc<Notify>,
}

impl Deliveries {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let waiting = self.answer().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the ends of deliveries could not be answered; trying again");
                true
            });
            let woken = async { if waiting { std::future::pending().await } else { self.ended.notified().await } };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = woken => {}
                () = tokio::time::sleep(if waiting { LOOK } else { POLL }) => {}
            }
        }
    }

    /// Answers what can be answered; says whether some wait on.
    async fn answer(&self) -> Result<bool, Error> {
        let mut conn = self.pool.acquire().await?;
        if !waiting(&mut conn).await? {
            return Ok(false);
        }
        drop(conn);
        let judged = self.broker.judged(SUBSCRIPTION.stream, SUBSCRIPTION.durable).await?;
        let judged = i64::try_from(judged).unwrap_or(i64::MAX);
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let ends = sqlx::query_as!(
            Ended,
            "DELETE FROM delivery_end WHERE event_id IN (
                 SELECT event_id FROM delivery_end WHERE stream_sequence <= $1
                 ORDER BY stream_sequence LIMIT 50 FOR UPDATE SKIP LOCKED)
             RETURNING event_id, delivery_id, source, stream_sequence",
            judged
        )
        .fetch_all(&mut *tx)
        .await?;
        for end in &ends {
            let refused_count = refused(&mut tx, &end.delivery_id).await?;
            let answer = DeliveryJudged {
                event_id: end.event_id.clone(),
                delivery_id: end.delivery_id.clone(),
                source: end.source.clone(),
                refused_count,
                judged_at: Some(proto_time(now)),
            };
            // each is an aggregate of its own: nothing comes before or after it
            let id = Uuid::now_v7().to_string();
            let aggregate = Aggregate { kind: "judged_delivery", id: &id, version: 1 };
            outbox::append(&mut tx, aggregate, &end.source, &answer, now).await?;
        }
        sqlx::query!(
            "DELETE FROM delivery_end WHERE ended_at < $1::timestamptz - make_interval(days => $2)",
            now.to_sqlx() as _,
            KEPT_DAYS
        )
        .execute(&mut *tx)
        .await?;
        let waiting = waiting(&mut tx).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(waiting)
    }
}

async fn waiting(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM delivery_end) AS "waiting!""#).fetch_one(conn).await
}

/// How many events of a delivery were refused, whatever became of them later.
async fn refused(conn: &mut PgConnection, delivery_id: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM runtime.dead_letter WHERE consumer = $1 AND headers ->> 'ce-delivery' = $2"#,
        SUBSCRIPTION.durable,
        delivery_id
    )
    .fetch_one(conn)
    .await
}
