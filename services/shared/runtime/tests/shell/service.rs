//! A process starts beside others, tells the truth about itself, and stops in order.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use zhirong_proto::ops::v1::{ListDeadLettersRequest, dead_letter_service_client::DeadLetterServiceClient};

use crate::support::{run, until, world};

async fn get(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn address(file: &std::path::Path) -> String {
    until("the address is written", || async {
        std::fs::read_to_string(file).is_ok_and(|address| !address.is_empty())
    })
    .await;
    std::fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn replicas_that_start_at_once_migrate_one_after_another() {
    let world = world().await;
    let starts = (0..4).map(|_| world.start("matching"));
    let services = futures::future::join_all(starts).await;
    assert_eq!(services.len(), 4);
    assert_eq!(world.count("SELECT count(*) FROM runtime.migrations WHERE NOT success").await, 0);
}

#[tokio::test]
async fn readiness_and_health_follow_the_broker() {
    let mut world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let (grpc_file, ops_file) = (directory.path().join("grpc"), directory.path().join("ops"));
    world.settings.grpc.address_file = grpc_file.display().to_string();
    world.settings.ops.address_file = ops_file.display().to_string();
    let running = run(world.start("matching").await);
    let (grpc, ops) = (address(&grpc_file).await, address(&ops_file).await);

    assert!(get(&ops, "/live").await.starts_with("HTTP/1.0 200"));
    // A database that is busy with other tests may take longer to answer than readiness waits.
    until("the process is ready", || async {
        let ready = get(&ops, "/ready").await;
        ready.starts_with("HTTP/1.0 200") && ready.contains(r#""database":"ok","broker":"ok""#)
    })
    .await;
    let channel = tonic::transport::Endpoint::new(format!("http://{grpc}")).unwrap().connect().await.unwrap();
    let health = HealthClient::new(channel.clone());
    let serving = async |wanted: ServingStatus| {
        let answer = health.clone().check(HealthCheckRequest::default()).await.unwrap().into_inner();
        answer.status() == wanted
    };
    until("health says serving", || serving(ServingStatus::Serving)).await;

    let stranger =
        DeadLetterServiceClient::new(channel.clone()).list_dead_letters(ListDeadLettersRequest::default()).await;
    assert_eq!(stranger.unwrap_err().code(), tonic::Code::Unauthenticated);
    let mut request = tonic::Request::new(ListDeadLettersRequest::default());
    request.metadata_mut().insert("zr-role", "operator".parse().unwrap());
    request.metadata_mut().insert("zr-subject", "op".parse().unwrap());
    let letters = DeadLetterServiceClient::new(channel).list_dead_letters(request).await.unwrap().into_inner();
    assert!(letters.dead_letters.is_empty());

    world.broker.kill().await.unwrap();
    until("the process is not ready", || async {
        let ready = get(&ops, "/ready").await;
        ready.starts_with("HTTP/1.0 503") && ready.contains(r#""database":"ok""#) && !ready.contains(r#""broker":"ok""#)
    })
    .await;
    until("health says not serving", || serving(ServingStatus::NotServing)).await;
    let deadline = std::time::Duration::from_millis(world.settings.shutdown.deadline_ms);
    tokio::time::timeout(deadline + std::time::Duration::from_secs(10), running.stop()).await.unwrap();
}

#[tokio::test]
async fn too_many_calls_are_refused_at_once_but_health_answers() {
    let mut world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("grpc");
    world.settings.grpc.address_file = file.display().to_string();
    world.settings.grpc.max_concurrent_calls = 0;
    let running = run(world.start("matching").await);
    let grpc = address(&file).await;
    let channel = tonic::transport::Endpoint::new(format!("http://{grpc}")).unwrap().connect().await.unwrap();
    let refused =
        DeadLetterServiceClient::new(channel.clone()).list_dead_letters(ListDeadLettersRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::ResourceExhausted);
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    running.stop().await;
}
