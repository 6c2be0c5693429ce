//! The gRPC server with its limits, health and reflection.

use std::{sync::Arc, time::Duration};

use axum::middleware;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::server::{Server, TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Readiness, access, call};
use crate::{Error, access::methods, config, config::ms};

/// Interval at which the health status follows the readiness.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// Requests that a client may reset before they were looked at.
const PENDING_RESETS: usize = 20;
/// Header list of a request.
const HEADER_LIST_BYTES: u32 = 8 * 1024;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The listening server.
pub(crate) struct GrpcServer {
    listener: TcpListener,
    routes: Routes,
    settings: config::Grpc,
    health: HealthReporter,
}

impl GrpcServer {
    /// Listens; health and reflection are added to the routes, and whoever's role a method does not name is refused.
    pub(crate) async fn bind(settings: &config::Grpc, routes: Routes) -> Result<Self, Error> {
        let (listener, _) = super::listen("grpc", settings.listen, &settings.address_file).await?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", ServingStatus::NotServing).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(zhirong_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(Error::server)?;
        let methods = Arc::new(methods(zhirong_proto::DESCRIPTOR_SET).map_err(Error::server)?);
        let places = Arc::new(Semaphore::new(settings.max_concurrent_calls));
        let routes = routes
            .add_service(health_service)
            .add_service(reflection)
            .into_axum_router()
            .layer(middleware::from_fn_with_state(methods, access::check))
            .layer(middleware::from_fn_with_state(places, call::around));
        Ok(Self { listener, routes: routes.into(), settings: settings.clone(), health })
    }

    /// Lets the health status follow the readiness, until the token is cancelled.
    pub(crate) fn follow(
        &self,
        readiness: Readiness,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let health = self.health.clone();
        async move {
            loop {
                let ready = readiness.check().await.ready;
                let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                health.set_service_status("", status).await;
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(HEALTH_INTERVAL) => {}
                }
            }
            health.set_service_status("", ServingStatus::NotServing).await;
        }
    }

    /// Serves until the token is cancelled, then lets open calls end.
    pub(crate) async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        let settings = &self.settings;
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        Server::builder()
            .timeout(ms(settings.timeout_ms))
            .max_concurrent_streams(settings.max_streams_per_connection)
            .http2_keepalive_interval(Some(ms(settings.keepalive_interval_ms)))
            .http2_keepalive_timeout(Some(ms(settings.keepalive_timeout_ms)))
            .max_connection_age(Duration::from_secs(settings.max_connection_age_s))
            .max_connection_age_grace(Duration::from_secs(settings.max_connection_age_grace_s))
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
            .http2_max_header_list_size(HEADER_LIST_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await
            .map_err(Error::server)
    }
}
