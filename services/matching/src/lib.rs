//! Matching (智能匹配): the calculator, orders, the institutions' inboxes, loans.
//!
//! In: `profile.updated`, `consent.granted` / `narrowed` / `revoked`, `objection.raised` / `decided`, `enterprise.erased`, `institution.registered`, `product.published` / `suspended` / `resumed` / `retired` /
//! `adjusted`, `reference.published`, `product.scored`, `policy.published`, `budget.appropriated` / `exhausted`.
//! Out: `order.placed` / `accepted` / `rejected` / `withdrawn` / `expired`, `loan.approved` / `disbursed` / `repaid` /
//! `terms_changed` / `settled` / `renewed` / `defaulted` / `recovered`, `preapproval.computed`, `disclosure.made` / `refused`,
//! `candidates.named`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use std::sync::Arc;

use serde::Deserialize;
use sqlx::migrate::Migrator;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use zhirong_kernel::{Clock, clock::SystemClock};
use zhirong_proto::matching::v1::{
    bank_order_service_server::BankOrderServiceServer, calculator_service_server::CalculatorServiceServer,
    institution_report_service_server::InstitutionReportServiceServer, loan_service_server::LoanServiceServer,
    matching_report_service_server::MatchingReportServiceServer, order_service_server::OrderServiceServer,
    preapproval_service_server::PreapprovalServiceServer, targeting_service_server::TargetingServiceServer,
};
use zhirong_runtime::{Error, Service, config::Settings};

use calculate::Weights;

pub mod adjust;
pub mod answer;
pub mod calculate;
pub mod checks;
pub mod consent;
pub mod cost;
pub mod coupon;
mod disclosure;
mod error;
mod events;
mod expire;
pub mod explain;
mod grpc;
pub mod loan;
mod naming;
pub mod order;
mod population;
pub mod preapproval;
pub mod product;
mod reference;
mod snapshot;
mod store;
pub mod subsidy;
mod wish;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();
/// The commented defaults of this service's own settings.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Own settings; `defaults.toml` explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// How offers are ranked.
    pub ranking: Weights,
    /// How consents are asked for.
    pub checks: checks::Settings,
}

/// Runs the service until shutdown.
///
/// # Errors
/// When the settings, the database, the broker or the listener can't be used.
pub async fn serve(settings: Settings<Own>, shutdown: CancellationToken) -> Result<(), Error> {
    serve_by(Arc::new(SystemClock), settings, shutdown).await
}

/// As [`serve`], by another clock; tests set the day by it.
///
/// # Errors
/// As [`serve`].
pub async fn serve_by(
    clock: Arc<dyn Clock>,
    settings: Settings<Own>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let weights = settings.own.ranking;
    if let Some(fault) = weights.fault() {
        return Err(Error::Config(fault.to_owned()));
    }
    let checks = checks::Checks::new(&settings.own.checks)?;
    let service = Service::start("matching", settings.common, &MIGRATIONS, shutdown).await?;
    let mut service = service.with_clock(clock);
    let inbox = Arc::new(Notify::new());
    let snapshots = snapshot::Snapshots::new(service.pool());
    snapshots.refresh().await.map_err(Error::other)?;

    let due = Arc::new(Notify::new());
    service.consume(events::PROFILES, events::ProfileHandler { due: Arc::clone(&due) });
    service.consume(events::CONSENTS, events::ConsentHandler);
    service.consume(events::PREAPPROVAL_CONSENTS, events::PreapprovalConsentHandler);
    service.consume(events::OBJECTIONS, events::ObjectionHandler);
    service.consume(events::ERASURES, events::ErasureHandler { inbox: Arc::clone(&inbox) });
    service.consume(events::CATALOG, events::CatalogHandler { snapshots: snapshots.clone() });
    service.consume(events::SCORES, events::CatalogHandler { snapshots: snapshots.clone() });
    service.consume(events::SUBSIDIES, events::CatalogHandler { snapshots: snapshots.clone() });
    service.background("catalog", snapshots.clone().follow(service.clock(), service.shutdown()));
    let enterprises = population::Enterprises::new(service.pool(), snapshots.symbols());
    service.background("population", enterprises.clone().follow(service.shutdown()));
    let expire = expire::Expire {
        pool: service.pool(),
        clock: service.clock(),
        outbox: service.outbox(),
        inbox: Arc::clone(&inbox),
    };
    service.background("expire", expire.run(service.shutdown()));
    let keep = preapproval::keep::Keep {
        pool: service.pool(),
        clock: service.clock(),
        outbox: service.outbox(),
        snapshots: snapshots.clone(),
        due,
    };
    service.background("preapproval", keep.run(service.shutdown()));

    let matching = grpc::Matching {
        pool: service.pool(),
        clock: service.clock(),
        outbox: service.outbox(),
        snapshots,
        enterprises,
        checks,
        weights,
        inbox,
        calculated: Arc::default(),
        shutdown: service.shutdown(),
    };
    let routes = Routes::new(CalculatorServiceServer::new(matching.clone()))
        .add_service(OrderServiceServer::new(matching.clone()))
        .add_service(BankOrderServiceServer::new(matching.clone()))
        .add_service(LoanServiceServer::new(matching.clone()))
        .add_service(PreapprovalServiceServer::new(matching.clone()))
        .add_service(TargetingServiceServer::new(matching.clone()))
        .add_service(InstitutionReportServiceServer::new(matching.clone()))
        .add_service(MatchingReportServiceServer::new(matching));
    service.serve(routes).await
}
