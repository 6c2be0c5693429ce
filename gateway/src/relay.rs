//! The relay: reads who is calling and which method, checks, and passes the bytes on. It never decodes a message; status,
//! rich errors and trailers come back as the service sent them.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tonic::transport::Channel;
use tower::ServiceExt as _;
use tracing::Instrument as _;
use zhirong_kernel::clock::Clock;
use zhirong_proto::access::v1::Role;
use zhirong_runtime::{
    problem::Problem,
    telemetry::{call::Call, trace},
};

use crate::{
    access::{AccessTable, Destination, Method, SERVICE_KEY, Upstream},
    identity::{Identity, Tenant, Verifier},
};

/// A gRPC message is preceded by one byte of flags and four of length.
const FRAME_HEADER: usize = 5;
/// Names the call in logs, answers and errors.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Metadata with this prefix is ours; from outside it is dropped, so that nobody can claim an identity.
const OWN_PREFIX: &str = "zr-";

/// Limits on one call.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request message, bytes, where the method's annotation says nothing.
    pub max_request_bytes: usize,
    /// Longest time until a service begins to answer.
    pub timeout: Duration,
}

/// What every call needs.
pub struct Relay {
    access: AccessTable,
    verifier: Verifier,
    upstreams: HashMap<Upstream, Channel>,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl Relay {
    /// A relay to these services.
    #[must_use]
    pub fn new(
        access: AccessTable,
        verifier: Verifier,
        upstreams: HashMap<Upstream, Channel>,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { access, verifier, upstreams, limits, clock }
    }

    /// Answers one call. Never fails: a refusal is a gRPC status.
    pub async fn call(&self, request: Request<axum::body::Body>) -> Response {
        let path = request.uri().path();
        // Names that callers invent are no labels.
        let call = Call::begin(if self.access.get(path).is_some() { path } else { "unknown" }, request.headers());
        let response = self.answer(request).instrument(call.span()).await;
        call.answered(response.headers());
        response
    }

    async fn answer(&self, request: Request<axum::body::Body>) -> Response {
        let call_id = call_id(request.headers());
        let path = request.uri().path().to_owned();
        let mut response = match self.relay(request, &call_id).await {
            Ok(response) => response,
            Err(problem) => {
                tracing::info!(method = %path, call_id = %call_id, reason = problem.reason(), "call refused");
                tonic::Status::from(problem.meta("call_id", call_id.clone())).into_http()
            }
        };
        if let Ok(value) = HeaderValue::from_str(&call_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }

    async fn relay(&self, request: Request<axum::body::Body>, call_id: &str) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let method = self.access.get(path).ok_or_else(|| {
            Problem::unimplemented("METHOD_UNKNOWN", format!("there is no method {}", path.escape_default()))
                .zh("没有这个接口，请核对方法名")
        })?;
        let identity = self.identify(&parts.headers)?;
        allow(method, &identity)?;
        let upstream = destination(method, &parts.headers)?;
        let channel = self.upstreams.get(&upstream).cloned().ok_or_else(|| unavailable(upstream))?;

        let message = self.message(method, body).await?;
        let mut onward = Request::new(tonic::body::Body::new(Full::new(message)));
        *onward.method_mut() = parts.method;
        *onward.version_mut() = http::Version::HTTP_2;
        *onward.uri_mut() = parts.uri.path().parse().map_err(Problem::internal)?;
        *onward.headers_mut() = headers(parts.headers, &identity, call_id)?;
        trace::into_request(onward.headers_mut());

        let answer = async move { channel.oneshot(onward).await };
        let answer = if method.declared.streams_answers {
            answer.await
        } else {
            tokio::time::timeout(self.limits.timeout, answer).await.map_err(|_| {
                Problem::deadline(
                    "TIMEOUT",
                    "the service did not answer in time; the outcome is unknown: repeat the call with the same request_id",
                )
                .zh("服务未及时应答，结果未知；请用同一 request_id 重试")
            })?
        };
        let response = answer.map_err(|error| {
            tracing::warn!(upstream = upstream.name(), %error, call_id, "service unreachable");
            unavailable(upstream)
        })?;
        Ok(response.map(|body| axum::body::Body::new(Answer { body, upstream, ended: false })))
    }

    fn identify(&self, headers: &HeaderMap) -> Result<Identity, Problem> {
        let authorization = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.verifier.identify(authorization, self.clock.now()).map_err(|error| {
            Problem::unauthenticated(error.reason(), error.to_string()).zh("身份令牌无效或已过期，请重新获取")
        })
    }

    /// The whole request message, so that a slow or oversized caller never reaches a service.
    async fn message(&self, method: &Method, body: axum::body::Body) -> Result<Bytes, Problem> {
        let largest = method.declared.max_request_bytes.unwrap_or(self.limits.max_request_bytes);
        let limited = Limited::new(body, largest.saturating_add(FRAME_HEADER));
        let collected = tokio::time::timeout(self.limits.timeout, limited.collect()).await.map_err(|_| {
            Problem::deadline("REQUEST_TOO_SLOW", "the request did not arrive in time").zh("请求未在时限内送达")
        })?;
        match collected {
            Ok(message) => Ok(message.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Problem::exhausted(
                "MESSAGE_TOO_LARGE",
                format!("the request message is larger than {largest} bytes; split it"),
            )
            .zh("请求报文过大，请拆分后重试")),
            Err(error) => {
                Err(Problem::cancelled("REQUEST_BROKEN", format!("the request did not arrive whole: {error}")))
            }
        }
    }
}

/// The bytes of an answer. When the service dies in the middle, the caller gets a status that says so, where it would else see a
/// broken connection.
struct Answer {
    body: tonic::body::Body,
    upstream: Upstream,
    ended: bool,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(None),
            Some(Err(error)) => {
                self.ended = true;
                tracing::warn!(upstream = self.upstream.name(), %error, "service broke off its answer");
                let status = tonic::Status::from(unavailable(self.upstream));
                let mut trailers = HeaderMap::new();
                // A status that can't be written leaves the trailers empty, which a client takes for an unknown failure.
                let _ = status.add_header(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

fn allow(method: &Method, identity: &Identity) -> Result<(), Problem> {
    let role = identity.tenant.role();
    if method.declared.roles.contains(&role) {
        return Ok(());
    }
    let wanted: Vec<&str> = method.declared.roles.iter().map(|role| short(*role)).collect();
    Err(Problem::permission_denied(
        "ROLE_NOT_ALLOWED",
        format!("the token's role is {}; this method is for {}", short(role), wanted.join(", ")),
    )
    .zh("当前身份无权调用此接口"))
}

/// `enterprise`, `bank`, `staff` or `operator`, as in the token.
fn short(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "none",
        Role::Enterprise => "enterprise",
        Role::Bank => "bank",
        Role::Staff => "staff",
        Role::Operator => "operator",
    }
}

fn destination(method: &Method, headers: &HeaderMap) -> Result<Upstream, Problem> {
    match method.destination {
        Destination::One(upstream) => Ok(upstream),
        Destination::Named => {
            headers.get(SERVICE_KEY).and_then(|value| value.to_str().ok()).and_then(Upstream::named).ok_or_else(|| {
                let names: Vec<&str> = Upstream::ALL.into_iter().map(Upstream::name).collect();
                Problem::invalid(
                    "SERVICE_NOT_NAMED",
                    format!(
                        "every service offers this method; name one in the metadata `{SERVICE_KEY}`: {}",
                        names.join(", ")
                    ),
                )
            })
        }
    }
}

fn unavailable(upstream: Upstream) -> Problem {
    Problem::unavailable(
        "SERVICE_UNAVAILABLE",
        format!(
            "the {} service can't be reached at the moment; repeat the call with the same request_id",
            upstream.name()
        ),
    )
    .zh("服务暂不可用，请用同一 request_id 重试")
}

/// What the service is told: the caller's metadata without anything that claims to be ours, and who the caller is.
fn headers(mut outside: HeaderMap, identity: &Identity, call_id: &str) -> Result<HeaderMap, Problem> {
    let claimed: Vec<HeaderName> =
        outside.keys().filter(|name| name.as_str().starts_with(OWN_PREFIX)).cloned().collect();
    for name in claimed {
        outside.remove(name);
    }
    // The token stays at the door: a service needs the identity, not the power to act as the caller.
    outside.remove(http::header::AUTHORIZATION);
    outside.remove(http::header::HOST);
    outside.remove(http::header::CONTENT_LENGTH);

    let mut tell = |name: &'static str, value: &str| -> Result<(), Problem> {
        outside.insert(HeaderName::from_static(name), HeaderValue::from_str(value).map_err(Problem::internal)?);
        Ok(())
    };
    tell("zr-role", short(identity.tenant.role()))?;
    tell("zr-subject", &identity.subject)?;
    tell("x-request-id", call_id)?;
    match &identity.tenant {
        Tenant::Enterprise(uscc) => tell("zr-enterprise", uscc.as_str())?,
        Tenant::Bank(institution) => tell("zr-institution", institution.as_str())?,
        Tenant::Staff | Tenant::Operator => {}
    }
    Ok(outside)
}

/// The caller's own id of the call when it has a usable one, else a new one.
fn call_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            (8..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), ToOwned::to_owned)
}
