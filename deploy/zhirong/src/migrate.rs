//! Brings a service's database to this version's schema.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use sqlx::{migrate::Migrator, postgres::PgConnectOptions};

static PROFILE: Migrator = sqlx::migrate!("../../services/credit-profile/migrations");
static CATALOG: Migrator = sqlx::migrate!("../../services/product-catalog/migrations");
static MATCHING: Migrator = sqlx::migrate!("../../services/matching/migrations");
static SUBSIDY: Migrator = sqlx::migrate!("../../services/subsidy/migrations");
static FEEDBACK: Migrator = sqlx::migrate!("../../services/feedback/migrations");

/// The services that have a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServiceName {
    /// credit-profile
    Profile,
    /// product-catalog
    Catalog,
    /// matching
    Matching,
    /// subsidy
    Subsidy,
    /// feedback
    Feedback,
}

impl ServiceName {
    fn migrations(self) -> &'static Migrator {
        match self {
            Self::Profile => &PROFILE,
            Self::Catalog => &CATALOG,
            Self::Matching => &MATCHING,
            Self::Subsidy => &SUBSIDY,
            Self::Feedback => &FEEDBACK,
        }
    }
}

/// Applies what is missing; running it again changes nothing.
pub async fn run(service: ServiceName, database_url: &str) -> Result<()> {
    let options: PgConnectOptions = database_url.parse().context("reading the database's URL")?;
    zhirong_runtime::database::migrate(&options, service.migrations()).await?;
    println!("the {service:?} database has this version's schema");
    Ok(())
}
