//! Keeps the shell's tables small: partitions created ahead and dropped when old, records deleted past their time.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{Error, config::Retention, telemetry};

/// Interval between two rounds.
const INTERVAL: Duration = Duration::from_secs(600);
/// Interval of the measurements.
const MEASURE: Duration = Duration::from_secs(10);
/// Days for which partitions are created ahead.
const AHEAD_DAYS: i32 = 7;
/// Rows deleted in one statement, so that none holds locks for long.
const SLICE: i64 = 5000;

/// Runs until shutdown.
pub(crate) async fn run(pool: PgPool, retention: Retention, shutdown: CancellationToken) {
    let mut due = tokio::time::interval(INTERVAL);
    let mut measure = tokio::time::interval(MEASURE);
    loop {
        let done = tokio::select! {
            () = shutdown.cancelled() => return,
            _ = due.tick() => round(&pool, &retention).await,
            _ = measure.tick() => measurements(&pool).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "maintenance failed and is done again later");
        }
    }
}

async fn round(pool: &PgPool, retention: &Retention) -> Result<(), Error> {
    let held = sqlx::query_scalar!("SELECT runtime.maintain_outbox($1, $2)", AHEAD_DAYS, retention.outbox_days)
        .fetch_one(pool)
        .await?;
    if let Some(days) = held.filter(|held| *held > 0) {
        tracing::error!(days, "old days of the outbox hold unpublished events and are kept");
    }
    loop {
        let seen = sqlx::query!(
            "DELETE FROM runtime.inbox WHERE ctid IN (
                 SELECT ctid FROM runtime.inbox WHERE seen_at < now() - make_interval(days => $1) LIMIT $2)",
            retention.inbox_days,
            SLICE,
        )
        .execute(pool)
        .await?;
        let answered = sqlx::query!(
            "DELETE FROM runtime.request_log WHERE ctid IN (
                 SELECT ctid FROM runtime.request_log WHERE created_at < now() - make_interval(days => $1) LIMIT $2)",
            retention.request_log_days,
            SLICE,
        )
        .execute(pool)
        .await?;
        let resolved = sqlx::query!(
            "DELETE FROM runtime.dead_letter WHERE ctid IN (
                 SELECT ctid FROM runtime.dead_letter WHERE resolved_at < now() - make_interval(days => $1) LIMIT $2)",
            retention.dead_letter_days,
            SLICE,
        )
        .execute(pool)
        .await?;
        if seen.rows_affected() == 0 && answered.rows_affected() == 0 && resolved.rows_affected() == 0 {
            return Ok(());
        }
    }
}

async fn measurements(pool: &PgPool) -> Result<(), Error> {
    let metrics = telemetry::metrics::get();
    metrics.pool(pool.size(), pool.num_idle());
    let letters = sqlx::query!(
        r#"SELECT consumer, count(*) FILTER (WHERE resolved_at IS NULL) AS "open!" FROM runtime.dead_letter GROUP BY consumer"#
    )
    .fetch_all(pool)
    .await?;
    for row in letters {
        metrics.dead_letters(row.consumer, row.open);
    }
    Ok(())
}
