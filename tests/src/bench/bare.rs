//! Baselines: a tonic service that answers at once, behind a relay that checks nothing; and two-row transactions.

use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::ServiceExt as _;
use zhirong_proto::matching::v1::{
    CalculateRequest, CalculateResponse, ListCalculationsRequest, ListCalculationsResponse, RecalculateRequest,
    RecalculateResponse,
    calculator_service_server::{CalculatorService, CalculatorServiceServer},
};

struct Echo;

#[tonic::async_trait]
impl CalculatorService for Echo {
    async fn calculate(&self, _: Request<CalculateRequest>) -> Result<Response<CalculateResponse>, Status> {
        Ok(Response::new(CalculateResponse::default()))
    }

    async fn list_calculations(
        &self,
        _: Request<ListCalculationsRequest>,
    ) -> Result<Response<ListCalculationsResponse>, Status> {
        Ok(Response::new(ListCalculationsResponse::default()))
    }

    async fn recalculate(&self, _: Request<RecalculateRequest>) -> Result<Response<RecalculateResponse>, Status> {
        Ok(Response::new(RecalculateResponse::default()))
    }
}

/// A bare relay before a bare echo; gives a channel to the relay.
pub async fn relay() -> Result<Channel> {
    let echo = TcpListener::bind("127.0.0.1:0").await?;
    let echo_address = echo.local_addr()?;
    tokio::spawn(
        Server::builder()
            .add_service(CalculatorServiceServer::new(Echo))
            .serve_with_incoming(TcpIncoming::from(echo).with_nodelay(Some(true))),
    );
    let behind = Endpoint::from_shared(format!("http://{echo_address}"))?.connect().await?;

    let relay = TcpListener::bind("127.0.0.1:0").await?;
    let address = relay.local_addr()?;
    let router = axum::Router::new().fallback(move |request: http::Request<axum::body::Body>| {
        let behind = behind.clone();
        async move {
            let response = behind.oneshot(request.map(tonic::body::Body::new)).await;
            response.map_or_else(
                |_| Status::unavailable("the echo is away").into_http(),
                |response| response.map(axum::body::Body::new),
            )
        }
    });
    tokio::spawn(
        Server::builder()
            .add_routes(Routes::from(router))
            .serve_with_incoming(TcpIncoming::from(relay).with_nodelay(Some(true))),
    );
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect().await?)
}

/// A pool whose connections are all open: to open one costs as much as many a statement.
pub async fn opened(url: &str, connections: u32) -> Result<PgPool> {
    let options = PgPoolOptions::new().min_connections(connections).max_connections(connections);
    Ok(options.test_before_acquire(false).connect(url).await?)
}

/// Transactions of two inserted rows a second, from all connections of the pool.
pub async fn two_row_transactions(pool: &PgPool, time: Duration) -> Result<f64> {
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS bench_two_rows (id UUID PRIMARY KEY, payload BYTEA NOT NULL)")
        .execute(pool)
        .await?;
    let end = Instant::now() + time;
    let mut workers = Vec::new();
    for _ in 0..pool.size() {
        let pool = pool.clone();
        workers.push(tokio::spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < end {
                let mut tx = pool.begin().await?;
                for _ in 0..2 {
                    sqlx::query("INSERT INTO bench_two_rows VALUES ($1, $2)")
                        .bind(uuid::Uuid::now_v7())
                        .bind([7_u8; 300].as_slice())
                        .execute(&mut *tx)
                        .await?;
                }
                tx.commit().await?;
                done += 1;
            }
            anyhow::Ok(done)
        }));
    }
    let mut total = 0;
    for worker in workers {
        total += worker.await??;
    }
    Ok(total as f64 / time.as_secs_f64())
}

/// Updates of one and the same row a second, each in a transaction of its own, from all connections of the pool.
pub async fn one_row_updates(pool: &PgPool, time: Duration) -> Result<f64> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS bench_hot_row (id INT PRIMARY KEY, available BIGINT NOT NULL, reserved BIGINT NOT NULL)
             WITH (fillfactor = 50);
         INSERT INTO bench_hot_row VALUES (1, 9000000000000000, 0) ON CONFLICT DO NOTHING",
    )
    .execute(pool)
    .await?;
    let end = Instant::now() + time;
    let mut workers = Vec::new();
    for _ in 0..pool.size() {
        let pool = pool.clone();
        workers.push(tokio::spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < end {
                sqlx::query(
                    "UPDATE bench_hot_row SET available = available - $1, reserved = reserved + $1 WHERE id = 1",
                )
                .bind(1_013_889_i64)
                .execute(&pool)
                .await?;
                done += 1;
            }
            anyhow::Ok(done)
        }));
    }
    let mut total = 0;
    for worker in workers {
        total += worker.await??;
    }
    Ok(total as f64 / time.as_secs_f64())
}
