//! Keeps many versions of records with a few statements.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, types::Json};

use crate::record::{Key, Version};

/// Lets nobody else write records of these sources and categories until the transaction ends, so that what is gone by a
/// reload, and whose profile a moved record leaves, are decided on what is there.
pub async fn lock(conn: &mut PgConnection, pairs: impl IntoIterator<Item = (&str, &str)>) -> Result<(), sqlx::Error> {
    let mut names: Vec<String> = pairs.into_iter().map(|(source, category)| format!("{source} {category}")).collect();
    // everybody in the same order, so that nobody waits in a circle
    names.sort_unstable();
    names.dedup();
    sqlx::query!(
        "SELECT count(pg_advisory_xact_lock(hashtextextended(name, 4))) FROM unnest($1::text[]) AS name",
        &names
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Keeps versions unless newer ones are there, and marks the profiles they concern as stale. The sources and categories are
/// locked.
pub async fn put(conn: &mut PgConnection, versions: &[Version], today: Date) -> Result<(), sqlx::Error> {
    if versions.iter().any(|version| version.reload_id.is_some()) {
        join_reloads(&mut *conn, versions, today).await?;
    }
    let mut newest: BTreeMap<&Key, &Version> = BTreeMap::new();
    for version in versions {
        let kept = newest.entry(&version.key).or_insert(version);
        if version.order() > kept.order() {
            *kept = version;
        }
    }
    let newest: Vec<&Version> = newest.into_values().collect();
    let texts = |of: fn(&Version) -> &str| newest.iter().map(|version| of(version)).collect::<Vec<&str>>();
    let observed: Vec<_> = newest.iter().map(|version| version.observed_at.to_sqlx()).collect();
    let revisions: Vec<i32> = newest.iter().map(|version| version.revision).collect();
    let withdrawn: Vec<bool> = newest.iter().map(|version| version.withdrawn).collect();
    let data: Vec<_> = newest.iter().map(|version| Json(&version.data)).collect();
    sqlx::query!(
        "WITH input AS MATERIALIZED (
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::integer[],
                                  $7::boolean[], $8::jsonb[], $9::text[])
                 AS i (source, category, record_id, uscc, observed_at, revision, withdrawn, data, tie_break)),
         before AS (
             SELECT r.source, r.category, r.record_id, r.uscc FROM record r JOIN input USING (source, category, record_id)),
         kept AS (
             INSERT INTO record AS r
                 (source, category, record_id, uscc, observed_at, revision, withdrawn, data, tie_break, gone)
             SELECT i.source, i.category, i.record_id, i.uscc, i.observed_at, i.revision, i.withdrawn, i.data, i.tie_break,
                 EXISTS (SELECT FROM reload f
                         WHERE (f.source, f.category) = (i.source, i.category) AND i.observed_at <= f.applied_as_of
                           AND NOT EXISTS (SELECT FROM reload_member m
                                           WHERE (m.source, m.category, m.reload_id, m.record_id)
                                               = (f.source, f.category, f.reload_id, i.record_id)))
             FROM input i
             ON CONFLICT (source, category, record_id) DO UPDATE
                 SET uscc = excluded.uscc, observed_at = excluded.observed_at, revision = excluded.revision,
                     withdrawn = excluded.withdrawn, data = excluded.data, tie_break = excluded.tie_break,
                     gone = excluded.gone
                 WHERE (excluded.observed_at, excluded.revision, excluded.tie_break)
                     > (r.observed_at, r.revision, r.tie_break)
             RETURNING r.source, r.category, r.record_id, r.uscc),
         concerned AS (
             SELECT uscc FROM kept
             UNION SELECT b.uscc FROM before b JOIN kept USING (source, category, record_id))
         INSERT INTO profile AS p (enterprise_id, version, content, computed_on, stale)
         SELECT uscc, 0, ''::bytea, $10, true FROM concerned ORDER BY uscc
         ON CONFLICT (enterprise_id) DO UPDATE SET stale = true WHERE NOT p.stale",
        &texts(|version| &version.key.source) as _,
        &texts(|version| &version.key.category) as _,
        &texts(|version| &version.key.record_id) as _,
        &texts(|version| version.uscc.as_str()) as _,
        &observed as _,
        &revisions,
        &withdrawn,
        &data as _,
        &texts(|version| &version.tie_break) as _,
        today.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes which records belong to which reload; one that the reload in force had missed is there again. A version that is
/// older than what is kept proves as well that the source still has the record.
async fn join_reloads(conn: &mut PgConnection, versions: &[Version], today: Date) -> Result<(), sqlx::Error> {
    let members: Vec<(&Key, &str)> =
        versions.iter().filter_map(|version| Some((&version.key, version.reload_id.as_deref()?))).collect();
    let texts = |of: for<'a> fn(&(&'a Key, &'a str)) -> &'a str| members.iter().map(of).collect::<Vec<&str>>();
    sqlx::query!(
        "WITH input AS MATERIALIZED (
             SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
                 AS i (source, category, reload_id, record_id)),
         added AS (
             INSERT INTO reload_member (source, category, reload_id, record_id)
             SELECT i.source, i.category, i.reload_id, i.record_id FROM input i
             LEFT JOIN reload r USING (source, category, reload_id)
             LEFT JOIN reload f ON (f.source, f.category) = (i.source, i.category) AND f.applied_as_of IS NOT NULL
             -- one that another took the place of needs no members
             WHERE ((r.as_of, r.reload_id) < (f.as_of, f.reload_id)) IS NOT TRUE
             ON CONFLICT DO NOTHING
             RETURNING source, category, reload_id, record_id),
         counted AS (
             INSERT INTO reload AS r (source, category, reload_id, member_count)
             SELECT source, category, reload_id, count(*) FROM added GROUP BY source, category, reload_id
             ON CONFLICT (source, category, reload_id) DO UPDATE SET member_count = r.member_count + excluded.member_count),
         back AS (
             UPDATE record r SET gone = false
             FROM added a JOIN reload f USING (source, category, reload_id)
             WHERE f.applied_as_of IS NOT NULL AND r.gone
               AND (r.source, r.category, r.record_id) = (a.source, a.category, a.record_id)
             RETURNING r.uscc)
         INSERT INTO profile AS p (enterprise_id, version, content, computed_on, stale)
         SELECT DISTINCT uscc, 0, ''::bytea, $5::date, true FROM back ORDER BY uscc
         ON CONFLICT (enterprise_id) DO UPDATE SET stale = true WHERE NOT p.stale",
        &texts(|(key, _)| &key.source) as _,
        &texts(|(key, _)| &key.category) as _,
        &texts(|(_, reload)| reload) as _,
        &texts(|(key, _)| &key.record_id) as _,
        today.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
