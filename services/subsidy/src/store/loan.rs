//! Loans, as far as subsidy needs them.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use zhirong_kernel::{Fen, id::LoanId};

use crate::entitlement::Loan;

/// Keeps an approved loan with the number of policies it fits; says whether it is new.
pub async fn insert(conn: &mut PgConnection, loan: &Loan, fitting_policies: usize) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO loan (loan_id, enterprise_id, institution_id, product_id, product_tags, enterprise_class, amount_fen,
             rate_ppm, term_months, approved_at, fitting_policies, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (loan_id) DO NOTHING",
        loan.loan_id.uuid(),
        loan.enterprise_id.as_str(),
        loan.institution_id.as_str(),
        loan.product_id.uuid(),
        &loan.product_tags,
        loan.enterprise_class,
        loan.amount.get(),
        loan.rate.get(),
        loan.term_months,
        loan.approved_at.to_sqlx() as _,
        i32::try_from(fitting_policies).unwrap_or(i32::MAX),
        loan.version
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What a disbursement needs to know of its loan.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Approved amount.
    pub amount: Fen,
    /// Term, months.
    pub term_months: i32,
    /// Version of the last fact.
    pub version: i64,
}

/// Locks a loan; none when its approval has not come.
pub async fn lock(conn: &mut PgConnection, loan_id: LoanId) -> Result<Option<Known>, sqlx::Error> {
    let row =
        sqlx::query!("SELECT amount_fen, term_months, version FROM loan WHERE loan_id = $1 FOR UPDATE", loan_id.uuid())
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|row| Known { amount: Fen::new(row.amount_fen), term_months: row.term_months, version: row.version }))
}

/// Keeps the disbursement of a locked loan.
pub async fn disburse(
    conn: &mut PgConnection,
    loan_id: LoanId,
    amount: Fen,
    on: Date,
    version: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE loan SET disbursed_fen = $2, disbursed_on = $3, version = $4 WHERE loan_id = $1",
        loan_id.uuid(),
        amount.get(),
        on.to_sqlx() as _,
        version
    )
    .execute(conn)
    .await?;
    Ok(())
}
