//! What each institution lent in a period.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

/// The figures of one institution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lent {
    /// The institution.
    pub institution_id: String,
    /// Loans approved.
    pub loans_approved: i64,
    /// Sum of them, fen.
    pub approved_fen: i64,
    /// Loans paid out.
    pub loans_disbursed: i64,
    /// Sum of what was paid out, fen.
    pub disbursed_fen: i64,
}

/// The figures of the days `first` to `last`, which are the instants from `from` until before `until`.
pub async fn lent(
    conn: &mut PgConnection,
    (first, last): (Date, Date),
    (from, until): (Timestamp, Timestamp),
) -> Result<Vec<Lent>, sqlx::Error> {
    sqlx::query_as!(
        Lent,
        r#"SELECT institution_id,
                  count(*) FILTER (WHERE approved) AS "loans_approved!",
                  coalesce(sum(amount_fen) FILTER (WHERE approved), 0)::bigint AS "approved_fen!",
                  count(*) FILTER (WHERE paid) AS "loans_disbursed!",
                  coalesce(sum(disbursed_fen) FILTER (WHERE paid), 0)::bigint AS "disbursed_fen!"
           FROM (SELECT institution_id, amount_fen, disbursed_fen,
                        approved_at >= $3 AND approved_at < $4 AS approved,
                        coalesce(disbursed_on BETWEEN $1 AND $2, false) AS paid
                 FROM loan) of_period
           WHERE approved OR paid GROUP BY institution_id ORDER BY institution_id"#,
        first.to_sqlx() as _,
        last.to_sqlx() as _,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}
