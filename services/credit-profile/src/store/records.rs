//! Keeps many versions of records with a few statements.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{Connection as _, PgConnection};

use crate::{
    marks::Marks,
    record::{Key, Version},
};

/// Whether one who writes must be the only one for a source's category.
#[derive(Debug, Clone, Copy)]
pub struct Alone(pub bool);

/// Keeps the full reloads of these sources and categories as they are until the transaction ends, so that whether a record is
/// gone is decided on what is there. Who writes members or ends of a reload is alone with the pair.
pub async fn lock<'a>(
    conn: &mut PgConnection,
    pairs: impl IntoIterator<Item = (&'a str, &'a str, Alone)>,
) -> Result<(), sqlx::Error> {
    // everybody in the same order, so that nobody waits in a circle
    let mut names: BTreeMap<String, bool> = BTreeMap::new();
    for (source, category, alone) in pairs {
        *names.entry(format!("{source} {category}")).or_default() |= alone.0;
    }
    let (names, alone): (Vec<String>, Vec<bool>) = names.into_iter().unzip();
    sqlx::query!(
        "SELECT count(CASE WHEN alone THEN pg_advisory_xact_lock(hashtextextended(name, 4))
                           ELSE pg_advisory_xact_lock_shared(hashtextextended(name, 4)) END)
         FROM unnest($1::text[], $2::boolean[]) AS n (name, alone)",
        &names,
        &alone
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Keeps versions unless newer ones are there; gives whose profiles they concern. The sources and categories are locked.
pub async fn put(conn: &mut PgConnection, versions: &[Version], now: Timestamp) -> Result<Marks, sqlx::Error> {
    let mut concerned = Marks::default();
    if versions.iter().any(|version| version.reload_id.is_some()) {
        join_reloads(&mut *conn, versions, now, &mut concerned).await?;
    }
    // in order of key, so that two who write the same records wait for each other instead of in a circle
    let mut newest: BTreeMap<&Key, &Version> = BTreeMap::new();
    for version in versions {
        let kept = newest.entry(&version.key).or_insert(version);
        if version.order() > kept.order() {
            *kept = version;
        }
    }
    let newest: Vec<&Version> = newest.into_values().collect();
    if newest.is_empty() {
        return Ok(concerned);
    }
    // most are new: only when one is not, what is there is looked at
    let added = add(&mut *conn, &newest).await?;
    for (uscc, category) in &added {
        concerned.record(uscc, category);
    }
    if added.len() < newest.len() {
        renew(conn, &newest, &mut concerned).await?;
    }
    Ok(concerned)
}

macro_rules! add {
    ($conn:expr, $rows:expr, $unless_there:tt) => {
        sqlx::query!(
            r#"WITH added AS (
                 INSERT INTO record (source, category, record_id, uscc, observed_at, revision, withdrawn, data, tie_break, gone)
                 SELECT i.source, i.category, i.record_id, i.uscc, i.observed_at, i.revision, i.withdrawn, i.data::jsonb, i.tie_break,
                     -- whether any reload is in force is looked at once, not for every row
                     EXISTS (SELECT FROM reload WHERE applied_as_of IS NOT NULL AND source = ANY ($10))
                     AND EXISTS (SELECT FROM reload f
                             WHERE (f.source, f.category) = (i.source, i.category) AND i.observed_at <= f.applied_as_of
                               AND NOT EXISTS (SELECT FROM reload_member m
                                               WHERE (m.source, m.category, m.reload_id, m.record_id)
                                                   = (f.source, f.category, f.reload_id, i.record_id)))
                 -- a row from each array at a time; in FROM, PostgreSQL would first copy each into a table of its own
                 FROM (SELECT unnest($1::text[]) AS source, unnest($2::text[]) AS category, unnest($3::text[]) AS record_id,
                              unnest($4::text[]) AS uscc, unnest($5::timestamptz[]) AS observed_at,
                              unnest($6::integer[]) AS revision, unnest($7::boolean[]) AS withdrawn, unnest($8::text[]) AS data,
                              unnest($9::text[]) AS tie_break) i
                 "# + $unless_there + r#"
                 RETURNING uscc, category)
             SELECT coalesce(array_agg(uscc), '{}') AS "usccs!", coalesce(array_agg(category), '{}') AS "categories!" FROM added"#,
            &$rows.sources as _,
            &$rows.categories as _,
            &$rows.record_ids as _,
            &$rows.usccs as _,
            &$rows.observed as _,
            &$rows.revisions,
            &$rows.withdrawn,
            &$rows.data as _,
            &$rows.tie_breaks as _,
            &$rows.sources_once() as _
        )
        .fetch_one($conn)
        .await
        .map(|row| row.usccs.into_iter().zip(row.categories).collect())
    };
}

