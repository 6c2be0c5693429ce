//! What happens around every call: it is admitted or refused at once, traced, and measured.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::sync::Semaphore;
use tonic::Status;
use tracing::Instrument as _;

use crate::telemetry::{self, call::Call};

/// Calls that may be at work at once.
pub(super) type Places = Arc<Semaphore>;

pub(super) async fn around(State(places): State<Places>, request: Request, next: Next) -> Response {
    // an overloaded process is still alive
    let health = request.uri().path().starts_with("/grpc.health.v1.Health/");
    let place = if health { None } else { Some(places.try_acquire_owned()) };
    if let Some(Err(_)) = place {
        telemetry::metrics::get().refused();
        return Status::resource_exhausted("too many calls at once; try again later").into_http();
    }
    let call = Call::begin(request.uri().path(), request.headers());
    let response = next.run(request).instrument(call.span()).await;
    drop(place);
    call.answered(response.headers());
    response
}
