//! Seals phones with the master key that seals now, a few at a time while everything else goes on: those of before there were
//! keys, and those whose data key an older master key has sealed.

use std::sync::Arc;

use sqlx::PgPool;
use zhirong_runtime::{passes::Pass, seal::MasterKeys};

use crate::{contact, error::Error, store};

/// Phones of one transaction.
const BATCH: i64 = 100;
/// Seals what is not sealed as it should be.
pub struct Sealing {
    /// The database.
    pub pool: PgPool,
    /// The keys.
    pub keys: Arc<MasterKeys>,
}

impl Pass for Sealing {
    type Error = Error;
    const FAILED: &'static str = "phones could not be sealed";

    /// Seals the phones of some enterprises.
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
