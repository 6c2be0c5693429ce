//! Fills a broker again that lost messages: the database is the record, the broker a transport that can be rebuilt.
//!
//! A row to publish again becomes unpublished, and the relay does the rest. Consumers drop what they have seen.

use std::time::Duration;

use async_nats::jetstream::stream::Info;
use sqlx::{Connection as _, PgConnection};

use crate::{Error, broker::Broker, streams, telemetry};

/// Messages older than this may have left the stream by age, which is no loss; a day less than the streams keep them.
const CERTAINLY_KEPT: &str = "13 days";

/// A stream's life: one created anew under the same name has another epoch.
pub(crate) fn epoch(info: &Info) -> String {
    info.created.unix_timestamp_nanos().to_string()
}

/// The streams that this database has published to.
pub(super) async fn published_streams(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!("SELECT stream FROM runtime.stream_mark").fetch_all(connection).await?)
}

/// Compares a stream with what was acknowledged and makes unpublished what it lost: everything if it is new, what lies
/// above its last sequence if it was set back. Returns its epoch.
pub(super) async fn compare(connection: &mut PgConnection, broker: &Broker, stream: &str) -> Result<String, Error> {
    let found = streams::ensure(broker.jetstream(), stream, broker.replicas()).await?;
    let info = found.get_info().await.map_err(Error::broker)?;
    let epoch = epoch(&info);
    let mark = sqlx::query!("SELECT epoch, sequence FROM runtime.stream_mark WHERE stream = $1", stream)
        .fetch_optional(&mut *connection)
        .await?;
    let last = i64::try_from(info.state.last_sequence).unwrap_or(i64::MAX);
    match mark {
        Some(mark) if mark.epoch != epoch => {
            lost_above(connection, stream, &epoch, 0, "the stream was created anew").await?
        }
        Some(mark) if last < mark.sequence => {
            lost_above(connection, stream, &epoch, last, "the stream was set back").await?
        }
        _ => {}
    }
    Ok(epoch)
}

/// Makes unpublished what the stream held above `sequence` in this epoch, and all that it held in others.
pub(super) async fn lost_above(
    connection: &mut PgConnection,
    stream: &str,
    epoch: &str,
    sequence: i64,
    why: &'static str,
) -> Result<(), Error> {
    let mut tx = connection.begin().await?;
    let lost = sqlx::query!(
        "UPDATE runtime.outbox SET published_at = NULL, stream_epoch = NULL, stream_sequence = NULL
         WHERE stream = $1 AND published_at IS NOT NULL AND (stream_epoch <> $2 OR stream_sequence > $3)",
        stream,
        epoch,
        sequence,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    sqlx::query!(
        "INSERT INTO runtime.stream_mark (stream, epoch, sequence) VALUES ($1, $2, $3)
         ON CONFLICT (stream) DO UPDATE SET epoch = EXCLUDED.epoch, sequence = EXCLUDED.sequence, updated_at = now()",
        stream,
        epoch,
        sequence,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    telemetry::metrics::get().republished(stream, lost);
    tracing::error!(stream, lost, why, "the broker lost events; they are published again");
    Ok(())
}

/// Searches a stream for holes: sequences it says it lost, and a beginning cut off before its time. Returns how many
/// events are published again.
pub(super) async fn fill_holes(connection: &mut PgConnection, broker: &Broker, stream: &str) -> Result<u64, Error> {
    let found = streams::ensure(broker.jetstream(), stream, broker.replicas()).await?;
    let listed = found.info_builder().with_deleted(true).fetch().await.map_err(Error::broker)?;
    let epoch = epoch(&listed.info);
    let state = &listed.info.state;
    let first = i64::try_from(state.first_sequence).unwrap_or(i64::MAX);
    let holes: Vec<i64> = state.deleted.iter().flatten().filter_map(|sequence| i64::try_from(*sequence).ok()).collect();
    let filled = sqlx::query!(
        "UPDATE runtime.outbox SET published_at = NULL, stream_epoch = NULL, stream_sequence = NULL
         WHERE stream = $1 AND stream_epoch = $2
           AND (stream_sequence = ANY($3) OR (stream_sequence < $4 AND published_at > now() - $5::text::interval))",
        stream,
        epoch,
        &holes,
        first,
        CERTAINLY_KEPT,
    )
    .execute(connection)
    .await?
    .rows_affected();
    if filled > 0 {
        telemetry::metrics::get().republished(stream, filled);
        tracing::error!(stream, filled, "the stream has holes; their events are published again");
    }
    Ok(filled)
}

/// How long the relay's own statements may take: a recovery touches many rows.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
