//! Takes messages from a durable pull consumer and gives them to the batch.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::{
    self, AckKind,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures::{FutureExt as _, StreamExt as _};
use sqlx::PgPool;
use tokio::{
    task::unconstrained,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Handler, Subscription,
    batch::{self, Item, Verdict},
    dead,
    delivery::Origin,
};
use crate::{
    Error,
    broker::Broker,
    config::{self, ms},
    outbox::OutboxWake,
    streams, telemetry,
};

/// Pause before a consumer that lost its stream, or a database that failed, is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Longest time for one batch; one that takes longer is rolled back and comes again in smaller pieces.
const PATIENCE: Duration = Duration::from_secs(25);
/// From this delivery on a message that comes again is a warning.
const WORRY_AT: u64 = 4;

/// A handler with what it listens to.
pub(crate) struct Consumer<H> {
    pub(crate) subscription: Subscription,
    pub(crate) handler: Arc<H>,
    pub(crate) pool: PgPool,
    pub(crate) broker: Broker,
    pub(crate) settings: config::Inbox,
    pub(crate) wake: OutboxWake,
    pub(crate) shutdown: CancellationToken,
}

type Received = (jetstream::Message, Item);

impl<H: Handler> Consumer<H> {
    /// Creates stream and consumer when they are missing, and checks how they are configured.
    pub(crate) async fn attach(&self) -> Result<jetstream::consumer::Consumer<pull::Config>, Error> {
        let Subscription { durable, stream, subjects } = self.subscription;
        let stream = streams::ensure(self.broker.jetstream(), stream, self.broker.replicas()).await?;
        let wanted = pull::Config {
            durable_name: Some(durable.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(self.settings.ack_wait_s),
            max_deliver: -1,
            max_ack_pending: self.settings.max_ack_pending,
            filter_subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(durable, wanted.clone()).await.map_err(Error::broker)?;
        let found = &consumer.cached_info().config;
        // one filter comes back in the field of its own
        let mut filters = found.filter_subjects.clone();
        filters.extend(Some(found.filter_subject.clone()).filter(|filter| !filter.is_empty()));
        let found = (
            &filters,
            found.ack_policy,
            found.ack_wait,
            found.max_deliver,
            found.max_ack_pending,
            found.deliver_policy,
        );
        let wanted = (
            &wanted.filter_subjects,
            wanted.ack_policy,
            wanted.ack_wait,
            wanted.max_deliver,
            wanted.max_ack_pending,
            wanted.deliver_policy,
        );
        if found != wanted {
            let difference = format!("it is {found:?}, must be {wanted:?}");
            return Err(Error::Mismatch { what: format!("consumer {durable}"), difference });
        }
        Ok(consumer)
    }

    /// Consumes until shutdown; what goes wrong is reported and tried again.
    pub(crate) async fn run(self) {
        while !self.shutdown.is_cancelled() {
            if let Err(error) = self.consume().await {
                tracing::warn!(consumer = self.subscription.durable, %error, "the consumer stopped and starts again");
            }
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    async fn consume(&self) -> Result<(), Error> {
        let connections = self.broker.connections();
        let consumer = self.attach().await?;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(self.settings.batch.max(1))
            .messages()
            .await
            .map_err(Error::broker)?;
        let mut tick = interval(ms(self.settings.replay_interval_ms));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let most = self.settings.batch.max(1);
        let mut limit = most;
        let stream: Arc<str> = self.subscription.stream.into();
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                _ = tick.tick() => {
                    self.replay().await?;
                    if self.broker.connections() != connections {
                        // the broker may have forgotten the consumer
                        return Ok(());
                    }
                }
                next = messages.next() => match next {
                    None => return Ok(()),
                    Some(Err(error)) => return Err(Error::broker(error)),
                    Some(Ok(first)) => {
                        let mut received = vec![receive(first, &stream)?];
                        // what is here already; nothing waits for a batch to fill. Unconstrained, because the runtime's
                        // budget of a task would end every batch at some hundred messages
                        while received.len() < limit {
                            match unconstrained(messages.next()).now_or_never() {
                                Some(Some(Ok(message))) => received.push(receive(message, &stream)?),
                                _ => break,
                            }
                        }
                        limit = if self.take(received).await { limit.saturating_mul(2).min(most) } else { (limit / 4).max(1) };
                    }
                },
            }
        }
    }

    async fn replay(&self) -> Result<(), Error> {
        if dead::replay(&self.pool, self.subscription.durable, &*self.handler).await? > 0 {
            self.wake.notify();
            self.handler.committed().await;
        }
        Ok(())
    }

    /// Applies a batch, then answers the broker for each message. False when the whole batch was rolled back.
    async fn take(&self, received: Vec<Received>) -> bool {
        let durable = self.subscription.durable;
        let started = std::time::Instant::now();
        let (messages, items): (Vec<_>, Vec<_>) = received.into_iter().unzip();
        let pending = messages.last().and_then(|message| message.info().ok()).map_or(0, |info| info.pending);
        let outcome = {
            let work = timeout(PATIENCE, batch::apply(&self.pool, durable, &*self.handler, &items));
            tokio::pin!(work);
            // tells the broker of long work before it delivers again
            let mut progress = interval(Duration::from_secs(self.settings.ack_wait_s.max(3)) / 3);
            progress.tick().await;
            loop {
                tokio::select! {
                    outcome = &mut work => break outcome,
                    _ = progress.tick() => for message in &messages {
                        answer(message, AckKind::Progress).await;
                    },
                }
            }
        };
        let metrics = telemetry::metrics::get();
        metrics.inbox_batch(durable, items.len(), started.elapsed(), pending);
        match outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(verdicts) => {
                self.wake.notify();
                self.handler.committed().await;
                let mut outcomes: BTreeMap<&'static str, u64> = BTreeMap::new();
                for ((message, item), verdict) in messages.iter().zip(&items).zip(verdicts) {
                    *outcomes.entry(self.settle(message, item, verdict).await).or_default() += 1_u64;
                }
                for (outcome, count) in outcomes {
                    metrics.inbox_messages(durable, outcome, count);
                }
                true
            }
            Err(error) => {
                tracing::warn!(consumer = durable, %error, messages = items.len(), "the batch was rolled back and comes again");
                metrics.inbox_messages(durable, "again", u64::try_from(items.len()).unwrap_or(u64::MAX));
                for (message, item) in messages.iter().zip(&items) {
                    answer(message, AckKind::Nak(Some(self.pause(item.attempt)))).await;
                }
                sleep(RETRY).await;
                false
            }
        }
    }

    /// Answers the broker; gives the outcome's name.
    async fn settle(&self, message: &jetstream::Message, item: &Item, verdict: Verdict) -> &'static str {
        let consumer = self.subscription.durable;
        let (outcome, kind) = match verdict {
            Verdict::Applied => ("applied", AckKind::Ack),
            Verdict::Duplicate => ("duplicate", AckKind::Ack),
            Verdict::Dead(reason) => {
                tracing::warn!(
                    consumer,
                    subject = item.subject(),
                    event_id = item.key(),
                    reason,
                    "an event was set aside as a dead letter"
                );
                ("dead", AckKind::Term)
            }
            Verdict::Again(reason) => {
                let pause = self.pause(item.attempt);
                let (attempt, pause_ms) = (item.attempt, pause.as_millis());
                if attempt >= WORRY_AT {
                    tracing::warn!(
                        consumer,
                        subject = item.subject(),
                        event_id = item.key(),
                        attempt,
                        pause_ms,
                        reason,
                        "an event comes again"
                    );
                } else {
                    tracing::info!(
                        consumer,
                        subject = item.subject(),
                        event_id = item.key(),
                        attempt,
                        pause_ms,
                        reason,
                        "an event comes again"
                    );
                }
                ("again", AckKind::Nak(Some(pause)))
            }
        };
        answer(message, kind).await;
        outcome
    }

    /// The pause after the n-th delivery; the last one repeats.
    fn pause(&self, attempt: u64) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let pauses = &self.settings.retry_ms;
        ms(pauses.get(index).or(pauses.last()).copied().unwrap_or(1000))
    }
}

/// An answer that is lost only brings the message again.
async fn answer(message: &jetstream::Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "an answer did not reach the broker");
    }
}

fn receive(mut message: jetstream::Message, stream: &Arc<str>) -> Result<Received, Error> {
    let info = message.info().map_err(Error::broker)?;
    let stream_sequence = info.stream_sequence;
    let attempt = u64::try_from(info.delivered).unwrap_or(1);
    let headers = message.message.headers.take().into();
    let origin = Origin { subject: message.subject.to_string(), headers, stream: Arc::clone(stream), stream_sequence };
    let item = Item::new(origin, message.payload.clone(), attempt);
    Ok((message, item))
}
