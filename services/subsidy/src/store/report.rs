//! Figures of a period.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;

/// The figures of grants made in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Grants with money set aside.
    pub grants: i64,
    /// Enterprises that have one.
    pub enterprises: i64,
    /// Sum of what is planned for them, fen.
    pub planned_fen: i64,
    /// Grants that wait.
    pub waiting: i64,
    /// Sum of what they wait for, fen.
    pub waiting_fen: i64,
}

/// The figures of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfPolicy {
    /// The policy.
    pub policy_id: Uuid,
    /// Its Chinese name, of the latest version that paid.
    pub name_zh: String,
    /// Grants with money set aside.
    pub grants: i64,
    /// Sum of what is planned, fen.
    pub planned_fen: i64,
}

/// The figures from `from` until before `until`.
pub async fn outcome(conn: &mut PgConnection, from: Timestamp, until: Timestamp) -> Result<Outcome, sqlx::Error> {
    sqlx::query_as!(
        Outcome,
        r#"SELECT count(*) FILTER (WHERE state <> 'waiting') AS "grants!",
                  count(DISTINCT enterprise_id) FILTER (WHERE state <> 'waiting') AS "enterprises!",
                  coalesce(sum(planned_fen) FILTER (WHERE state <> 'waiting'), 0)::bigint AS "planned_fen!",
                  count(*) FILTER (WHERE state = 'waiting') AS "waiting!",
                  coalesce(sum(planned_fen) FILTER (WHERE state = 'waiting'), 0)::bigint AS "waiting_fen!"
           FROM subsidy_grant WHERE created_at >= $1 AND created_at < $2"#,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_one(conn)
    .await
}

/// The same by policy, in order of id.
pub async fn by_policy(
    conn: &mut PgConnection,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<OfPolicy>, sqlx::Error> {
    sqlx::query_as!(
        OfPolicy,
        r#"SELECT s.policy_id AS "policy_id!", v.name_zh, s.grants AS "grants!", s.planned_fen AS "planned_fen!"
           FROM (SELECT policy_id, max(policy_version) AS version, count(*) AS grants, sum(planned_fen)::bigint AS planned_fen
                 FROM subsidy_grant WHERE state <> 'waiting' AND created_at >= $1 AND created_at < $2
                 GROUP BY policy_id) s
           JOIN policy_version v ON v.policy_id = s.policy_id AND v.version = s.version
           ORDER BY s.policy_id"#,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}
