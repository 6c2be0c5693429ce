//! The lines in which grants wait for money at budgets: first those that run and were held short, then those that wait, each in order
//! of approval.

use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::LoanId;

/// A place in order of approval: when the loan was approved, in microseconds as the database keeps it, and the loan.
pub type Place = (i64, Uuid);

/// The place before all others, of who was held short.
const FIRST: Place = (i64::MIN, Uuid::nil());

/// The first in line at each of some budgets; those where nobody waits are left out.
pub async fn heads(conn: &mut PgConnection, budgets: &[Uuid]) -> Result<Vec<(Uuid, Place)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT b.budget_id AS "budget_id!", l.short AS "short!", l.approved_at AS "approved_at!: jiff_sqlx::Timestamp",
                  l.loan_id AS "loan_id!"
           FROM unnest($1::uuid[]) AS b (budget_id) CROSS JOIN LATERAL (
               (SELECT g.short, g.approved_at, g.loan_id FROM subsidy_grant g
                WHERE g.budget_id = b.budget_id AND g.short AND g.state IN ('active', 'ended')
                ORDER BY g.approved_at, g.loan_id LIMIT 1)
               UNION ALL
               (SELECT false, g.approved_at, g.loan_id FROM subsidy_grant g
                WHERE g.budget_id = b.budget_id AND g.state = 'waiting'
                ORDER BY g.approved_at, g.loan_id LIMIT 1)) l"#,
        budgets
    )
    .fetch_all(conn)
    .await?;
    let place = |short: bool, at: jiff_sqlx::Timestamp, loan: Uuid| match short {
        true => FIRST,
        false => (at.to_jiff().as_microsecond(), loan),
    };
    Ok(rows.into_iter().map(|row| (row.budget_id, place(row.short, row.approved_at, row.loan_id))).collect())
}

/// Budgets with money for the first in line.
pub async fn servable(conn: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT budget_id FROM budget b WHERE available_fen > 0 AND (
             EXISTS (SELECT FROM subsidy_grant g
                     WHERE g.budget_id = b.budget_id AND g.short AND g.state IN ('active', 'ended'))
             OR available_fen >= (SELECT g.planned_fen FROM subsidy_grant g
                                  WHERE g.budget_id = b.budget_id AND g.state = 'waiting'
                                  ORDER BY g.approved_at, g.loan_id LIMIT 1))
         ORDER BY budget_id"
    )
    .fetch_all(conn)
    .await
}

/// Locks a loan unless somebody else has it, without waiting; says whether it is locked.
pub async fn hold_if_free(conn: &mut PgConnection, loan: LoanId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!("SELECT loan_id FROM loan WHERE loan_id = $1 FOR UPDATE SKIP LOCKED", loan.uuid())
        .fetch_optional(conn)
        .await
        .map(|found| found.is_some())
}
