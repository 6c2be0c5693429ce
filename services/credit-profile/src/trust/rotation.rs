//! Seals data keys with the master key that seals now, a few at a time while everything else goes on.

use std::sync::Arc;

use sqlx::PgPool;
use zhirong_runtime::passes::Pass;

use super::{
    seal::{MasterKeys, WrappedKey},
    store,
};
use crate::error::Error;

/// Data keys of one transaction.
const BATCH: i64 = 100;
/// Changes keys.
pub struct Rotation {
    /// The database.
    pub pool: PgPool,
    /// The keys.
    pub masters: Arc<MasterKeys>,
}

impl Pass for Rotation {
    type Error = Error;
    const FAILED: &'static str = "keys could not be changed";

    /// Changes the keys of some enterprises.
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
