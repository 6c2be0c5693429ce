//! A database and a broker of its own for each test, on real servers.
//!
//! `with-servers COMMAND…` starts one PostgreSQL for all tests that the command runs; without it each test program starts its
//! own, so that a plain `cargo nextest run -p …` works too, only slower.

use std::{fs::Permissions, future::Future, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use sqlx::{Connection as _, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};
use uuid::Uuid;
pub use zhirong_kernel::clock::ManualClock;
use zhirong_servers::{Nats, NatsOptions, Postgres, PostgresOptions};

/// Names the server that `with-servers` started: a URL whose database part is left out.
pub const POSTGRES_VARIABLE: &str = "ZHIRONG_TEST_POSTGRES";

struct OwnServer {
    postgres: Postgres,
    _dir: TempDir,
}

/// A temporary folder that the servers' unprivileged user can reach.
///
/// # Errors
/// When the system refuses.
pub fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir()?)
}

static OWN: OnceCell<OwnServer> = OnceCell::const_new();

/// The URL of a database on the test server.
async fn url_of(database: &str) -> Result<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    if let Ok(server) = std::env::var(POSTGRES_VARIABLE) {
        return Ok(format!("{server}/{database}"));
    }
    let own = OWN
        .get_or_try_init(|| async {
            let dir = folder()?;
            let postgres = Postgres::start(&dir.path().join("postgres"), PostgresOptions { durable: false }).await?;
            anyhow::Ok(OwnServer { postgres, _dir: dir })
        })
        .await?;
    Ok(own.postgres.url(database))
}

/// A database that one test has for itself.
pub struct TestDatabase {
    url: String,
}

impl TestDatabase {
    /// A new, empty database. It lives as long as the test server.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or refuses.
    pub async fn empty() -> Result<Self> {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut server = PgConnection::connect(&url_of("postgres").await?).await?;
        // The name is made above of letters and digits.
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut server).await?;
        server.close().await?;
        Ok(Self { url: url_of(&name).await? })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A pool of connections to it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn pool(&self) -> Result<PgPool> {
        PgPool::connect(&self.url).await.context("connecting to the test database")
    }
}

/// A broker that one test has for itself; it may be killed.
pub struct TestBroker {
    nats: Nats,
    _dir: TempDir,
}

impl TestBroker {
    /// Starts a broker with an empty store.
    ///
    /// # Errors
    /// When NATS is not installed or does not start.
    pub async fn start() -> Result<Self> {
        let dir = folder()?;
        let nats = Nats::start(dir.path(), NatsOptions { durable: false }).await?;
        Ok(Self { nats, _dir: dir })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        self.nats.url()
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

    /// Removes what it has stored; only while it does not run.
    ///
    /// # Errors
    /// When the store can't be removed.
    pub fn delete_store(&self) -> Result<()> {
        Ok(self.nats.delete_store()?)
    }
}

/// Waits until `look` finds something, for at most `patience`.
///
/// # Errors
/// When it does not, or with the last error of `look`.
pub async fn eventually<T, F>(patience: Duration, what: &str, look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let found = look().await;
        if let Ok(Some(found)) = found {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return match found {
                Err(error) => Err(error).with_context(|| format!("waiting until {what}")),
                Ok(_) => bail!("waited {patience:?} in vain until {what}"),
            };
        }
        sleep(Duration::from_millis(20)).await;
    }
}
