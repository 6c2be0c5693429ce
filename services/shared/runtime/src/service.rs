//! One service process: what it is made of, and the order in which it starts and stops.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use sqlx::{PgPool, migrate::Migrator};
use tokio::time::{Instant, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use zhirong_kernel::{Clock, clock::SystemClock};
use zhirong_proto::ops::v1::dead_letter_service_server::DeadLetterServiceServer;

use crate::{
    Error,
    broker::Broker,
    config::{Common, ms},
    database,
    dead_letter::DeadLetters,
    inbox::{Consumer, Handler, Subscription},
    maintenance,
    outbox::{OutboxWake, relay::Relay},
    server::{GrpcServer, OpsServer, Readiness},
    streams,
};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Check = Pin<Box<dyn Future<Output = Result<Task, Error>> + Send>>;

/// Time that each group of tasks has to end by itself.
const GROUP_PATIENCE: Duration = Duration::from_secs(5);
/// Left of the deadline for what comes after the service: telemetry.
const RESERVE: Duration = Duration::from_secs(2);

/// A service process that was started.
pub struct Service {
    settings: Common,
    pool: PgPool,
    broker: Broker,
    clock: Arc<dyn Clock>,
    wake: OutboxWake,
    shutdown: CancellationToken,
    consumers: Vec<Check>,
    background: Vec<(&'static str, Task)>,
    stop_consumers: CancellationToken,
    stop_relay: CancellationToken,
    relay: TaskTracker,
}

impl Service {
    /// Starts the shell: connects and migrates the database, connects the broker, ensures the stream that the service
    /// publishes, starts the relay.
    ///
    /// # Errors
    /// When the settings can't be used, the database or the broker does not answer in time, or a stream is configured
    /// otherwise than needed.
    pub async fn start(
        name: &'static str,
        common: Common,
        migrations: &'static Migrator,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let options = database::connect_options(name, &common.database)?;
        let pool = database::connect(name, &common.database).await?;
        database::migrate(&options, migrations).await?;
        let broker = Broker::connect(name, &common.nats).await?;
        let own_stream = streams::published_by(name);
        if let Some(stream) = own_stream {
            streams::ensure(broker.jetstream(), stream, broker.replicas()).await?;
        }
        let (wake, stop_relay, relay) = (OutboxWake::default(), CancellationToken::new(), TaskTracker::new());
        let task = Relay {
            source: format!("/zhirong/{name}"),
            own_stream,
            options,
            broker: broker.clone(),
            settings: common.outbox.clone(),
            wake: wake.clone(),
            shutdown: stop_relay.clone(),
        };
        relay.spawn(task.run());
        relay.spawn(maintenance::run(pool.clone(), common.retention.clone(), stop_relay.clone()));
        Ok(Self {
            settings: common,
            pool,
            broker,
            clock: Arc::new(SystemClock),
            wake,
            shutdown,
            consumers: Vec::new(),
            background: Vec::new(),
            stop_consumers: CancellationToken::new(),
            stop_relay,
            relay,
        })
    }

    /// Takes another clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The database.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> Broker {
        self.broker.clone()
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Wakes the relay; call [`OutboxWake::notify`] after each commit that wrote events.
    #[must_use]
    pub fn outbox(&self) -> OutboxWake {
        self.wake.clone()
    }

    /// Cancelled when the process is asked to stop. Server streams and background tasks end on it.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Registers what the service listens to; it begins with [`Service::serve`].
    pub fn consume<H: Handler>(&mut self, subscription: Subscription, handler: H) {
        let handler = Arc::new(handler);
        for _ in 0..H::LANES.max(1) {
            let consumer = Consumer {
                subscription,
                handler: Arc::clone(&handler),
                pool: self.pool(),
                broker: self.broker(),
                settings: self.settings.inbox.clone(),
                wake: self.outbox(),
                shutdown: self.stop_consumers.clone(),
            };
            self.consumers.push(Box::pin(async move {
                consumer.attach().await?;
                let task: Task = Box::pin(consumer.run());
                Ok(task)
            }));
        }
    }

    /// Registers what runs beside; it begins with [`Service::serve`] and must end when [`Service::shutdown`] is cancelled. A
    /// task that panics ends the process.
    pub fn background<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.background.push((name, Box::pin(task)));
    }

    /// Serves until the process is asked to stop, then stops in order: readiness, calls, consumers, background, relay, pool.
    ///
    /// # Errors
    /// When a server can't listen or fails, a consumer is configured otherwise than needed, or a background task panicked.
    pub async fn serve(self, routes: Routes) -> Result<(), Error> {
        let Self { settings, pool, broker, clock, shutdown, stop_consumers, stop_relay, relay, .. } = self;
        let readiness = Readiness::new(Some(pool.clone()), Some(broker));
        let routes = routes.add_service(DeadLetterServiceServer::new(DeadLetters { pool: pool.clone(), clock }));

        let consumers = TaskTracker::new();
        let mut attached = Vec::new();
        for check in self.consumers {
            attached.push(check.await?);
        }
        let (stop_servers, failed) = (CancellationToken::new(), CancellationToken::new());
        let grpc = GrpcServer::bind(&settings.grpc, routes).await?;
        let ops = OpsServer::bind(&settings.ops, readiness.clone()).await?;
        let servers = TaskTracker::new();
        servers.spawn(grpc.follow(readiness.clone(), shutdown.clone()));
        servers.spawn(watched("grpc", failed.clone(), grpc.serve(stop_servers.clone())));
        let stop_ops = CancellationToken::new();
        let ops_tasks = TaskTracker::new();
        ops_tasks.spawn(watched("ops", failed.clone(), ops.serve(stop_ops.clone())));
        for task in attached {
            consumers.spawn(guarded("consumer", failed.clone(), task));
        }
        let background = TaskTracker::new();
        for (name, task) in self.background {
            background.spawn(guarded(name, failed.clone(), task));
        }
        tracing::info!("serving");

        tokio::select! {
            () = shutdown.cancelled() => {}
            () = failed.cancelled() => shutdown.cancel(),
        }
        let deadline = Instant::now() + ms(settings.shutdown.deadline_ms).saturating_sub(RESERVE);
        let within = |patience: Duration| (Instant::now() + patience).min(deadline);
        readiness.withdraw();
        tokio::time::sleep_until(within(ms(settings.shutdown.notice_ms))).await;
        stop_servers.cancel();
        end("calls", &servers, within(ms(settings.shutdown.drain_ms))).await;
        stop_consumers.cancel();
        end("consumers", &consumers, within(GROUP_PATIENCE)).await;
        end("background", &background, within(GROUP_PATIENCE)).await;
        stop_relay.cancel();
        end("relay", &relay, within(GROUP_PATIENCE)).await;
        if timeout_at(deadline, pool.close()).await.is_err() {
            tracing::warn!("the pool did not close in time");
        }
        stop_ops.cancel();
        end("ops", &ops_tasks, within(Duration::from_secs(1))).await;
        if failed.is_cancelled() {
            return Err(Error::Server("a part of the service failed; see the log".to_owned()));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Waits for a group; what did not end by then is left behind.
async fn end(group: &'static str, tasks: &TaskTracker, deadline: Instant) {
    tasks.close();
    if timeout_at(deadline, tasks.wait()).await.is_err() {
        tracing::warn!(group, left = tasks.len(), "did not end in time and is left behind");
    } else {
        tracing::debug!(group, "ended");
    }
}

async fn watched(name: &'static str, failed: CancellationToken, server: impl Future<Output = Result<(), Error>>) {
    if let Err(error) = server.await {
        tracing::error!(server = name, %error, "the server failed");
        failed.cancel();
    }
}

async fn guarded(name: &'static str, failed: CancellationToken, task: Task) {
    use futures::FutureExt as _;
    if std::panic::AssertUnwindSafe(task).catch_unwind().await.is_err() {
        tracing::error!(task = name, "a task panicked");
        failed.cancel();
    }
}
