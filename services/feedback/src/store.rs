//! All SQL of feedback.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    id::{InstitutionId, LoanId, ProductId, RatingId},
    uscc::Uscc,
};

use crate::{
    error::Error,
    rating::{Level, Score},
};

pub mod contact;
pub mod erasure;
pub mod sms;

/// What feedback keeps of a loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// The loan.
    pub loan_id: LoanId,
    /// The borrower.
    pub enterprise_id: Uscc,
    /// The lender.
    pub institution_id: InstitutionId,
    /// The product.
    pub product_id: ProductId,
    /// When it was approved.
    pub approved_at: Timestamp,
}

/// Keeps a loan; says whether it is new.
pub async fn insert_loan(conn: &mut PgConnection, loan: &Loan) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO loan (loan_id, enterprise_id, institution_id, product_id, approved_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        loan.loan_id.uuid(),
        loan.enterprise_id.as_str(),
        loan.institution_id.as_str(),
        loan.product_id.uuid(),
        loan.approved_at.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The borrower of a loan that is known.
pub async fn borrower(conn: &mut PgConnection, loan_id: LoanId) -> Result<Option<Uscc>, Error> {
    let found = sqlx::query_scalar!("SELECT enterprise_id FROM loan WHERE loan_id = $1", loan_id.uuid());
    let found = found.fetch_optional(conn).await?;
    found.map(|uscc| uscc.parse().map_err(|_| Error::Stored("loan.enterprise_id".to_owned()))).transpose()
}

/// A loan of an enterprise.
pub async fn loan_of(conn: &mut PgConnection, loan_id: LoanId, enterprise: &Uscc) -> Result<Loan, Error> {
    let row = sqlx::query!(
        r#"SELECT institution_id, product_id, approved_at AS "approved_at: jiff_sqlx::Timestamp"
           FROM loan WHERE loan_id = $1 AND enterprise_id = $2"#,
        loan_id.uuid(),
        enterprise.as_str()
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::LoanNotFound(loan_id.uuid()))?;
    Ok(Loan {
        loan_id,
        enterprise_id: enterprise.clone(),
        institution_id: row.institution_id.parse().map_err(|_| Error::Stored("loan.institution_id".to_owned()))?,
        product_id: ProductId::new(row.product_id),
        approved_at: row.approved_at.to_jiff(),
    })
}

/// A rating.
#[derive(Debug, Clone)]
pub struct RatingRow {
    /// The rating.
    pub rating_id: Uuid,
    /// The loan.
    pub loan_id: Uuid,
    /// The enterprise.
    pub enterprise_id: String,
    /// The lender.
    pub institution_id: String,
    /// The product.
    pub product_id: Uuid,
    /// 1 to 5.
    pub level: i16,
    /// The comment.
    pub comment_zh: String,
    /// When it came in.
    pub received_at: jiff_sqlx::Timestamp,
}

/// Keeps a rating; refused when the loan has one.
pub async fn insert_rating(
    conn: &mut PgConnection,
    rating_id: RatingId,
    loan: &Loan,
    level: Level,
    comment_zh: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let done = sqlx::query!(
        "INSERT INTO rating (rating_id, loan_id, enterprise_id, institution_id, product_id, level, comment_zh, received_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (loan_id) DO NOTHING",
        rating_id.uuid(),
        loan.loan_id.uuid(),
        loan.enterprise_id.as_str(),
        loan.institution_id.as_str(),
        loan.product_id.uuid(),
        level.number(),
        comment_zh,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 0 { Err(Error::AlreadyRated(loan.loan_id.uuid())) } else { Ok(()) }
}

/// Adds a rating to a product's score, under the score's lock. Gives the new score and its version.
pub async fn add_to_score(
    conn: &mut PgConnection,
    product: ProductId,
    level: Level,
) -> Result<(Score, i64), sqlx::Error> {
    let first = Score::default().with(level);
    let row = sqlx::query!(
        "INSERT INTO product_score AS score (product_id, level_sum, rating_count, version) VALUES ($1, $2, $3, 1)
         ON CONFLICT (product_id) DO UPDATE SET level_sum = score.level_sum + excluded.level_sum,
             rating_count = score.rating_count + excluded.rating_count, version = score.version + 1
         RETURNING level_sum, rating_count, version",
        product.uuid(),
        first.level_sum,
        first.rating_count
    )
    .fetch_one(conn)
    .await?;
    let score = Score { level_sum: row.level_sum, rating_count: row.rating_count };
    Ok((score, row.version))
}

/// Ratings that are not erased, newest first, after a cursor; of one enterprise or one institution when given.
pub async fn list_ratings(
    conn: &mut PgConnection,
    enterprise: Option<&str>,
    institution: Option<&str>,
    before: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<RatingRow>, sqlx::Error> {
    let (at, id) = before.unzip();
    sqlx::query_as!(
        RatingRow,
        r#"SELECT rating_id, loan_id, enterprise_id, institution_id, product_id, level, comment_zh,
                  received_at AS "received_at: _"
           FROM rating
           WHERE erased_at IS NULL AND ($1::text IS NULL OR enterprise_id = $1) AND ($2::text IS NULL OR institution_id = $2)
             AND ($3::timestamptz IS NULL OR (received_at, rating_id) < ($3, $4))
           ORDER BY received_at DESC, rating_id DESC LIMIT $5"#,
        enterprise,
        institution,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await
}

/// Feedback's figures of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Rating SMS queued.
    pub sms_queued: i64,
    /// Of these, taken by the provider.
    pub sms_sent: i64,
    /// Notices of subsidies queued.
    pub notices_queued: i64,
    /// Of these, taken by the provider.
    pub notices_sent: i64,
    /// Ratings received.
    pub ratings: i64,
    /// Of these, satisfied or very satisfied.
    pub ratings_satisfied: i64,
}

/// The figures from `from` until before `until`.
pub async fn outcome(conn: &mut PgConnection, from: Timestamp, until: Timestamp) -> Result<Outcome, sqlx::Error> {
    sqlx::query_as!(
        Outcome,
        r#"SELECT s.sms_queued AS "sms_queued!", s.sms_sent AS "sms_sent!", s.notices_queued AS "notices_queued!",
                  s.notices_sent AS "notices_sent!",
                  (SELECT count(*) FROM rating WHERE received_at >= $1 AND received_at < $2) AS "ratings!",
                  (SELECT count(*) FROM rating WHERE received_at >= $1 AND received_at < $2 AND level >= 4)
                      AS "ratings_satisfied!"
           FROM (SELECT count(*) FILTER (WHERE kind = 'rating') AS sms_queued,
                        count(*) FILTER (WHERE kind = 'rating' AND state = 'sent') AS sms_sent,
                        count(*) FILTER (WHERE kind = 'grant') AS notices_queued,
                        count(*) FILTER (WHERE kind = 'grant' AND state = 'sent') AS notices_sent
                 FROM sms WHERE queued_at >= $1 AND queued_at < $2) s"#,
        from.to_sqlx() as _,
        until.to_sqlx() as _
    )
    .fetch_one(conn)
    .await
}
