//! The streams: one a producing context, owned here, created by whichever service starts first, read back and checked by all.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy, RetentionPolicy, Source, StorageType},
};
use zhirong_proto::{Fact as _, profile::v1::AuditCheckpointed};

use crate::Error;

/// What the government data platform sends.
pub const GOVDATA: &str = "GOVDATA";
/// What the government data platform is told of its refused records, published by credit-profile.
pub const GOVREJECTED: &str = "GOVREJECTED";
/// Facts of credit-profile.
pub const PROFILE: &str = "PROFILE";
/// Facts of product-catalog.
pub const CATALOG: &str = "CATALOG";
/// Facts of matching.
pub const MATCHING: &str = "MATCHING";
/// Facts of subsidy.
pub const SUBSIDY: &str = "SUBSIDY";
/// Facts of feedback.
pub const FEEDBACK: &str = "FEEDBACK";

/// The signed ends of the audit trail, copied from [`PROFILE`]: apart, so that who checks the trail reads nothing else there, and
/// kept for longer. Made by credit-profile.
pub const AUDIT: &str = "AUDIT";

/// Every stream that is published to, with its subjects.
pub const ALL: [(&str, &str); 7] = [
    (GOVDATA, "gov.data.v1.>"),
    (GOVREJECTED, "gov.data.rejected.*"),
    (PROFILE, "zr.profile.>"),
    (CATALOG, "zr.catalog.>"),
    (MATCHING, "zr.matching.>"),
    (SUBSIDY, "zr.subsidy.>"),
    (FEEDBACK, "zr.feedback.>"),
];

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Messages are kept this long; the outbox keeps them at least as long.
const MAX_AGE: Duration = DAY.saturating_mul(14);
/// The ends of the audit trail outlast the pause between two yearly audits.
const AUDIT_AGE: Duration = DAY.saturating_mul(400);
/// The broker drops a message id that comes twice within this time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);

/// The stream that a service publishes, by the service's name; none for a service that publishes nothing.
#[must_use]
pub fn published_by(service: &str) -> Option<&'static str> {
    match service {
        "credit-profile" | "profile" => Some(PROFILE),
        "product-catalog" | "catalog" => Some(CATALOG),
        "matching" => Some(MATCHING),
        "subsidy" => Some(SUBSIDY),
        "feedback" => Some(FEEDBACK),
        _ => None,
    }
}

/// How a stream must be configured.
///
/// # Errors
/// [`Error::Broker`] when there is no stream of this name.
pub fn configuration(name: &str, replicas: usize) -> Result<Config, Error> {
    if name == AUDIT {
        let from = Source {
            name: PROFILE.to_owned(),
            filter_subject: Some(format!("{}.>", AuditCheckpointed::SUBJECT)),
            ..Source::default()
        };
        let copied = Config { subjects: Vec::new(), sources: Some(vec![from]), max_age: AUDIT_AGE, ..common(replicas) };
        return Ok(Config { name: name.to_owned(), ..copied });
    }
    let (name, subjects) = ALL
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| Error::Broker(format!("there is no stream {name}")))?;
    Ok(Config { name: name.to_owned(), subjects: vec![subjects.to_owned()], max_age: MAX_AGE, ..common(replicas) })
}

/// What holds for all: on the disk, never deleted or purged before its time.
fn common(replicas: usize) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// Creates the stream when it is missing, reads it back and checks it.
///
/// # Errors
/// [`Error::Mismatch`] when it exists and is configured otherwise; [`Error::Broker`].
pub async fn ensure(
    context: &jetstream::Context,
    name: &str,
    replicas: usize,
) -> Result<jetstream::stream::Stream, Error> {
    let wanted = configuration(name, replicas)?;
    let stream = context.get_or_create_stream(wanted.clone()).await.map_err(Error::broker)?;
    match difference(&wanted, &stream.cached_info().config) {
        Some(difference) => Err(Error::Mismatch { what: format!("stream {name}"), difference }),
        None => Ok(stream),
    }
}

fn difference(wanted: &Config, found: &Config) -> Option<String> {
    macro_rules! compare {
        ($($field:ident),*) => { $(
            if found.$field != wanted.$field {
                return Some(format!("{} is {:?}, must be {:?}", stringify!($field), found.$field, wanted.$field));
            }
        )* };
    }
    compare!(
        subjects,
        retention,
        storage,
        discard,
        max_age,
        duplicate_window,
        num_replicas,
        deny_delete,
        deny_purge,
        no_ack,
        sealed
    );
    None
}
