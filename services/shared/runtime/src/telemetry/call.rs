//! One gRPC call as traces and metrics see it.

use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{metrics, trace};

/// A call that is being answered.
#[derive(Debug)]
pub struct Call {
    span: Span,
    service: String,
    method: String,
    started: Instant,
}

impl Call {
    /// A call begins; it continues the trace that its headers name, or begins one. `path` is `/package.Service/Method`, of a
    /// method that exists: it becomes a label.
    #[must_use]
    pub fn begin(path: &str, headers: &http::HeaderMap) -> Self {
        let path = path.trim_start_matches('/');
        let (service, method) = path.rsplit_once('/').unwrap_or((path, ""));
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
        let _ = span.set_parent(trace::of_request(headers));
        Self { span, service: service.to_owned(), method: method.to_owned(), started: Instant::now() }
    }

    /// The span in which it is answered.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// The answer begins with these headers. A failure stands in them; what succeeded says so after its body.
    pub fn answered(self, headers: &http::HeaderMap) {
        let code = Status::from_header_map(headers).map_or(Code::Ok, |status| status.code());
        self.span.record("rpc.grpc.status_code", i32::from(code));
        if matches!(
            code,
            Code::Unknown
                | Code::Internal
                | Code::DataLoss
                | Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Unimplemented
        ) {
            self.span.record("otel.status_code", "ERROR");
        }
        let took: Duration = self.started.elapsed();
        metrics::get().call(&self.service, &self.method, i32::from(code), took);
    }
}
