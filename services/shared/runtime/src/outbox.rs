//! Events leave through a table: [`append`] writes the event in the transaction of the change it reports, under the lock of
//! its aggregate; the relay publishes the unpublished rows and marks them with the broker's acknowledgement.
//!
//! Nothing is lost with the broker: published rows stay, and what a stream lost is published again from them.

pub(crate) mod event;
mod many;
mod recovery;
pub(crate) mod relay;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jiff::Timestamp;
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::{ContextV7, Uuid};
use zhirong_proto::Fact;

pub use many::{Prepared, append_all};

use crate::{Error, telemetry};

/// The thing that an event is about, with the version that the change gave it.
#[derive(Debug, Clone, Copy)]
pub struct Aggregate<'a> {
    /// Kind, such as `order`.
    pub kind: &'static str,
    /// Its id.
    pub id: &'a str,
    /// Its version after the change, from 1; each event of an aggregate needs a higher one than the last.
    pub version: i64,
}

/// Wakes the relay after a commit, so that an event does not wait for the next look.
#[derive(Debug, Clone, Default)]
pub struct OutboxWake(Arc<Notify>);

impl OutboxWake {
    /// Events were committed. Cheap; calls that come while the relay works are one call.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn notified(&self) {
        self.0.notified().await;
    }
}

/// Ids of one process rise, also within a millisecond, so that the relay keeps the order of one writer.
static ID_CONTEXT: LazyLock<Mutex<ContextV7>> = LazyLock::new(|| Mutex::new(ContextV7::new()));

fn event_id(now: Timestamp) -> Uuid {
    let context = ID_CONTEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(&*context, seconds, nanos))
}

fn subject<F: Fact>(key: &str) -> Result<String, Error> {
    if key.is_empty() || key.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>')) {
        return Err(Error::SubjectKey(key.to_owned()));
    }
    Ok(format!("{}.{key}", F::SUBJECT))
}

/// Writes an event into the outbox, in the caller's transaction. `key` is the last token of the subject, usually the
/// aggregate's id; `now` is when it happened. Returns the event's id.
///
/// # Errors
/// [`Error::VersionTaken`] when the aggregate already reported this version or a later one; [`Error::SubjectKey`] when `key`
/// is empty or holds a dot, a space or a wildcard; [`Error::Database`].
pub async fn append<F: Fact>(
    conn: &mut PgConnection,
    aggregate: Aggregate<'_>,
    key: &str,
    fact: &F,
    now: Timestamp,
) -> Result<Uuid, Error> {
    let subject = subject::<F>(key)?;
    let event_id = event_id(now);
    // One statement, one round trip: the version is raised and the event is written, or neither.
    let written = sqlx::query!(
        "WITH raised AS (
             INSERT INTO runtime.aggregate AS a (kind, id, version) VALUES ($1, $2, $3)
             ON CONFLICT (kind, id) DO UPDATE SET version = EXCLUDED.version WHERE a.version < EXCLUDED.version
             RETURNING version)
         INSERT INTO runtime.outbox
             (event_id, aggregate_kind, aggregate_id, aggregate_version, stream, subject, event_type, occurred_at, trace_parent, payload)
         SELECT $4, $1, $2, raised.version, $5, $6, $7, $8, $9, $10 FROM raised",
        aggregate.kind,
        aggregate.id,
        aggregate.version,
        event_id,
        F::STREAM,
        subject,
        F::TYPE,
        jiff_sqlx::Timestamp::from(now) as _,
        telemetry::trace::current_trace_parent(),
        fact.encode_to_vec(),
    )
    .execute(conn)
    .await?;
    if written.rows_affected() == 0 {
        return Err(Error::VersionTaken {
            kind: aggregate.kind,
            id: aggregate.id.to_owned(),
            version: aggregate.version,
        });
    }
    Ok(event_id)
}
