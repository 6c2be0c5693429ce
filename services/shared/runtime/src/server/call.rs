//! What happens around every call: it is admitted or refused at once, traced, and measured.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tracing::{Instrument as _, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry;

/// Calls that may be at work at once.
pub(super) type Places = Arc<Semaphore>;

pub(super) async fn around(State(places): State<Places>, request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let (service, method) = path.rsplit_once('/').unwrap_or((path.as_str(), ""));
    // an overloaded process is still alive
    let place = if service == "grpc.health.v1.Health" { None } else { Some(places.try_acquire_owned()) };
    if let Some(Err(_)) = place {
        telemetry::metrics::get().refused();
        return Status::resource_exhausted("too many calls at once; try again later").into_http();
    }
    let span = tracing::info_span!(
        "rpc",
        otel.name = path,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        otel.status_code = Empty,
    );
    // fails only where nothing is traced
    let _ = span.set_parent(telemetry::trace::of_request(request.headers()));
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    drop(place);
    // a failure stands in the headers; what succeeded says so after its body
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    span.record("rpc.grpc.status_code", i32::from(code));
    if matches!(
        code,
        Code::Unknown
            | Code::Internal
            | Code::DataLoss
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unimplemented
    ) {
        span.record("otel.status_code", "ERROR");
    }
    telemetry::metrics::get().call(service, method, i32::from(code), started.elapsed());
    response
}
