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
    /// Earned so far, paid or not, fen.
    pub accrued_fen: i64,
    /// Due and not paid, fen.
    pub payable_fen: i64,
    /// Paid, fen.
    pub paid_fen: i64,
    /// Claimed back and not returned, fen.
    pub clawed_back_fen: i64,
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
    /// Of it earned so far, paid or not, fen.
    pub accrued_fen: i64,
    /// Due and not paid, fen.
    pub payable_fen: i64,
    /// Paid, fen.
    pub paid_fen: i64,
}

/// The figures from `from` until before `until`.
pub async fn outcome(conn: &mut PgConnection, from: Timestamp, until: Timestamp) -> Result<Outcome, sqlx::Error> {
    sqlx::query_as!(
        Outcome,
        r#"SELECT count(*) FILTER (WHERE state NOT IN ('waiting', 'reversed')) AS "grants!",
                  count(DISTINCT enterprise_id) FILTER (WHERE state NOT IN ('waiting', 'reversed')) AS "enterprises!",
                  coalesce(sum(planned_fen) FILTER (WHERE state <> 'waiting'), 0)::bigint AS "planned_fen!",
                  count(*) FILTER (WHERE state = 'waiting') AS "waiting!",
                  coalesce(sum(planned_fen) FILTER (WHERE state = 'waiting'), 0)::bigint AS "waiting_fen!",
                  coalesce(sum(accrued_fen + payable_fen + paid_fen), 0)::bigint AS "accrued_fen!",
                  coalesce(sum(payable_fen), 0)::bigint AS "payable_fen!",
                  coalesce(sum(paid_fen), 0)::bigint AS "paid_fen!",
                  coalesce(sum(clawed_back_fen), 0)::bigint AS "clawed_back_fen!"
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
        r#"SELECT s.policy_id AS "policy_id!", v.name_zh, s.grants AS "grants!", s.planned_fen AS "planned_fen!",
                  s.accrued_fen AS "accrued_fen!", s.payable_fen AS "payable_fen!", s.paid_fen AS "paid_fen!"
           FROM (SELECT policy_id, max(policy_version) AS version, count(*) AS grants, sum(planned_fen)::bigint AS planned_fen,
                        sum(accrued_fen + payable_fen + paid_fen)::bigint AS accrued_fen, sum(payable_fen)::bigint AS payable_fen,
                        sum(paid_fen)::bigint AS paid_fen
                 FROM subsidy_grant WHERE state NOT IN ('waiting', 'reversed') AND created_at >= $1 AND created_at < $2
                 GROUP BY policy_id) s
           JOIN policy_version v ON v.policy_id = s.policy_id AND v.version = s.version
           ORDER BY s.policy_id"#,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}

/// How much a check of the ledger looks at: budgets and postings.
pub async fn ledger_size(conn: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM budget) AS "budgets!", (SELECT count(*) FROM ledger_posting) AS "postings!""#
    )
    .fetch_one(conn)
    .await?;
    Ok((row.budgets, row.postings))
}

/// Something in the ledger that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The policy of the budget.
    pub policy_id: Uuid,
    /// Its year.
    pub year: i32,
    /// The account.
    pub kind: String,
    /// What is stored, fen.
    pub stored: String,
    /// What the postings say, fen.
    pub replayed: String,
}

/// What differs; nothing, always. At most 500.
pub async fn ledger_differences(conn: &mut PgConnection) -> Result<Vec<Difference>, sqlx::Error> {
    sqlx::query_as!(
        Difference,
        r#"SELECT b.policy_id, b.year, d.kind AS "kind!", d.stored_fen::text AS "stored!", d.replayed_fen::text AS "replayed!"
           FROM ledger_difference d JOIN budget b ON b.budget_id = d.budget_id ORDER BY d.budget_id, d.kind LIMIT 500"#
    )
    .fetch_all(conn)
    .await
}
