//! What an import compares its rows with.

use sqlx::PgConnection;
use uuid::Uuid;

/// The newest version of a product.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The product.
    pub product_id: Uuid,
    /// Whose it is.
    pub institution_id: String,
    /// Its encoded specification.
    pub spec: Vec<u8>,
}

/// Locks products and gives the newest version of each that is there. In order of id, so that two imports don't wait for each
/// other.
pub async fn newest(conn: &mut PgConnection, products: &[Uuid]) -> Result<Vec<Newest>, sqlx::Error> {
    sqlx::query_as!(
        Newest,
        "SELECT product_id, product.institution_id, spec
         FROM product JOIN product_version USING (product_id)
         WHERE product_id = ANY ($1) AND version = latest_version ORDER BY product_id FOR UPDATE OF product",
        products
    )
    .fetch_all(conn)
    .await
}

/// Which of these institutions are registered.
pub async fn institutions(conn: &mut PgConnection, asked: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT institution_id FROM institution WHERE institution_id = ANY ($1) ORDER BY institution_id FOR SHARE",
        asked
    )
    .fetch_all(conn)
    .await
}
