//! Signs the end of the chain now and then, so that whoever can write the database can't write a chain of their own.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::Clock;

use super::{
    audit,
    keys::{Kind, SigningKeys},
    store,
};
use crate::error::Error;

/// Signs checkpoints.
pub struct Checkpoints {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The keys.
    pub signing: Arc<SigningKeys>,
    /// The pause between two looks.
    pub interval: Duration,
}

impl Checkpoints {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.one().await {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "no checkpoint could be signed; trying again");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// Signs the end of the chain unless it is signed.
    async fn one(&self) -> Result<(), Error> {
        let mut conn = self.pool.acquire().await?;
        let Some((sequence, hash)) = store::unsigned_end(&mut conn).await? else {
            return Ok(());
        };
        let now = self.clock.now();
        let at = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let signature = self.signing.sign(Kind::Checkpoint, &audit::checkpoint_content(sequence, &hash, at));
        store::add_checkpoint(&mut conn, sequence, &hash, at, self.signing.public_key(), &signature).await?;
        // Also outside of the database, so that entries taken off the end of the chain are missed there.
        tracing::info!(sequence, hash = hex::encode(&hash), "the audit trail was signed up to here");
        Ok(())
    }
}
