//! Whether the process can do its work, by asking the database and the broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use sqlx::PgPool;

use crate::broker::Broker;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the dependencies.
#[derive(Debug, Clone)]
pub struct Readiness {
    database: Option<PgPool>,
    broker: Option<Broker>,
    withdrawn: Arc<AtomicBool>,
}

/// What was found; the body of `/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether calls should come here.
    pub ready: bool,
    /// "ok", or what is wrong; left out where there is no database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<&'static str>,
    /// "ok", or what is wrong; left out where there is no broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<&'static str>,
    /// Whether the process is stopping.
    pub stopping: bool,
}

impl Readiness {
    /// Asks these dependencies; a process without one, such as the gateway, gives none.
    #[must_use]
    pub fn new(database: Option<PgPool>, broker: Option<Broker>) -> Self {
        Self { database, broker, withdrawn: Arc::default() }
    }

    /// The process is stopping: not ready from now on.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Asks now.
    pub async fn check(&self) -> Report {
        let database = async {
            let pool = self.database.as_ref()?;
            let answer = tokio::time::timeout(PATIENCE, sqlx::query("SELECT 1").execute(pool)).await;
            Some(match answer {
                Ok(Ok(_)) => "ok",
                Ok(Err(_)) => "can't be reached",
                Err(_) => "does not answer",
            })
        };
        let broker = async {
            let broker = self.broker.as_ref()?;
            if !broker.is_connected() {
                return Some("can't be reached");
            }
            let answer = tokio::time::timeout(PATIENCE, broker.jetstream().query_account()).await;
            Some(match answer {
                Ok(Ok(_)) => "ok",
                Ok(Err(_)) => "JetStream refuses",
                Err(_) => "JetStream does not answer",
            })
        };
        let (database, broker) = tokio::join!(database, broker);
        let stopping = self.withdrawn.load(Ordering::Acquire);
        let well = |state: Option<&str>| state.is_none_or(|state| state == "ok");
        Report { ready: !stopping && well(database) && well(broker), database, broker, stopping }
    }
}
