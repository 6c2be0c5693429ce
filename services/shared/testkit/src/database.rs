//! A database for each test.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, migrate::Migrator, postgres::PgPoolOptions};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;
use zhirong_servers::{Postgres, PostgresOptions};

use crate::eventually::PATIENCE;

/// Names the server that `with-servers` started: a URL whose database part is left out.
pub const POSTGRES_VARIABLE: &str = "ZHIRONG_TEST_POSTGRES";
/// Key of the advisory lock under which tests make the templates.
const TEMPLATE_LOCK: i64 = 0x7a68_6972_6f6e_6702;
/// Longest wait for a database to be dropped at the end of its test.
const DROP_PATIENCE: Duration = Duration::from_millis(500);

struct OwnServer {
    postgres: Postgres,
    _dir: TempDir,
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
            let dir = crate::folder()?;
            let postgres = Postgres::start(&dir.path().join("postgres"), PostgresOptions { durable: false }).await?;
            anyhow::Ok(OwnServer { postgres, _dir: dir })
        })
        .await?;
    Ok(own.postgres.url(database))
}

/// A database that one test has for itself; dropped at the end, with whatever is still connected to it.
pub struct TestDatabase {
    name: String,
    url: String,
    server: String,
}

impl TestDatabase {
    /// A new, empty database.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or refuses.
    pub async fn empty() -> Result<Self> {
        Self::copy_of("template1").await
    }

    /// A new database with these migrations applied, in this order. The first test that asks for them applies them once to a
    /// template; all others copy that.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or refuses, or a migration fails.
    pub async fn new(migrators: &[&Migrator]) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        for (place, migrator) in migrators.iter().enumerate() {
            for migration in migrator.iter() {
                (place, migration.version, &migration.checksum).hash(&mut hasher);
            }
        }
        let template = format!("template_{:016x}", hasher.finish());
        let mut server = PgConnection::connect(&url_of("postgres").await?).await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut server).await?;
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&template)
            .fetch_one(&mut server)
            .await?;
        if !known {
            // It gets its name only when it is whole.
            let draft = format!("{template}_draft");
            administer(&mut server, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await?;
            administer(&mut server, format!("CREATE DATABASE {draft}")).await?;
            let mut connection = PgConnection::connect(&url_of(&draft).await?).await?;
            for migrator in migrators {
                migrator.run_direct(None, &mut connection, false).await.context("migrating a test database")?;
            }
            connection.close().await?;
            administer(&mut server, format!("ALTER DATABASE {draft} RENAME TO {template}")).await?;
        }
        // The lock goes with its connection.
        server.close().await?;
        Self::copy_of(&template).await
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
        self.pool_of(10).await
    }

    /// A pool of this many connections at most; whoever waits for one on a busy machine is patient.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn pool_of(&self, connections: u32) -> Result<PgPool> {
        let options = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
        options.connect(&self.url).await.context("connecting to the test database")
    }

    /// Another database that begins with all that this one has. Whoever is still connected to this one is cut off.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn copy(&self) -> Result<Self> {
        let mut server = PgConnection::connect(&self.server).await?;
        sqlx::query("SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE datname = $1")
            .bind(&self.name)
            .bind(i64::try_from(PATIENCE.as_millis())?)
            .execute(&mut server)
            .await?;
        server.close().await?;
        Self::copy_of(&self.name).await
    }

    async fn copy_of(template: &str) -> Result<Self> {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let server = url_of("postgres").await?;
        let mut connection = PgConnection::connect(&server).await?;
        administer(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        connection.close().await?;
        Ok(Self { url: url_of(&name).await?, name, server })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let (done, dropped) = mpsc::channel();
        // A thread of its own: the test's runtime may be ending. What fails here goes with the server.
        thread::spawn(move || {
            let _ = done.send(drop_database(&server, &name));
        });
        // PostgreSQL waits for every backend before it removes files, also for one in the middle of its client's login. That client may
        // live on the very thread that waits here, so the wait is short; the server goes on without us.
        let _ = dropped.recv_timeout(DROP_PATIENCE);
    }
}

fn drop_database(server: &str, name: &str) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = PgConnection::connect(server).await?;
        administer(&mut connection, format!("DROP DATABASE {name} WITH (FORCE)")).await
    })
}

/// Runs a statement whose names are made here, of letters and digits.
async fn administer(server: &mut PgConnection, statement: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(server).await.context(statement)?;
    Ok(())
}
