//! Subsidy policies and whether their budgets have money left.

use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::subsidy::v1::Policy;

use super::{catalog::Kind, read_model::changed};

/// Keeps a policy unless a newer version is there.
pub async fn put_policy(conn: &mut PgConnection, policy_id: Uuid, policy: &Policy) -> Result<(), sqlx::Error> {
    let content = policy.encode_to_vec();
    let done = sqlx::query!(
        "INSERT INTO subsidy_policy AS kept (policy_id, version, content) VALUES ($1, $2, $3)
         ON CONFLICT (policy_id) DO UPDATE SET version = excluded.version, content = excluded.content, ended = false
             WHERE kept.version < excluded.version",
        policy_id,
        policy.version,
        content
    )
    .execute(&mut *conn)
    .await?;
    changed(conn, done.rows_affected(), Kind::Policy, &policy_id.to_string(), Some(&content)).await
}

/// A version has ended, unless a newer one is there. What it says is of no more use, and may not have been heard of.
pub async fn end_policy(conn: &mut PgConnection, policy_id: Uuid, version: i32) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO subsidy_policy AS kept (policy_id, version, content, ended) VALUES ($1, $2, '', true)
         ON CONFLICT (policy_id) DO UPDATE SET version = excluded.version, content = '', ended = true
             WHERE kept.version <= excluded.version AND NOT (kept.ended AND kept.version = excluded.version)",
        policy_id,
        version
    )
    .execute(&mut *conn)
    .await?;
    changed(conn, done.rows_affected(), Kind::Policy, &policy_id.to_string(), None).await
}

/// Keeps whether a budget has money left unless a newer fact is there.
pub async fn put_budget(
    conn: &mut PgConnection,
    policy_id: Uuid,
    year: i32,
    version: i64,
    available: bool,
) -> Result<(), sqlx::Error> {
    // What does not change the answer does not raise the catalog's version either.
    let before = sqlx::query_scalar!(
        "SELECT available FROM subsidy_budget WHERE policy_id = $1 AND year = $2 FOR UPDATE",
        policy_id,
        year
    )
    .fetch_optional(&mut *conn)
    .await?;
    let done = sqlx::query!(
        "INSERT INTO subsidy_budget AS kept (policy_id, year, version, available) VALUES ($1, $2, $3, $4)
         ON CONFLICT (policy_id, year) DO UPDATE SET version = excluded.version, available = excluded.available
             WHERE kept.version < excluded.version",
        policy_id,
        year,
        version,
        available
    )
    .execute(&mut *conn)
    .await?;
    let rows = if before == Some(available) { 0 } else { done.rows_affected() };
    let content: &[u8] = if available { b"1" } else { b"0" };
    changed(conn, rows, Kind::Budget, &format!("{policy_id} {year}"), Some(content)).await
}