/// Writes the records that are not there yet; gives enterprise and category of each. One that somebody else is writing is waited for.
///
/// A look for each row and a plain insert take 60 % of what an insert with a clause for conflicts takes, so that the clause is only
/// for those that somebody else wrote in between.
async fn add(conn: &mut PgConnection, newest: &[&Version]) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = Rows::of(newest);
    let mut attempt = conn.begin().await?;
    let added = add!(
        &mut *attempt,
        rows,
        "WHERE (SELECT true FROM record r WHERE (r.source, r.category, r.record_id) = (i.source, i.category, i.record_id)) IS NULL"
    );
    match added {
        Err(sqlx::Error::Database(refusal)) if refusal.is_unique_violation() => {
            attempt.rollback().await?;
            add!(conn, rows, "ON CONFLICT DO NOTHING")
        }
        added => {
            let added = added?;
            attempt.commit().await?;
            Ok(added)
        }
    }
}

/// Writes versions of records that are there, where they are newer. A record that moves to another enterprise concerns the one before
/// as well.
async fn renew(conn: &mut PgConnection, newest: &[&Version], concerned: &mut Marks) -> Result<(), sqlx::Error> {
    let rows = Rows::of(newest);
    // locked by a statement of its own, so that the next one sees what is there for good
    sqlx::query!(
        "SELECT FROM record r JOIN unnest($1::text[], $2::text[], $3::text[]) AS i (source, category, record_id)
             USING (source, category, record_id)
         ORDER BY source, category, record_id FOR NO KEY UPDATE OF r",
        &rows.sources as _,
        &rows.categories as _,
        &rows.record_ids as _
    )
    .execute(&mut *conn)
    .await?;
    let renewed = sqlx::query!(
        r#"WITH newer AS MATERIALIZED (
             SELECT i.*, r.uscc AS uscc_before
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::integer[], $7::boolean[],
                         $8::text[], $9::text[])
                 AS i (source, category, record_id, uscc, observed_at, revision, withdrawn, data, tie_break)
             JOIN record r USING (source, category, record_id)
             WHERE (i.observed_at, i.revision, i.tie_break) > (r.observed_at, r.revision, r.tie_break)),
         renewed AS (
             UPDATE record r
             SET uscc = n.uscc, observed_at = n.observed_at, revision = n.revision, withdrawn = n.withdrawn, data = n.data::jsonb,
                 tie_break = n.tie_break,
                 gone = EXISTS (SELECT FROM reload f
                                WHERE (f.source, f.category) = (n.source, n.category) AND n.observed_at <= f.applied_as_of
                                  AND NOT EXISTS (SELECT FROM reload_member m
                                                  WHERE (m.source, m.category, m.reload_id, m.record_id)
                                                      = (f.source, f.category, f.reload_id, n.record_id)))
             FROM newer n
             WHERE (r.source, r.category, r.record_id) = (n.source, n.category, n.record_id))
         SELECT category AS "category!", uscc AS "uscc!", uscc_before AS "uscc_before!" FROM newer"#,
        &rows.sources as _,
        &rows.categories as _,
        &rows.record_ids as _,
        &rows.usccs as _,
        &rows.observed as _,
        &rows.revisions,
        &rows.withdrawn,
        &rows.data as _,
        &rows.tie_breaks as _
    )
    .fetch_all(conn)
    .await?;
    for record in renewed {
        concerned.record(&record.uscc, &record.category);
        concerned.record(&record.uscc_before, &record.category);
    }
    Ok(())
}

