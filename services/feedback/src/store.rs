//! All SQL of feedback.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    id::{InstitutionId, LoanId, ProductId, RatingId, SmsId},
    uscc::Uscc,
};

use crate::{
    error::Error,
    phone::Phone,
    rating::{Level, Score},
    sms::{Kind, State, Step},
};

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

/// The phone of an enterprise.
pub async fn phone(conn: &mut PgConnection, enterprise: &str) -> Result<Option<Phone>, Error> {
    let phone = sqlx::query_scalar!("SELECT phone FROM contact WHERE enterprise_id = $1", enterprise)
        .fetch_optional(conn)
        .await?;
    phone.map(|phone| Phone::parse(&phone).map_err(|_| Error::Stored("contact.phone".to_owned()))).transpose()
}

/// Sets the phone of an enterprise and queues what waited for it; says how many messages that were.
pub async fn set_phone(
    conn: &mut PgConnection,
    enterprise: &Uscc,
    phone: &Phone,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO contact (enterprise_id, phone, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (enterprise_id) DO UPDATE SET phone = excluded.phone, updated_at = excluded.updated_at",
        enterprise.as_str(),
        phone.reveal(),
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    let queued = sqlx::query!(
        "UPDATE sms SET state = 'queued', due_at = $2, version = version + 1
         WHERE enterprise_id = $1 AND state = 'waiting_contact'",
        enterprise.as_str(),
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(queued.rows_affected())
}

/// A message that is to be queued.
#[derive(Debug, Clone, Copy)]
pub struct NewSms<'a> {
    /// The message.
    pub sms_id: SmsId,
    /// What it is for.
    pub kind: Kind,
    /// The loan it is about.
    pub loan_id: LoanId,
    /// The borrower.
    pub enterprise_id: &'a Uscc,
    /// What it says.
    pub text_zh: &'a str,
}

/// Queues the one SMS of its kind for a loan, or lets it wait for a contact; says whether it is new. The contact row is locked, so
/// that a contact that comes at the same moment finds the message.
pub async fn insert_sms(conn: &mut PgConnection, sms: NewSms<'_>, now: Timestamp) -> Result<bool, sqlx::Error> {
    // Serialises with set_phone for enterprises that have no row to lock yet.
    lock_contact(conn, sms.enterprise_id).await?;
    let done = sqlx::query!(
        "INSERT INTO sms (sms_id, kind, loan_id, enterprise_id, text_zh, state, queued_at, due_at, version)
         VALUES ($1, $2, $3, $4, $5,
                 CASE WHEN EXISTS (SELECT FROM contact WHERE enterprise_id = $4) THEN 'queued' ELSE 'waiting_contact' END,
                 $6, $6, 1)
         ON CONFLICT (loan_id, kind) DO NOTHING",
        sms.sms_id.uuid(),
        sms.kind.word(),
        sms.loan_id.uuid(),
        sms.enterprise_id.as_str(),
        sms.text_zh,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Waits for whoever changes this enterprise's contact or messages at the moment.
pub async fn lock_contact(conn: &mut PgConnection, enterprise: &Uscc) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", enterprise.as_str()).execute(conn).await?;
    Ok(())
}

/// An SMS that one sender has claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The message.
    pub sms_id: SmsId,
    /// The loan it asks about.
    pub loan_id: LoanId,
    /// The enterprise.
    pub enterprise_id: String,
    /// What it says.
    pub text_zh: String,
    /// Tries, this one included.
    pub attempts: i32,
    /// Whether its fate must be asked before it may be sent.
    pub ask_first: bool,
}

/// Claims due messages for `claim_for`; a claim that runs out means that the sender died and the fate is unknown.
pub async fn claim_due(
    conn: &mut PgConnection,
    now: Timestamp,
    claim_for: SignedDuration,
    most: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query!(
        "WITH due AS (
             SELECT sms_id, state FROM sms
             WHERE state IN ('queued', 'sending', 'unknown') AND due_at <= $1
             ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         UPDATE sms SET state = 'sending', attempts = attempts + 1, due_at = $3, version = version + 1
         FROM due WHERE sms.sms_id = due.sms_id
         RETURNING sms.sms_id, sms.loan_id, sms.enterprise_id, sms.text_zh, sms.attempts, due.state AS before",
        now.to_sqlx() as _,
        most,
        (now + claim_for).to_sqlx() as _
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            sms_id: SmsId::new(row.sms_id),
            loan_id: LoanId::new(row.loan_id),
            enterprise_id: row.enterprise_id,
            text_zh: row.text_zh,
            attempts: row.attempts,
            ask_first: row.before != State::Queued.word(),
        })
        .collect())
}

/// Writes down what came of a claim, unless somebody else holds it by now. Gives the new version.
pub async fn settle(
    conn: &mut PgConnection,
    claimed: &Claimed,
    step: &Step,
    now: Timestamp,
) -> Result<Option<i64>, sqlx::Error> {
    let sent_at = (step.state == State::Sent).then(|| now.to_sqlx());
    sqlx::query_scalar!(
        "UPDATE sms SET state = $3, due_at = $4, sent_at = $5, last_error = $6, version = version + 1,
                provider_message_id = COALESCE($7, provider_message_id)
         WHERE sms_id = $1 AND state = 'sending' AND attempts = $2
         RETURNING version",
        claimed.sms_id.uuid(),
        claimed.attempts,
        step.state.word(),
        (now + step.wait).to_sqlx() as _,
        sent_at as _,
        step.error.as_deref(),
        step.provider_message_id.as_deref()
    )
    .fetch_optional(conn)
    .await
}

/// A message as staff see it.
#[derive(Debug, Clone)]
pub struct SmsRow {
    /// The message.
    pub sms_id: Uuid,
    /// What it is for, as a word.
    pub kind: String,
    /// The loan.
    pub loan_id: Uuid,
    /// The enterprise.
    pub enterprise_id: String,
    /// The phone, if known.
    pub phone: Option<String>,
    /// What it says.
    pub text_zh: String,
    /// Where it stands, as a word.
    pub state: String,
    /// Tries so far.
    pub attempts: i32,
    /// When it was queued.
    pub queued_at: jiff_sqlx::Timestamp,
    /// When the provider took it.
    pub sent_at: Option<jiff_sqlx::Timestamp>,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Messages, newest first, after a cursor.
pub async fn list_sms(
    conn: &mut PgConnection,
    before: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<SmsRow>, sqlx::Error> {
    let (at, id) = before.unzip();
    sqlx::query_as!(
        SmsRow,
        r#"SELECT sms_id, kind, loan_id, enterprise_id, contact.phone AS "phone?", text_zh, state, attempts,
                  queued_at AS "queued_at: _", sent_at AS "sent_at: _", provider_message_id, last_error
           FROM sms LEFT JOIN contact USING (enterprise_id)
           WHERE $1::timestamptz IS NULL OR (queued_at, sms_id) < ($1, $2)
           ORDER BY queued_at DESC, sms_id DESC LIMIT $3"#,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await
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

/// Ratings, newest first, after a cursor; of one enterprise or one institution when given.
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
           WHERE ($1::text IS NULL OR enterprise_id = $1) AND ($2::text IS NULL OR institution_id = $2)
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
