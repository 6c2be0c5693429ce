//! Forgets what releases were made from when they are old enough; the audit trail keeps their hashes.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::Clock;

use super::store;
use crate::error::Error;

const PAUSE: Duration = Duration::from_secs(3600);
/// After an error.
const RETRY: Duration = Duration::from_secs(5);

/// Forgets.
pub struct Retention {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long a release can be rebuilt.
    pub released: SignedDuration,
}

impl Retention {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let mut pause = PAUSE;
            match self.one().await {
                Ok(0) => {}
                Ok(erased) => tracing::info!(erased, "what old releases were made from was erased"),
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "nothing could be erased; trying again");
                    pause = RETRY;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn one(&self) -> Result<u64, Error> {
        let before = self.clock.now().saturating_sub(self.released).unwrap_or(jiff::Timestamp::MIN);
        let mut conn = self.pool.acquire().await?;
        Ok(store::erase_old_released(&mut conn, before).await?)
    }
}
