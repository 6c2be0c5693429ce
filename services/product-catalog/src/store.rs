//! All SQL of the catalog.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::{InstitutionId, ProductId};
use zhirong_proto::catalog::v1::{Institution, ProductSpec, product_spec::Terms};

use crate::error::Error;

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

/// Adds a draft as the newest version.
pub async fn insert_draft(
    conn: &mut PgConnection,
    product: ProductId,
    version: i32,
    spec: &ProductSpec,
    by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO product_version
             (product_id, version, spec, institution_id, name_zh, summary_zh, tags, is_credit, state, drafted_by, drafted_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'draft', $9, $10)",
        product.uuid(),
        version,
        spec.encode_to_vec(),
        spec.institution_id,
        spec.name_zh,
        spec.summary_zh,
        &spec.tags,
        matches!(spec.terms, Some(Terms::Credit(_))),
        by,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE product SET latest_version = $2 WHERE product_id = $1", product.uuid(), version)
        .execute(conn)
        .await?;
    Ok(())
}

/// One version.
#[derive(Debug, Clone)]
pub struct VersionRow {
    /// The product.
    pub product_id: Uuid,
    /// The version.
    pub version: i32,
    /// The encoded specification.
    pub spec: Vec<u8>,
    /// `draft`, `published` or `retired`.
    pub state: String,
    /// Who wrote it.
    pub drafted_by: String,
    /// When it was published.
    pub published_at: Option<jiff_sqlx::Timestamp>,
}

/// One version of a product; the published one when none is given.
pub async fn version(conn: &mut PgConnection, product: ProductId, version: Option<i32>) -> Result<VersionRow, Error> {
    sqlx::query_as!(
        VersionRow,
        r#"SELECT product_id, version, spec, state, drafted_by, published_at AS "published_at: _" FROM product_version
           WHERE product_id = $1 AND CASE WHEN $2::int IS NULL THEN state = 'published' ELSE version = $2 END"#,
        product.uuid(),
        version
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::ProductNotFound(product.uuid()))
}

/// Puts a draft into force in place of the version before; the product is locked. Gives the number of the fact.
pub async fn publish(
    conn: &mut PgConnection,
    product: ProductId,
    version: i32,
    by: &str,
    now: Timestamp,
) -> Result<i64, sqlx::Error> {
    retire_published(&mut *conn, product).await?;
    sqlx::query!(
        "UPDATE product_version SET state = 'published', published_by = $3, published_at = $4
         WHERE product_id = $1 AND version = $2 AND state = 'draft'",
        product.uuid(),
        version,
        by,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(
        "UPDATE product SET published_version = $2, sequence = sequence + 1 WHERE product_id = $1 RETURNING sequence",
        product.uuid(),
        version
    )
    .fetch_one(conn)
    .await
}

/// Takes a product out of the supermarket; the product is locked. Gives the number of the fact.
pub async fn retire(conn: &mut PgConnection, product: ProductId) -> Result<i64, sqlx::Error> {
    retire_published(&mut *conn, product).await?;
    sqlx::query_scalar!(
        "UPDATE product SET published_version = NULL, sequence = sequence + 1 WHERE product_id = $1 RETURNING sequence",
        product.uuid()
    )
    .fetch_one(conn)
    .await
}

async fn retire_published(conn: &mut PgConnection, product: ProductId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE product_version SET state = 'retired' WHERE product_id = $1 AND state = 'published'",
        product.uuid()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which published products are looked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this institution.
    pub institution_id: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Credit or service.
    pub is_credit: Option<bool>,
    /// With this text in name or summary, as a LIKE pattern.
    pub like: Option<String>,
}

/// Published products in order of id, after a cursor.
pub async fn list_products(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<VersionRow>, sqlx::Error> {
    sqlx::query_as!(
        VersionRow,
        r#"SELECT product_id, version, spec, state, drafted_by, published_at AS "published_at: _" FROM product_version
           WHERE state = 'published' AND ($1::uuid IS NULL OR product_id > $1)
             AND ($2::text IS NULL OR institution_id = $2) AND ($3::text IS NULL OR $3 = ANY (tags))
             AND ($4::bool IS NULL OR is_credit = $4) AND ($5::text IS NULL OR name_zh LIKE $5 OR summary_zh LIKE $5)
           ORDER BY product_id LIMIT $6"#,
        after,
        filter.institution_id,
        filter.tag,
        filter.is_credit,
        filter.like,
        most
    )
    .fetch_all(conn)
    .await
}

/// How many published products there are.
pub async fn count_products(conn: &mut PgConnection, filter: &Filter) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM product_version
           WHERE state = 'published'
             AND ($1::text IS NULL OR institution_id = $1) AND ($2::text IS NULL OR $2 = ANY (tags))
             AND ($3::bool IS NULL OR is_credit = $3) AND ($4::text IS NULL OR name_zh LIKE $4 OR summary_zh LIKE $4)"#,
        filter.institution_id,
        filter.tag,
        filter.is_credit,
        filter.like
    )
    .fetch_one(conn)
    .await
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
