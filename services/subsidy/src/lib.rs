//! Subsidy (政策兑现): interest subsidies paid without an application (免申即享).
//!
//! In: policies, budgets, coupons, settlements and compensations by gRPC; everything that happens to a loan, what is known of
//! enterprises, what of it is erased, and the LPR by events. Out: facts about policies, budgets, grants, coupons and
//! compensations, payment files, and reports.
//!
//! The rules are pure: [`policy`] (what a policy may say), [`entitlement`] (who fits), [`combine`] (what is paid together),
//! [`plan`] (how much), [`life`] (what a loan's course has earned), [`sharing`] (whose the interest paid is), [`grant`] (where its
//! money stands), [`budget`] (how money may move), [`loss`] (how a loss is shared), [`settlement`] (what a bank pays from), [`explain`] (how it came about). [`flow`]
//! brings them to the database, where the ledger enforces them once more.
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
    compensation_service_server::CompensationServiceServer, coupon_service_server::CouponServiceServer,
    grant_service_server::GrantServiceServer, ledger_service_server::LedgerServiceServer,
    policy_review_service_server::PolicyReviewServiceServer, policy_service_server::PolicyServiceServer,
    settlement_service_server::SettlementServiceServer, subsidy_report_service_server::SubsidyReportServiceServer,
};
use zhirong_runtime::{Error, Service, config::Settings};

pub mod audience;
pub mod budget;
pub mod combine;
pub mod entitlement;
pub mod error;
pub mod events;
pub mod explain;
pub mod facts;
pub mod flow;
pub mod grant;
mod grpc;
pub mod life;
pub mod loss;
pub mod plan;
pub mod policy;
pub mod settlement;
pub mod sharing;
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
    let desk = flow::Desk { ids: Arc::new(UuidV7), book: store::policy::Book::default() };

    let mut conn = service.pool().acquire().await?;
    store::grant_change::renumber(&mut conn).await?;
    drop(conn);

    let loans = events::LoanHandler { clock: service.clock(), desk: desk.clone(), queue: Arc::clone(&wake) };
    service.consume(events::LOANS, loans);
    service.consume(events::REFERENCE, events::ReferenceHandler);
    service.consume(events::PROFILES, events::ProfileHandler);
    service.consume(events::ERASURES, events::ErasureHandler);

    let (pool, clock, outbox) = (service.pool(), service.clock(), service.outbox());
    let queue = flow::queue::Queue {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        outbox: outbox.clone(),
        desk: desk.clone(),
        wake: Arc::clone(&wake),
    };
    service.background("waiting grants", queue.run(service.shutdown()));
    let accrual = flow::accrual::Accrual {
        pool: pool.clone(),
        clock: Arc::clone(&clock),
        outbox: outbox.clone(),
        desk: desk.clone(),
    };
    service.background("daily accrual", accrual.run(service.shutdown()));
    let expiry = flow::coupon::Expiry { pool: pool.clone(), clock: Arc::clone(&clock), outbox: outbox.clone() };
    service.background("expiring coupons", expiry.run(service.shutdown()));

    let api = grpc::Api { pool, clock, outbox, desk, queue: wake };
    let routes = Routes::new(PolicyServiceServer::new(api.clone()))
        .add_service(PolicyReviewServiceServer::new(api.clone()))
        .add_service(GrantServiceServer::new(api.clone()))
        .add_service(SettlementServiceServer::new(api.clone()))
        .add_service(LedgerServiceServer::new(api.clone()))
        .add_service(CouponServiceServer::new(api.clone()))
        .add_service(CompensationServiceServer::new(api.clone()))
        .add_service(SubsidyReportServiceServer::new(api));
    service.serve(routes).await
}
