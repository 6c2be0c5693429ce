//! Grants that are taken back, by two persons.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::GrantId;

/// A reversal.
#[derive(Debug, Clone)]
pub struct Reversal {
    /// The reversal.
    pub reversal_id: Uuid,
    /// The grant.
    pub grant_id: Uuid,
    /// `requested`, `approved` or `declined`.
    pub state: String,
    /// Why.
    pub reason_zh: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub requested_at: jiff_sqlx::Timestamp,
    /// Who decided.
    pub decided_by: Option<String>,
    /// What they said; may be empty.
    pub decision_zh: String,
}

/// Asks for a reversal; false when one is open.
pub async fn request(
    conn: &mut PgConnection,
    reversal_id: Uuid,
    grant: GrantId,
    (by, reason_zh): (&str, &str),
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO reversal (reversal_id, grant_id, state, reason_zh, requested_by, requested_at)
         VALUES ($1, $2, 'requested', $3, $4, $5)
         ON CONFLICT (grant_id) WHERE state = 'requested' DO NOTHING",
        reversal_id,
        grant.uuid(),
        reason_zh,
        by,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

macro_rules! reversals {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Reversal,
            r#"SELECT reversal_id, grant_id, state, reason_zh, requested_by, requested_at AS "requested_at: _", decided_by,
                      decision_zh
               FROM reversal "# + $tail
            $(, $argument)*
        )
    };
}

/// Locks a reversal.
pub async fn lock(conn: &mut PgConnection, reversal_id: Uuid) -> Result<Option<Reversal>, sqlx::Error> {
    reversals!("WHERE reversal_id = $1 FOR UPDATE", reversal_id).fetch_optional(conn).await
}

/// Reversals in order of their request, after a cursor; of one state, when given.
pub async fn list(
    conn: &mut PgConnection,
    state: Option<&str>,
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Reversal>, sqlx::Error> {
    let (at, id) = after.unzip();
    reversals!(
        "WHERE ($1::text IS NULL OR state = $1)
           AND ($2::timestamptz IS NULL OR (requested_at, reversal_id) > ($2, $3::uuid))
         ORDER BY requested_at, reversal_id LIMIT $4",
        state,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await
}

/// Keeps a decision.
pub async fn decide(
    conn: &mut PgConnection,
    reversal_id: Uuid,
    state: &str,
    (by, reason_zh): (&str, &str),
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE reversal SET state = $2, decided_by = $3, decision_zh = $4, decided_at = $5 WHERE reversal_id = $1",
        reversal_id,
        state,
        by,
        reason_zh,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
