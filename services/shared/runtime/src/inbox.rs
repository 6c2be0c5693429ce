//! Events arrive in batches, each batch in one transaction: ids seen before are dropped, the rest is applied, what it emits
//! is written, all is committed, and only then acknowledged.
//!
//! The broker redelivers and reorders, so a [`Handler`] must stand both: the id makes an event count once, the version in
//! its payload keeps an older fact from overwriting a newer one.

mod batch;
pub(crate) mod cloudevents;
mod consumer;
mod dead;
mod delivery;
mod headers;
mod hopeless;

use std::{error::Error as StdError, future::Future};

use sqlx::PgConnection;
use tracing::Instrument as _;

pub(crate) use consumer::Consumer;
pub use delivery::{ContentType, Delivery};
pub use headers::Headers;

use crate::telemetry;

/// What a consumer listens to.
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// Name of the consumer, at the broker and in the database; replicas share it. Lower case with hyphens, no dots. A
    /// consumer that needs other subjects needs another name, or it would miss the past of the new ones.
    pub durable: &'static str,
    /// The stream; see [`crate::streams`].
    pub stream: &'static str,
    /// Subjects of the stream; empty for all.
    pub subjects: &'static [&'static str],
}

/// Applies events.
pub trait Handler: Send + Sync + 'static {
    /// Batches that one process has at work at the same time; more than one where they seldom wait for each other.
    const LANES: usize = 1;

    /// Whether the ids of applied events are kept, so that each counts once. A handler to which an event means nothing the
    /// second time, because what it writes carries the version it was written from, saves a row an event without them. The ids
    /// of refused events are kept all the same: each is answered once.
    const REMEMBERS: bool = true;

    /// Whether the dead letter of a refused event keeps its payload. Where that may hold what nobody should read in the clear, the
    /// letter keeps a digest instead and can't be replayed: the sender sends the event again.
    const KEEPS_PAYLOADS: bool = true;

    /// Applies one event in the batch's transaction. Nothing but the transaction may change here: the call is repeated when
    /// a neighbour fails.
    fn handle(&self, tx: &mut PgConnection, delivery: &Delivery) -> impl Future<Output = Result<(), Rejection>> + Send;

    /// Applies a batch in its transaction; gives one outcome an event, in order. Whoever writes many rows with one statement
    /// does it here. An event that is rejected inside the list must have changed nothing. An error for the whole rolls
    /// everything back, and the events come to [`Handler::handle`] one by one, each in its savepoint; a
    /// [`Rejection::Retry`] inside the list does the same.
    fn handle_all(
        &self,
        tx: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> impl Future<Output = Result<Vec<Result<(), Rejection>>, Rejection>> + Send {
        in_turn(self, tx, deliveries)
    }

    /// Events are about to be applied one by one in one transaction. Whoever must take locks in an order of its own takes here
    /// all that [`Handler::handle`] will need for them, so that those of the first do not stand across those of the second. When
    /// it fails, the events are applied without.
    fn lock(
        &self,
        _tx: &mut PgConnection,
        _deliveries: &[&Delivery],
    ) -> impl Future<Output = Result<(), Rejection>> + Send {
        async { Ok(()) }
    }

    /// A message was set aside for good: write here, in the same transaction, what its sender is told.
    fn refused(
        &self,
        _tx: &mut PgConnection,
        _refused: &Refused<'_>,
    ) -> impl Future<Output = Result<(), crate::Error>> + Send {
        async { Ok(()) }
    }

    /// A batch was committed: refresh what is kept in memory, wake workers.
    fn committed(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Applies a batch event by event, as [`Handler::handle_all`] does unless a handler has its own.
///
/// # Errors
/// The first rejection: what that event has left behind is unknown, and all are rolled back.
pub async fn in_turn<H: Handler + ?Sized>(
    handler: &H,
    tx: &mut PgConnection,
    deliveries: &[&Delivery],
) -> Result<Vec<Result<(), Rejection>>, Rejection> {
    let mut outcomes = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let span = telemetry::trace::event_span(delivery);
        handler.handle(tx, delivery).instrument(span).await?;
        outcomes.push(Ok(()));
    }
    Ok(outcomes)
}

/// A message that was set aside for good.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The event; none when it is no CloudEvent.
    pub delivery: Option<&'a Delivery>,
    /// The NATS subject.
    pub subject: &'a str,
    /// All headers.
    pub headers: &'a Headers,
    /// Its sequence in the stream.
    pub stream_sequence: u64,
    /// Why.
    pub reason: &'a str,
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It can never be applied: it goes to the dead letters with this reason.
    #[error("{0}")]
    Poison(String),
    /// It came before something it needs: it comes again, with back-off, for ever.
    #[error("too early: {0}")]
    NotYet(String),
    /// Applying it failed: it comes again, with back-off, for ever; unless the database refuses the value itself (a CHECK, a
    /// date out of range), which makes it poison.
    #[error("{0}")]
    Retry(#[source] Box<dyn StdError + Send + Sync>),
}

impl Rejection {
    /// The event can never be applied.
    pub fn poison(reason: impl std::fmt::Display) -> Self {
        Self::Poison(reason.to_string())
    }

    /// The event came too early.
    pub fn not_yet(reason: impl std::fmt::Display) -> Self {
        Self::NotYet(reason.to_string())
    }

    /// Applying failed for a reason that may pass.
    pub fn retry(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Retry(error.into())
    }
}

impl From<sqlx::Error> for Rejection {
    fn from(error: sqlx::Error) -> Self {
        Self::Retry(Box::new(error))
    }
}

impl From<crate::Error> for Rejection {
    fn from(error: crate::Error) -> Self {
        Self::Retry(Box::new(error))
    }
}
