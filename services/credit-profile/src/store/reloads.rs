//! Full reloads of a source: which one is in force, and what it leaves out.

use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

use crate::record::Reload;

/// Notes the end of a reload. Of two ends of one name the later counts.
pub async fn end(conn: &mut PgConnection, reload: &Reload) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO reload AS r (source, category, reload_id, as_of, record_count) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (source, category, reload_id) DO UPDATE
             SET as_of = excluded.as_of, record_count = excluded.record_count
             WHERE r.as_of IS NULL OR (excluded.as_of, excluded.record_count) > (r.as_of, r.record_count)",
        reload.source,
        reload.category,
        reload.reload_id,
        reload.as_of.to_sqlx() as _,
        reload.record_count
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts the latest complete reload of a source's category into force; gives the enterprises concerned. Nobody else is at the
/// pair.
pub async fn settle(conn: &mut PgConnection, source: &str, category: &str) -> Result<Vec<String>, sqlx::Error> {
    let latest = sqlx::query!(
        r#"SELECT reload_id, as_of AS "as_of!: jiff_sqlx::Timestamp",
                  applied_as_of IS NOT DISTINCT FROM as_of AS "applied!"
           FROM reload WHERE source = $1 AND category = $2 AND member_count >= record_count
           ORDER BY as_of DESC, reload_id DESC LIMIT 1"#,
        source,
        category
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(latest) = latest else {
        return Ok(Vec::new());
    };
    sqlx::query!(
        "WITH outdone AS (
             SELECT reload_id FROM reload
             WHERE source = $1 AND category = $2 AND (as_of, reload_id) < ($3::timestamptz, $4)),
         forgotten AS (
             DELETE FROM reload_member
             WHERE source = $1 AND category = $2 AND reload_id IN (SELECT reload_id FROM outdone))
         UPDATE reload SET member_count = 0, applied_as_of = NULL
         WHERE source = $1 AND category = $2 AND reload_id IN (SELECT reload_id FROM outdone)",
        source,
        category,
        latest.as_of as _,
        latest.reload_id
    )
    .execute(&mut *conn)
    .await?;
    if latest.applied {
        return Ok(Vec::new());
    }
    sqlx::query!(
        "UPDATE reload SET applied_as_of = as_of WHERE source = $1 AND category = $2 AND reload_id = $3",
        source,
        category,
        latest.reload_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(
        "WITH judged AS (
             SELECT r.record_id, r.observed_at <= $3::timestamptz AND m.record_id IS NULL AS gone
             FROM record r
             LEFT JOIN reload_member m
                 ON (m.source, m.category, m.reload_id, m.record_id) = (r.source, r.category, $4, r.record_id)
             WHERE r.source = $1 AND r.category = $2),
         changed AS (
             UPDATE record r SET gone = judged.gone FROM judged
             WHERE r.source = $1 AND r.category = $2 AND r.record_id = judged.record_id AND r.gone <> judged.gone
             RETURNING r.uscc)
         SELECT DISTINCT uscc FROM changed",
        source,
        category,
        latest.as_of as _,
        latest.reload_id
    )
    .fetch_all(conn)
    .await
}
