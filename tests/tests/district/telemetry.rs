//! What a running district tells a collector: traces that cross gRPC and NATS, metrics and logs of every process. And that
//! nothing depends on the collector.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::any_value::Value,
    resource::v1::Resource,
};
use tokio::net::TcpSocket;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use uuid::Uuid;
use zhirong_proto::catalog::v1::{
    Institution, InstitutionKind, ListInstitutionsRequest, RegisterInstitutionRequest,
    institution_service_client::InstitutionServiceClient,
};
use zhirong_testkit::{ServiceProcess, TestBroker, TestDatabase, program};
use zhirong_tests::district::{District, eventually};

const PROGRAMS: [&str; 6] = ["credit-profile", "product-catalog", "matching", "subsidy", "feedback", "gateway"];
const REGISTER: &str = "zhirong.catalog.v1.InstitutionService/RegisterInstitution";
/// The caller's trace and span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A span, as much of it as matters here; ids in hexadecimal.
#[derive(Debug, Clone)]
struct Seen {
    service: String,
    name: String,
    trace: String,
    span: String,
    parent: String,
}

/// An OTLP collector that keeps what it is told.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Seen>>>,
    /// Service and name of a metric.
    metrics: Arc<Mutex<BTreeSet<(String, String)>>>,
    /// Services that have logged.
    logs: Arc<Mutex<BTreeSet<String>>>,
}

impl Collector {
    /// Serves until the test ends.
    fn start() -> Result<(Self, SocketAddr)> {
        let collector = Self::default();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
        let address = incoming.local_addr()?;
        let server = Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        Ok((collector, address))
    }

    /// The spans of the test's trace.
    fn trace(&self) -> Vec<Seen> {
        self.spans.lock().unwrap().iter().filter(|span| span.trace == TRACE).cloned().collect()
    }
}

fn name_of(resource: Option<&Resource>) -> String {
    let name = resource.and_then(|resource| {
        let value = resource.attributes.iter().find(|pair| pair.key == "service.name")?.value.as_ref()?;
        match value.value.as_ref()? {
            Value::StringValue(name) => Some(name.clone()),
            _ => None,
        }
    });
    name.unwrap_or_default()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = name_of(resource.resource.as_ref());
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().unwrap().extend(spans.map(|span| Seen {
                service: service.clone(),
                name: span.name,
                trace: hexadecimal(&span.trace_id),
                span: hexadecimal(&span.span_id),
                parent: hexadecimal(&span.parent_span_id),
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for resource in request.into_inner().resource_metrics {
            let service = name_of(resource.resource.as_ref());
            let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            self.metrics.lock().unwrap().extend(metrics.map(|metric| (service.clone(), metric.name)));
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        for resource in request.into_inner().resource_logs {
            if resource.scope_logs.iter().any(|scope| !scope.log_records.is_empty()) {
                self.logs.lock().unwrap().insert(name_of(resource.resource.as_ref()));
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_traces_across_grpc_and_nats_and_metrics_and_logs_of_every_process() -> Result<()> {
    let (collector, address) = Collector::start()?;
    let settings = format!("[telemetry]\notlp_endpoint = \"http://{address}\"\n");
    let district = District::start_set(&PROGRAMS.map(|program| (program, settings.as_str()))).await?;

    let mut request = Request::new(RegisterInstitutionRequest {
        request_id: Uuid::now_v7().to_string(),
        institution: Some(Institution {
            institution_id: "sample-traced-bank".to_owned(),
            name_zh: "示例有迹银行".to_owned(),
            kind: InstitutionKind::Bank.into(),
            ..Institution::default()
        }),
    });
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse()?);
    InstitutionServiceClient::new(district.as_staff().await?).register_institution(request).await?;

    // Caller → gateway → catalog → (outbox, broker) → matching, one trace all along.
    eventually("the trace is whole", || async {
        let spans = collector.trace();
        let of =
            |service: &str, name: &str| spans.iter().find(|span| span.service == service && span.name == name).cloned();
        let (Some(gateway), Some(catalog), Some(event)) =
            (of("gateway", REGISTER), of("product-catalog", REGISTER), of("matching", "event"))
        else {
            return Ok(None);
        };
        ensure!(gateway.parent == CALLER, "the gateway continues the caller's trace: {gateway:?}");
        ensure!(catalog.parent == gateway.span, "the service continues the gateway's: {catalog:?}");
        let senders = spans.iter().filter(|span| span.service == "product-catalog");
        ensure!(senders.clone().any(|span| span.span == event.parent), "an event continues its sender's: {event:?}");
        Ok(Some(()))
    })
    .await?;
    let every: BTreeSet<String> = PROGRAMS.map(ToOwned::to_owned).into();
    eventually("every process has logged", || async { Ok((*collector.logs.lock().unwrap() == every).then_some(())) })
        .await?;

    // At their end at the latest the processes say what they have measured.
    district.stop().await?;
    let metrics = collector.metrics.lock().unwrap().clone();
    let measured: BTreeSet<String> = metrics.iter().map(|(service, _)| service.clone()).collect();
    assert_eq!(measured, every, "every process has sent metrics");
    for (service, name) in [
        ("gateway", "rpc.server.duration"),
        ("product-catalog", "rpc.server.duration"),
        ("product-catalog", "outbox.published"),
        ("matching", "inbox.messages"),
    ] {
        assert!(metrics.contains(&(service.to_owned(), name.to_owned())), "{service} has sent {name}: {metrics:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_and_stops_without_a_collector() -> Result<()> {
    // A port that is taken but not listened on: every connection is refused.
    let nobody = TcpSocket::new_v4()?;
    nobody.bind("127.0.0.1:0".parse()?)?;
    let away = format!("http://{}", nobody.local_addr()?);
    for endpoint in [String::new(), away] {
        let (database, broker) = (TestDatabase::empty().await?, TestBroker::start().await?);
        let settings = [
            ("ZHIRONG__DATABASE__URL", database.url().to_owned()),
            ("ZHIRONG__NATS__URL", broker.url()),
            ("ZHIRONG__TELEMETRY__OTLP_ENDPOINT", endpoint.clone()),
        ];
        let mut catalog = ServiceProcess::start(&program("product-catalog")?, settings).await?;
        let channel: Channel = Endpoint::from_shared(catalog.grpc())?.connect().await?;
        let mut request = Request::new(ListInstitutionsRequest { page_size: 1, page_token: String::new() });
        request.metadata_mut().insert("zr-role", "staff".parse()?);
        request.metadata_mut().insert("zr-subject", "test".parse()?);
        let list = InstitutionServiceClient::new(channel).list_institutions(request).await?;
        assert!(list.into_inner().institutions.is_empty());
        let status = catalog.stop().await?;
        assert!(status.success(), "with the endpoint {endpoint:?} it ended with {status}: {}", catalog.log()?);
    }
    Ok(())
}
