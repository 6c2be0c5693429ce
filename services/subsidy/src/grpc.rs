//! Proto to domain and back, one function an RPC.

mod grants;
mod policies;
mod report;

use std::sync::Arc;

use jiff::civil::Date;
use sqlx::PgPool;
use tokio::sync::Notify;
use zhirong_kernel::Clock;
use zhirong_runtime::{outbox::OutboxWake, page, problem::Problem};

/// The gRPC face of subsidy.
#[derive(Clone)]
pub(crate) struct Api {
    /// The database.
    pub(crate) pool: PgPool,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub(crate) outbox: OutboxWake,
    /// Wakes the task that serves who waits.
    pub(crate) queue: Arc<Notify>,
}

/// Only the form `YYYY-MM-DD`, so that one day has one spelling.
fn date(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|date| date.to_string() == text)
}

/// The token of the next page; empty when this one is not full.
fn next<R, C: serde::Serialize>(rows: &[R], size: i64, cursor: impl Fn(&R) -> C) -> Result<String, Problem> {
    let full = i64::try_from(rows.len()).is_ok_and(|length| length >= size);
    rows.last().filter(|_| full).map_or_else(|| Ok(String::new()), |last| page::encode(&cursor(last)))
}
