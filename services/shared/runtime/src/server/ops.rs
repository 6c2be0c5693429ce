//! `/live`, `/ready` and `/metrics`, over plain HTTP on an address of its own.

use std::net::SocketAddr;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio_util::sync::CancellationToken;

use super::Readiness;
use crate::{Error, config::Ops, telemetry};

/// The listening server.
#[derive(Debug)]
pub struct OpsServer {
    listener: tokio::net::TcpListener,
    readiness: Readiness,
    /// Where it listens.
    pub address: SocketAddr,
}

impl OpsServer {
    /// Listens.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub async fn bind(settings: &Ops, readiness: Readiness) -> Result<Self, Error> {
        let (listener, address) = super::listen("ops", settings.listen, &settings.address_file).await?;
        Ok(Self { listener, readiness, address })
    }

    /// Serves until the token is cancelled.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        axum::serve(self.listener, router(self.readiness))
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
            .map_err(Error::server)
    }
}

/// The routes.
pub fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/live", get(|| async { "live" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let report = readiness.check().await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

async fn metrics() -> impl IntoResponse {
    ([("content-type", "text/plain; version=0.0.4")], telemetry::prometheus_text())
}
