//! A program of this workspace as a process.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Child,
    time::Instant,
};
use zhirong_servers::{bound_to_us, spawn_bound};

/// Longest wait for a process to be ready or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The servers of a process: section of its configuration.
const GRPC: &str = "GRPC";
const OPS: &str = "OPS";

/// The path of a program of this workspace, from the same build as the running test.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let build = test
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps") && !folder.ends_with("examples"))
        .context("a test lies in the build's folder")?;
    let path = build.join(name);
    ensure!(path.exists(), "{} is missing; `cargo build --workspace --bins` makes it", path.display());
    Ok(path)
}

/// A running service; killed when dropped or when the test dies.
pub struct ServiceProcess {
    child: Child,
    program: PathBuf,
    environment: BTreeMap<String, String>,
    grpc: String,
    ops: String,
    folder: TempDir,
}

impl ServiceProcess {
    /// Starts a service on free ports with settings such as `("ZHIRONG__DATABASE__URL", url)`, and waits until it is ready.
    ///
    /// # Errors
    /// When it can't be started, ends, or is not ready within a minute; with the end of its log.
    pub async fn start<'a>(program: &Path, settings: impl IntoIterator<Item = (&'a str, String)>) -> Result<Self> {
        let folder = crate::folder()?;
        let mut environment: BTreeMap<String, String> =
            settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        environment.insert("ZHIRONG__TELEMETRY__LOG".to_owned(), "text".to_owned());
        for server in [GRPC, OPS] {
            let file = folder.path().join(server).display().to_string();
            environment.insert(format!("ZHIRONG__{server}__LISTEN"), "127.0.0.1:0".to_owned());
            environment.insert(format!("ZHIRONG__{server}__ADDRESS_FILE"), file);
        }
        let child = spawn(program, &environment, &folder.path().join("log")).await?;
        let program = program.to_path_buf();
        let mut process = Self { child, program, environment, grpc: String::new(), ops: String::new(), folder };
        process.grpc = process.address(GRPC).await?;
        process.ops = process.address(OPS).await?;
        // Started again, it listens where its callers know it.
        for (server, address) in [(GRPC, &process.grpc), (OPS, &process.ops)] {
            process.environment.insert(format!("ZHIRONG__{server}__LISTEN"), address.clone());
        }
        process.ready().await?;
        Ok(process)
    }

    /// Where it serves gRPC, `http://127.0.0.1:<port>`; the same after a restart.
    #[must_use]
    pub fn grpc(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Where it serves `/live`, `/ready` and `/metrics`, `http://127.0.0.1:<port>`; the same after a restart.
    #[must_use]
    pub fn ops(&self) -> String {
        format!("http://{}", self.ops)
    }

    /// The process, while it runs; for SIGSTOP and the like.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything it has logged since its first start.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.log_file()).context("reading a service's log")
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn kill9(&mut self) -> Result<()> {
        self.child.kill().await.context("killing a service")
    }

    /// Starts it again where it was, after it has ended, and waits until it is ready.
    ///
    /// # Errors
    /// As [`ServiceProcess::start`].
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "{} still runs", self.program.display());
        self.child = spawn(&self.program, &self.environment, &self.log_file()).await?;
        self.ready().await
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        }
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} does not stop: {}", self.program.display(), self.last_words()))??)
    }

    async fn address(&mut self, server: &str) -> Result<String> {
        let file = self.folder.path().join(server);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It is renamed into place, so it is whole.
            if let Ok(address) = fs::read_to_string(&file) {
                return Ok(address.trim().to_owned());
            }
            self.still_starting(deadline).await?;
        }
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !answers_ready(&self.ops).await {
            self.still_starting(deadline).await?;
        }
        Ok(())
    }

    async fn still_starting(&mut self, deadline: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.program.display(), self.last_words());
        }
        if Instant::now() > deadline {
            bail!("{} is not ready after {PATIENCE:?}: {}", self.program.display(), self.last_words());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn last_words(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

async fn spawn(program: &Path, environment: &BTreeMap<String, String>, log: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = bound_to_us(program, Signal::SIGKILL);
    command.envs(environment).stdout(log.try_clone()?).stderr(log);
    spawn_bound(command).await.with_context(|| format!("starting {}", program.display()))
}

/// Whether `/ready` answers 200.
async fn answers_ready(address: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut status = [0_u8; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(&status == b"HTTP/1.1 200")
    };
    matches!(tokio::time::timeout(Duration::from_secs(5), ask).await, Ok(Ok(true)))
}
