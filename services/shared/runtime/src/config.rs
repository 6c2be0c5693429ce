//! Settings: compiled-in commented defaults < a TOML file < the environment (`ZHIRONG__SECTION__KEY`).
//!
//! Unknown keys are refused wherever they come from. Secrets come from the environment or from a file (`*_file`) and print
//! as `[REDACTED]`. Every key is explained in `defaults.toml` beside this crate, and shown by `--print-defaults`.

mod load;
mod secret;

use std::{net::SocketAddr, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};

pub use load::{defaults, load, load_from, printable_defaults};
pub use secret::read_secret;

pub use crate::run::run_main;

/// The commented defaults of the sections that all services share.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Settings that contain the common ones.
pub trait HasCommon {
    /// The common sections.
    fn common(&self) -> Common;
}

/// The settings of a service: the common sections, and its own as `Own`.
///
/// `Own` is a struct with one field a section of the service's defaults, and `#[serde(deny_unknown_fields)]`. A service
/// without own sections uses [`Nothing`].
#[derive(Debug, Clone)]
pub struct Settings<Own = Nothing> {
    /// Sections that all services share.
    pub common: Common,
    /// Sections of this service alone.
    pub own: Own,
}

impl<Own> HasCommon for Settings<Own> {
    fn common(&self) -> Common {
        self.common.clone()
    }
}

impl<'de, Own: DeserializeOwned> Deserialize<'de> for Settings<Own> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (common, own) = load::split(deserializer)?;
        Ok(Self {
            common: Common::deserialize(common).map_err(D::Error::custom)?,
            own: Own::deserialize(own).map_err(D::Error::custom)?,
        })
    }
}

/// No own sections.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The sections that all services share; `defaults.toml` explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// PostgreSQL.
    pub database: Database,
    /// NATS.
    pub nats: Nats,
    /// The gRPC server.
    pub grpc: Grpc,
    /// The operators' HTTP server.
    pub ops: Ops,
    /// Logs, traces and metrics.
    pub telemetry: Telemetry,
    /// How the process stops.
    pub shutdown: Shutdown,
    /// How events leave.
    pub outbox: Outbox,
    /// How events arrive.
    pub inbox: Inbox,
    /// How long records of the shell are kept.
    pub retention: Retention,
    /// Fault tests.
    pub fault: Fault,
}

/// Names of the sections in [`Common`].
pub(crate) const SECTIONS: [&str; 10] =
    ["database", "nats", "grpc", "ops", "telemetry", "shutdown", "outbox", "inbox", "retention", "fault"];

/// PostgreSQL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Where and as whom; holds the password.
    pub url: SecretString,
    /// File with the URL; wins over `url`.
    pub url_file: String,
    /// Most connections of this process.
    pub max_connections: u32,
    /// Longest wait for a free connection, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// Longest statement, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Longest wait for a lock, in milliseconds.
    pub lock_timeout_ms: u64,
    /// Longest idleness inside a transaction, in milliseconds.
    pub idle_in_transaction_timeout_ms: u64,
    /// How long to wait at start until the database answers, in milliseconds.
    pub start_timeout_ms: u64,
}

/// NATS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Addresses, separated by commas.
    pub url: String,
    /// Seed of the nkey to authenticate with; empty for none.
    pub nkey_seed: SecretString,
    /// File with the seed; wins over `nkey_seed`.
    pub nkey_seed_file: String,
    /// File with root certificates; empty for the system's, TLS as the URL says.
    pub ca_file: String,
    /// Replicas of each stream.
    pub replicas: usize,
    /// Longest wait for an answer of the broker, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long to wait at start until the broker answers, in milliseconds.
    pub start_timeout_ms: u64,
}

/// The gRPC server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// File that the chosen address is written to; empty for none.
    pub address_file: String,
    /// Longest time until an answer begins, in milliseconds.
    pub timeout_ms: u64,
    /// Calls handled at once; more are refused with `RESOURCE_EXHAUSTED`.
    pub max_concurrent_calls: usize,
    /// Streams of one connection.
    pub max_streams_per_connection: u32,
    /// Interval of keep-alive pings, in milliseconds.
    pub keepalive_interval_ms: u64,
    /// Longest wait for a ping's answer, in milliseconds.
    pub keepalive_timeout_ms: u64,
    /// Age at which a connection is asked to close, in seconds.
    pub max_connection_age_s: u64,
    /// Time its calls then have to end, in seconds.
    pub max_connection_age_grace_s: u64,
}

/// The operators' HTTP server: `/live`, `/ready`, `/metrics`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ops {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// File that the chosen address is written to; empty for none.
    pub address_file: String,
}

/// Logs, traces and metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Address of an OTLP collector (gRPC); empty turns the export off.
    pub otlp_endpoint: String,
    /// Form of the log on standard output.
    pub log: LogFormat,
    /// What is logged, as `tracing` directives.
    pub filter: String,
    /// Share of traces kept, in parts per million.
    pub trace_sample_ppm: u32,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For eyes.
    Text,
}

/// How the process stops.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// Pause after readiness is withdrawn, so that load balancers notice, in milliseconds.
    pub notice_ms: u64,
    /// Time for open calls to end, in milliseconds.
    pub drain_ms: u64,
    /// The whole shutdown; past it the process ends as it is, in milliseconds.
    pub deadline_ms: u64,
}

/// How events leave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// Rows published at once.
    pub batch: i64,
    /// Shortest pause between two looks for rows of other replicas, in milliseconds.
    pub poll_min_ms: u64,
    /// Longest such pause, in milliseconds.
    pub poll_max_ms: u64,
    /// Interval at which streams are compared with what was acknowledged, in seconds.
    pub compare_interval_s: u64,
    /// Interval at which streams are searched for holes, in seconds.
    pub reconcile_interval_s: u64,
}

/// How events arrive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbox {
    /// Messages applied in one transaction, at most.
    pub batch: usize,
    /// Time the broker waits for an acknowledgement before it delivers again, in seconds.
    pub ack_wait_s: u64,
    /// Messages delivered and not yet acknowledged, at most.
    pub max_ack_pending: i64,
    /// Pauses before a refused message comes again, in milliseconds; the last one repeats.
    pub retry_ms: Vec<u64>,
    /// Interval at which requested replays of dead letters are looked for, in milliseconds.
    pub replay_interval_ms: u64,
}

/// How long records of the shell are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Published events, in days.
    pub outbox_days: i32,
    /// Ids of events seen, in days.
    pub inbox_days: i32,
    /// Answers to requests, in days.
    pub request_log_days: i32,
    /// Dead letters that are resolved, in days.
    pub dead_letter_days: i32,
}

/// Fault tests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Crash point at which the process aborts; empty, as it must be outside of tests, for none.
    pub crash_at: String,
}

pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}
