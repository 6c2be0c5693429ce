//! The services and the gateway as processes: started in order, started again when one dies, stopped gently. Settings of
//! one's own for a program go into `settings/<program>.toml` in the sandbox's folder.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Child;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use zhirong_servers::{Nats, Postgres, bound_to_us, spawn_bound};

use super::{SERVICES, crashes};
use crate::token;

/// Longest wait for a process to serve.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a process to end by itself.
const GRACE: Duration = Duration::from_secs(26);

/// The running processes.
pub struct Stack {
    tasks: TaskTracker,
    gateway: SocketAddr,
    addresses: Vec<(&'static str, SocketAddr)>,
    logs: PathBuf,
}

/// How to start one process, again and again the same.
struct Program {
    name: &'static str,
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    log: PathBuf,
    pid_file: PathBuf,
    crashes: PathBuf,
}

impl Stack {
    /// Starts every process; `stop` ends them.
    pub async fn start(
        dir: &Path,
        postgres: &Postgres,
        nats: &Nats,
        keys: &Path,
        listen: SocketAddr,
        stop: CancellationToken,
    ) -> Result<Self> {
        let (logs, run, crash) = (dir.join("log"), dir.join("run"), dir.join("crash"));
        fs::create_dir_all(&logs)?;
        fs::create_dir_all(&run)?;
        let binaries = std::env::current_exe()?.parent().context("the program's folder")?.to_path_buf();
        let stack = |name: &'static str, mut environment: BTreeMap<String, String>| -> Result<Program> {
            let binary = binaries.join(name);
            if !binary.exists() {
                bail!("{} is missing; build it with `cargo build --workspace --bins`", binary.display());
            }
            let settings = dir.join("settings").join(format!("{name}.toml"));
            if settings.exists() {
                environment.insert("ZHIRONG_CONFIG".to_owned(), settings.display().to_string());
            }
            Ok(Program {
                name,
                binary,
                environment,
                log: logs.join(format!("{name}.log")),
                pid_file: run.join(format!("{name}.pid")),
                crashes: crash.join(name),
            })
        };

        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut started: Vec<(Program, Child)> = Vec::new();
        for (context, name) in SERVICES {
            let mut environment = common(anywhere);
            environment.insert("ZHIRONG__DATABASE__URL".to_owned(), postgres.url(context));
            environment.insert("ZHIRONG__NATS__URL".to_owned(), nats.url());
            if context == "profile" {
                let signing = token::ensure_signing_keys(keys, "profile-signing-keys")?;
                environment.insert("ZHIRONG__TRUST__SIGNING_KEYS_FILE".to_owned(), signing.display().to_string());
                let data = token::ensure_data_keys(keys, "profile-data-keys")?;
                environment.insert("ZHIRONG__TRUST__DATA_KEYS_FILE".to_owned(), data.display().to_string());
            }
            if context == "matching" {
                // It asks the first one about consents.
                let (profile, child) = started.first_mut().context("credit-profile is started first")?;
                let address = format!("http://{}", profile.settle(child).await?);
                environment.insert("ZHIRONG__CHECKS__PROFILE".to_owned(), address);
            }
            if context == "feedback" {
                let data = token::ensure_data_keys(keys, "feedback-data-keys")?;
                environment.insert("ZHIRONG__PERSONAL__DATA_KEYS_FILE".to_owned(), data.display().to_string());
                environment.insert("ZHIRONG__SMS__FILE".to_owned(), dir.join("sms.ndjson").display().to_string());
            }
            started.push(stack(name, environment)?.first_start().await?);
        }
        let mut addresses = Vec::new();
        let mut upstreams = BTreeMap::new();
        for ((context, name), (program, child)) in SERVICES.into_iter().zip(&mut started) {
            let address = program.settle(child).await?;
            upstreams.insert(format!("ZHIRONG__UPSTREAMS__{}", context.to_uppercase()), format!("http://{address}"));
            addresses.push((name, address));
        }
        let mut environment = common(if is_free(listen) { listen } else { anywhere });
        environment.append(&mut upstreams);
        environment.insert("ZHIRONG__IDENTITY__JWKS_FILE".to_owned(), token::jwks_file(keys).display().to_string());
        let (mut program, mut child) = stack("gateway", environment)?.first_start().await?;
        let gateway = program.settle(&mut child).await?;
        addresses.push(("gateway", gateway));
        started.push((program, child));

