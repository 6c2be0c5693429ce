//! What goes when an enterprise is erased: its contact, and the words of its ratings. Loans, the levels of ratings and what is
//! counted from them stay.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use zhirong_kernel::uscc::Uscc;
use zhirong_runtime::{idempotency, problem::Problem};

use super::contact;

/// Calls whose kept answers hold an enterprise's phone, masked, or its words.
const ANSWERS: &[&str] =
    &["/zhirong.feedback.v1.ContactService/SetContact", "/zhirong.feedback.v1.RatingService/SubmitRating"];

/// Erases what was there until `at`, under the lock of whoever changes it: what comes at the same moment comes wholly before or
/// wholly after. An erasure counts up; told again or after a newer one, it takes nothing more.
pub async fn erase(conn: &mut PgConnection, enterprise: &Uscc, version: i64, at: Timestamp) -> Result<(), Problem> {
    let enterprise_id = enterprise.as_str();
    contact::lock(conn, enterprise_id).await?;
    let noted = sqlx::query!(
        "INSERT INTO erasure AS kept (enterprise_id, version, erased_at) VALUES ($1, $2, $3)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET version = excluded.version, erased_at = greatest(kept.erased_at, excluded.erased_at)
             WHERE kept.version < excluded.version",
        enterprise_id,
        version,
        at.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    if noted.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!("DELETE FROM contact WHERE enterprise_id = $1 AND updated_at <= $2", enterprise_id, at.to_sqlx() as _)
        .execute(&mut *conn)
        .await?;
    // What the provider may have is asked about first, and waits then.
    sqlx::query!(
        "UPDATE sms SET state = 'waiting_contact', version = version + 1
         WHERE enterprise_id = $1 AND state = 'queued' AND NOT EXISTS (SELECT FROM contact WHERE enterprise_id = $1)",
        enterprise_id
    )
    .execute(&mut *conn)
    .await?;
    // Again by each that is newer, so that the last one has done it whichever is heard of first.
    sqlx::query!(
        "UPDATE rating SET comment_zh = '', erased_at = $2
         WHERE enterprise_id = $1 AND received_at <= $2",
        enterprise_id,
        at.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    idempotency::forget_answers(conn, ANSWERS, enterprise_id).await
}
