//! A private PostgreSQL and a private NATS server on free loopback ports, for the sandbox and the tests.
//!
//! Both end when the program that started them ends, however it ends. They are the real servers: the same SQL and the same
//! broker as in production.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

use std::{io, path::PathBuf};

mod nats;
mod postgres;
mod process;

pub use nats::{Nats, NatsOptions};
pub use postgres::{Postgres, PostgresOptions};

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
