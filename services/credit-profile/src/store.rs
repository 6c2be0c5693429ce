//! All SQL of the credit profile.

use std::collections::BTreeMap;

use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::{Category, GetProfileResponse, Profile};

use crate::{error::Error, feeding, numbers};

pub mod declarations;
pub mod erasure;
pub mod live;
pub mod profiles;
pub mod quality;
pub mod records;
pub mod reloads;
pub mod scorecards;
pub mod tiers;

pub use profiles::mark;

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
    if let Some((before, version)) = &before {
        if before == category {
            return Ok(*version);
        }
        let renumbered = numbers::across(before, category);
        if !renumbered.is_empty() {
            return Err(Error::Renumbered(renumbered));
        }
    }
    profiles::change_rules(&mut *conn).await?;
    let mut together = categories(&mut *conn).await?;
    together.insert(name.clone(), category.clone());
    let misfits = feeding::across(&together);
    if !misfits.is_empty() {
        return Err(Error::Misfits(misfits));
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
    // In order, like everybody who marks profiles. One whose last record of it was taken away, and which is not computed since, still
    // has what that record fed by the schema before.
    sqlx::query!(
        "WITH locked AS (
             SELECT enterprise_id FROM profile
             WHERE enterprise_id IN (SELECT uscc FROM record WHERE category = $1 AND NOT withdrawn AND NOT gone)
                OR changed @> ARRAY[$1]
             ORDER BY enterprise_id FOR NO KEY UPDATE)
         UPDATE profile p SET stale = true FROM locked WHERE p.enterprise_id = locked.enterprise_id AND NOT p.stale",
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

/// How many profiles have been computed at least once.
pub async fn count_profiles(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM profile WHERE version > 0"#).fetch_one(conn).await
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
