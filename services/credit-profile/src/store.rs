//! All SQL of the credit profile.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use zhirong_proto::profile::v1::{Category, GetProfileResponse, Profile};

use crate::{error::Error, features::LiveRecord, record::Key};

pub mod records;
pub mod reloads;

pub mod erasure;
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

/// Rises with every change of a category: they are never deleted.
pub async fn categories_state(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT coalesce(sum(version), 0)::bigint AS "state!" FROM category"#).fetch_one(conn).await
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
         WHERE enterprise_id IN (SELECT uscc FROM record WHERE category = $1 AND NOT withdrawn AND NOT gone)",
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
           FROM category c LEFT JOIN record r ON r.category = c.category AND NOT r.withdrawn AND NOT r.gone
           WHERE $1::text IS NULL OR c.category > $1
           GROUP BY c.category ORDER BY c.category LIMIT $2"#,
        after,
        most
    )
    .fetch_all(conn)
    .await
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

/// Marks profiles, in order of enterprise, as to be computed again; one that is not there yet begins.
pub async fn mark_stale(conn: &mut PgConnection, enterprises: &[String], today: Date) -> Result<(), sqlx::Error> {
    if enterprises.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO profile AS p (enterprise_id, version, content, computed_on, stale)
         SELECT uscc, 0, ''::bytea, $2::date, true FROM unnest($1::text[]) AS concerned (uscc)
         ON CONFLICT (enterprise_id) DO UPDATE SET stale = true WHERE NOT p.stale",
        enterprises,
        today.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes profiles that are stale or of an earlier day, which nobody else works on.
pub async fn take_stale(conn: &mut PgConnection, today: Date, most: i64) -> Result<Vec<Stale>, sqlx::Error> {
    let stale = sqlx::query_as!(
        Stale,
        "SELECT enterprise_id, version, content FROM profile WHERE stale LIMIT $1 FOR UPDATE SKIP LOCKED",
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    if !stale.is_empty() {
        return Ok(stale);
    }
    sqlx::query_as!(
        Stale,
        "SELECT enterprise_id, version, content FROM profile WHERE computed_on < $1 LIMIT $2 FOR UPDATE SKIP LOCKED",
        today.to_sqlx() as _,
        most
    )
    .fetch_all(conn)
    .await
}

/// The live records of enterprises, each with its enterprise.
pub async fn live_records(
    conn: &mut PgConnection,
    enterprises: &[String],
) -> Result<BTreeMap<String, Vec<LiveRecord>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT uscc, source, category, record_id, observed_at AS "observed_at: jiff_sqlx::Timestamp", revision,
                  data AS "data: Json<Map<String, Value>>"
           FROM record WHERE uscc = ANY($1) AND NOT withdrawn AND NOT gone"#,
        enterprises
    )
    .fetch_all(conn)
    .await?;
    let mut found: BTreeMap<String, Vec<LiveRecord>> = BTreeMap::new();
    for row in rows {
        let key = Key { source: row.source, category: row.category, record_id: row.record_id };
        let observed_at = row.observed_at.to_jiff();
        let record = LiveRecord { key, observed_at, revision: row.revision, data: row.data.0 };
        found.entry(row.uscc).or_default().push(record);
    }
    Ok(found)
}

/// A profile that was computed, with where it comes from.
pub struct Computed {
    /// The profile in its version.
    pub profile: Profile,
    /// All of the answer but the profile.
    pub provenance: GetProfileResponse,
}

/// Keeps profiles that were computed.
pub async fn save(conn: &mut PgConnection, computed: &[Computed], today: Date) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = computed.iter().map(|computed| computed.profile.enterprise_id.as_str()).collect();
    let versions: Vec<i64> = computed.iter().map(|computed| computed.profile.version).collect();
    let contents: Vec<Vec<u8>> = computed.iter().map(|computed| computed.profile.encode_to_vec()).collect();
    let provenances: Vec<Vec<u8>> = computed.iter().map(|computed| computed.provenance.encode_to_vec()).collect();
    sqlx::query!(
        "UPDATE profile p
         SET version = i.version, content = i.content, provenance = i.provenance, computed_on = $5, stale = false
         FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[]) AS i (enterprise_id, version, content, provenance)
         WHERE p.enterprise_id = i.enterprise_id",
        &ids as _,
        &versions,
        &contents,
        &provenances,
        today.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    erasure::versions(conn, &ids).await
}

/// A profile that has been computed at least once, with where it comes from.
pub async fn profile(conn: &mut PgConnection, enterprise_id: &str) -> Result<Option<GetProfileResponse>, Error> {
    let row =
        sqlx::query!("SELECT content, provenance FROM profile WHERE enterprise_id = $1 AND version > 0", enterprise_id)
            .fetch_optional(conn)
            .await?;
    row.map(|row| {
        let profile = Some(Profile::decode(row.content.as_slice())?);
        Ok(GetProfileResponse { profile, ..GetProfileResponse::decode(row.provenance.as_slice())? })
    })
    .transpose()
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
