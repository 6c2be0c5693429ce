//! Matching's figures of a period.

use futures::TryStreamExt as _;
use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::matching::v1::Loan;

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

/// Number and sum of the loans approved from `from` until before `until` for which intellectual property is pledged.
pub async fn ip_pledged(conn: &mut PgConnection, from: Timestamp, until: Timestamp) -> Result<(i64, i64), sqlx::Error> {
    let query = sqlx::query!(
        "SELECT content, amount_fen FROM loan WHERE approved_at >= $1 AND approved_at < $2",
        from.to_sqlx() as _,
        until.to_sqlx() as _
    );
    let (mut loans, mut fen) = (0_i64, 0_i64);
    let mut rows = query.fetch(conn);
    while let Some(row) = rows.try_next().await? {
        let loan = Loan::decode(row.content.as_slice()).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        if !loan.ip_pledges.is_empty() {
            loans = loans.saturating_add(1);
            fen = fen.saturating_add(row.amount_fen);
        }
    }
    Ok((loans, fen))
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
