//! Looks at dead letters and asks for replays. The service that owns them replays them: its consumer picks the request up
//! and applies the event through its own handler.

mod grpc;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgPool, types::Json};
use uuid::Uuid;

pub(crate) use grpc::DeadLetters;

use crate::page::Page;

/// Among the headers of a letter whose payload is not kept: the SHA-256 of the payload, by which its sender finds what it sent.
pub(crate) const DIGEST: &str = "payload-sha256";

/// A message that could not be used.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its id.
    pub id: Uuid,
    /// The consumer that could not use it.
    pub consumer: String,
    /// NATS subject.
    pub subject: String,
    /// CloudEvents id; empty if the message had none.
    pub event_id: String,
    /// CloudEvents type; likewise.
    pub event_type: String,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub state: State,
    /// When it was set aside.
    pub recorded_at: Timestamp,
    /// The message's headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The message's payload.
    pub payload: Vec<u8>,
    /// Who closed it; empty when nobody did.
    pub closed_by: String,
    /// Why it was closed.
    pub note: String,
}

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for a decision.
    Open,
    /// Will be handled again.
    ReplayRequested,
    /// Was handled.
    Resolved,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ReplayRequested => "replay_requested",
            Self::Resolved => "resolved",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "resolved" => Self::Resolved,
            "replay_requested" => Self::ReplayRequested,
            _ => Self::Open,
        }
    }
}

/// Where a page of dead letters ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cursor {
    recorded_at: Timestamp,
    id: Uuid,
}

impl DeadLetter {
    /// Whether its payload was left out on purpose, so that it can't be handled again.
    #[must_use]
    pub fn is_without_payload(&self) -> bool {
        self.headers.contains_key(DIGEST)
    }

    /// Where the page that ends with this one ended.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { recorded_at: self.recorded_at, id: self.id }
    }
}

/// Dead letters, newest first; headers and payload are left out.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &PgPool, state: Option<State>, page: &Page<Cursor>) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let (before, id) = page.after.map(|cursor| (cursor.recorded_at, cursor.id)).unzip();
    let rows = sqlx::query!(
        r#"SELECT * FROM (
             SELECT dead_letter_id, consumer, subject, event_id, event_type, reason, closed_by, note,
                 recorded_at AS "recorded_at: jiff_sqlx::Timestamp",
                 CASE WHEN resolved_at IS NOT NULL THEN 'resolved'
                      WHEN replay_requested_at IS NOT NULL THEN 'replay_requested' ELSE 'open' END AS "state!"
             FROM runtime.dead_letter
             WHERE $2::timestamptz IS NULL OR (recorded_at, dead_letter_id) < ($2, $3::uuid)) AS letter
         WHERE $1::text IS NULL OR "state!" = $1
         ORDER BY 9 DESC, dead_letter_id DESC LIMIT $4"#,
        state.map(State::as_str),
        before.map(jiff_sqlx::Timestamp::from) as _,
        id,
        page.size,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| DeadLetter {
            id: row.dead_letter_id,
            consumer: row.consumer,
            subject: row.subject,
            event_id: row.event_id,
            event_type: row.event_type,
            reason: row.reason,
            state: State::parse(&row.state),
            recorded_at: row.recorded_at.to_jiff(),
            headers: BTreeMap::new(),
            payload: Vec::new(),
            closed_by: row.closed_by,
            note: row.note,
        })
        .collect())
}

/// One dead letter, whole.
///
/// # Errors
/// When the database fails.
pub async fn show(conn: &mut PgConnection, id: Uuid) -> Result<Option<DeadLetter>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT dead_letter_id, consumer, subject, event_id, event_type, reason, payload, closed_by, note,
             headers AS "headers: Json<BTreeMap<String, String>>", recorded_at AS "recorded_at: jiff_sqlx::Timestamp",
             CASE WHEN resolved_at IS NOT NULL THEN 'resolved'
                  WHEN replay_requested_at IS NOT NULL THEN 'replay_requested' ELSE 'open' END AS "state!"
         FROM runtime.dead_letter WHERE dead_letter_id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| DeadLetter {
        id: row.dead_letter_id,
        consumer: row.consumer,
        subject: row.subject,
        event_id: row.event_id,
        event_type: row.event_type,
        reason: row.reason,
        state: State::parse(&row.state),
        recorded_at: row.recorded_at.to_jiff(),
        headers: row.headers.0,
        payload: row.payload,
        closed_by: row.closed_by,
        note: row.note,
    }))
}

/// Asks for an open one to be handled again; one that is resolved stays so. Returns it as it stands, none if there is none.
///
/// # Errors
/// When the database fails.
pub async fn request_replay(conn: &mut PgConnection, id: Uuid) -> Result<Option<DeadLetter>, sqlx::Error> {
    // One transaction, so that what is returned is what was asked and not what a quick replay has made of it since.
    let mut tx = conn.begin().await?;
    sqlx::query!(
        "UPDATE runtime.dead_letter SET replay_requested_at = now()
         WHERE dead_letter_id = $1 AND resolved_at IS NULL AND replay_requested_at IS NULL",
        id
    )
    .execute(&mut *tx)
    .await?;
    let letter = show(&mut tx, id).await?;
    tx.commit().await?;
    Ok(letter)
}

/// Closes those that are open; gives how many were.
///
/// # Errors
/// When the database fails.
pub async fn close(conn: &mut PgConnection, ids: &[Uuid], by: &str, note: &str) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE runtime.dead_letter
         SET resolved_at = now(), replay_requested_at = NULL, payload = '', closed_by = $2, note = $3
         WHERE dead_letter_id = ANY($1) AND resolved_at IS NULL",
        ids,
        by,
        note
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
