//! Subsidy (政策兑现): interest subsidies paid without an application (免申即享).
//!
//! In: policies and budgets by gRPC; `loan.approved`, `loan.disbursed` and `reference.published` by events. Out:
//! `grant.reserved`, `grant.activated`, `grant.queued`, `budget.exhausted`, and reports.
//!
//! The rules are pure: [`policy`] (what a policy may say), [`entitlement`] (who fits), [`plan`] (how much), [`budget`] (how
//! money may move), [`grant`] (the life of a grant), [`explain`] (how it came about). [`flow`] brings them to the database,
//! where the ledger enforces them once more.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::float_arithmetic
    )
)]

use std::sync::Arc;

use sqlx::migrate::Migrator;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use zhirong_kernel::id::UuidV7;
use zhirong_proto::subsidy::v1::{
    grant_service_server::GrantServiceServer, policy_service_server::PolicyServiceServer,
    subsidy_report_service_server::SubsidyReportServiceServer,
};
use zhirong_runtime::{Error, Service, config::Settings};

pub mod budget;
pub mod entitlement;
pub mod error;
pub mod events;
pub mod explain;
pub mod facts;
pub mod flow;
pub mod grant;
mod grpc;
pub mod plan;
pub mod policy;
pub mod store;
pub mod wire;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();
/// This service has no settings of its own.
pub const DEFAULTS: &str = "";

/// Runs the service until shutdown.
///
/// # Errors
/// When the settings, the database, the broker or the listener can't be used.
pub async fn serve(settings: Settings, shutdown: CancellationToken) -> Result<(), Error> {
    let mut service = Service::start("subsidy", settings.common, &MIGRATIONS, shutdown).await?;
    let wake = Arc::new(Notify::new());

    let loans = events::LoanHandler { clock: service.clock(), ids: Arc::new(UuidV7), queue: Arc::clone(&wake) };
    service.consume(events::LOANS, loans);
    service.consume(events::REFERENCE, events::ReferenceHandler);

    let queue = flow::queue::Queue {
        pool: service.pool(),
        clock: service.clock(),
        outbox: service.outbox(),
        wake: Arc::clone(&wake),
    };
    service.background("waiting grants", queue.run(service.shutdown()));

    let api = grpc::Api { pool: service.pool(), clock: service.clock(), outbox: service.outbox(), queue: wake };
    let routes = Routes::new(PolicyServiceServer::new(api.clone()))
        .add_service(GrantServiceServer::new(api.clone()))
        .add_service(SubsidyReportServiceServer::new(api));
    service.serve(routes).await
}
