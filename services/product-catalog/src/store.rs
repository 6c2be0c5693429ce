//! All SQL of the catalog.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use zhirong_kernel::id::{InstitutionId, ProductId};
use zhirong_proto::catalog::v1::Institution;

use crate::error::Error;

pub mod adjustment;
pub mod agreement;
pub mod fill;
pub mod history;
pub mod import;
pub mod search;
pub mod version;

/// Keeps an institution; gives its version, and whether anything changed.
pub async fn put_institution(conn: &mut PgConnection, institution: &Institution) -> Result<(i64, bool), sqlx::Error> {
    let before = sqlx::query!(
        "SELECT name_zh, kind, version FROM institution WHERE institution_id = $1 FOR UPDATE",
        institution.institution_id
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(before) = &before
        && before.name_zh == institution.name_zh
        && before.kind == institution.kind
    {
        return Ok((before.version, false));
    }
    let version = sqlx::query_scalar!(
        "INSERT INTO institution (institution_id, name_zh, kind, version) VALUES ($1, $2, $3, 1)
         ON CONFLICT (institution_id) DO UPDATE
             SET name_zh = excluded.name_zh, kind = excluded.kind, version = institution.version + 1
         RETURNING version",
        institution.institution_id,
        institution.name_zh,
        institution.kind
    )
    .fetch_one(conn)
    .await?;
    Ok((version, true))
}

/// Institutions in order of id, after a cursor.
pub async fn list_institutions(
    conn: &mut PgConnection,
    after: Option<&str>,
    most: i64,
) -> Result<Vec<Institution>, sqlx::Error> {
    sqlx::query_as!(
        Institution,
        "SELECT institution_id, name_zh, kind, version FROM institution
         WHERE $1::text IS NULL OR institution_id > $1 ORDER BY institution_id LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// The head of a product.
#[derive(Debug, Clone)]
pub struct Head {
    /// Whose it is.
    pub institution_id: String,
    /// The newest version.
    pub latest_version: i32,
    /// The version in force.
    pub published_version: Option<i32>,
}

/// Makes a product if it is not there, and locks it.
pub async fn lock_or_create(
    conn: &mut PgConnection,
    product: ProductId,
    institution: &InstitutionId,
) -> Result<Head, Error> {
    let known =
        sqlx::query_scalar!("SELECT 1 FROM institution WHERE institution_id = $1 FOR SHARE", institution.as_str())
            .fetch_optional(&mut *conn)
            .await?;
    if known.is_none() {
        return Err(Error::InstitutionNotFound(institution.to_string()));
    }
    sqlx::query!(
        "INSERT INTO product (product_id, institution_id, latest_version, sequence) VALUES ($1, $2, 0, 0)
         ON CONFLICT DO NOTHING",
        product.uuid(),
        institution.as_str()
    )
    .execute(&mut *conn)
    .await?;
    lock(conn, product).await
}

/// Locks a product.
pub async fn lock(conn: &mut PgConnection, product: ProductId) -> Result<Head, Error> {
    sqlx::query_as!(
        Head,
        "SELECT institution_id, latest_version, published_version FROM product WHERE product_id = $1 FOR UPDATE",
        product.uuid()
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::ProductNotFound(product.uuid()))
}

/// Whose a product is.
pub async fn owner(conn: &mut PgConnection, product: ProductId) -> Result<String, Error> {
    sqlx::query_scalar!("SELECT institution_id FROM product WHERE product_id = $1", product.uuid())
        .fetch_optional(conn)
        .await?
        .ok_or(Error::ProductNotFound(product.uuid()))
}

/// Reference data in force.
pub struct ReferenceRow {
    /// Its version.
    pub version: i64,
    /// The encoded message.
    pub content: Vec<u8>,
}

/// The reference data with a name.
pub async fn reference(conn: &mut PgConnection, name: &str) -> Result<Option<ReferenceRow>, sqlx::Error> {
    sqlx::query_as!(
        ReferenceRow,
        "SELECT version, content FROM reference WHERE name = $1 ORDER BY version DESC LIMIT 1",
        name
    )
    .fetch_optional(conn)
    .await
}

/// Waits for whoever changes this reference data at the moment.
pub async fn lock_reference(conn: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", name).execute(conn).await?;
    Ok(())
}

/// Adds a version of reference data.
pub async fn insert_reference(
    conn: &mut PgConnection,
    name: &str,
    version: i64,
    content: &[u8],
    by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO reference (name, version, content, entered_by, entered_at) VALUES ($1, $2, $3, $4, $5)",
        name,
        version,
        content,
        by,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
