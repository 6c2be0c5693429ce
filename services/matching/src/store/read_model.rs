//! What matching keeps of the other contexts. An older fact never overwrites a newer one; what the calculator computes from
//! raises the catalog's version in the same transaction.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::{
    catalog::v1::{Institution, LprTable, Product, WorkingDayCalendar},
    profile::v1::Profile,
};

use crate::error::Error;

/// Keeps a profile unless a newer one is there.
pub async fn put_profile(conn: &mut PgConnection, profile: &Profile) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO profile AS kept (enterprise_id, version, content) VALUES ($1, $2, $3)
         ON CONFLICT (enterprise_id) DO UPDATE SET version = excluded.version, content = excluded.content
             WHERE kept.version < excluded.version",
        profile.enterprise_id,
        profile.version,
        profile.encode_to_vec()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The profile of an enterprise.
pub async fn profile(conn: &mut PgConnection, enterprise_id: &str) -> Result<Profile, Error> {
    let content = sqlx::query_scalar!("SELECT content FROM profile WHERE enterprise_id = $1", enterprise_id)
        .fetch_optional(conn)
        .await?
        .ok_or(Error::ProfileNotFound)?;
    Ok(Profile::decode(content.as_slice())?)
}

/// Keeps an institution unless a newer one is there.
pub async fn put_institution(conn: &mut PgConnection, institution: &Institution) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO institution AS kept (institution_id, version, name_zh) VALUES ($1, $2, $3)
         ON CONFLICT (institution_id) DO UPDATE SET version = excluded.version, name_zh = excluded.name_zh
             WHERE kept.version < excluded.version",
        institution.institution_id,
        institution.version,
        institution.name_zh
    )
    .execute(&mut *conn)
    .await?;
    raise(conn, done.rows_affected()).await
}

/// Keeps a product, or that it has left, unless a newer fact is there.
pub async fn put_product(
    conn: &mut PgConnection,
    product_id: Uuid,
    sequence: i64,
    product: Option<&Product>,
) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO product AS kept (product_id, sequence, content) VALUES ($1, $2, $3)
         ON CONFLICT (product_id) DO UPDATE SET sequence = excluded.sequence, content = excluded.content
             WHERE kept.sequence < excluded.sequence",
        product_id,
        sequence,
        product.map(prost::Message::encode_to_vec)
    )
    .execute(&mut *conn)
    .await?;
    raise(conn, done.rows_affected()).await
}

/// Keeps reference data unless newer ones are there.
pub async fn put_reference(
    conn: &mut PgConnection,
    name: &str,
    version: i64,
    content: &[u8],
) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO reference AS kept (name, version, content) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, content = excluded.content
             WHERE kept.version < excluded.version",
        name,
        version,
        content
    )
    .execute(&mut *conn)
    .await?;
    raise(conn, done.rows_affected()).await
}

/// Keeps a product's score unless a newer one is there.
pub async fn put_score(
    conn: &mut PgConnection,
    product_id: Uuid,
    version: i64,
    mean_level_ppm: i64,
) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO product_score AS kept (product_id, version, mean_level_ppm) VALUES ($1, $2, $3)
         ON CONFLICT (product_id) DO UPDATE SET version = excluded.version, mean_level_ppm = excluded.mean_level_ppm
             WHERE kept.version < excluded.version",
        product_id,
        version,
        mean_level_ppm
    )
    .execute(&mut *conn)
    .await?;
    raise(conn, done.rows_affected()).await
}

async fn raise(conn: &mut PgConnection, changed: u64) -> Result<(), sqlx::Error> {
    if changed > 0 {
        sqlx::query!("UPDATE catalog_version SET version = version + 1").execute(conn).await?;
    }
    Ok(())
}

/// The catalog's version.
pub async fn catalog_version(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT version FROM catalog_version").fetch_one(conn).await
}

/// Everything the calculator computes from.
pub struct Loaded {
    /// The catalog's version.
    pub version: i64,
    /// Published products.
    pub products: Vec<Product>,
    /// Names of institutions.
    pub institutions: HashMap<String, String>,
    /// Mean ratings.
    pub scores: HashMap<String, i64>,
    /// The LPR table.
    pub lpr: Option<LprTable>,
    /// The calendar.
    pub calendar: Option<WorkingDayCalendar>,
}

/// Loads everything the calculator computes from; in a transaction that sees one snapshot.
pub async fn load(conn: &mut PgConnection) -> Result<Loaded, Error> {
    let version = catalog_version(&mut *conn).await?;
    let products = sqlx::query_scalar!(r#"SELECT content AS "content!" FROM product WHERE content IS NOT NULL"#)
        .fetch_all(&mut *conn)
        .await?
        .iter()
        .map(|content| Product::decode(content.as_slice()))
        .collect::<Result<_, _>>()?;
    let institutions = sqlx::query!("SELECT institution_id, name_zh FROM institution")
        .fetch_all(&mut *conn)
        .await?
        .into_iter()
        .map(|row| (row.institution_id, row.name_zh))
        .collect();
    let scores = sqlx::query!("SELECT product_id, mean_level_ppm FROM product_score")
        .fetch_all(&mut *conn)
        .await?
        .into_iter()
        .map(|row| (row.product_id.to_string(), row.mean_level_ppm))
        .collect();
    let mut loaded = Loaded { version, products, institutions, scores, lpr: None, calendar: None };
    for row in sqlx::query!("SELECT name, content FROM reference").fetch_all(conn).await? {
        match row.name.as_str() {
            "lpr" => loaded.lpr = Some(LprTable::decode(row.content.as_slice())?),
            _ => loaded.calendar = Some(WorkingDayCalendar::decode(row.content.as_slice())?),
        }
    }
    Ok(loaded)
}

/// Notes that an enterprise has computed on a day; the first time of the day counts.
pub async fn note_calculation(
    conn: &mut PgConnection,
    enterprise_id: &str,
    day: Date,
    catalog_version: i64,
    profile_version: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO calculation (enterprise_id, computed_on, catalog_version, profile_version) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
        enterprise_id,
        day.to_sqlx() as _,
        catalog_version,
        profile_version
    )
    .execute(conn)
    .await?;
    Ok(())
}
