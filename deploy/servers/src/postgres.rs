//! A private PostgreSQL.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

use crate::{
    Error, Tried as _,
    process::{free_address, last_words, run, stop, stop_now},
};

mod cluster;
mod place;

use place::Place;

/// The role that owns everything.
const ROLE: &str = "zhirong";
/// Longest wait for the first answer; after a crash the server reads its log again first.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often another port is tried when somebody else has just taken it.
const PORTS: u32 = 5;

/// How the server keeps its data.
#[derive(Debug, Clone, Copy)]
pub struct PostgresOptions {
    /// Whether a commit is on the disk before it is confirmed.
    pub durable: bool,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    address: SocketAddr,
    password: String,
    place: Place,
    options: PostgresOptions,
}

impl Postgres {
    /// Starts a server that keeps its data in a folder, on a free port of 127.0.0.1 and on no socket. The cluster is made at the first
    /// start; clients authenticate by scram with a password generated then, which lies in the folder, readable for the owner
    /// alone.
    ///
    /// PostgreSQL refuses to run as root. Then it runs as the user `postgres`, or `nobody`, who gets the folder; if that user can't reach
    /// it (below /root), a folder below /var/tmp takes its place, [`Postgres::dir`] and a file `elsewhere.txt` tell which.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, another server still uses the folder, or it does not start.
    pub async fn start(dir: &Path, options: PostgresOptions) -> Result<Self, Error> {
        let place = Place::prepare(dir).await?;
        place.predecessor_gone().await?;
        let password = cluster::ensure(&place, options).await?;
        let mut port = 1;
        loop {
            let address = free_address()?;
            let child = place.spawn(address, options).await?;
            let mut postgres = Self { child, address, password: password.clone(), place: place.clone(), options };
            match postgres.ready().await {
                Ok(()) => return Ok(postgres),
                Err(Error::Ended { last_words, .. }) if port < PORTS && last_words.contains("listen") => port += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The URL of a database, password included.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{}@{}/{database}", self.password, self.address)
    }

    /// Makes a database unless it is there.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn ensure_database(&self, name: &str) -> Result<(), Error> {
        let (text, identifier) = (name.replace('\'', "''"), name.replace('"', "\"\""));
        let query = format!("SELECT 1 FROM pg_database WHERE datname = '{text}'");
        if self.sql(&query).await?.trim().is_empty() {
            self.sql(&format!("CREATE DATABASE \"{identifier}\"")).await?;
        }
        Ok(())
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The folder that really holds the data, see [`Postgres::start`].
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.place.dir.clone()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().await.tried(|| "killing PostgreSQL".to_owned())
    }

    /// Starts it again on the same address with the same data, after it has ended.
    ///
    /// # Errors
    /// When it still runs or does not start.
    pub async fn restart(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        self.place.predecessor_gone().await?;
        // The children of a killed server hold its memory for a moment longer, and the new one refuses as long.
        loop {
            self.child = self.place.spawn(self.address, self.options).await?;
            match self.ready().await {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Stops it: open connections are cut, what was committed stays.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn stop(mut self) -> Result<(), Error> {
        stop(&mut self.child, Signal::SIGINT).await
    }

    async fn sql(&self, statement: &str) -> Result<String, Error> {
        let mut command = Command::new(self.place.binaries.join("psql"));
        for (name, _) in std::env::vars_os() {
            // PGSSLMODE, PGOPTIONS and the like are meant for other servers.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
            // Other users can read a command line.
            .env("PGPASSWORD", &self.password)
            .args(["-XtAq", "-v", "ON_ERROR_STOP=1", "-w", "-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(["-U", ROLE, "-d", "postgres", "-c", statement]);
        run("asking PostgreSQL", &mut command).await
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        while self.sql("SELECT 1").await.is_err() {
            let log = self.place.log();
            if self.child.try_wait().tried(|| "looking after PostgreSQL".to_owned())?.is_some() {
                return Err(Error::Ended { what: "PostgreSQL", last_words: last_words(&log), log });
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::Silent { what: "PostgreSQL", log });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.options.durable {
            stop_now(&mut self.child, Signal::SIGINT);
        }
    }
}
