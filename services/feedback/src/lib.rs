//! Feedback (服务评价): the rating SMS and the five-level rating.
//!
//! In: `loan.approved`, `grant.reserved`, `enterprise.erased`. Out: `sms.queued`, `sms.delivered`, `sms.failed`, `rating.received`, `product.scored`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::SignedDuration;
use secrecy::SecretString;
use serde::Deserialize;
use sqlx::migrate::Migrator;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use zhirong_proto::feedback::v1::{
    contact_service_server::ContactServiceServer, feedback_report_service_server::FeedbackReportServiceServer,
    rating_service_server::RatingServiceServer,
};
use zhirong_runtime::{
    Error, Service,
    config::{Settings, read_secret},
    passes,
    seal::MasterKeys,
};

pub mod channel;
mod contact;
mod error;
pub mod events;
mod grpc;
pub mod phone;
pub mod rating;
mod sealing;
pub mod sender;
pub mod sms;
mod store;
pub mod text;

/// The schema.
pub static MIGRATIONS: Migrator = sqlx::migrate!();
/// The commented defaults of this service's own settings.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// Own settings; `defaults.toml` explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// How messages leave.
    pub sms: Sms,
    /// How phones are kept.
    pub personal: Personal,
}

/// How phones are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personal {
    /// The master keys of phones.
    pub data_keys: SecretString,
    /// File with them; wins.
    pub data_keys_file: String,
}

/// How messages leave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    /// Which channel.
    pub channel: ChannelKind,
    /// Where the file channel writes.
    pub file: PathBuf,
    /// The provider's address.
    pub url: String,
    /// File with the provider's bearer token.
    pub token_file: String,
    /// Longest wait for the provider, in milliseconds.
    pub timeout_ms: u64,
    /// When a sender that has said nothing is taken for dead, in seconds.
    pub claim_s: u32,
}

impl Sms {
    /// A sender that is alive asks and sends, each within the provider's time; it must not be taken for dead meanwhile.
    fn claim(&self) -> Result<SignedDuration, Error> {
        let claim = SignedDuration::from_secs(i64::from(self.claim_s));
        if claim.as_millis() <= i128::from(self.timeout_ms).saturating_mul(2) {
            return Err(Error::Config(format!(
                "sms.claim_s is {}; it must be longer than twice sms.timeout_ms, {} ms",
                self.claim_s, self.timeout_ms
            )));
        }
        Ok(claim)
    }
}

/// The channels there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A file.
    File,
    /// A provider behind HTTP.
    Http,
}

/// Runs the service until shutdown.
///
/// # Errors
/// When the settings, the database, the broker or the listener can't be used.
pub async fn serve(settings: Settings<Own>, shutdown: CancellationToken) -> Result<(), Error> {
    let Own { sms, personal } = settings.own;
    let (channel, claim) = (configured(&sms)?, sms.claim()?);
    let keys = MasterKeys::read("personal.data_keys", contact::SEALED, &personal.data_keys, &personal.data_keys_file)?;
    let keys = Arc::new(keys);
    let mut service = Service::start("feedback", settings.common, &MIGRATIONS, shutdown).await?;
    let wake = Arc::new(Notify::new());

    service.consume(events::LOANS, events::LoanHandler { clock: service.clock(), sender: Arc::clone(&wake) });
    service.consume(events::GRANTS, events::GrantHandler { clock: service.clock(), sender: Arc::clone(&wake) });
    service.consume(events::ERASURES, events::ErasureHandler);
    let sender = sender::Sender {
        pool: service.pool(),
        clock: service.clock(),
        channel,
        keys: Arc::clone(&keys),
        outbox: service.outbox(),
        wake: Arc::clone(&wake),
        claim,
    };
    service.background("sms sender", sender.run(service.shutdown()));
    let sealing = sealing::Sealing { pool: service.pool(), keys: Arc::clone(&keys) };
    service.background("sealing of phones", passes::run(sealing, service.shutdown()));

    let feedback =
        grpc::Feedback { pool: service.pool(), clock: service.clock(), keys, outbox: service.outbox(), sender: wake };
    let routes = Routes::new(ContactServiceServer::new(feedback.clone()))
        .add_service(RatingServiceServer::new(feedback.clone()))
        .add_service(FeedbackReportServiceServer::new(feedback));
    service.serve(routes).await
}

fn configured(sms: &Sms) -> Result<channel::Configured, Error> {
    match sms.channel {
        ChannelKind::File => Ok(channel::Configured::File(channel::file::FileChannel::new(sms.file.clone()))),
        ChannelKind::Http if sms.url.is_empty() => {
            Err(Error::Config("sms.url is empty; set the provider's address, or sms.channel = \"file\"".to_owned()))
        }
        ChannelKind::Http => {
            let token = read_secret(&SecretString::default(), &sms.token_file)?;
            channel::http::HttpChannel::try_new(&sms.url, token, Duration::from_millis(sms.timeout_ms))
                .map(channel::Configured::Http)
                .map_err(Error::other)
        }
    }
}
