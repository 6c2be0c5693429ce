//! Budgets and their ledger.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    id::{GrantId, PolicyId},
};

use crate::budget::{Budget, Entry};

struct Row {
    budget_id: Uuid,
    policy_id: Uuid,
    year: i32,
    appropriated_fen: i64,
    available_fen: i64,
    reserved_fen: i64,
    accrued_fen: i64,
    paid_fen: i64,
}

impl From<Row> for Budget {
    fn from(row: Row) -> Self {
        Self {
            budget_id: row.budget_id,
            policy_id: PolicyId::new(row.policy_id),
            year: row.year,
            appropriated: Fen::new(row.appropriated_fen),
            available: Fen::new(row.available_fen),
            reserved: Fen::new(row.reserved_fen),
            accrued: Fen::new(row.accrued_fen),
            paid: Fen::new(row.paid_fen),
        }
    }
}

macro_rules! budgets {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            "SELECT budget_id, policy_id, year, appropriated_fen, available_fen, reserved_fen, accrued_fen, paid_fen
             FROM budget " + $tail
            $(, $argument)*
        )
    };
}

/// Locks the budgets of some policies for a year, in order of id, making those that are missing: an empty budget is what a
/// grant waits at.
pub async fn lock_all(
    conn: &mut PgConnection,
    policies: &[PolicyId],
    year: i32,
    new_ids: &[Uuid],
) -> Result<Vec<Budget>, sqlx::Error> {
    let policies: Vec<Uuid> = policies.iter().map(|policy| policy.uuid()).collect();
    let found = lock_existing(conn, &policies, year).await?;
    if found.len() == policies.len() {
        return Ok(found);
    }
    sqlx::query!(
        "INSERT INTO budget (budget_id, policy_id, year)
         SELECT n.budget_id, n.policy_id, $3 FROM unnest($1::uuid[], $2::uuid[]) AS n (budget_id, policy_id)
         ORDER BY n.policy_id ON CONFLICT (policy_id, year) DO NOTHING",
        new_ids,
        &policies,
        year
    )
    .execute(&mut *conn)
    .await?;
    lock_existing(conn, &policies, year).await
}

async fn lock_existing(conn: &mut PgConnection, policies: &[Uuid], year: i32) -> Result<Vec<Budget>, sqlx::Error> {
    let rows = budgets!("WHERE policy_id = ANY($1) AND year = $2 ORDER BY budget_id FOR UPDATE", policies, year)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(Budget::from).collect())
}

/// Locks one budget.
pub async fn lock(conn: &mut PgConnection, budget_id: Uuid) -> Result<Budget, sqlx::Error> {
    budgets!("WHERE budget_id = $1 FOR UPDATE", budget_id).fetch_one(conn).await.map(Budget::from)
}

/// Budgets in order of policy and year, after a cursor.
pub async fn list(conn: &mut PgConnection, after: Option<(Uuid, i32)>, most: i64) -> Result<Vec<Budget>, sqlx::Error> {
    let (policy, year) = after.unzip();
    let rows = budgets!(
        "WHERE $1::uuid IS NULL OR (policy_id, year) > ($1, $2::int) ORDER BY policy_id, year LIMIT $3",
        policy,
        year,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Budget::from).collect())
}

/// Budgets with money for somebody who waits.
pub async fn with_servable_grants(conn: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT budget_id FROM budget b WHERE available_fen > 0 AND EXISTS (
             SELECT FROM subsidy_grant g
             WHERE g.budget_id = b.budget_id AND g.state = 'waiting' AND g.planned_fen <= b.available_fen)
         ORDER BY budget_id"
    )
    .fetch_all(conn)
    .await
}

/// Counts the facts about a budget up by one.
pub async fn next_fact(conn: &mut PgConnection, budget_id: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE budget SET fact_version = fact_version + 1 WHERE budget_id = $1 RETURNING fact_version",
        budget_id
    )
    .fetch_one(conn)
    .await
}

/// What an entry belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Cause<'a> {
    /// Money set aside for a grant or given back by it.
    Grant(GrantId),
    /// Money of the treasury, with its document and who entered it.
    Treasury {
        /// The document.
        document_zh: &'a str,
        /// Who entered it.
        by: &'a str,
    },
}

/// Posts an entry of a locked budget. The database moves the balances with it.
pub async fn post(
    conn: &mut PgConnection,
    budget_id: Uuid,
    transaction_id: Uuid,
    entry: Entry,
    cause: Cause<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (grant, document, by) = match cause {
        Cause::Grant(grant) => (Some(grant.uuid()), None, None),
        Cause::Treasury { document_zh, by } => (None, Some(document_zh), Some(by)),
    };
    sqlx::query!(
        "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, document_zh, entered_by, posted_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        transaction_id,
        budget_id,
        entry.reason.word(),
        grant,
        document,
        by,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO ledger_posting (transaction_id, budget_id, kind, amount_fen) VALUES ($1, $2, $3, -$5::bigint), ($1, $2, $4, $5)",
        transaction_id,
        budget_id,
        entry.from.word(),
        entry.to.word(),
        entry.amount.get()
    )
    .execute(conn)
    .await?;
    Ok(())
}
