//! Applies one batch in one transaction.
//!
//! First all at once, because that is cheapest. If one event fails, everything is rolled back and done again with a
//! savepoint around each, so that the failed one leaves no trace and its neighbours stay.

use std::{
    any::Any,
    collections::{BTreeSet, HashMap, hash_map::Entry},
    panic::AssertUnwindSafe,
};

use futures::FutureExt as _;
use sqlx::{Acquire as _, PgConnection, PgPool, Postgres, Transaction};
use tracing::Instrument as _;

use super::{
    Handler, Refused, Rejection,
    dead::{self, Letter},
    delivery::{Delivery, Origin, Unreadable},
    headers::Headers,
    hopeless,
};
use crate::{fault, telemetry};

/// An event whose handler panicked is set aside at this delivery.
const PANICS_ALLOWED: u64 = 3;

/// Checks the deferred constraints of what was done so far, and defers them again.
const CHECK_NOW: &str = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED";

/// One message, read or not.
pub(super) struct Item {
    pub(super) payload: bytes::Bytes,
    pub(super) attempt: u64,
    pub(super) delivery: Result<Delivery, Box<Unreadable>>,
}

impl Item {
    pub(super) fn new(origin: Origin, payload: bytes::Bytes, attempt: u64) -> Self {
        let delivery = Delivery::read(origin, &payload, attempt);
        Self { payload, attempt, delivery }
    }

    /// What the inbox knows it by: the event's id, or its place in the stream when it has none.
    pub(super) fn key(&self) -> &str {
        self.delivery.as_ref().map_or_else(|unreadable| &unreadable.key, |delivery| &delivery.id)
    }

    pub(super) fn subject(&self) -> &str {
        self.delivery.as_ref().map_or_else(|unreadable| &unreadable.origin.subject, |delivery| &delivery.subject)
    }

    fn headers(&self) -> &Headers {
        self.delivery.as_ref().map_or_else(|unreadable| &unreadable.origin.headers, |delivery| &delivery.headers)
    }

    fn stream(&self) -> (&str, u64) {
        match &self.delivery {
            Ok(delivery) => (&delivery.stream, delivery.stream_sequence),
            Err(unreadable) => (&unreadable.origin.stream, unreadable.origin.stream_sequence),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Applied.
    Applied,
    /// Seen before.
    Duplicate,
    /// Set aside.
    Dead(String),
    /// To come again.
    Again(String),
}

/// Applies the batch and commits. One verdict an item, in order.
pub(super) async fn apply<H: Handler>(
    pool: &PgPool,
    consumer: &str,
    handler: &H,
    items: &[Item],
) -> Result<Vec<Verdict>, sqlx::Error> {
    let suspicious = items.iter().any(|item| item.attempt > 1);
    if !suspicious && let Some(verdicts) = together(pool, consumer, handler, items).await? {
        return Ok(verdicts);
    }
    one_by_one(pool, consumer, handler, items).await
}

/// Without savepoints; gives up (none) when an event fails that may have left something behind.
async fn together<H: Handler>(
    pool: &PgPool,
    consumer: &str,
    handler: &H,
    items: &[Item],
) -> Result<Option<Vec<Verdict>>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let fresh = fresh::<H>(&mut tx, consumer, items).await?;
    // of several copies the first, and which of the chosen it is
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(items.len());
    let mut chosen: Vec<&Item> = Vec::with_capacity(items.len());
    for item in items.iter().filter(|item| fresh.has(item)) {
        if let Entry::Vacant(entry) = places.entry(item.key()) {
            entry.insert(chosen.len());
            chosen.push(item);
        }
    }
    let deliveries: Vec<&Delivery> = chosen.iter().filter_map(|item| item.delivery.as_ref().ok()).collect();
    let outcomes = AssertUnwindSafe(async { handler.handle_all(&mut tx, &deliveries).await }).catch_unwind().await;
    let Ok(Ok(outcomes)) = outcomes else {
        tx.rollback().await?;
        return Ok(None);
    };
    let mut outcomes = outcomes.into_iter();
    let mut decided: Vec<Verdict> = Vec::with_capacity(chosen.len());
    for item in &chosen {
        let outcome = match &item.delivery {
            Err(unreadable) => Some(Err(Rejection::Poison(unreadable.reason.clone()))),
            Ok(_) => outcomes.next(),
        };
        decided.push(match outcome {
            Some(Ok(())) => Verdict::Applied,
            Some(Err(Rejection::NotYet(reason))) => Verdict::Again(reason),
            Some(Err(Rejection::Poison(reason))) => bury(&mut tx, consumer, handler, item, reason).await?,
            Some(Err(Rejection::Retry(_))) | None => {
                tx.rollback().await?;
                return Ok(None);
            }
        });
    }
    finish(tx, consumer, chosen.iter().map(|item| item.key()).zip(&decided)).await?;
    let mut told = 0_usize;
    let verdicts = items.iter().map(|item| {
        let place = places.get(item.key()).copied();
        match place.and_then(|place| decided.get(place)) {
            None => Verdict::Duplicate,
            // the chosen stand in the order of the items
            Some(verdict) if place == Some(told) => {
                told = told.saturating_add(1);
                verdict.clone()
            }
            Some(verdict) => copy(verdict),
        }
    });
    Ok(Some(verdicts.collect()))
}

/// With a savepoint around each, so that the failed ones leave no trace and their neighbours stay.
async fn one_by_one<H: Handler>(
    pool: &PgPool,
    consumer: &str,
    handler: &H,
    items: &[Item],
) -> Result<Vec<Verdict>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let fresh = fresh::<H>(&mut tx, consumer, items).await?;
    let deliveries: Vec<&Delivery> =
        items.iter().filter(|item| fresh.has(item)).filter_map(|item| item.delivery.as_ref().ok()).collect();
    lock(&mut tx, handler, &deliveries).await?;
    let mut decided: HashMap<&str, Verdict> = HashMap::new();
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        let verdict = match decided.get(item.key()) {
            Some(verdict) => copy(verdict),
            None if !fresh.has(item) => Verdict::Duplicate,
            None => one(&mut tx, consumer, handler, item).await?,
        };
        decided.insert(item.key(), verdict.clone());
        verdicts.push(verdict);
    }
    finish(tx, consumer, decided.iter().map(|(key, verdict)| (*key, verdict))).await?;
    Ok(verdicts)
}

