//! Carries events from the table to the broker. One relay is active for each database, by an advisory lock on its own
//! connection; should two believe they are, the broker and the consumers see duplicates, nothing worse.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    OutboxWake,
    event::{self, Event},
    recovery,
};
use crate::{
    Error,
    broker::Broker,
    config::{self, ms},
    fault, telemetry,
};

/// Key of the advisory lock that the active relay holds.
const LOCK: i64 = 0x7a68_6972_6f6e_6702;
/// Pause before a relay that failed, or is not the active one, tries again.
const RETRY: Duration = Duration::from_millis(500);
/// Longest time for one batch.
const STEP: Duration = Duration::from_secs(25);
/// Interval of the backlog's measurement.
const MEASURE: Duration = Duration::from_secs(5);

/// What the relay needs.
pub(crate) struct Relay {
    pub(crate) source: String,
    pub(crate) own_stream: Option<&'static str>,
    pub(crate) options: PgConnectOptions,
    pub(crate) broker: Broker,
    pub(crate) settings: config::Outbox,
    pub(crate) wake: OutboxWake,
    pub(crate) shutdown: CancellationToken,
}

/// What the active relay remembers.
struct Watch {
    /// Epoch of each stream compared.
    epochs: HashMap<String, String>,
    /// Highest sequence acknowledged on each stream since.
    marks: HashMap<String, u64>,
    connections: u64,
    compare_at: Instant,
    reconcile_at: Instant,
    measure_at: Instant,
}

