//! Who sees what of a profile: consent, release, the code that stands for a consent, and the trail that records all of it.

pub mod audit;
mod checkpoint;
mod checks;
pub mod code;
mod codes;
mod consents;
mod erasures;
mod institutions;
pub mod keys;
mod named;
mod objections;
mod orders;
mod overdue;
mod past;
pub mod person;
mod persons;
mod releases;
pub mod rests;
mod retention;
mod rotation;
pub mod scope;
mod store;
mod trail;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::Notify;
use tonic::service::Routes;
use uuid::Uuid;
use zhirong_kernel::clock::Clock;
use zhirong_proto::profile::v1::{
    audit_service_server::AuditServiceServer, consent_service_server::ConsentServiceServer,
    disclosure_check_service_server::DisclosureCheckServiceServer,
    enterprise_code_service_server::EnterpriseCodeServiceServer, erasure_service_server::ErasureServiceServer,
    objection_service_server::ObjectionServiceServer, personal_data_service_server::PersonalDataServiceServer,
    release_service_server::ReleaseServiceServer,
};
use zhirong_runtime::{
    Error, Service,
    outbox::OutboxWake,
    page, passes,
    problem::Problem,
    seal::{self, MasterKeys},
};

use self::keys::SigningKeys;

/// Authenticated with all that is sealed here.
const SEALED: &str = "zhirong.profile.v1";

/// Settings; `defaults.toml` explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The keys of the audit trail and of enterprise codes.
    pub signing_keys: SecretString,
    /// File with them; wins.
    pub signing_keys_file: String,
    /// The master keys of personal data and the key of their index.
    pub data_keys: SecretString,
    /// File with them; wins.
    pub data_keys_file: String,
    /// How often a checkpoint is signed, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// How long a release can be rebuilt, in days.
    pub released_days: u32,
}

impl Settings {
    /// Settings with keys that everybody knows, for tests.
    #[must_use]
    pub fn for_tests() -> Self {
        Self {
            signing_keys: format!("1={}", STANDARD.encode([7; 32])).into(),
            signing_keys_file: String::new(),
            data_keys: format!("index={0},1={0}", STANDARD.encode([8; 32])).into(),
            data_keys_file: String::new(),
            checkpoint_interval_ms: 20,
            released_days: 30,
        }
    }
}

/// The gRPC face of all that has to do with who sees what.
#[derive(Clone)]
pub(crate) struct Trust {
    pool: PgPool,
    clock: Arc<dyn Clock>,
    outbox: OutboxWake,
    stale: Arc<Notify>,
    signing: Arc<SigningKeys>,
    masters: Arc<MasterKeys>,
}

/// Starts what runs beside, and adds the services to the routes.
///
/// `stale` wakes whoever computes profiles.
pub(crate) fn attach(
    service: &mut Service,
    settings: &Settings,
    stale: Arc<Notify>,
    routes: Routes,
) -> Result<Routes, Error> {
    let signing = Arc::new(SigningKeys::read(&settings.signing_keys, &settings.signing_keys_file)?);
    let masters = Arc::new(MasterKeys::read("trust.data_keys", SEALED, &settings.data_keys, &settings.data_keys_file)?);
    let trust = Trust {
        pool: service.pool(),
        clock: service.clock(),
        outbox: service.outbox(),
        stale,
        signing: Arc::clone(&signing),
        masters: Arc::clone(&masters),
    };
    let orders = orders::OrderHandler { clock: service.clock(), signing: Arc::clone(&signing) };
    service.consume(orders::ORDERS, orders);
    service.consume(institutions::INSTITUTIONS, institutions::InstitutionHandler);
    let named = named::NamedHandler { clock: service.clock(), signing: Arc::clone(&signing) };
    service.consume(named::NAMED, named);
    let checkpoints = checkpoint::Checkpoints {
        pool: service.pool(),
        clock: service.clock(),
        signing,
        broker: service.broker(),
        outbox: service.outbox(),
        interval: Duration::from_millis(settings.checkpoint_interval_ms.max(10)),
    };
    let shutdown = service.shutdown();
    service.background("audit checkpoints", checkpoints.run(shutdown.clone()));
    let rotation = rotation::Rotation { pool: service.pool(), masters };
    service.background("key rotation", passes::run(rotation, shutdown.clone()));
    let retention = retention::Retention {
        pool: service.pool(),
        clock: service.clock(),
        released: SignedDuration::from_hours(i64::from(settings.released_days).saturating_mul(24)),
    };
    service.background("retention of releases", retention.run(shutdown.clone()));
    let overdue = overdue::Overdue { pool: service.pool(), clock: service.clock(), outbox: service.outbox() };
    service.background("clock of objections", overdue.run(shutdown));
    Ok(routes
        .add_service(ConsentServiceServer::new(trust.clone()))
        .add_service(ReleaseServiceServer::new(trust.clone()))
        .add_service(EnterpriseCodeServiceServer::new(trust.clone()))
        .add_service(PersonalDataServiceServer::new(trust.clone()))
        .add_service(ObjectionServiceServer::new(trust.clone()))
        .add_service(ErasureServiceServer::new(trust.clone()))
        .add_service(DisclosureCheckServiceServer::new(trust.clone()))
        .add_service(AuditServiceServer::new(trust)))
}

impl Trust {
    /// Now, as exactly as the database keeps it, so that what is rebuilt is what was said.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// A UUID of the request, or nothing when it is none: an id that is malformed names nothing.
fn id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}

/// A time of the request.
fn time(at: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

/// The token of the next page; empty when this one is not full.
fn next<R, C: serde::Serialize>(rows: &[R], size: i64, cursor: impl Fn(&R) -> C) -> Result<String, Problem> {
    let full = i64::try_from(rows.len()).is_ok_and(|length| length >= size);
    rows.last().filter(|_| full).map_or_else(|| Ok(String::new()), |last| page::encode(&cursor(last)))
}
