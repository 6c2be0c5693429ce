//! All SQL of the credit profile.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use zhirong_proto::profile::v1::{Category, Profile};

use crate::{error::Error, features::LiveRecord, record::Envelope};

pub mod quality;
pub mod scorecards;
pub mod tiers;

/// Whatever is read from here on in this transaction is of one moment.
pub async fn one_snapshot(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(conn).await?;
    Ok(())
}

/// A category in force with its version.
pub async fn category(conn: &mut PgConnection, name: &str) -> Result<Option<(Category, i64)>, Error> {
    let row =
        sqlx::query!("SELECT content, version FROM category WHERE category = $1", name).fetch_optional(conn).await?;
    row.map(|row| Ok((Category::decode(row.content.as_slice())?, row.version))).transpose()
}

/// Every category in force.
pub async fn categories(conn: &mut PgConnection) -> Result<BTreeMap<String, Category>, Error> {
    let rows = sqlx::query!("SELECT category, content FROM category").fetch_all(conn).await?;
    rows.into_iter().map(|row| Ok((row.category, Category::decode(row.content.as_slice())?))).collect()
}

/// Puts a category into force; gives its version. Profiles that its records feed become stale when it changes.
pub async fn put_category(conn: &mut PgConnection, category: &Category) -> Result<i64, Error> {
    let name = &category.category;
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 3))", name).execute(&mut *conn).await?;
    let before = self::category(&mut *conn, name).await?;
    if let Some((before, version)) = &before
        && before == category
    {
        return Ok(*version);
    }
    let version = sqlx::query_scalar!(
        "INSERT INTO category (category, content, version) VALUES ($1, $2, 1)
         ON CONFLICT (category) DO UPDATE SET content = excluded.content, version = category.version + 1
         RETURNING version",
        name,
        category.encode_to_vec()
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE profile SET stale = true
         WHERE enterprise_id IN (SELECT uscc FROM record WHERE category = $1 AND NOT withdrawn)",
        name
    )
    .execute(conn)
    .await?;
    Ok(version)
}

/// A category with its figures.
pub struct CategoryRow {
    /// Its slug.
    pub category: String,
    /// The encoded schema.
    pub content: Vec<u8>,
    /// Version of the schema.
    pub version: i64,
    /// Live records.
    pub record_count: i64,
    /// Enterprises with one.
    pub enterprise_count: i64,
}

