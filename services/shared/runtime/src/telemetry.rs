//! Logs, traces and metrics. Never personal data: ids of ours, names of methods, counts and times.
//!
//! Metrics are always kept and shown at `/metrics`; when an OTLP endpoint is set, traces, metrics and logs go there too.

pub mod call;
pub mod metrics;
pub mod trace;

use std::{io::IsTerminal as _, sync::OnceLock, time::Duration};

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    metrics::SdkMeterProvider,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    Error,
    config::{LogFormat, Telemetry as Settings},
};

/// Longest wait for a collector at the end of the process.
const LAST_EXPORT: Duration = Duration::from_secs(3);

static REGISTRY: OnceLock<Registry> = OnceLock::new();

/// Keeps the exports alive; [`Telemetry::shutdown`] sends what is left.
#[derive(Debug)]
pub struct Telemetry {
    metrics: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

/// Starts telemetry for the process; call it once, inside the tokio runtime.
///
/// # Errors
/// [`Error::Config`] when the filter or the endpoint can't be used, or telemetry was started before.
pub fn start(service: &'static str, settings: &Settings) -> Result<Telemetry, Error> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| Error::Config(format!("telemetry.{what}: {error}"));
    let filter = EnvFilter::try_new(&settings.filter).map_err(|error| wrong("filter", &error))?;
    let resource = Resource::builder().with_service_name(service).build();
    let endpoint = settings.otlp_endpoint.as_str();
    let export = !endpoint.is_empty();

    let registry = Registry::new();
    let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
    let mut metrics = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(reader.map_err(|error| wrong("metrics", &error))?);
    let (mut traces, mut logs) = (None, None);
    if export {
        let wrong = |error: opentelemetry_otlp::ExporterBuildError| wrong("otlp_endpoint", &error);
        let exporter = opentelemetry_otlp::MetricExporter::builder().with_tonic().with_endpoint(endpoint).build();
        metrics = metrics.with_periodic_exporter(exporter.map_err(wrong)?);
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        #[expect(clippy::float_arithmetic, reason = "a share of traces, no money")]
        let share = f64::from(settings.trace_sample_ppm) / 1e6;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)));
        traces = Some(
            SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_sampler(sampler)
                .with_batch_exporter(exporter.map_err(wrong)?)
                .build(),
        );
        let exporter = opentelemetry_otlp::LogExporter::builder().with_tonic().with_endpoint(endpoint).build();
        logs = Some(
            SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(exporter.map_err(wrong)?).build(),
        );
    }
    let metrics = metrics.build();

    let output = match settings.log {
        LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).boxed(),
        LogFormat::Text => {
            tracing_subscriber::fmt::layer().compact().with_ansi(std::io::stdout().is_terminal()).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(output)
        .with(traces.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("zhirong"))))
        .with(
            logs.as_ref()
                .map(|provider| OpenTelemetryTracingBridge::new(provider).with_filter(filter_fn(not_the_export))),
        )
        .try_init()
        .map_err(|error| wrong("start", &error))?;
    global::set_meter_provider(metrics.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    let _ = REGISTRY.set(registry);
    Ok(Telemetry { metrics, traces, logs })
}

impl Telemetry {
    /// Sends what is left, the three at once. Blocks for as long as [`LAST_EXPORT`], no longer, whatever the collector does; call
    /// it last, off the async threads.
    pub fn shutdown(self) {
        std::thread::scope(|threads| {
            threads.spawn(|| self.traces.map(|traces| traces.shutdown_with_timeout(LAST_EXPORT)));
            threads.spawn(|| self.logs.map(|logs| logs.shutdown_with_timeout(LAST_EXPORT)));
            threads.spawn(|| self.metrics.shutdown_with_timeout(LAST_EXPORT));
        });
    }
}

/// What the export says of itself is not exported, or a collector that is away would make more of it.
fn not_the_export(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("opentelemetry")
}

/// All metrics as Prometheus text; empty before [`start`].
#[must_use]
pub fn prometheus_text() -> String {
    let Some(registry) = REGISTRY.get() else {
        return String::new();
    };
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        tracing::warn!(%error, "the metrics could not be written");
    }
    String::from_utf8(text).unwrap_or_default()
}