/// Versions in columns.
struct Rows<'a> {
    sources: Vec<&'a str>,
    categories: Vec<&'a str>,
    record_ids: Vec<&'a str>,
    usccs: Vec<&'a str>,
    observed: Vec<jiff_sqlx::Timestamp>,
    revisions: Vec<i32>,
    withdrawn: Vec<bool>,
    data: Vec<&'a str>,
    tie_breaks: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    fn of(versions: &[&'a Version]) -> Self {
        fn each<'a, T>(versions: &[&'a Version], of: impl Fn(&'a Version) -> T) -> Vec<T> {
            versions.iter().map(|version| of(version)).collect()
        }
        Self {
            sources: each(versions, |version| version.key.source.as_str()),
            categories: each(versions, |version| version.key.category.as_str()),
            record_ids: each(versions, |version| version.key.record_id.as_str()),
            usccs: each(versions, |version| version.uscc.as_str()),
            observed: each(versions, |version| version.observed_at.to_sqlx()),
            revisions: each(versions, |version| version.revision),
            withdrawn: each(versions, |version| version.withdrawn),
            data: each(versions, |version| version.data.as_str()),
            tie_breaks: each(versions, |version| version.tie_break.as_str()),
        }
    }

    fn sources_once(&self) -> Vec<&'a str> {
        self.sources.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Notes which records belong to which reload; one that the reload in force had missed is there again. A version that is
/// older than what is kept proves as well that the source still has the record.
async fn join_reloads(
    conn: &mut PgConnection,
    versions: &[Version],
    now: Timestamp,
    concerned: &mut Marks,
) -> Result<(), sqlx::Error> {
    let members: Vec<(&Key, &str)> =
        versions.iter().filter_map(|version| Some((&version.key, version.reload_id.as_deref()?))).collect();
    let texts = |of: for<'a> fn(&(&'a Key, &'a str)) -> &'a str| members.iter().map(of).collect::<Vec<&str>>();
    let back = sqlx::query!(
        "WITH input AS MATERIALIZED (
             SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
                 AS i (source, category, reload_id, record_id)),
         added AS (
             INSERT INTO reload_member (source, category, reload_id, record_id)
             SELECT i.source, i.category, i.reload_id, i.record_id FROM input i
             LEFT JOIN reload r USING (source, category, reload_id)
             LEFT JOIN reload f ON (f.source, f.category) = (i.source, i.category) AND f.applied_as_of IS NOT NULL
             -- one that another took the place of, or that was given up, needs no members
             WHERE ((r.as_of, r.reload_id) < (f.as_of, f.reload_id)) IS NOT TRUE AND r.given_up_at IS NULL
             ON CONFLICT DO NOTHING
             RETURNING source, category, reload_id, record_id),
         counted AS (
             INSERT INTO reload AS r (source, category, reload_id, member_count, began_at, changed_at)
             SELECT source, category, reload_id, count(*), $5::timestamptz, $5::timestamptz FROM added
             GROUP BY source, category, reload_id
             ON CONFLICT (source, category, reload_id) DO UPDATE
                 SET member_count = r.member_count + excluded.member_count, changed_at = excluded.changed_at),
         back AS (
             UPDATE record r SET gone = false
             FROM added a JOIN reload f USING (source, category, reload_id)
             WHERE f.applied_as_of IS NOT NULL AND r.gone
               AND (r.source, r.category, r.record_id) = (a.source, a.category, a.record_id)
             RETURNING r.uscc, r.category)
         SELECT DISTINCT uscc, category FROM back",
        &texts(|(key, _)| &key.source) as _,
        &texts(|(key, _)| &key.category) as _,
        &texts(|(_, reload)| reload) as _,
        &texts(|(key, _)| &key.record_id) as _,
        now.to_sqlx() as _
    )
    .fetch_all(conn)
    .await?;
    for record in back {
        concerned.record(&record.uscc, &record.category);
    }
    Ok(())
}
