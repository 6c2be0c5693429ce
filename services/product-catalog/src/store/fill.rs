//! Columns that repeat what a specification says, so that people can search by it.

use prost::Message as _;
use sqlx::PgPool;
use zhirong_proto::catalog::v1::{ProductSpec, product_spec::Terms};

/// What people search credit products by.
#[derive(Debug, Clone, Copy)]
pub struct Copies {
    /// Smallest amount lent, fen.
    pub min_amount_fen: i64,
    /// Largest amount lent, fen.
    pub max_amount_fen: i64,
    /// Shortest term.
    pub min_term_months: i32,
    /// Longest term.
    pub max_term_months: i32,
    /// What secures the loan.
    pub guarantee_form: i32,
}

impl Copies {
    /// What a specification says; nothing for a service.
    pub fn of(spec: &ProductSpec) -> Option<Self> {
        match &spec.terms {
            Some(Terms::Credit(terms)) => Some(Self {
                min_amount_fen: terms.min_amount_fen,
                max_amount_fen: terms.max_amount_fen,
                min_term_months: terms.min_term_months,
                max_term_months: terms.max_term_months,
                guarantee_form: terms.guarantee_form,
            }),
            Some(Terms::Service(_)) | None => None,
        }
    }
}

/// Fills the columns of versions that were written before there were such columns; SQL can't read a specification.
pub async fn fill(pool: &PgPool) -> Result<(), sqlx::Error> {
    loop {
        let mut tx = pool.begin().await?;
        let rows = sqlx::query!(
            "SELECT product_id, version, spec FROM product_version WHERE is_credit AND guarantee_form IS NULL
             ORDER BY product_id, version LIMIT 500 FOR UPDATE"
        )
        .fetch_all(&mut *tx)
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let spec = ProductSpec::decode(row.spec.as_slice()).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let copies =
                Copies::of(&spec).ok_or_else(|| sqlx::Error::Decode("a credit product without terms".into()))?;
            sqlx::query!(
                "UPDATE product_version SET min_amount_fen = $3, max_amount_fen = $4, min_term_months = $5,
                     max_term_months = $6, guarantee_form = $7
                 WHERE product_id = $1 AND version = $2",
                row.product_id,
                row.version,
                copies.min_amount_fen,
                copies.max_amount_fen,
                copies.min_term_months,
                copies.max_term_months,
                copies.guarantee_form
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
    }
}
