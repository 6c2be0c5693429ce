//! What the shell measures. Names are stable; dashboards and alerts build on them.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram},
};

/// The instruments.
#[derive(Debug)]
pub struct Metrics {
    calls: Histogram<f64>,
    refused: Counter<u64>,
    inbox_messages: Counter<u64>,
    inbox_batches: Histogram<f64>,
    inbox_batch_size: Histogram<u64>,
    inbox_lag: Gauge<u64>,
    dead_letters: Gauge<i64>,
    outbox_published: Counter<u64>,
    outbox_backlog: Gauge<i64>,
    outbox_republished: Counter<u64>,
    pool: Gauge<u64>,
}

/// The instruments of this process. First used after [`super::start`].
pub fn get() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        let meter = global::meter("zhirong");
        let seconds = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
        Metrics {
            calls: meter
                .f64_histogram("rpc.server.duration")
                .with_description("Time until a call's answer begins, by method and status")
                .with_unit("s")
                .with_boundaries(seconds.clone())
                .build(),
            refused: meter
                .u64_counter("rpc.server.refused")
                .with_description("Calls refused because too many were at work")
                .build(),
            inbox_messages: meter
                .u64_counter("inbox.messages")
                .with_description("Messages by consumer and outcome: applied, duplicate, dead, again")
                .build(),
            inbox_batches: meter
                .f64_histogram("inbox.batch.duration")
                .with_description("Time to apply a batch")
                .with_unit("s")
                .with_boundaries(seconds)
                .build(),
            inbox_batch_size: meter
                .u64_histogram("inbox.batch.size")
                .with_description("Messages in a batch")
                .with_boundaries(vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0])
                .build(),
            inbox_lag: meter
                .u64_gauge("inbox.lag")
                .with_description("Messages that the broker still holds for a consumer")
                .build(),
            dead_letters: meter
                .i64_gauge("dead_letters.open")
                .with_description("Dead letters that wait for a decision, by consumer")
                .build(),
            outbox_published: meter
                .u64_counter("outbox.published")
                .with_description("Events acknowledged by the broker")
                .build(),
            outbox_backlog: meter.i64_gauge("outbox.backlog").with_description("Events not yet published").build(),
            outbox_republished: meter
                .u64_counter("outbox.republished")
                .with_description("Events published again because the broker lost them")
                .build(),
            pool: meter.u64_gauge("database.connections").with_description("Pool connections by state").build(),
        }
    })
}

impl Metrics {
    /// A gRPC call began its answer.
    pub fn call(&self, service: &str, method: &str, status: i32, took: Duration) {
        let labels = [
            KeyValue::new("rpc.service", service.to_owned()),
            KeyValue::new("rpc.method", method.to_owned()),
            KeyValue::new("rpc.grpc.status_code", i64::from(status)),
        ];
        self.calls.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn refused(&self) {
        self.refused.add(1, &[]);
    }

    pub(crate) fn inbox_messages(&self, consumer: &'static str, outcome: &'static str, messages: u64) {
        self.inbox_messages.add(messages, &[KeyValue::new("consumer", consumer), KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn inbox_batch(&self, consumer: &'static str, size: usize, took: Duration, pending: u64) {
        let labels = [KeyValue::new("consumer", consumer)];
        self.inbox_batches.record(took.as_secs_f64(), &labels);
        self.inbox_batch_size.record(u64::try_from(size).unwrap_or(u64::MAX), &labels);
        self.inbox_lag.record(pending, &labels);
    }

    pub(crate) fn dead_letters(&self, consumer: String, open: i64) {
        self.dead_letters.record(open, &[KeyValue::new("consumer", consumer)]);
    }

    pub(crate) fn outbox_published(&self, events: usize) {
        self.outbox_published.add(u64::try_from(events).unwrap_or(u64::MAX), &[]);
    }

    pub(crate) fn outbox_backlog(&self, events: i64) {
        self.outbox_backlog.record(events, &[]);
    }

    pub(crate) fn republished(&self, stream: &str, events: u64) {
        self.outbox_republished.add(events, &[KeyValue::new("stream", stream.to_owned())]);
    }

    pub(crate) fn pool(&self, size: u32, idle: usize) {
        self.pool.record(u64::from(size), &[KeyValue::new("state", "open")]);
        self.pool.record(u64::try_from(idle).unwrap_or(u64::MAX), &[KeyValue::new("state", "idle")]);
    }
}
