//! The gateway: one address for everybody outside. It knows who may call what from the annotations in the proto files, checks
//! the caller's token, bounds the request, and relays bytes to the service that answers.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use http::HeaderValue;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};
use zhirong_kernel::clock::SystemClock;
use zhirong_runtime::{
    Error,
    config::{Common, Settings},
    server::{OpsServer, Readiness, listen},
};

pub mod access;
pub mod identity;
pub mod relay;

use access::{AccessTable, Upstream};
use identity::Verifier;
use relay::{Limits, Relay};

/// The commented defaults of the gateway's own settings.
pub const DEFAULTS: &str = include_str!("../defaults.toml");
/// Window of one stream and of one connection: a bank's inbox page fits into one window.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Own settings; `defaults.toml` explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Whose tokens are accepted.
    pub identity: IdentitySettings,
    /// Where the services are.
    pub upstreams: HashMap<String, String>,
    /// Bounds of one call.
    pub limits: LimitSettings,
    /// Browsers.
    pub web: WebSettings,
}

/// Whose tokens are accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySettings {
    /// File with the public keys.
    pub jwks_file: PathBuf,
    /// `iss` of a token.
    pub issuer: String,
    /// `aud` of a token.
    pub audience: String,
}

/// Bounds of one call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Largest request message, bytes.
    pub max_request_bytes: usize,
    /// Longest time until an answer begins, milliseconds.
    pub timeout_ms: u64,
}

/// Browsers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSettings {
    /// Origins that may call.
    pub origins: Vec<String>,
}

/// Runs the gateway until shutdown.
///
/// # Errors
/// When the settings can't be used or an address can't be listened on.
pub async fn serve(settings: Settings<Own>, shutdown: CancellationToken) -> Result<(), Error> {
    let Settings { common, own } = settings;
    let relay = Arc::new(relay(&own)?);
    let readiness = Readiness::new(None, None);
    let (reporter, health) = tonic_health::server::health_reporter();
    let routes = routes(Arc::clone(&relay), health)?;

    let ops = OpsServer::bind(&common.ops, readiness.clone()).await?;
    let stop_ops = CancellationToken::new();
    let ops_task = tokio::spawn(ops.serve(stop_ops.clone()));

    let (listener, _) = listen("gRPC", common.grpc.listen, &common.grpc.address_file).await?;

    let draining = shutdown.clone();
    let stop = async move {
        draining.cancelled().await;
        readiness.withdraw();
        reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    };
    // On the listener itself: the builder's own setting does not reach connections that are accepted elsewhere, and answers of
    // several frames would each wait for a delayed acknowledgement of 40 ms.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = server(&common, &own)?.add_routes(routes).serve_with_incoming_shutdown(incoming, stop);
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(Duration::from_millis(common.shutdown.drain_ms)).await;
    };
    tokio::select! {
        outcome = server => outcome.map_err(Error::other)?,
        () = deadline => tracing::warn!("calls were still open at the deadline"),
    }
    stop_ops.cancel();
    ops_task.await.map_err(Error::other)?
}

fn relay(own: &Own) -> Result<Relay, Error> {
    let access = AccessTable::from_descriptor_set(zhirong_proto::DESCRIPTOR_SET).map_err(Error::other)?;
    let file = &own.identity.jwks_file;
    let jwks = fs::read_to_string(file)
        .map_err(|error| Error::Config(format!("identity.jwks_file: {}: {error}", file.display())))?;
    let verifier = Verifier::try_new(&jwks, &own.identity.issuer, &own.identity.audience)
        .map_err(|error| Error::Config(format!("identity.jwks_file: {}: {error}", file.display())))?;
    let limits = Limits {
        max_request_bytes: own.limits.max_request_bytes,
        timeout: Duration::from_millis(own.limits.timeout_ms),
    };
    Ok(Relay::new(access, verifier, channels(&own.upstreams)?, limits, Arc::new(SystemClock)))
}

/// One lazy connection to each service, made again whenever it breaks.
fn channels(upstreams: &HashMap<String, String>) -> Result<HashMap<Upstream, Channel>, Error> {
    if let Some(unknown) = upstreams.keys().find(|name| Upstream::named(name).is_none()) {
        return Err(Error::Config(format!("upstreams.{unknown}: there is no such service")));
    }
    Upstream::ALL
        .into_iter()
        .map(|upstream| {
            let name = upstream.name();
            let address = upstreams.get(name).ok_or_else(|| Error::Config(format!("upstreams.{name} is missing")))?;
            let endpoint = Endpoint::from_shared(address.clone())
                .map_err(|error| Error::Config(format!("upstreams.{name}: {error}")))?
                .connect_timeout(Duration::from_secs(2))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(10))
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            Ok((upstream, endpoint.connect_lazy()))
        })
        .collect()
}

/// Health and reflection are answered here, everything else is relayed.
fn routes(
    relay: Arc<Relay>,
    health: impl tower::Service<
        http::Request<tonic::body::Body>,
        Response = http::Response<tonic::body::Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + tonic::server::NamedService
    + Clone
    + Send
    + Sync
    + 'static,
) -> Result<Routes, Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(zhirong_proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(Error::other)?;
    let own: Router = Routes::new(health).add_service(reflection).into_axum_router();
    let relayed = own.fallback(move |request: http::Request<axum::body::Body>| {
        let relay = Arc::clone(&relay);
        async move { relay.call(request).await }
    });
    Ok(Routes::from(relayed))
}

type WebServer =
    Server<tower::layer::util::Stack<GrpcWebLayer, tower::layer::util::Stack<CorsLayer, tower::layer::util::Identity>>>;

fn server(common: &Common, own: &Own) -> Result<WebServer, Error> {
    let origins = own
        .web
        .origins
        .iter()
        .map(|origin| {
            HeaderValue::from_str(origin).map_err(|error| Error::Config(format!("web.origins: {origin}: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([http::Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(
            ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"]
                .map(http::HeaderName::from_static),
        ));
    let grpc = &common.grpc;
    Ok(Server::builder()
        // gRPC-Web comes over HTTP/1.1 too.
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(grpc.max_streams_per_connection)
        .http2_keepalive_interval(Some(Duration::from_millis(grpc.keepalive_interval_ms)))
        .http2_keepalive_timeout(Some(Duration::from_millis(grpc.keepalive_timeout_ms)))
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_header_list_size(8192)
        .max_connection_age(Duration::from_secs(grpc.max_connection_age_s))
        .max_connection_age_grace(Duration::from_secs(grpc.max_connection_age_grace_s))
        .layer(cors)
        .layer(GrpcWebLayer::new()))
}
