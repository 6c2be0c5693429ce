//! Proto to domain and back, one function an RPC.

mod compensations;
mod coupons;
mod draft;
mod grants;
mod ledger;
mod policies;
mod report;
mod review;
mod settlements;

use std::sync::Arc;

use jiff::civil::Date;
use sqlx::PgPool;
use tokio::sync::Notify;
use tonic::Request;
use zhirong_kernel::Clock;
use zhirong_runtime::{
    caller::{Caller, Role},
    outbox::OutboxWake,
    page,
    problem::Problem,
};

use crate::{flow::Desk, policy::is_text};

const LONGEST_REASON: usize = 500;

/// The gRPC face of subsidy.
#[derive(Clone)]
pub(crate) struct Api {
    /// The database.
    pub(crate) pool: PgPool,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub(crate) outbox: OutboxWake,
    /// What every step needs.
    pub(crate) desk: Desk,
    /// Wakes the task that serves who waits.
    pub(crate) queue: Arc<Notify>,
}

impl Api {
    /// After a commit.
    fn wake(&self) {
        self.outbox.notify();
        self.queue.notify_one();
    }
}

/// A write as all of them go: the request is claimed, done and answered in one transaction, and one that comes again gets the
/// first answer. `$act` gives the answer.
macro_rules! write {
    ($api:expr, $caller:expr, $method:literal, $request:expr, |$tx:ident, $now:ident| $act:expr) => {{
        let $now = $api.clock.now();
        let mut transaction = $api.pool.begin().await?;
        let request = &$request;
        let claimed = zhirong_runtime::idempotency::claim(
            &mut transaction,
            $caller,
            concat!("/zhirong.subsidy.v1.", $method),
            &request.request_id,
            request,
            $now,
        );
        match claimed.await? {
            zhirong_runtime::idempotency::Claim::Replay(response) => Ok(response),
            zhirong_runtime::idempotency::Claim::Fresh(slot) => {
                let $tx = &mut *transaction;
                let response = $act;
                slot.complete(&mut transaction, &response).await?;
                transaction.commit().await?;
                zhirong_runtime::fault::point(concat!($method, " committed"));
                $api.wake();
                Ok(response)
            }
        }
    }};
}
use write;

fn staff<T>(request: &Request<T>) -> Result<Caller, Problem> {
    let caller = Caller::from_request(request)?;
    caller.require(&[Role::Staff])?;
    Ok(caller)
}

fn watcher<T>(request: &Request<T>) -> Result<Caller, Problem> {
    let caller = Caller::from_request(request)?;
    caller.require(&[Role::Staff, Role::Operator])?;
    Ok(caller)
}

/// Only the form `YYYY-MM-DD`, so that one day has one spelling.
fn date(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|date| date.to_string() == text)
}

/// A UUID of a named field.
fn id<T: std::str::FromStr>(text: &str, field: &'static str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("ID_INVALID", format!("`{field}` is not a UUID"))
            .field(field, "must be a UUID")
            .zh("编号必须为 UUID")
    })
}

/// A reason in Chinese; empty only where none is asked for.
fn reason(text: &str, needed: bool) -> Result<&str, Problem> {
    if (text.is_empty() && !needed) || is_text(text, LONGEST_REASON) {
        return Ok(text);
    }
    Err(Problem::invalid("REASON_INVALID", "the reason can't be taken; see the field")
        .field("reason_zh", "must have 1 to 500 characters, without control characters")
        .zh("请填写500字以内的理由"))
}

/// The token of the next page; empty when this one is not full.
fn next<R, C: serde::Serialize>(rows: &[R], size: i64, cursor: impl Fn(&R) -> C) -> Result<String, Problem> {
    let full = i64::try_from(rows.len()).is_ok_and(|length| length >= size);
    rows.last().filter(|_| full).map_or_else(|| Ok(String::new()), |last| page::encode(&cursor(last)))
}
