//! The product catalog (金融产品超市): institutions, products and their versions, reference data.
//!
//! In: commands of the staff. Out: `institution.registered`, `product.published`, `product.retired`, `reference.published`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use sqlx::migrate::Migrator;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use zhirong_proto::catalog::v1::{
    institution_service_server::InstitutionServiceServer, product_service_server::ProductServiceServer,
    reference_service_server::ReferenceServiceServer,
};
use zhirong_runtime::{Error, Service, config::Settings};

mod error;
mod grpc;
mod store;
pub mod validate;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();
/// This service has no settings of its own.
pub const DEFAULTS: &str = "";

/// Runs the service until shutdown.
///
/// # Errors
/// When the settings, the database, the broker or the listener can't be used.
pub async fn serve(settings: Settings, shutdown: CancellationToken) -> Result<(), Error> {
    let service = Service::start("product-catalog", settings.common, &MIGRATIONS, shutdown).await?;
    let catalog = grpc::Catalog { pool: service.pool(), clock: service.clock(), outbox: service.outbox() };
    let routes = Routes::new(InstitutionServiceServer::new(catalog.clone()))
        .add_service(ProductServiceServer::new(catalog.clone()))
        .add_service(ReferenceServiceServer::new(catalog));
    service.serve(routes).await
}
