//! Seals phones with the master key that seals now, a few at a time while everything else goes on: those of before there were
//! keys, and those whose data key an older master key has sealed.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use zhirong_runtime::seal::MasterKeys;

use crate::{contact, error::Error, store};

/// Phones of one transaction.
const BATCH: i64 = 100;
/// Between two passes: other replicas may still seal with the key before, or not at all.
const PAUSE: Duration = Duration::from_secs(60);
/// After an error.
const RETRY: Duration = Duration::from_secs(5);

/// Seals what is not sealed as it should be.
pub struct Sealing {
    /// The database.
    pub pool: PgPool,
    /// The keys.
    pub keys: Arc<MasterKeys>,
}

impl Sealing {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut after = String::new();
        while !shutdown.is_cancelled() {
            let pause = match self.batch(&after).await {
                Ok(Some(last)) => {
                    after = last;
                    continue;
                }
                Ok(None) => {
                    after.clear();
                    PAUSE
                }
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "phones could not be sealed; trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Seals some of the enterprises after this one in their order; gives the last of them, or none when there are no more. So
    /// those that can't be opened are tried once a pass and keep nobody behind them waiting.
    async fn batch(&self, after: &str) -> Result<Option<String>, Error> {
        let seals = self.keys.seals();
        let mut tx = self.pool.begin().await?;
        let rows = store::contact::to_seal(&mut tx, seals, &self.keys.versions(), after, BATCH).await?;
        let Some(last) = rows.last().map(|(enterprise_id, _)| enterprise_id.clone()) else {
            return Ok(None);
        };
        for (enterprise_id, kept) in rows {
            match contact::seal_anew(&self.keys, &enterprise_id, kept) {
                Ok(sealed) => store::contact::sealed(&mut tx, &enterprise_id, &sealed).await?,
                Err(error) => tracing::error!(enterprise = enterprise_id, %error, "a phone stays as it is"),
            }
        }
        tx.commit().await?;
        let mut conn = self.pool.acquire().await?;
        let (done, remaining) = store::contact::rotation(&mut conn, seals).await?;
        tracing::info!(version = seals, done, remaining, "phones are being sealed");
        Ok(Some(last))
    }
}
