//! A private PostgreSQL and a private NATS server on free loopback ports, for the sandbox and the tests.
//!
//! Both end when the program that started them ends, however it ends, and keep their data for the next start. They are the real
//! servers: the same SQL and the same broker as in production. Servers that the machine itself runs are never touched.
//!
//! - [`Postgres`]: clients authenticate by scram with a generated password; as root it runs as `postgres` or `nobody`.
//! - [`Nats`]: JetStream in a file store; open to whoever reaches its port on loopback. The government data platform has an account of
//!   its own there.
//! - [`bound_to_us`] and [`spawn_bound`]: the same bond for other processes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use std::{io, path::PathBuf};

mod nats;
mod postgres;
mod process;

pub use nats::{Nats, NatsOptions, PLATFORM, find as nats_server};
pub use postgres::{Postgres, PostgresOptions};
pub use process::{bound_to_us, spawn_bound};

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not on this machine.
    #[error("{program} was not found; {advice}")]
    Missing {
        /// What is missing.
        program: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A step failed.
    #[error("{what}: {output}")]
    Failed {
        /// Which step.
        what: String,
        /// What it printed.
        output: String,
    },
    /// It ended instead of serving.
    #[error("{what} ended at once: {last_words} (see {log})")]
    Ended {
        /// Which server.
        what: &'static str,
        /// The last lines of its log.
        last_words: String,
        /// Its log.
        log: PathBuf,
    },
    /// A server that was not started here uses the same data.
    #[error("another {what} (process {pid}) still uses {path}; stop it first")]
    Busy {
        /// Which server.
        what: &'static str,
        /// What both would use.
        path: PathBuf,
        /// The other's process.
        pid: i32,
    },
    /// A folder is not as it was left.
    #[error("{path}: {problem}")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// It does not answer in time.
    #[error("{what} does not answer; see {log}")]
    Silent {
        /// Which server.
        what: &'static str,
        /// Its log.
        log: PathBuf,
    },
    /// A file or a process could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Says what was tried when the system refuses.
trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
