//! Matching's figures of a period.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

/// The figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Enterprises that computed.
    pub computed_enterprises: i64,
    /// Orders placed.
    pub orders_placed: i64,
    /// Orders rejected.
    pub orders_rejected: i64,
    /// Loans approved.
    pub loans_approved: i64,
    /// Sum of them, fen.
    pub approved_fen: i64,
    /// Loans paid out.
    pub loans_disbursed: i64,
    /// Sum of them, fen.
    pub disbursed_fen: i64,
    /// Enterprises with a loan approved.
    pub enterprises_with_loan: i64,
    /// Institutions that approved one.
    pub institutions_with_loan: i64,
    /// Enterprises with a pre-approved limit, now.
    pub preapproved_enterprises: i64,
    /// Sum of each one's largest, fen.
    pub preapproved_fen: i64,
}

/// The figures of the days `first` to `last`, which are the instants from `from` until before `until`.
pub async fn outcome(
    conn: &mut PgConnection,
    (first, last): (Date, Date),
    (from, until): (Timestamp, Timestamp),
) -> Result<Outcome, sqlx::Error> {
    sqlx::query_as!(
        Outcome,
        r#"SELECT
             (SELECT count(DISTINCT enterprise_id) FROM calculation WHERE computed_on BETWEEN $1 AND $2) AS "computed_enterprises!",
             (SELECT count(*) FROM orders WHERE placed_at >= $3 AND placed_at < $4) AS "orders_placed!",
             (SELECT count(*) FROM orders WHERE state = 'rejected' AND closed_at >= $3 AND closed_at < $4) AS "orders_rejected!",
             approved.loans AS "loans_approved!", approved.fen AS "approved_fen!",
             paid.loans AS "loans_disbursed!", paid.fen AS "disbursed_fen!",
             approved.enterprises AS "enterprises_with_loan!", approved.institutions AS "institutions_with_loan!",
             pre.enterprises AS "preapproved_enterprises!", pre.fen AS "preapproved_fen!"
           FROM (SELECT count(*) AS loans, coalesce(sum(amount_fen), 0)::bigint AS fen,
                        count(DISTINCT enterprise_id) AS enterprises, count(DISTINCT institution_id) AS institutions
                 FROM loan WHERE approved_at >= $3 AND approved_at < $4) approved,
                (SELECT count(*) AS loans, coalesce(sum(disbursed_fen), 0)::bigint AS fen
                 FROM loan WHERE disbursed_on BETWEEN $1 AND $2) paid,
                (SELECT count(largest_limit_fen) AS enterprises, coalesce(sum(largest_limit_fen), 0)::bigint AS fen
                 FROM preapproval) pre"#,
        first.to_sqlx() as _,
        last.to_sqlx() as _,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_one(conn)
    .await
}
