//! Loans. The columns, not the message kept beside them, say what is owed.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::{LoanId, OrderId};
use zhirong_proto::matching::v1::{Loan, LoanState};

use super::order::{Cursor, Owner};
use crate::error::Error;

/// A loan with what is kept beside it.
#[derive(Debug, Clone)]
pub struct LoanRow {
    /// The loan as it stands.
    pub loan: Loan,
    /// When it was approved.
    pub approved_at: Timestamp,
    /// Value date of the last thing that happened to it; none before it was paid out.
    pub last_event_on: Option<Date>,
    /// What came back after a default, in all, fen.
    pub recovered_fen: i64,
}

/// Keeps a new loan.
pub async fn insert(
    conn: &mut PgConnection,
    loan_id: LoanId,
    order_id: OrderId,
    loan: &Loan,
    renews: Option<LoanId>,
    now: Timestamp,
) -> Result<(), Error> {
    let done = sqlx::query!(
        "INSERT INTO loan (loan_id, order_id, enterprise_id, institution_id, bank_reference, state, version, content,
                           amount_fen, approved_at, renews_loan_id)
         VALUES ($1, $2, $3, $4, $5, 'approved', $6, $7, $8, $9, $10)
         ON CONFLICT ON CONSTRAINT loan_reference_once DO NOTHING",
        loan_id.uuid(),
        order_id.uuid(),
        loan.enterprise_id,
        loan.institution_id,
        loan.bank_reference,
        loan.version,
        loan.encode_to_vec(),
        loan.amount_fen,
        now.to_sqlx() as _,
        renews.map(LoanId::uuid)
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 0 { Err(Error::BankReferenceUsed(loan.bank_reference.clone())) } else { Ok(()) }
}

/// A loan of an institution, locked.
pub async fn lock(conn: &mut PgConnection, loan_id: LoanId, institution: &str) -> Result<LoanRow, Error> {
    let row = sqlx::query!(
        r#"SELECT content, outstanding_fen, recovered_fen, approved_at AS "approved_at: jiff_sqlx::Timestamp",
                  last_event_on AS "last_event_on: jiff_sqlx::Date" FROM loan
           WHERE loan_id = $1 AND institution_id = $2 FOR UPDATE"#,
        loan_id.uuid(),
        institution
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::LoanNotFound)?;
    Ok(LoanRow {
        loan: decode(&row.content, row.outstanding_fen)?,
        approved_at: row.approved_at.to_jiff(),
        last_event_on: row.last_event_on.map(jiff_sqlx::Date::to_jiff),
        recovered_fen: row.recovered_fen,
    })
}

/// Keeps a loan that was paid out.
pub async fn disburse(conn: &mut PgConnection, loan_id: LoanId, loan: &Loan, day: Date) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE loan SET state = 'disbursed', version = $2, content = $3, disbursed_fen = $4, outstanding_fen = $5,
                         disbursed_on = $6, last_event_on = $6
         WHERE loan_id = $1",
        loan_id.uuid(),
        loan.version,
        loan.encode_to_vec(),
        loan.disbursed_fen,
        loan.outstanding_fen,
        day.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps what happened on a day to a loan that was paid out, with all that came back after a default.
pub async fn update(
    conn: &mut PgConnection,
    loan_id: LoanId,
    loan: &Loan,
    recovered_fen: i64,
    day: Date,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE loan SET state = $2, version = $3, content = $4, outstanding_fen = $5, recovered_fen = $6, last_event_on = $7
         WHERE loan_id = $1",
        loan_id.uuid(),
        word(loan.state()),
        loan.version,
        loan.encode_to_vec(),
        loan.outstanding_fen,
        recovered_fen,
        day.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A loan of an institution by id or by its own reference.
pub async fn find(
    conn: &mut PgConnection,
    institution: &str,
    loan_id: Option<LoanId>,
    bank_reference: Option<&str>,
) -> Result<Loan, Error> {
    let row = sqlx::query!(
        "SELECT content, outstanding_fen FROM loan
         WHERE institution_id = $1 AND (loan_id = $2 OR bank_reference = $3)",
        institution,
        loan_id.map(LoanId::uuid),
        bank_reference
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::LoanNotFound)?;
    decode(&row.content, row.outstanding_fen)
}

/// Somebody's loans, newest first, after a cursor, and only of one enterprise if one is named; each with its cursor.
pub async fn list(
    conn: &mut PgConnection,
    owner: Owner<'_>,
    enterprise: Option<&str>,
    before: Option<Cursor>,
    most: i64,
) -> Result<Vec<(Cursor, Loan)>, Error> {
    let (at, id): (Option<Timestamp>, Option<Uuid>) = before.unzip();
    let rows = sqlx::query!(
        r#"SELECT loan_id, approved_at AS "approved_at: jiff_sqlx::Timestamp", content, outstanding_fen FROM loan
           WHERE ($1::text IS NULL OR enterprise_id = $1) AND ($2::text IS NULL OR institution_id = $2)
             AND ($3::text IS NULL OR enterprise_id = $3)
             AND ($4::timestamptz IS NULL OR (approved_at, loan_id) < ($4, $5))
           ORDER BY approved_at DESC, loan_id DESC LIMIT $6"#,
        owner.enterprise(),
        owner.institution(),
        enterprise,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| Ok(((row.approved_at.to_jiff(), row.loan_id), decode(&row.content, row.outstanding_fen)?)))
        .collect()
}

fn decode(content: &[u8], outstanding_fen: i64) -> Result<Loan, Error> {
    Ok(Loan { outstanding_fen, ..Loan::decode(content)? })
}

/// The word in the database.
fn word(state: LoanState) -> &'static str {
    match state {
        LoanState::Unspecified | LoanState::Approved => "approved",
        LoanState::Disbursed => "disbursed",
        LoanState::Settled => "settled",
        LoanState::Defaulted => "defaulted",
    }
}
