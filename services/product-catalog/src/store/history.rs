//! What happened to products: who, when and why. Entries are written under the lock of the product.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::ProductId;
use zhirong_proto::catalog::v1::ProductAction;

/// Who does something, when, and why.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// The subject of their token.
    pub person: &'a str,
    /// Their role, or `schedule`.
    pub role: &'a str,
    /// When.
    pub at: Timestamp,
    /// Why; may be empty.
    pub reason: &'a str,
}

/// What they did it to.
#[derive(Debug, Clone, Copy, Default)]
pub struct About {
    /// The version.
    pub version: i32,
    /// The day that was set.
    pub effective_on: Option<Date>,
    /// The adjustment.
    pub adjustment: Option<Uuid>,
}

impl From<i32> for About {
    fn from(version: i32) -> Self {
        Self { version, ..Self::default() }
    }
}

/// Writes an entry.
pub async fn add(
    conn: &mut PgConnection,
    product: ProductId,
    deed: Deed<'_>,
    action: ProductAction,
    about: About,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO product_history
             (product_id, entry, version, action, person, role, happened_at, reason, effective_on, adjustment_id)
         SELECT $1, coalesce(max(entry), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9 FROM product_history WHERE product_id = $1",
        product.uuid(),
        about.version,
        word(action),
        deed.person,
        deed.role,
        deed.at.to_sqlx() as _,
        deed.reason,
        about.effective_on.map(|on| on.to_sqlx()) as _,
        about.adjustment
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The name of an action without the prefix that proto asks for.
fn word(action: ProductAction) -> &'static str {
    action.as_str_name().trim_start_matches("PRODUCT_ACTION_")
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// From 1, without gaps.
    pub entry: i64,
    /// The version it is about.
    pub version: i32,
    /// What happened.
    pub action: String,
    /// Who did it.
    pub person: String,
    /// Their role.
    pub role: String,
    /// When.
    pub happened_at: jiff_sqlx::Timestamp,
    /// Why.
    pub reason: String,
    /// The day that was set.
    pub effective_on: Option<jiff_sqlx::Date>,
    /// The adjustment it is about.
    pub adjustment_id: Option<Uuid>,
}

impl Entry {
    /// What happened.
    pub fn action(&self) -> ProductAction {
        ProductAction::from_str_name(&format!("PRODUCT_ACTION_{}", self.action)).unwrap_or_default()
    }
}

/// Entries of a product in order, after one.
pub async fn list(
    conn: &mut PgConnection,
    product: ProductId,
    after: i64,
    most: i64,
) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query_as!(
        Entry,
        r#"SELECT entry, version, action, person, role, happened_at AS "happened_at: _", reason,
                  effective_on AS "effective_on: _", adjustment_id
           FROM product_history WHERE product_id = $1 AND entry > $2 ORDER BY entry LIMIT $3"#,
        product.uuid(),
        after,
        most
    )
    .fetch_all(conn)
    .await
}
