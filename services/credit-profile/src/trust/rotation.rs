//! Seals data keys with the master key that seals now, and indexes phones with the key that blinds now, a few at a time while
//! everything else goes on.

use std::sync::Arc;

use sqlx::PgPool;
use zhirong_runtime::passes::Pass;

use super::{persons::renewed, seal::MasterKeys, store};
use crate::error::Error;

/// Enterprises of one transaction.
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
        let now = [self.masters.seals(), self.masters.blinds()];
        let mut tx = self.pool.begin().await?;
        let rows = store::to_rotate(&mut tx, now, &self.masters.versions(), after, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.enterprise_id.clone()) else {
            return Ok(None);
        };
        for row in rows {
            let enterprise = row.enterprise_id.clone();
            match renewed(&self.masters, row) {
                Ok(row) => store::renew_person(&mut tx, &row).await?,
                Err(error) => tracing::error!(enterprise, %error, "what is sealed stays with the keys of before"),
            }
        }
        tx.commit().await?;
        let mut conn = self.pool.acquire().await?;
        let [seals, blinds] = now;
        let [sealed, indexed] = store::rotation(&mut conn, seals, blinds).await?;
        tracing::info!(
            version = seals,
            done = sealed.done,
            remaining = sealed.remaining,
            index_version = blinds,
            indexed = indexed.done,
            index_remaining = indexed.remaining,
            "data keys are being sealed anew, and phones indexed"
        );
        Ok(Some(last))
    }
}