async fn lock<H: Handler>(tx: &mut PgConnection, handler: &H, deliveries: &[&Delivery]) -> Result<(), sqlx::Error> {
    let mut savepoint = tx.begin().await?;
    match AssertUnwindSafe(async { handler.lock(&mut savepoint, deliveries).await }).catch_unwind().await {
        Ok(Ok(())) => savepoint.commit().await,
        Ok(Err(rejection)) => {
            tracing::warn!(%rejection, "what events need could not be locked; they are applied without");
            savepoint.rollback().await
        }
        Err(panic) => {
            tracing::error!(panic = words(panic.as_ref()), "locking panicked; the events are applied without");
            savepoint.rollback().await
        }
    }
}

/// What becomes of a second copy in one batch: it comes again if the first does.
fn copy(first: &Verdict) -> Verdict {
    match first {
        Verdict::Again(reason) => Verdict::Again(reason.clone()),
        _ => Verdict::Duplicate,
    }
}

async fn finish(
    mut tx: Transaction<'_, Postgres>,
    consumer: &str,
    decided: impl Iterator<Item = (&'_ str, &'_ Verdict)>,
) -> Result<(), sqlx::Error> {
    let again: Vec<String> =
        decided.filter(|(_, verdict)| matches!(verdict, Verdict::Again(_))).map(|(key, _)| key.to_owned()).collect();
    release(&mut tx, consumer, &again).await?;
    fault::point("inbox_before_commit");
    tx.commit().await?;
    fault::point("inbox_after_commit");
    Ok(())
}

/// Which messages have not been seen.
enum Fresh {
    /// Nothing is remembered.
    All,
    /// Those with these keys.
    Keys(BTreeSet<String>),
}

impl Fresh {
    fn has(&self, item: &Item) -> bool {
        match self {
            Self::All => true,
            Self::Keys(keys) => keys.contains(item.key()),
        }
    }
}

async fn fresh<H: Handler>(tx: &mut PgConnection, consumer: &str, items: &[Item]) -> Result<Fresh, sqlx::Error> {
    Ok(if H::REMEMBERS { Fresh::Keys(claim(tx, consumer, items).await?) } else { Fresh::All })
}

