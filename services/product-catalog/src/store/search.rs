//! Finding products and versions, a page at a time in a stable order.

use sqlx::PgConnection;
use uuid::Uuid;

use super::version::VersionRow;

/// Which published products are looked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this institution.
    pub institution_id: Option<String>,
    /// With every one of these tags.
    pub tags: Vec<String>,
    /// Credit or service.
    pub is_credit: Option<bool>,
    /// With this text in name or summary, as a LIKE pattern.
    pub like: Option<String>,
    /// Lends this amount, fen.
    pub amount_fen: Option<i64>,
    /// Lends for so many months.
    pub term_months: Option<i32>,
    /// Secured in one of these ways; empty for any.
    pub guarantee_forms: Vec<i32>,
}

/// Published products in order of id, after a cursor.
pub async fn products(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<VersionRow>, sqlx::Error> {
    sqlx::query_as!(
        VersionRow,
        r#"SELECT product_id, version, spec, state, drafted_by, published_at AS "published_at: _",
                  effective_on AS "effective_on: _", scheduled_by
           FROM product_version
           WHERE state = 'published' AND ($1::uuid IS NULL OR product_id > $1)
             AND ($2::text IS NULL OR institution_id = $2) AND tags @> $3
             AND ($4::bool IS NULL OR is_credit = $4) AND ($5::text IS NULL OR name_zh ILIKE $5 OR summary_zh ILIKE $5)
             AND ($6::bigint IS NULL OR $6 BETWEEN min_amount_fen AND max_amount_fen)
             AND ($7::int IS NULL OR $7 BETWEEN min_term_months AND max_term_months)
             AND (cardinality($8::int[]) = 0 OR guarantee_form = ANY ($8))
           ORDER BY product_id LIMIT $9"#,
        after,
        filter.institution_id,
        &filter.tags,
        filter.is_credit,
        filter.like,
        filter.amount_fen,
        filter.term_months,
        &filter.guarantee_forms,
        most
    )
    .fetch_all(conn)
    .await
}

/// How many published products there are.
pub async fn count(conn: &mut PgConnection, filter: &Filter) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM product_version
           WHERE state = 'published' AND ($1::text IS NULL OR institution_id = $1) AND tags @> $2
             AND ($3::bool IS NULL OR is_credit = $3) AND ($4::text IS NULL OR name_zh ILIKE $4 OR summary_zh ILIKE $4)
             AND ($5::bigint IS NULL OR $5 BETWEEN min_amount_fen AND max_amount_fen)
             AND ($6::int IS NULL OR $6 BETWEEN min_term_months AND max_term_months)
             AND (cardinality($7::int[]) = 0 OR guarantee_form = ANY ($7))"#,
        filter.institution_id,
        &filter.tags,
        filter.is_credit,
        filter.like,
        filter.amount_fen,
        filter.term_months,
        &filter.guarantee_forms
    )
    .fetch_one(conn)
    .await
}

/// Which versions are looked for.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    /// Of this product.
    pub product: Option<Uuid>,
    /// In this state.
    pub state: Option<&'static str>,
    /// Of this institution.
    pub institution_id: Option<String>,
    /// Of this institution too: what the caller may see.
    pub visible_to: Option<String>,
}

/// Versions in any state, in order of product and version, after a cursor.
pub async fn versions(
    conn: &mut PgConnection,
    filter: &Versions,
    after: Option<(Uuid, i32)>,
    most: i64,
) -> Result<Vec<VersionRow>, sqlx::Error> {
    let (after_product, after_version) = after.unzip();
    sqlx::query_as!(
        VersionRow,
        r#"SELECT product_id, version, spec, state, drafted_by, published_at AS "published_at: _",
                  effective_on AS "effective_on: _", scheduled_by
           FROM product_version
           WHERE ($1::uuid IS NULL OR (product_id, version) > ($1, $2::int))
             AND ($3::uuid IS NULL OR product_id = $3) AND ($4::text IS NULL OR state = $4)
             AND ($5::text IS NULL OR institution_id = $5) AND ($6::text IS NULL OR institution_id = $6)
           ORDER BY product_id, version LIMIT $7"#,
        after_product,
        after_version,
        filter.product,
        filter.state,
        filter.institution_id,
        filter.visible_to,
        most
    )
    .fetch_all(conn)
    .await
}
