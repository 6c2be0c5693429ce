//! Applies full reloads that have come into force to the records that are there: some at a time, so that live data flow meanwhile.
//! How far it has come stands in the database; whoever is killed is followed by another from there.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use opentelemetry::{global, metrics::Gauge};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock, business_date};

use crate::store::{self, records::Alone, reloads};

#[cfg(test)]
mod tests;

/// A reload takes minutes to arrive; a second more until it is applied is nothing.
const POLL: Duration = Duration::from_secs(1);

/// Most records of one transaction.
pub const AT_ONCE: i64 = 1000;

static UNFINISHED: LazyLock<Gauge<i64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .i64_gauge("reloads.unfinished")
        .with_description("Full reloads that wait for more records or for their end")
        .build()
});
static SILENT: LazyLock<Gauge<i64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .i64_gauge("reloads.silent")
        .with_description(
            "Time since anything came of the unfinished full reload of which nothing has come for longest",
        )
        .with_unit("s")
        .build()
});

/// Applies reloads.
pub struct Reloads {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes whoever computes profiles.
    pub stale: Arc<Notify>,
    /// Most records of one transaction.
    pub at_once: i64,
}

impl Reloads {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let done = match self.slice().await {
                Ok(true) => continue,
                Ok(false) => self.measure().await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::error!(%error, "a full reload could not be applied; trying again");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Does the next piece of work; says whether there was any that nobody else is at.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn slice(&self) -> Result<bool, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        let Some((source, category)) = reloads::at_work(&mut tx).await? else {
            return Ok(false);
        };
        // What is in force stays so meanwhile, and so do its members. Records that are none flow on.
        store::records::lock(&mut tx, [(source.as_str(), category.as_str(), Alone(false))]).await?;
        let judged = reloads::slice(&mut tx, &source, &category, self.at_once).await?;
        let worked = match &judged {
            Some(concerned) => {
                store::mark(&mut tx, concerned, business_date(self.clock.now())).await?;
                true
            }
            None => reloads::forget(&mut tx, &source, &category, self.at_once).await?,
        };
        tx.commit().await?;
        if judged.is_some_and(|concerned| !concerned.is_empty()) {
            self.stale.notify_one();
        }
        Ok(worked)
    }

    async fn measure(&self) -> Result<(), sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        let (unfinished, oldest) = reloads::waiting(&mut conn).await?;
        let silent = oldest.map_or(0, |at| self.clock.now().duration_since(at.to_jiff()).as_secs());
        UNFINISHED.record(unfinished, &[]);
        SILENT.record(silent, &[]);
        Ok(())
    }
}