/// Writes the ids down and returns those that are new. In order of id, so that two replicas with the same messages wait
/// for each other instead of dead-locking.
async fn claim(tx: &mut PgConnection, consumer: &str, items: &[Item]) -> Result<BTreeSet<String>, sqlx::Error> {
    let keys: Vec<&str> = items.iter().map(Item::key).collect::<BTreeSet<_>>().into_iter().collect();
    let fresh = sqlx::query_scalar!(
        "INSERT INTO runtime.inbox (consumer, event_id)
         SELECT $1, key FROM unnest($2::text[]) WITH ORDINALITY AS k (key, place) ORDER BY place
         ON CONFLICT DO NOTHING RETURNING event_id",
        consumer,
        &keys as _,
    )
    .fetch_all(tx)
    .await?;
    Ok(fresh.into_iter().collect())
}

/// Takes the ids out again of what is to come again.
async fn release(tx: &mut PgConnection, consumer: &str, again: &[String]) -> Result<(), sqlx::Error> {
    if !again.is_empty() {
        sqlx::query!("DELETE FROM runtime.inbox WHERE consumer = $1 AND event_id = ANY($2)", consumer, again)
            .execute(tx)
            .await?;
    }
    Ok(())
}

async fn one<H: Handler>(
    tx: &mut PgConnection,
    consumer: &str,
    handler: &H,
    item: &Item,
) -> Result<Verdict, sqlx::Error> {
    let reason = match &item.delivery {
        Err(unreadable) => unreadable.reason.clone(),
        Ok(delivery) => {
            let mut savepoint = tx.begin().await?;
            let mut outcome = guarded(handler, &mut savepoint, delivery).await;
            if outcome.is_ok() {
                // what is else checked at the commit only, where it would take the neighbours along
                let checked = sqlx::raw_sql(CHECK_NOW).execute(&mut *savepoint).await;
                outcome = checked.map(|_| ()).map_err(|error| Refusal::Rejected(error.into()));
            }
            if outcome.is_ok() {
                savepoint.commit().await?;
            } else {
                savepoint.rollback().await?;
            }
            match outcome {
                Ok(()) => return Ok(Verdict::Applied),
                Err(Refusal::Rejected(Rejection::Poison(reason))) => reason,
                Err(Refusal::Rejected(Rejection::Retry(error))) => match hopeless::reason(error.as_ref()) {
                    Some(reason) => reason,
                    None => return Ok(Verdict::Again(error.to_string())),
                },
                Err(refusal @ Refusal::Panicked(_)) if item.attempt >= PANICS_ALLOWED => refusal.to_string(),
                Err(again) => return Ok(Verdict::Again(again.to_string())),
            }
        }
    };
    bury(tx, consumer, handler, item, reason).await
}

/// Sets a message aside for good, and lets the handler tell its sender.
async fn bury<H: Handler>(
    tx: &mut PgConnection,
    consumer: &str,
    handler: &H,
    item: &Item,
    reason: String,
) -> Result<Verdict, sqlx::Error> {
    if !H::REMEMBERS && claim(tx, consumer, std::slice::from_ref(item)).await?.is_empty() {
        return Ok(Verdict::Duplicate);
    }
    let (event_id, event_type) = item.delivery.as_ref().map_or(("", ""), |delivery| (&delivery.id, &delivery.ce_type));
    let (stream, stream_sequence) = item.stream();
    let letter = Letter {
        consumer,
        event_id,
        event_type,
        subject: item.subject(),
        stream,
        stream_sequence,
        headers: item.headers(),
        payload: &item.payload,
        keeps_payload: H::KEEPS_PAYLOADS,
        reason: &reason,
    };
    dead::record(tx, letter).await?;
    let refused = Refused {
        delivery: item.delivery.as_ref().ok(),
        subject: item.subject(),
        headers: item.headers(),
        stream_sequence,
        reason: &reason,
    };
    match handler.refused(tx, &refused).await {
        Ok(()) => Ok(Verdict::Dead(reason)),
        Err(crate::Error::Database(error)) => Err(error),
        Err(error) => Err(sqlx::Error::Protocol(error.to_string())),
    }
}

/// Why a handler did not apply an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Rejected(Rejection),
    #[error("the handler panicked: {0}")]
    Panicked(String),
}

/// Calls the handler inside a span that continues the sender's trace; a panic is caught.
pub(super) async fn guarded<H: Handler>(
    handler: &H,
    tx: &mut PgConnection,
    delivery: &Delivery,
) -> Result<(), Refusal> {
    let span = telemetry::trace::event_span(delivery);
    let outcome = AssertUnwindSafe(async { handler.handle(tx, delivery).await }).catch_unwind().instrument(span).await;
    match outcome {
        Ok(outcome) => outcome.map_err(Refusal::Rejected),
        Err(panic) => Err(Refusal::Panicked(words(panic.as_ref()))),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
