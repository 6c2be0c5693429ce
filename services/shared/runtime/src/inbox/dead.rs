//! Writes down messages that could not be used, and handles them again when asked to.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{
    Handler,
    batch::guarded,
    delivery::{Delivery, Origin},
    headers::Headers,
};
use crate::{Error, dead_letter::DIGEST};

/// What is kept of a message.
pub(super) struct Letter<'a> {
    pub(super) consumer: &'a str,
    pub(super) event_id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) subject: &'a str,
    pub(super) stream: &'a str,
    pub(super) stream_sequence: u64,
    pub(super) headers: &'a Headers,
    pub(super) payload: &'a [u8],
    /// Whether the payload may be kept; else its digest stands among the headers.
    pub(super) keeps_payload: bool,
    pub(super) reason: &'a str,
}

/// Records a message that can never be used, in the batch's transaction.
pub(super) async fn record(tx: &mut PgConnection, letter: Letter<'_>) -> Result<(), sqlx::Error> {
    let mut headers = letter.headers.kept();
    if !letter.keeps_payload {
        let digest = Sha256::digest(letter.payload);
        headers.insert(DIGEST.to_owned(), digest.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    sqlx::query!(
        "INSERT INTO runtime.dead_letter
             (dead_letter_id, consumer, event_id, event_type, subject, stream, stream_sequence, headers, payload, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        Uuid::now_v7(),
        letter.consumer,
        letter.event_id,
        letter.event_type,
        letter.subject,
        letter.stream,
        i64::try_from(letter.stream_sequence).unwrap_or(i64::MAX),
        Json(headers) as _,
        if letter.keeps_payload { letter.payload } else { &[] },
        storable(letter.reason.to_owned()),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// PostgreSQL's texts hold no NUL.
pub(super) fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Handles the dead letters whose replay was asked for, each in its own savepoint. Returns how many were looked at.
pub(super) async fn replay<H: Handler>(pool: &PgPool, consumer: &str, handler: &H) -> Result<usize, Error> {
    let waiting = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM runtime.dead_letter WHERE consumer = $1 AND replay_requested_at IS NOT NULL) AS "waiting!""#,
        consumer
    )
    .fetch_one(pool)
    .await?;
    if !waiting {
        return Ok(0);
    }
    let mut tx = pool.begin().await?;
    let letters = sqlx::query!(
        r#"SELECT dead_letter_id, subject, stream, stream_sequence, headers AS "headers: Json<BTreeMap<String, String>>", payload
         FROM runtime.dead_letter WHERE consumer = $1 AND replay_requested_at IS NOT NULL
         ORDER BY stream_sequence LIMIT 50 FOR UPDATE SKIP LOCKED"#,
        consumer
    )
    .fetch_all(&mut *tx)
    .await?;
    let looked_at = letters.len();
    for letter in letters {
        let stream_sequence = u64::try_from(letter.stream_sequence).unwrap_or_default();
        if letter.headers.0.contains_key(DIGEST) {
            tracing::warn!(dead_letter_id = %letter.dead_letter_id, "its payload was not kept: its sender must send it again");
            settle(&mut tx, letter.dead_letter_id, false, None).await?;
            continue;
        }
        let (subject, stream) = (letter.subject, letter.stream.into());
        let headers = letter.headers.0.into_iter().collect();
        let payload = Bytes::from(letter.payload);
        let reason = match Delivery::read(Origin { subject, headers, stream, stream_sequence }, &payload, 0) {
            Err(unreadable) => Some(unreadable.reason),
            Ok(delivery) => {
                let mut savepoint = tx.begin().await?;
                match guarded(handler, &mut savepoint, &delivery).await {
                    Ok(()) => {
                        savepoint.commit().await?;
                        None
                    }
                    Err(rejection) => {
                        savepoint.rollback().await?;
                        Some(rejection.to_string())
                    }
                }
            }
        };
        settle(&mut tx, letter.dead_letter_id, reason.is_none(), reason).await?;
    }
    tx.commit().await?;
    Ok(looked_at)
}

/// Without a reason the one it had stays.
async fn settle(tx: &mut PgConnection, id: Uuid, resolved: bool, reason: Option<String>) -> Result<(), sqlx::Error> {
    tracing::info!(dead_letter_id = %id, resolved, "a dead letter was handled again");
    sqlx::query!(
        "UPDATE runtime.dead_letter SET replay_requested_at = NULL, replays = replays + 1,
             resolved_at = CASE WHEN $2 THEN now() END, reason = coalesce($3, reason)
         WHERE dead_letter_id = $1",
        id,
        resolved,
        reason.map(|reason| storable(reason)),
    )
    .execute(tx)
    .await?;
    Ok(())
}
