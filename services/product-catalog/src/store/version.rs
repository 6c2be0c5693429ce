//! Versions of products and their way. The product is locked by whoever calls these.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::ProductId;
use zhirong_proto::catalog::v1::ProductSpec;

use super::fill::Copies;
use crate::{error::Error, workflow::State};

/// Adds a draft as the newest version.
pub async fn insert_draft(
    conn: &mut PgConnection,
    product: ProductId,
    version: i32,
    spec: &ProductSpec,
    by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let copies = Copies::of(spec);
    sqlx::query!(
        "INSERT INTO product_version
             (product_id, version, spec, institution_id, name_zh, summary_zh, tags, is_credit, state, drafted_by, drafted_at,
              min_amount_fen, max_amount_fen, min_term_months, max_term_months, guarantee_form)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'draft', $9, $10, $11, $12, $13, $14, $15)",
        product.uuid(),
        version,
        spec.encode_to_vec(),
        spec.institution_id,
        spec.name_zh,
        spec.summary_zh,
        &spec.tags,
        copies.is_some(),
        by,
        now.to_sqlx() as _,
        copies.map(|copies| copies.min_amount_fen),
        copies.map(|copies| copies.max_amount_fen),
        copies.map(|copies| copies.min_term_months),
        copies.map(|copies| copies.max_term_months),
        copies.map(|copies| copies.guarantee_form)
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
    /// Where it stands.
    pub state: String,
    /// Who wrote it.
    pub drafted_by: String,
    /// When it was published.
    pub published_at: Option<jiff_sqlx::Timestamp>,
    /// The day from which it is in force.
    pub effective_on: Option<jiff_sqlx::Date>,
    /// Who set that day, while it is to come.
    pub scheduled_by: Option<String>,
}

impl VersionRow {
    /// Where it stands.
    pub fn state(&self) -> Result<State, Error> {
        State::parse(&self.state).ok_or_else(|| Error::StoredState(self.state.clone()))
    }
}

/// One version of a product; the one in force or suspended when none is given.
pub async fn get(conn: &mut PgConnection, product: ProductId, version: Option<i32>) -> Result<VersionRow, Error> {
    sqlx::query_as!(
        VersionRow,
        r#"SELECT product_id, version, spec, state, drafted_by, published_at AS "published_at: _",
                  effective_on AS "effective_on: _", scheduled_by
           FROM product_version
           WHERE product_id = $1
             AND CASE WHEN $2::int IS NULL THEN state IN ('published', 'suspended') ELSE version = $2 END"#,
        product.uuid(),
        version
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::ProductNotFound(product.uuid()))
}

/// Hands a draft in.
pub async fn submit(conn: &mut PgConnection, product: ProductId, version: i32, by: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE product_version SET state = 'submitted', submitted_by = $3 WHERE product_id = $1 AND version = $2",
        product.uuid(),
        version,
        by
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Approves what was handed in.
pub async fn approve(conn: &mut PgConnection, product: ProductId, version: i32, by: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE product_version SET state = 'reviewed', reviewed_by = $3 WHERE product_id = $1 AND version = $2",
        product.uuid(),
        version,
        by
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes it a draft again.
pub async fn send_back(conn: &mut PgConnection, product: ProductId, version: i32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE product_version
         SET state = 'draft', submitted_by = NULL, reviewed_by = NULL, scheduled_by = NULL, effective_on = NULL
         WHERE product_id = $1 AND version = $2",
        product.uuid(),
        version
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets the day on which a reviewed version comes into force.
pub async fn schedule(
    conn: &mut PgConnection,
    product: ProductId,
    version: i32,
    by: &str,
    on: Date,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE product_version SET scheduled_by = $3, effective_on = $4 WHERE product_id = $1 AND version = $2",
        product.uuid(),
        version,
        by,
        on.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes back the days set for reviewed versions up to this one; gives these versions.
pub async fn unschedule(conn: &mut PgConnection, product: ProductId, up_to: i32) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE product_version SET scheduled_by = NULL, effective_on = NULL
         WHERE product_id = $1 AND version <= $2 AND state = 'reviewed' AND effective_on IS NOT NULL RETURNING version",
        product.uuid(),
        up_to
    )
    .fetch_all(conn)
    .await
}

/// Puts a reviewed version into force; none is in force now. Gives the number of the fact.
pub async fn publish(
    conn: &mut PgConnection,
    product: ProductId,
    version: i32,
    by: &str,
    now: Timestamp,
    on: Date,
) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "UPDATE product_version SET state = 'published', published_by = $3, published_at = $4, effective_on = $5
         WHERE product_id = $1 AND version = $2",
        product.uuid(),
        version,
        by,
        now.to_sqlx() as _,
        on.to_sqlx() as _
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

/// Suspends the version in force, or resumes it. Gives the number of the fact.
pub async fn set_suspended(
    conn: &mut PgConnection,
    product: ProductId,
    version: i32,
    suspended: bool,
) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "UPDATE product_version SET state = CASE WHEN $3 THEN 'suspended' ELSE 'published' END
         WHERE product_id = $1 AND version = $2",
        product.uuid(),
        version,
        suspended
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!(
        "UPDATE product SET sequence = sequence + 1 WHERE product_id = $1 RETURNING sequence",
        product.uuid()
    )
    .fetch_one(conn)
    .await
}

/// Retires what is in force or suspended; gives its version.
pub async fn replace(conn: &mut PgConnection, product: ProductId) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE product_version SET state = 'retired' WHERE product_id = $1 AND state IN ('published', 'suspended')
         RETURNING version",
        product.uuid()
    )
    .fetch_optional(conn)
    .await
}

/// Notes that no version is in force any more. Gives the number of the fact.
pub async fn leave(conn: &mut PgConnection, product: ProductId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE product SET published_version = NULL, sequence = sequence + 1 WHERE product_id = $1 RETURNING sequence",
        product.uuid()
    )
    .fetch_one(conn)
    .await
}

/// A product with a version whose day has come.
pub async fn due(conn: &mut PgConnection, today: Date) -> Result<Option<(Uuid, i32)>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT product_id, version FROM product_version WHERE state = 'reviewed' AND effective_on <= $1
         ORDER BY effective_on, product_id, version LIMIT 1",
        today.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.product_id, row.version)))
}
