//! Adjustments of products. The product is locked by whoever writes one.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::ProductId;
use zhirong_proto::catalog::v1::{Adjustment, adjustment::Limit};

use crate::error::Error;

/// One adjustment.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub adjustment_id: Uuid,
    /// The product.
    pub product_id: Uuid,
    /// The set of enterprises.
    pub enterprise_tag: String,
    /// For the enterprise.
    pub name_zh: String,
    /// Off the yearly rate, ppm.
    pub rate_cut_ppm: i64,
    /// Factor on the limit, ppm.
    pub limit_factor_ppm: Option<i64>,
    /// Added to the limit, fen.
    pub limit_extra_fen: Option<i64>,
    /// Working days to answer; 0 for the product's own.
    pub answer_working_days: i32,
    /// First day.
    pub first_on: jiff_sqlx::Date,
    /// Last day.
    pub last_on: jiff_sqlx::Date,
    /// `draft`, `approved`, `sent_back` or `ended`.
    pub state: String,
    /// Who wrote it.
    pub drafted_by: String,
    /// When.
    pub drafted_at: jiff_sqlx::Timestamp,
    /// Who reviewed it.
    pub reviewed_by: Option<String>,
    /// When.
    pub reviewed_at: Option<jiff_sqlx::Timestamp>,
    /// Why it was sent back or ended.
    pub reason: String,
}

/// Keeps a draft; says whether there was none with this id.
pub async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    adjustment: &Adjustment,
    institution: &str,
    days: (Date, Date),
    by: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let (factor, extra) = match adjustment.limit {
        Some(Limit::LimitFactorPpm(factor)) => (Some(factor), None),
        Some(Limit::LimitExtraFen(extra)) => (None, Some(extra)),
        None => (None, None),
    };
    let product: Uuid = adjustment.product_id.parse().map_err(|_| Error::StoredState(adjustment.product_id.clone()))?;
    let done = sqlx::query!(
        "INSERT INTO adjustment (adjustment_id, product_id, institution_id, enterprise_tag, name_zh, rate_cut_ppm,
             limit_factor_ppm, limit_extra_fen, answer_working_days, first_on, last_on, state, drafted_by, drafted_at, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'draft', $12, $13, '') ON CONFLICT DO NOTHING",
        id,
        product,
        institution,
        adjustment.enterprise_tag,
        adjustment.name_zh,
        adjustment.rate_cut_ppm,
        factor,
        extra,
        adjustment.answer_working_days,
        days.0.to_sqlx() as _,
        days.1.to_sqlx() as _,
        by,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// One adjustment.
pub async fn get(conn: &mut PgConnection, id: Uuid) -> Result<Row, Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT adjustment_id, product_id, enterprise_tag, name_zh, rate_cut_ppm, limit_factor_ppm, limit_extra_fen,
                  answer_working_days, first_on AS "first_on: _", last_on AS "last_on: _", state, drafted_by,
                  drafted_at AS "drafted_at: _", reviewed_by, reviewed_at AS "reviewed_at: _", reason
           FROM adjustment WHERE adjustment_id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::AdjustmentNotFound(id))
}

/// Notes what a reviewer decided.
pub async fn review(
    conn: &mut PgConnection,
    id: Uuid,
    approve: bool,
    by: &str,
    now: Timestamp,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE adjustment SET state = CASE WHEN $2 THEN 'approved' ELSE 'sent_back' END, reviewed_by = $3,
             reviewed_at = $4, reason = CASE WHEN $2 THEN '' ELSE $5 END
         WHERE adjustment_id = $1",
        id,
        approve,
        by,
        now.to_sqlx() as _,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends an approved adjustment.
pub async fn end(conn: &mut PgConnection, id: Uuid, reason: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE adjustment SET state = 'ended', reason = $2 WHERE adjustment_id = $1", id, reason)
        .execute(conn)
        .await?;
    Ok(())
}

/// Raises and gives the number of the product's next fact.
pub async fn next_sequence(conn: &mut PgConnection, product: ProductId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE product SET sequence = sequence + 1 WHERE product_id = $1 RETURNING sequence",
        product.uuid()
    )
    .fetch_one(conn)
    .await
}

/// Which adjustments are looked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this product.
    pub product: Option<Uuid>,
    /// For this set of enterprises.
    pub enterprise_tag: Option<String>,
    /// In this state.
    pub state: Option<&'static str>,
    /// Of this institution: what the caller may see.
    pub visible_to: Option<String>,
}

/// Adjustments in order of id, after a cursor.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT adjustment_id, product_id, enterprise_tag, name_zh, rate_cut_ppm, limit_factor_ppm, limit_extra_fen,
                  answer_working_days, first_on AS "first_on: _", last_on AS "last_on: _", state, drafted_by,
                  drafted_at AS "drafted_at: _", reviewed_by, reviewed_at AS "reviewed_at: _", reason
           FROM adjustment
           WHERE ($1::uuid IS NULL OR adjustment_id > $1) AND ($2::uuid IS NULL OR product_id = $2)
             AND ($3::text IS NULL OR enterprise_tag = $3) AND ($4::text IS NULL OR state = $4)
             AND ($5::text IS NULL OR institution_id = $5)
           ORDER BY adjustment_id LIMIT $6"#,
        after,
        filter.product,
        filter.enterprise_tag,
        filter.state,
        filter.visible_to,
        most
    )
    .fetch_all(conn)
    .await
}