impl Relay {
    /// Runs until shutdown; then publishes what is left, once.
    pub(crate) async fn run(self) {
        while !self.shutdown.is_cancelled() {
            if let Err(error) = self.lead().await {
                tracing::warn!(%error, "the relay stopped and starts again");
            }
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    async fn lead(&self) -> Result<(), Error> {
        let own = [
            ("statement_timeout", recovery::STATEMENT_TIMEOUT.as_millis().to_string()),
            // a mark that a crash takes back is only published once more
            ("synchronous_commit", "off".to_owned()),
        ];
        let mut connection = PgConnection::connect_with(&self.options.clone().options(own)).await?;
        while !self.acquire(&mut connection).await? {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = sleep(RETRY) => {}
            }
        }
        tracing::info!("this process relays the outbox");
        let now = Instant::now();
        let mut watch = Watch {
            epochs: HashMap::new(),
            marks: HashMap::new(),
            connections: 0,
            compare_at: now,
            reconcile_at: now + Duration::from_secs(self.settings.reconcile_interval_s),
            measure_at: now,
        };
        let mut pause = ms(self.settings.poll_min_ms);
        loop {
            if !self.broker.is_connected() {
                if self.shutdown.is_cancelled() {
                    return Ok(());
                }
                self.measure(&mut connection, &mut watch).await?;
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            // a connection that hangs is given up, and with it the lock
            timeout(recovery::STATEMENT_TIMEOUT, self.look_after(&mut connection, &mut watch))
                .await
                .map_err(Error::broker)??;
            let published = timeout(STEP, self.publish(&mut connection, &mut watch)).await.map_err(Error::broker)??;
            if published > 0 {
                pause = ms(self.settings.poll_min_ms);
            }
            if usize::try_from(self.settings.batch).is_ok_and(|batch| published >= batch) {
                continue;
            }
            if self.shutdown.is_cancelled() {
                connection.close().await?;
                return Ok(());
            }
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = self.wake.notified() => pause = ms(self.settings.poll_min_ms),
                () = sleep(pause) => pause = pause.saturating_mul(2).min(ms(self.settings.poll_max_ms)),
            }
        }
    }

    async fn acquire(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        let got = sqlx::query_scalar!("SELECT pg_try_advisory_lock($1)", LOCK).fetch_one(connection).await?;
        Ok(got.unwrap_or(false))
    }

    /// Compares the streams after each connection and from time to time, and searches them for holes now and then.
    async fn look_after(&self, connection: &mut PgConnection, watch: &mut Watch) -> Result<(), Error> {
        let now = Instant::now();
        let connections = self.broker.connections();
        if connections != watch.connections || now >= watch.compare_at {
            watch.epochs.clear();
            watch.marks.clear();
            let mut streams = recovery::published_streams(connection).await?;
            streams.extend(self.own_stream.filter(|own| !streams.iter().any(|known| known == own)).map(str::to_owned));
            for stream in streams {
                let epoch = recovery::compare(connection, &self.broker, &stream).await?;
                watch.epochs.insert(stream, epoch);
            }
            watch.connections = connections;
            watch.compare_at = now + Duration::from_secs(self.settings.compare_interval_s);
        }
        if now >= watch.reconcile_at {
            for stream in recovery::published_streams(connection).await? {
                recovery::fill_holes(connection, &self.broker, &stream).await?;
            }
            watch.reconcile_at = now + Duration::from_secs(self.settings.reconcile_interval_s);
        }
        self.measure(connection, watch).await
    }

    async fn measure(&self, connection: &mut PgConnection, watch: &mut Watch) -> Result<(), Error> {
        if Instant::now() < watch.measure_at {
            return Ok(());
        }
        let backlog = sqlx::query_scalar!("SELECT count(*) FROM runtime.outbox WHERE published_at IS NULL")
            .fetch_one(connection)
            .await?;
        telemetry::metrics::get().outbox_backlog(backlog.unwrap_or(0));
        watch.measure_at = Instant::now() + MEASURE;
        Ok(())
    }

    /// Publishes one batch and marks what was acknowledged. Returns how many rows were marked.
    async fn publish(&self, connection: &mut PgConnection, watch: &mut Watch) -> Result<usize, Error> {
        let events = event::unpublished(connection, self.settings.batch).await?;
        if events.is_empty() {
            return Ok(0);
        }
        for event in &events {
            if !watch.epochs.contains_key(&event.stream) {
                let epoch = recovery::compare(connection, &self.broker, &event.stream).await?;
                watch.epochs.insert(event.stream.clone(), epoch);
            }
        }
        fault::point("outbox_before_publish");
        let (acknowledged, failure) = self.send(events).await;
        fault::point("outbox_after_publish");
        self.notice_losses(connection, watch, &acknowledged).await?;
        mark(connection, &acknowledged, &watch.epochs).await?;
        fault::point("outbox_after_mark");
        telemetry::metrics::get().outbox_published(acknowledged.len());
        match failure {
            None => Ok(acknowledged.len()),
            Some(error) => {
                // the stream may be gone: look before the next attempt
                watch.compare_at = Instant::now();
                tracing::warn!(%error, acknowledged = acknowledged.len(), "some events could not be published yet");
                sleep(Duration::from_millis(200)).await;
                Ok(0)
            }
        }
    }

    /// Sends all, then awaits the acknowledgements in order.
    async fn send(&self, events: Vec<Event>) -> (Vec<(Event, PublishAck)>, Option<Error>) {
        let mut failure = None;
        let connections = self.broker.connections();
        let mut pending = Vec::with_capacity(events.len());
        for mut event in events {
            let payload = Bytes::from(std::mem::take(&mut event.payload));
            let subject = event.subject.clone();
            match self.broker.jetstream().publish_with_headers(subject, event.headers(&self.source), payload).await {
                Ok(ack) => pending.push((event, ack)),
                Err(error) => failure = Some(Error::broker(error)),
            }
        }
        let mut acknowledged = Vec::with_capacity(pending.len());
        for (event, ack) in pending {
            tokio::select! {
                biased;
                ack = ack.into_future() => match ack {
                    Ok(ack) => acknowledged.push((event, ack)),
                    Err(error) => failure = Some(Error::broker(error)),
                },
                () = self.broker.reconnected(connections) => failure = Some(Error::broker("the connection was lost")),
            }
        }
        (acknowledged, failure)
    }

    /// A new message under a sequence that was given out before: the stream lost its end between two looks.
    async fn notice_losses(
        &self,
        connection: &mut PgConnection,
        watch: &mut Watch,
        acknowledged: &[(Event, PublishAck)],
    ) -> Result<(), Error> {
        let mut least: HashMap<&str, u64> = HashMap::new();
        for (event, ack) in acknowledged.iter().filter(|(_, ack)| !ack.duplicate) {
            let least = least.entry(&event.stream).or_insert(ack.sequence);
            *least = ack.sequence.min(*least);
        }
        for (stream, sequence) in least {
            if watch.marks.get(stream).is_some_and(|mark| sequence <= *mark) {
                let epoch = recovery::compare(connection, &self.broker, stream).await?;
                let kept = i64::try_from(sequence).unwrap_or(i64::MAX).saturating_sub(1);
                recovery::lost_above(connection, stream, &epoch, kept, "the stream gave a sequence out again").await?;
                watch.epochs.insert(stream.to_owned(), epoch);
                watch.marks.remove(stream);
            }
        }
        for (event, ack) in acknowledged {
            let mark = watch.marks.entry(event.stream.clone()).or_default();
            *mark = ack.sequence.max(*mark);
        }
        Ok(())
    }
}

/// Notes the acknowledgements in one statement: each row, and the highest sequence of each stream.
async fn mark(
    connection: &mut PgConnection,
    acknowledged: &[(Event, PublishAck)],
    epochs: &HashMap<String, String>,
) -> Result<(), Error> {
    if acknowledged.is_empty() {
        return Ok(());
    }
    let (mut days, mut ids, mut streams, mut of_epochs, mut sequences) = (vec![], vec![], vec![], vec![], vec![]);
    for (event, ack) in acknowledged {
        days.push(jiff_sqlx::Date::from(event.created_on));
        ids.push(event.event_id);
        streams.push(event.stream.as_str());
        of_epochs.push(epochs.get(&event.stream).map_or("", String::as_str));
        sequences.push(i64::try_from(ack.sequence).unwrap_or(i64::MAX));
    }
    sqlx::query!(
        "WITH acknowledged AS (
             SELECT * FROM unnest($1::date[], $2::uuid[], $3::text[], $4::text[], $5::bigint[])
                 AS a (created_on, event_id, stream, epoch, sequence)),
         marked AS (
             UPDATE runtime.outbox o SET published_at = now(), stream_epoch = a.epoch, stream_sequence = a.sequence
             FROM acknowledged a
             WHERE o.created_on = a.created_on AND o.event_id = a.event_id AND o.published_at IS NULL)
         INSERT INTO runtime.stream_mark AS m (stream, epoch, sequence)
         SELECT stream, epoch, max(sequence) FROM acknowledged GROUP BY stream, epoch
         ON CONFLICT (stream) DO UPDATE SET epoch = EXCLUDED.epoch, updated_at = now(),
             sequence = CASE WHEN m.epoch = EXCLUDED.epoch THEN greatest(m.sequence, EXCLUDED.sequence) ELSE EXCLUDED.sequence END",
        &days as _,
        &ids,
        &streams as _,
        &of_epochs as _,
        &sequences,
    )
    .execute(connection)
    .await?;
    Ok(())
}