/// Categories in order of slug, after a cursor.
pub async fn list_categories(
    conn: &mut PgConnection,
    after: Option<&str>,
    most: i64,
) -> Result<Vec<CategoryRow>, sqlx::Error> {
    sqlx::query_as!(
        CategoryRow,
        r#"SELECT c.category, c.content, c.version, count(r.uscc) AS "record_count!",
                  count(DISTINCT r.uscc) AS "enterprise_count!"
           FROM category c LEFT JOIN record r ON r.category = c.category AND NOT r.withdrawn
           WHERE $1::text IS NULL OR c.category > $1
           GROUP BY c.category ORDER BY c.category LIMIT $2"#,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// Keeps a version of a record unless a newer one is there, and marks the profiles it concerns as stale. Says whether it
/// counted.
pub async fn put_record(
    conn: &mut PgConnection,
    envelope: &Envelope,
    data: &Map<String, Value>,
    today: Date,
) -> Result<bool, sqlx::Error> {
    let before = sqlx::query_scalar!(
        "SELECT uscc FROM record WHERE source = $1 AND category = $2 AND record_id = $3",
        envelope.source,
        envelope.category,
        envelope.record_id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let tie_break = format!("{} {} {}", envelope.withdrawn, envelope.uscc, Value::Object(data.clone()));
    let kept = sqlx::query!(
        "INSERT INTO record AS kept (source, category, record_id, uscc, observed_at, withdrawn, data, tie_break)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (source, category, record_id) DO UPDATE
             SET uscc = excluded.uscc, observed_at = excluded.observed_at, withdrawn = excluded.withdrawn,
                 data = excluded.data, tie_break = excluded.tie_break
             WHERE (excluded.observed_at, excluded.tie_break) > (kept.observed_at, kept.tie_break)",
        envelope.source,
        envelope.category,
        envelope.record_id,
        envelope.uscc.as_str(),
        envelope.observed_at.to_sqlx() as _,
        envelope.withdrawn,
        Json(data) as _,
        tie_break
    )
    .execute(&mut *conn)
    .await?;
    if kept.rows_affected() == 0 {
        return Ok(false);
    }
    let mut concerned = vec![envelope.uscc.to_string()];
    concerned.extend(before.filter(|uscc| uscc != envelope.uscc.as_str()));
    concerned.sort();
    sqlx::query!(
        "INSERT INTO profile (enterprise_id, version, content, computed_on, stale)
         SELECT uscc, 0, ''::bytea, $2, true FROM unnest($1::text[]) AS uscc
         ON CONFLICT (enterprise_id) DO UPDATE SET stale = true",
        &concerned,
        today.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(true)
}

/// A profile that is to be computed again, locked.
pub struct Stale {
    /// The enterprise.
    pub enterprise_id: String,
    /// Its version so far.
    pub version: i64,
    /// The encoded profile so far.
    pub content: Vec<u8>,
}

/// Takes one profile that is stale or of an earlier day, which nobody else works on.
pub async fn take_stale(conn: &mut PgConnection, today: Date) -> Result<Option<Stale>, sqlx::Error> {
    let stale = sqlx::query_as!(
        Stale,
        "SELECT enterprise_id, version, content FROM profile WHERE stale LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(&mut *conn)
    .await?;
    if stale.is_some() {
        return Ok(stale);
    }
    sqlx::query_as!(
        Stale,
        "SELECT enterprise_id, version, content FROM profile WHERE computed_on < $1 LIMIT 1 FOR UPDATE SKIP LOCKED",
        today.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await
}

/// The live records of an enterprise.
pub async fn live_records(conn: &mut PgConnection, enterprise_id: &str) -> Result<Vec<LiveRecord>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT category, observed_at AS "observed_at: jiff_sqlx::Timestamp", data AS "data: Json<Map<String, Value>>"
           FROM record WHERE uscc = $1 AND NOT withdrawn"#,
        enterprise_id
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LiveRecord { category: row.category, observed_at: row.observed_at.to_jiff(), data: row.data.0 })
        .collect())
}

/// Keeps a profile that was computed.
pub async fn save(conn: &mut PgConnection, profile: &Profile, today: Date) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE profile SET version = $2, content = $3, computed_on = $4, stale = false WHERE enterprise_id = $1",
        profile.enterprise_id,
        profile.version,
        profile.encode_to_vec(),
        today.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a profile was computed and had not changed.
pub async fn touch(conn: &mut PgConnection, enterprise_id: &str, today: Date) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE profile SET computed_on = $2, stale = false WHERE enterprise_id = $1",
        enterprise_id,
        today.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A profile that has been computed at least once.
pub async fn profile(conn: &mut PgConnection, enterprise_id: &str) -> Result<Option<Profile>, Error> {
    let content =
        sqlx::query_scalar!("SELECT content FROM profile WHERE enterprise_id = $1 AND version > 0", enterprise_id)
            .fetch_optional(conn)
            .await?;
    content.map(|content| Ok(Profile::decode(content.as_slice())?)).transpose()
}

/// Profiles in order of USCC, after a cursor.
pub async fn list_profiles(conn: &mut PgConnection, after: Option<&str>, most: i64) -> Result<Vec<Profile>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM profile WHERE version > 0 AND ($1::text IS NULL OR enterprise_id > $1)
         ORDER BY enterprise_id LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|content| Ok(Profile::decode(content.as_slice())?)).collect()
}
