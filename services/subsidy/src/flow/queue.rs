//! Who waits for money is served when some comes: in order of approval, each who fits what is left. Afterwards everybody who
//! still waits needs more than is left, so no money idles that somebody could have.
//!
//! A transaction serves a bounded number; the background task goes on with the rest, and newcomers wait behind them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zhirong_kernel::{
    Clock, Fen,
    id::{Ids, UuidV7},
};
use zhirong_runtime::outbox::OutboxWake;

use crate::{
    budget::Budget,
    error::Error,
    facts,
    store::{self, budget::Cause},
};

/// Grants served in one transaction.
const AT_ONCE: usize = 100;
/// Pause between two looks for what a crash left.
const PAUSE: Duration = Duration::from_secs(5);

/// Serves up to [`AT_ONCE`] waiting grants of a locked budget; says how many.
pub async fn serve(
    conn: &mut PgConnection,
    ids: &dyn Ids,
    budget: &mut Budget,
    now: Timestamp,
) -> Result<usize, Error> {
    let mut served = 0;
    while served < AT_ONCE {
        let Some(mut grant) = store::grant::lock_next_waiting(conn, budget.budget_id, budget.available).await? else {
            break;
        };
        let loaded = grant.version;
        grant.serve();
        if grant.planned > Fen::ZERO {
            let year = budget.year;
            let entry = budget.reserve(grant.planned).map_err(|error| Error::Budget {
                policy: budget.policy_id,
                year,
                error,
            })?;
            store::budget::post(conn, budget.budget_id, ids.next(), entry, Cause::Grant(grant.grant_id), now).await?;
        }
        facts::reserved(conn, &grant, now).await?;
        if grant.disbursed {
            grant.activate();
            facts::activated(conn, &grant, now).await?;
        }
        store::grant::update(conn, &grant, loaded).await?;
        served = served.saturating_add(1);
    }
    Ok(served)
}

/// Goes on where a transaction stopped.
pub struct Queue {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// Wakes this task.
    pub wake: Arc<Notify>,
}

impl Queue {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.drain(&shutdown).await {
                tracing::warn!(%error, "waiting grants could not be served and are tried again");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn drain(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        for budget in store::budget::with_servable_grants(&mut *self.pool.acquire().await?).await? {
            while !shutdown.is_cancelled() && self.serve_some(budget).await? > 0 {}
        }
        Ok(())
    }

    async fn serve_some(&self, budget: Uuid) -> Result<usize, Error> {
        let mut tx = self.pool.begin().await?;
        let mut budget = store::budget::lock(&mut tx, budget).await?;
        let served = serve(&mut tx, &UuidV7, &mut budget, self.clock.now()).await?;
        tx.commit().await?;
        if served > 0 {
            tracing::info!(policy_id = %budget.policy_id, year = budget.year, served, "waiting grants were served");
            self.outbox.notify();
        }
        Ok(served)
    }
}
