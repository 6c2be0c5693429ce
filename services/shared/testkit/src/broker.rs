//! A broker for each test.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use tempfile::TempDir;
use zhirong_servers::{Nats, NatsOptions};

/// A broker that one test has for itself, so that names of streams never clash and it may be killed.
pub struct TestBroker {
    nats: Nats,
    _dir: TempDir,
}

impl TestBroker {
    /// Starts a broker with an empty store; takes some 30 ms.
    ///
    /// # Errors
    /// When NATS is not installed or does not start.
    pub async fn start() -> Result<Self> {
        let dir = crate::folder()?;
        let nats = Nats::start(dir.path(), NatsOptions { durable: false }).await?;
        Ok(Self { nats, _dir: dir })
    }

    /// Its address; the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        self.nats.url()
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        Ok(jetstream::new(async_nats::connect(self.url()).await.context("connecting to the test broker")?))
    }

    /// The process, while it runs; for SIGSTOP and the like.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.nats.pid()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.nats.kill().await?)
    }

    /// Starts it again on the same address with what it had stored.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        Ok(self.nats.restart().await?)
    }

    /// The folder with what it has stored; to be changed only while it does not run.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.nats.store()
    }

    /// Removes what it has stored; only while it does not run.
    ///
    /// # Errors
    /// When it runs or the store can't be removed.
    pub fn delete_store(&self) -> Result<()> {
        Ok(self.nats.delete_store()?)
    }
}
