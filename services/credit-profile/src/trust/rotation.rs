//! Seals data keys with the master key that seals now, a few at a time while everything else goes on.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{
    seal::{MasterKeys, WrappedKey},
    store,
};
use crate::error::Error;

/// Data keys of one transaction.
const BATCH: i64 = 100;
/// Between two looks: other replicas may still seal with the key before.
const PAUSE: Duration = Duration::from_secs(60);
/// After an error.
const RETRY: Duration = Duration::from_secs(5);

/// Changes keys.
pub struct Rotation {
    /// The database.
    pub pool: PgPool,
    /// The keys.
    pub masters: Arc<MasterKeys>,
}

impl Rotation {
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
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "keys could not be changed; trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Changes some of the enterprises after this one in their order; gives the last of them, or none when there are no more. So
    /// those that can't be opened are tried once a pass and keep nobody behind them waiting.
    async fn batch(&self, after: &str) -> Result<Option<String>, Error> {
        let seals = self.masters.seals();
        let mut tx = self.pool.begin().await?;
        let rows = store::to_rotate(&mut tx, seals, &self.masters.versions(), after, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.enterprise_id.clone()) else {
            return Ok(None);
        };
        for row in rows {
            let wrapped = WrappedKey { version: row.key_version, sealed: row.data_key };
            match self.masters.rewrap(&wrapped, &row.enterprise_id) {
                Ok(new) => store::rotated(&mut tx, &row.enterprise_id, new.version, &new.sealed).await?,
                Err(error) => tracing::error!(enterprise = row.enterprise_id, %error, "a data key stays as it is"),
            }
        }
        tx.commit().await?;
        let mut conn = self.pool.acquire().await?;
        let (done, remaining) = store::rotation(&mut conn, seals).await?;
        tracing::info!(version = seals, done, remaining, "data keys are being sealed anew");
        Ok(Some(last))
    }
}
