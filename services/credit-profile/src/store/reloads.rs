//! Full reloads of a source: which one is in force, and what it leaves out.
//!
//! A record is gone when a reload is in force for its source and category, it was observed by then, and does not belong to it.
//! Whoever writes a record judges it so; the records that were there before a reload came into force are judged in slices.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use crate::{marks::Marks, record::Reload};

mod list;

pub use list::{Cursor, Row, Which, get, list, waiting};

/// Notes the end of a reload. Of two ends of one name the later counts. Nobody else is at the pair.
pub async fn end(conn: &mut PgConnection, reload: &Reload, now: Timestamp) -> Result<(), sqlx::Error> {
    // A name that is used again after another reload took its place begins anew: what is left of it is in the way.
    sqlx::query!(
        "DELETE FROM reload_member
         WHERE (source, category, reload_id) IN (
             SELECT source, category, reload_id FROM reload
             WHERE source = $1 AND category = $2 AND reload_id = $3 AND forgetting AND given_up_at IS NULL
               AND ($4::timestamptz, $5::bigint) > (as_of, record_count))",
        reload.source,
        reload.category,
        reload.reload_id,
        reload.as_of.to_sqlx() as _,
        reload.record_count
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO reload AS r (source, category, reload_id, as_of, record_count, began_at, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (source, category, reload_id) DO UPDATE
             SET as_of = excluded.as_of, record_count = excluded.record_count, changed_at = excluded.changed_at,
                 forgetting = false
             WHERE r.given_up_at IS NULL
               AND (r.as_of IS NULL OR (excluded.as_of, excluded.record_count) > (r.as_of, r.record_count))",
        reload.source,
        reload.category,
        reload.reload_id,
        reload.as_of.to_sqlx() as _,
        reload.record_count,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts the latest complete reload of a source's category into force. Nobody else is at the pair. The records that are there are
/// judged by it afterwards; see [`slice`].
pub async fn settle(conn: &mut PgConnection, source: &str, category: &str) -> Result<(), sqlx::Error> {
    let latest = sqlx::query!(
        r#"SELECT reload_id, as_of AS "as_of!: jiff_sqlx::Timestamp",
                  member_count >= record_count AND applied_as_of IS DISTINCT FROM as_of AS "to_apply!"
           FROM reload
           WHERE source = $1 AND category = $2 AND given_up_at IS NULL
             AND (member_count >= record_count OR applied_as_of IS NOT NULL)
           ORDER BY as_of DESC, reload_id DESC LIMIT 1"#,
        source,
        category
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(latest) = latest else {
        return Ok(());
    };
    sqlx::query!(
        "UPDATE reload SET member_count = 0, applied_as_of = NULL, judged_to = NULL, forgetting = forgetting OR member_count > 0
         WHERE source = $1 AND category = $2 AND (as_of, reload_id) < ($3::timestamptz, $4)
           AND (member_count > 0 OR applied_as_of IS NOT NULL)",
        source,
        category,
        latest.as_of as _,
        latest.reload_id
    )
    .execute(&mut *conn)
    .await?;
    if latest.to_apply {
        sqlx::query!(
            "UPDATE reload SET applied_as_of = as_of, judged_to = ''
             WHERE source = $1 AND category = $2 AND reload_id = $3",
            source,
            category,
            latest.reload_id
        )
        .execute(conn)
        .await?;
    }
    Ok(())
}

/// A source's category with something left to be done.
pub async fn at_work(conn: &mut PgConnection) -> Result<Option<(String, String)>, sqlx::Error> {
    let found = sqlx::query!(
        "SELECT source, category FROM reload WHERE judged_to IS NOT NULL OR forgetting
         ORDER BY judged_to IS NULL, source, category LIMIT 1"
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|row| (row.source, row.category)))
}

/// Judges the next records by the reload in force of a source's category, of which nobody writes members or ends meanwhile; gives
/// whose profiles it concerns. Nothing when there is none to judge, or somebody else is at it.
pub async fn slice(
    conn: &mut PgConnection,
    source: &str,
    category: &str,
    most: i64,
) -> Result<Option<Marks>, sqlx::Error> {
    let work = sqlx::query!(
        r#"SELECT reload_id, judged_to AS "judged_to!", applied_as_of AS "as_of!: jiff_sqlx::Timestamp" FROM reload
           WHERE source = $1 AND category = $2 AND judged_to IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED"#,
        source,
        category
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(work) = work else { return Ok(None) };
    // Locked by a statement of its own, so that the next one sees what is there for good. What is added meanwhile was judged by
    // whoever added it.
    let slice = sqlx::query!(
        r#"WITH slice AS (
             SELECT record_id FROM record WHERE source = $1 AND category = $2 AND record_id > $3
             ORDER BY record_id LIMIT $4 FOR NO KEY UPDATE)
           SELECT count(*) AS "records!", max(record_id) AS last FROM slice"#,
        source,
        category,
        work.judged_to,
        most
    )
    .fetch_one(&mut *conn)
    .await?;
    let concerned = sqlx::query_scalar!(
        "WITH judged AS (
             SELECT r.record_id, r.observed_at <= $3::timestamptz AND m.record_id IS NULL AS gone
             FROM record r
             LEFT JOIN reload_member m
                 ON (m.source, m.category, m.reload_id, m.record_id) = (r.source, r.category, $4, r.record_id)
             WHERE r.source = $1 AND r.category = $2 AND r.record_id > $5 AND r.record_id <= $6),
         changed AS (
             UPDATE record r SET gone = judged.gone FROM judged
             WHERE r.source = $1 AND r.category = $2 AND r.record_id = judged.record_id AND r.gone <> judged.gone
             RETURNING r.uscc)
         SELECT DISTINCT uscc FROM changed",
        source,
        category,
        work.as_of as _,
        work.reload_id,
        work.judged_to,
        slice.last
    )
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE reload SET judged_to = $4 WHERE source = $1 AND category = $2 AND reload_id = $3",
        source,
        category,
        work.reload_id,
        slice.last.filter(|_| slice.records >= most)
    )
    .execute(conn)
    .await?;
    let mut marks = Marks::default();
    for uscc in concerned {
        marks.record(&uscc, category);
    }
    Ok(Some(marks))
}

/// Deletes some members of a reload that another took the place of; says whether there was any such reload.
pub async fn forget(conn: &mut PgConnection, source: &str, category: &str, most: i64) -> Result<bool, sqlx::Error> {
    let reload = sqlx::query_scalar!(
        "SELECT reload_id FROM reload WHERE source = $1 AND category = $2 AND forgetting
         ORDER BY reload_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED",
        source,
        category
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(reload) = reload else { return Ok(false) };
    let deleted = sqlx::query!(
        "DELETE FROM reload_member
         WHERE source = $1 AND category = $2 AND reload_id = $3 AND record_id IN (
             SELECT record_id FROM reload_member WHERE source = $1 AND category = $2 AND reload_id = $3
             ORDER BY record_id LIMIT $4)",
        source,
        category,
        reload,
        most
    )
    .execute(&mut *conn)
    .await?;
    if i64::try_from(deleted.rows_affected()).is_ok_and(|deleted| deleted < most) {
        sqlx::query!(
            "UPDATE reload SET forgetting = false WHERE source = $1 AND category = $2 AND reload_id = $3",
            source,
            category,
            reload
        )
        .execute(conn)
        .await?;
    }
    Ok(true)
}

/// Gives a reload up that is not in force: nothing of it counts, whatever comes of it. Nobody else is at the pair. Says whether it
/// was one that can be given up.
pub async fn give_up(
    conn: &mut PgConnection,
    (source, category, reload_id): (&str, &str, &str),
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE reload
         SET given_up_at = coalesce(given_up_at, $4), forgetting = forgetting OR member_count > 0, member_count = 0
         WHERE source = $1 AND category = $2 AND reload_id = $3 AND applied_as_of IS NULL",
        source,
        category,
        reload_id,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}
