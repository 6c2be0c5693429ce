//! All SQL of matching.

pub mod adjustment;
pub mod candidate;
pub mod catalog;
pub mod coupon;
pub mod disclosure;
pub mod erasure;
pub mod institution_report;
pub mod kept;
pub mod loan;
pub mod objection;
pub mod order;
pub mod population;
pub mod preapproval;
pub mod read_model;
pub mod report;
pub mod subsidy;

#[cfg(test)]
mod tests {
    use sqlx::PgPool;
    use zhirong_testkit::TestDatabase;

    /// A database with this service's tables, gone with the first of the two.
    pub async fn database() -> (TestDatabase, PgPool) {
        let database = TestDatabase::empty().await.unwrap();
        let options = database.url().parse().unwrap();
        zhirong_runtime::database::migrate(&options, &crate::MIGRATIONS).await.unwrap();
        let pool = database.pool().await.unwrap();
        (database, pool)
    }
}
