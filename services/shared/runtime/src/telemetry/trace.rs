//! W3C trace context across gRPC metadata and NATS headers.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::inbox::{Delivery, Headers};

/// The header that carries the trace.
pub const TRACE_PARENT: &str = "traceparent";

struct HttpHeaders<'a>(&'a http::HeaderMap);

impl Extractor for HttpHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct HttpHeadersMut<'a>(&'a mut http::HeaderMap);

impl Injector for HttpHeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<http::HeaderName>(), value.parse()) {
            self.0.insert(name, value);
        }
    }
}

struct EventHeaders<'a>(&'a Headers);

impl Extractor for EventHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}

struct Parent(Option<String>);

impl Injector for Parent {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACE_PARENT {
            self.0 = Some(value);
        }
    }
}

/// The trace that a request continues.
#[must_use]
pub fn of_request(headers: &http::HeaderMap) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract(&HttpHeaders(headers)))
}

/// Writes the current span's trace into the headers of a request that goes out.
pub fn into_request(headers: &mut http::HeaderMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut HttpHeadersMut(headers)));
}

/// The current span's trace as a `traceparent` value; none when nothing is traced.
#[must_use]
pub fn current_trace_parent() -> Option<String> {
    let context = Span::current().context();
    let mut parent = Parent(None);
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut parent));
    parent.0
}

/// The span in which an event is handled; continues the sender's trace.
pub(crate) fn event_span(delivery: &Delivery) -> Span {
    let span = tracing::info_span!(
        "event",
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.message.id = delivery.id,
        cloudevents.event_type = delivery.ce_type,
    );
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&EventHeaders(&delivery.headers)));
    // fails only where nothing is traced
    let _ = span.set_parent(parent);
    span
}
