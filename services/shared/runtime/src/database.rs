//! The connection pool, and the migrations at start.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::{
    Connection as _, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::Instant;

use crate::{
    Error,
    config::{self, Database, ms},
};

/// The tables of this crate; kept in `runtime.migrations` (see sqlx.toml), apart from a service's own.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// Key of the advisory lock under which replicas migrate one after another.
const MIGRATION_LOCK: i64 = 0x7a68_6972_6f6e_6701;

/// How to connect, with the time limits that every statement has.
///
/// # Errors
/// [`Error::Config`] when the URL is missing or malformed.
pub fn connect_options(service: &str, settings: &Database) -> Result<PgConnectOptions, Error> {
    let url = config::read_secret(&settings.url, &settings.url_file)?;
    if url.expose_secret().is_empty() {
        return Err(Error::Config("database.url is missing; set ZHIRONG__DATABASE__URL, or ZHIRONG__DATABASE__URL_FILE to a file that holds it".to_owned()));
    }
    let options: PgConnectOptions =
        url.expose_secret().parse().map_err(|_| Error::Config("database.url is not a PostgreSQL URL".to_owned()))?;
    Ok(options.application_name(service).options([
        ("statement_timeout", settings.statement_timeout_ms.to_string()),
        ("lock_timeout", settings.lock_timeout_ms.to_string()),
        ("idle_in_transaction_session_timeout", settings.idle_in_transaction_timeout_ms.to_string()),
        // the server notices within 20 s that this process's machine is gone, and frees its locks
        ("tcp_keepalives_idle", "10".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "2".to_owned()),
        ("tcp_user_timeout", "20000".to_owned()),
    ]))
}

/// Connects a pool, waiting for the database up to `start_timeout_ms`.
///
/// # Errors
/// [`Error::Database`] when it does not answer in time.
pub async fn connect(service: &str, settings: &Database) -> Result<PgPool, Error> {
    let options = connect_options(service, settings)?;
    let deadline = Instant::now() + ms(settings.start_timeout_ms);
    loop {
        match PgConnection::connect_with(&options).await {
            Ok(connection) => {
                connection.close().await?;
                break;
            }
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "the database does not answer yet");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    Ok(PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(ms(settings.acquire_timeout_ms))
        // a ping before each use costs a round trip; a broken connection shows itself by an error
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

/// Brings the database to this version: this crate's tables first, then the service's. Safe with several replicas at once:
/// they wait for each other on an advisory lock, which ends with its connection.
///
/// # Errors
/// [`Error::Migrate`] when a migration fails or one that was applied has changed since.
pub async fn migrate(options: &PgConnectOptions, service: &Migrator) -> Result<(), Error> {
    // Another replica's migration, or a long one, may take longer than any statement in service may.
    let patient = options.clone().options([("statement_timeout", "0"), ("lock_timeout", "0")]);
    let mut connection = PgConnection::connect_with(&patient).await?;
    sqlx::query!("SELECT pg_advisory_lock($1)", MIGRATION_LOCK).execute(&mut connection).await?;
    for migrator in [&MIGRATIONS, service] {
        migrator.run_direct(None, &mut connection, false).await?;
    }
    connection.close().await?;
    Ok(())
}
