//! Every day, what the day before has earned is posted: from reserved to accrued, a bounded number of loans in a transaction.
//!
//! Nothing depends on when it runs: what it posts is the difference to what the events say.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::{Clock, clock::business_date};
use zhirong_runtime::outbox::OutboxWake;

use super::{
    Desk,
    course::{self, Voice},
    queue,
    till::Till,
};
use crate::{error::Error, store};

/// Grants in one transaction.
const AT_ONCE: i64 = 100;
/// Pause between two looks; the first look after midnight in Shanghai finds work.
const PAUSE: Duration = Duration::from_secs(60);

/// Posts what days have earned.
pub struct Accrual {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// What every step needs.
    pub desk: Desk,
}

impl Accrual {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.catch_up(&shutdown).await {
                tracing::warn!(%error, "days could not be accrued and are tried again");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn catch_up(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut grants: usize = 0;
        while !shutdown.is_cancelled() {
            match accrue_some(&self.pool, &self.desk, self.clock.now()).await? {
                0 => break,
                done => grants = grants.saturating_add(done),
            }
        }
        if grants > 0 {
            tracing::info!(loans = grants, "the days before today were accrued");
            self.outbox.notify();
        }
        Ok(())
    }
}

/// Accrues a bounded number of loans up to the business date of an instant; says how many.
///
/// # Errors
/// [`Error`].
pub async fn accrue_some(pool: &PgPool, desk: &Desk, now: jiff::Timestamp) -> Result<usize, Error> {
    let mut tx = pool.begin().await?;
    let due = store::grant::loans_to_accrue(&mut tx, business_date(now), AT_ONCE).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let loans = store::loan::lock_all(&mut tx, &due).await?;
    let budgets = store::grant::budgets_of_loans(&mut tx, &due).await?;
    let mut till = Till::lock(&mut tx, desk, &budgets, now).await?;
    course::recompute(&mut tx, &mut till, &loans, Voice::Quiet).await?;
    queue::serve_all(&mut tx, &mut till).await?;
    till.close(&mut tx).await?;
    tx.commit().await?;
    Ok(due.len())
}