        let tasks = TaskTracker::new();
        for (program, child) in started {
            tasks.spawn(program.supervise(child, stop.clone()));
        }
        tasks.close();
        Ok(Self { tasks, gateway, addresses, logs })
    }

    /// The gateway's address.
    pub fn gateway(&self) -> String {
        format!("http://{}", self.gateway)
    }

    /// Waits until every process says that it serves.
    pub async fn ready(&self) -> Result<()> {
        for (name, address) in &self.addresses {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while !serves(*address).await {
                if tokio::time::Instant::now() > deadline {
                    bail!(
                        "{name} does not serve after {PATIENCE:?}; see {}",
                        self.logs.join(format!("{name}.log")).display()
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Waits until every process has ended.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

impl Program {
    /// Starts it for the first time; it chooses its port itself, so that no other program can take it in between.
    async fn first_start(mut self) -> Result<(Self, Child)> {
        let file = self.pid_file.with_extension("address");
        let _ = fs::remove_file(&file);
        self.environment.insert("ZHIRONG__GRPC__ADDRESS_FILE".to_owned(), file.display().to_string());
        let child = self.spawn().await?;
        Ok((self, child))
    }

    /// Waits until it listens. Started again, it does so where its callers know it.
    async fn settle(&mut self, child: &mut Child) -> Result<SocketAddr> {
        let file = self.pid_file.with_extension("address");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            // It is renamed into place, so it is whole.
            if let Ok(address) = fs::read_to_string(&file) {
                let address: SocketAddr = address.trim().parse()?;
                self.environment.insert("ZHIRONG__GRPC__LISTEN".to_owned(), address.to_string());
                return Ok(address);
            }
            if let Some(status) = child.try_wait()? {
                bail!("{} ended at once ({status}); see {}", self.name, self.log.display());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{} does not listen after {PATIENCE:?}; see {}", self.name, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn spawn(&self) -> Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        // In a group of its own: Ctrl-C reaches the sandbox alone, which then stops the others in order. And should the
        // sandbox be killed, nothing stays behind.
        let mut command = bound_to_us(&self.binary, Signal::SIGTERM);
        command.envs(&self.environment).stdout(log.try_clone()?).stderr(log);
        if let Some(point) = crashes::next(&self.crashes)? {
            command.env("ZHIRONG__FAULT__CRASH_AT", point);
        }
        let child = spawn_bound(command).await.with_context(|| format!("starting {}", self.binary.display()))?;
        if let Some(pid) = child.id() {
            fs::write(&self.pid_file, pid.to_string())?;
        }
        Ok(child)
    }

    /// Keeps the process running until `stop`, then asks it to end.
    async fn supervise(self, mut child: Child, stop: CancellationToken) {
        let mut pause = Duration::from_millis(100);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ended = child.wait() => {
                    let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                    println!("{} ended ({how}); starting it again, see {}", self.name, self.log.display());
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(Duration::from_secs(5));
            match self.spawn().await {
                Ok(again) => child = again,
                Err(error) => println!("{} can't be started: {error:#}", self.name),
            }
        }
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn common(grpc: SocketAddr) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("ZHIRONG__GRPC__LISTEN".to_owned(), grpc.to_string()),
        ("ZHIRONG__OPS__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("ZHIRONG__TELEMETRY__LOG".to_owned(), "text".to_owned()),
    ])
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

async fn serves(address: SocketAddr) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
        return false;
    };
    let Ok(channel) = endpoint.connect().await else {
        return false;
    };
    let mut client = HealthClient::new(channel);
    let status = client.check(HealthCheckRequest { service: String::new() }).await;
    status.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}
