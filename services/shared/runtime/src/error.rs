//! What can go wrong in the shell of a service.

use std::error::Error as StdError;

/// A failure of the shell: settings, database, broker, server. Business errors are [`crate::problem::Problem`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings can't be used; one readable line. The process exits with 64.
    #[error("{0}")]
    Config(String),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database could not be brought to this version's schema.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The broker failed.
    #[error("broker: {0}")]
    Broker(String),
    /// A stream or consumer is configured otherwise than this version needs; running on would risk messages.
    #[error("{what} is configured otherwise than needed: {difference}")]
    Mismatch {
        /// The stream or consumer.
        what: String,
        /// Which setting, what it is and what it must be.
        difference: String,
    },
    /// An aggregate's version was written before: its row was not locked, or the version not raised.
    #[error("version {version} of {kind} {id} was already reported")]
    VersionTaken {
        /// Kind of the aggregate.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The version that is not newer than the last one.
        version: i64,
    },
    /// An event's key can't be a token of a NATS subject.
    #[error("`{0}` can't be the last token of a subject")]
    SubjectKey(String),
    /// The server could not listen or failed.
    #[error("server: {0}")]
    Server(String),
    /// A service's own failure.
    #[error(transparent)]
    Other(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// A service's own failure.
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    pub(crate) fn broker(error: impl std::fmt::Display) -> Self {
        Self::Broker(error.to_string())
    }

    pub(crate) fn server(error: impl std::fmt::Display) -> Self {
        Self::Server(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Other(Box::new(error))
    }
}
