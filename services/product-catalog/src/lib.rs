//! The product catalog (金融产品超市): institutions, products and their versions, reference data.
//!
//! In: commands of the staff. Out: `institution.registered`, `product.published`, `product.suspended`, `product.resumed`,
//! `product.retired`, `product.adjusted`, `reference.published`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use sqlx::migrate::Migrator;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use zhirong_proto::catalog::v1::{
    adjustment_service_server::AdjustmentServiceServer, agreement_service_server::AgreementServiceServer,
    catalog_report_service_server::CatalogReportServiceServer, institution_service_server::InstitutionServiceServer,
    product_import_service_server::ProductImportServiceServer, product_service_server::ProductServiceServer,
    product_workflow_service_server::ProductWorkflowServiceServer, reference_service_server::ReferenceServiceServer,
    rule_service_server::RuleServiceServer,
};
use zhirong_runtime::{Error, Service, config::Settings};

mod adjustment;
mod differences;
mod error;
mod grpc;
mod in_force;
pub mod rows;
mod store;
pub mod validate;
mod workflow;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();
/// This service has no settings of its own.
pub const DEFAULTS: &str = "";

/// Runs the service until shutdown.
///
/// # Errors
/// When the settings, the database, the broker or the listener can't be used.
pub async fn serve(settings: Settings, shutdown: CancellationToken) -> Result<(), Error> {
    let mut service = Service::start("product-catalog", settings.common, &MIGRATIONS, shutdown).await?;
    store::fill::fill(&service.pool()).await?;
    let schedule = in_force::Schedule { pool: service.pool(), clock: service.clock(), outbox: service.outbox() };
    service.background("schedule", schedule.run(service.shutdown()));
    let catalog = grpc::Catalog { pool: service.pool(), clock: service.clock(), outbox: service.outbox() };
    let routes = Routes::new(InstitutionServiceServer::new(catalog.clone()))
        .add_service(ProductServiceServer::new(catalog.clone()))
        .add_service(AdjustmentServiceServer::new(catalog.clone()))
        .add_service(AgreementServiceServer::new(catalog.clone()))
        .add_service(CatalogReportServiceServer::new(catalog.clone()))
        .add_service(ProductImportServiceServer::new(catalog.clone()))
        .add_service(ProductWorkflowServiceServer::new(catalog.clone()))
        .add_service(RuleServiceServer::new(catalog.clone()))
        .add_service(ReferenceServiceServer::new(catalog));
    service.serve(routes).await
}
