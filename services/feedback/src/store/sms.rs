//! Messages.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    id::{LoanId, SmsId},
    uscc::Uscc,
};

use crate::sms::{Kind, State, Step};

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
pub async fn insert(conn: &mut PgConnection, sms: NewSms<'_>, now: Timestamp) -> Result<bool, sqlx::Error> {
    // Serialises with `contact::set` for enterprises that have no row to lock yet.
    super::contact::lock(conn, sms.enterprise_id.as_str()).await?;
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
pub struct Row {
    /// The message.
    pub sms_id: Uuid,
    /// What it is for, as a word.
    pub kind: String,
    /// The loan.
    pub loan_id: Uuid,
    /// The enterprise.
    pub enterprise_id: String,
    /// The phone in clear, from before phones were sealed.
    pub phone: Option<String>,
    /// Which master key sealed its data key.
    pub key_version: Option<i32>,
    /// Its sealed data key.
    pub data_key: Option<Vec<u8>>,
    /// The sealed phone.
    pub sealed_phone: Option<Vec<u8>>,
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
pub async fn list(
    conn: &mut PgConnection,
    before: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let (at, id) = before.unzip();
    sqlx::query_as!(
        Row,
        r#"SELECT sms_id, kind, loan_id, enterprise_id, contact.phone AS "phone?", contact.key_version AS "key_version?",
                  contact.data_key AS "data_key?", contact.sealed_phone AS "sealed_phone?", text_zh, state, attempts, queued_at AS "queued_at: _", sent_at AS "sent_at: _", provider_message_id, last_error
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
