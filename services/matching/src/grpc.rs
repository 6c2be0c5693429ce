//! Proto to domain and back, one function an RPC.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::Clock;
use zhirong_runtime::{outbox::OutboxWake, problem::Problem};

use crate::{calculate::Weights, checks::Checks, population::Enterprises, snapshot::Snapshots};

mod bank;
mod calculator;
mod inbox;
mod institution_report;
mod loan;
mod order;
mod preapproval;
mod report;
mod targeting;

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
    /// Every profile in memory.
    pub enterprises: Enterprises,
    /// Whether consents still hold.
    pub checks: Checks,
    /// What ratings weigh in the ranking.
    pub weights: Weights,
    /// Wakes open inbox streams of this process.
    pub inbox: Arc<Notify>,
    /// Which enterprises were noted today.
    pub calculated: Arc<Calculated>,
    /// Ends open streams.
    pub shutdown: CancellationToken,
}

pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
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
