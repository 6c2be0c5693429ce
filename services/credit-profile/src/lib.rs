//! The credit profile (企业信用画像): records of government data become features, a score and a grade.
//!
//! In: `gov.data.v1.<category>`, loans, orders, candidates named, ratings and institutions. Out: `profile.updated`, `consent.*`, `objection.*`,
//! `quality.*`, `tier.changed`, `enterprise.erased`, and `gov.data.rejected.<source>` for what is refused or was wrong.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use sqlx::{PgPool, migrate::Migrator};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use zhirong_kernel::clock::{Clock, SystemClock};
use zhirong_proto::profile::v1::{
    appraisal_service_server::AppraisalServiceServer, category_service_server::CategoryServiceServer,
    listing_tier_service_server::ListingTierServiceServer, profile_service_server::ProfileServiceServer,
    quality_pool_service_server::QualityPoolServiceServer, scorecard_service_server::ScorecardServiceServer,
};
use zhirong_runtime::{Error, Service, config::Settings, streams};

pub mod appraisal;
pub mod arrival;
mod backlog;
mod declaration;
mod delivery;
mod error;
mod events;
mod extent;
pub mod features;
pub mod feeding;
#[cfg(test)]
mod fixture;
mod follow;
mod grpc;
mod loans;
mod marks;
mod numbers;
pub mod profile;
pub mod published;
pub mod quality;
mod recompute;
pub mod record;
pub mod refusal;
mod reloads;
pub mod schema;
pub mod scorecard;
mod store;
pub mod tier;
pub mod trust;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();
/// The commented defaults of this service's own settings.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Own settings; `defaults.toml` explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Who sees what.
    pub trust: trust::Settings,
}

impl Own {
    /// Settings with keys that everybody knows, for tests.
    #[must_use]
    pub fn for_tests() -> Self {
        Self { trust: trust::Settings::for_tests() }
    }
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
    let service = Service::start("credit-profile", settings.common, &MIGRATIONS, shutdown).await?;
    let mut service = service.with_clock(clock);
    let stale = Arc::new(Notify::new());
    let declaration = begin(&service.pool(), service.clock().now()).await?;

    let backlog = Arc::new(backlog::Backlog::default());
    service.broker().offer(streams::GOVREJECTED, events::PLATFORM).await?;

    let ended = Arc::new(Notify::new());
    let records = events::RecordHandler {
        clock: service.clock(),
        stale: Arc::clone(&stale),
        backlog: Arc::clone(&backlog),
        categories: events::KnownCategories::default(),
        ended: Arc::clone(&ended),
    };
    service.consume(events::SUBSCRIPTION, records);
    for subscription in [loans::LOANS, loans::RATINGS] {
        let handler = loans::HistoryHandler { clock: service.clock(), stale: Arc::clone(&stale) };
        service.consume(subscription, handler);
    }
    let reloads = reloads::Reloads {
        pool: service.pool(),
        clock: service.clock(),
        stale: Arc::clone(&stale),
        at_once: reloads::AT_ONCE,
    };
    service.background("full reloads", reloads.run(service.shutdown()));
    let deliveries = delivery::Deliveries {
        pool: service.pool(),
        clock: service.clock(),
        broker: service.broker(),
        outbox: service.outbox(),
        ended,
    };
    service.background("deliveries", deliveries.run(service.shutdown()));
    let recompute = recompute::Recompute {
        pool: service.pool(),
        clock: service.clock(),
        outbox: service.outbox(),
        stale: Arc::clone(&stale),
        backlog,
        declaration,
    };
    service.background("recompute", recompute.run(service.shutdown()));

    let profiles = grpc::Profiles { pool: service.pool(), clock: service.clock(), stale: Arc::clone(&stale) };
    let routes = Routes::new(ProfileServiceServer::new(profiles.clone()))
        .add_service(CategoryServiceServer::new(profiles.clone()))
        .add_service(AppraisalServiceServer::new(profiles.clone()))
        .add_service(ListingTierServiceServer::new(profiles.clone()))
        .add_service(QualityPoolServiceServer::new(profiles.clone()))
        .add_service(ScorecardServiceServer::new(profiles));
    let routes = trust::attach(&mut service, &settings.own.trust, stale, routes)?;
    service.serve(routes).await
}

/// Puts the first scorecard into force where there is none yet. Categories in force must fit the features of this version: what they
/// feed would be wrong or missing in every profile. Gives the number of this version's declaration of features.
async fn begin(pool: &PgPool, now: Timestamp) -> Result<i64, Error> {
    let first = scorecard::first().map_err(Error::other)?;
    let mut conn = pool.acquire().await?;
    store::scorecards::begin(&mut conn, &first, now).await?;
    let misfits = feeding::all(&store::categories(&mut conn).await.map_err(Error::other)?);
    if !misfits.is_empty() {
        let error = error::Error::Misfits(misfits);
        let advice = "Change them with the version before (PutCategory), then start this one";
        return Err(Error::other(format!("{error}. {advice}")));
    }
    Ok(store::declarations::number(&mut conn, &declaration::fingerprint()).await?)
}
