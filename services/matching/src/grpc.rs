//! Proto to domain and back, one function an RPC.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::{
    clock::Clock,
    feature::{FeatureValue, Features},
    rule::{Inputs, RuleContext},
};
use zhirong_proto::profile::v1::{self as profile_pb, Profile};
use zhirong_runtime::{outbox::OutboxWake, problem::Problem};

use crate::{
    error::Error,
    snapshot::{Catalog, Snapshots},
};

mod bank;
mod calculator;
mod order;
mod report;

pub use calculator::Calculated;

/// The gRPC face of matching.
#[derive(Clone)]
pub struct Matching {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// The catalog in memory.
    pub snapshots: Snapshots,
    /// Wakes open inbox streams of this process.
    pub inbox: Arc<Notify>,
    /// Which enterprises were noted today.
    pub calculated: Arc<Calculated>,
    /// Ends open streams.
    pub shutdown: CancellationToken,
}

/// A term that the calculator takes when none is wished.
const USUAL_TERM_MONTHS: i64 = 12;

/// Makes a profile ready for the rules of a catalog on a day.
fn context(
    catalog: &Catalog,
    profile: &Profile,
    today: Date,
    requested_fen: i64,
    term_months: i32,
) -> Result<RuleContext, Error> {
    let inputs = Inputs {
        requested_fen,
        term_months: if term_months == 0 { USUAL_TERM_MONTHS } else { i64::from(term_months) },
        lpr_1y_ppm: catalog.one_year_lpr(today)?.get(),
    };
    Ok(RuleContext::new(&features(profile), inputs))
}

fn features(profile: &Profile) -> Features {
    use profile_pb::feature_value::Kind;
    profile
        .features
        .iter()
        .filter_map(|(name, value)| {
            let value = match value.kind.as_ref()? {
                Kind::Integer(number) => FeatureValue::Int(*number),
                Kind::Flag(flag) => FeatureValue::Bool(*flag),
                Kind::Text(text) => FeatureValue::Text(text.clone()),
            };
            Some((name.clone(), value))
        })
        .collect()
}

fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// An id out of a request.
fn id<T: std::str::FromStr>(text: &str, field: &'static str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("ID_INVALID", format!("`{field}` is not a UUID"))
            .field(field, "must be a UUID")
            .zh("编号格式有误")
    })
}

/// Whether a page is full, so that there may be a next one; asked for one entry more than the page has.
fn cut<T>(mut entries: Vec<T>, size: i64) -> (Vec<T>, bool) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = entries.len() > size;
    entries.truncate(size);
    (entries, more)
}
