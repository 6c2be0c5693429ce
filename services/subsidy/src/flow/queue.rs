//! Who waits for money is served when some comes: in order of approval, each who fits what is left. Afterwards everybody who
//! still waits needs more than is left, so no money idles that somebody could have.
//!
//! A transaction serves a bounded number; the background task goes on with the rest, and newcomers wait behind them.

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zhirong_kernel::{Clock, Fen, clock::business_date};
use zhirong_proto::subsidy::v1::{GrantActivated, GrantReserved};
use zhirong_runtime::outbox::OutboxWake;

use super::{
    Desk,
    course::{self, Room},
    till::Till,
};
use crate::{
    error::Error,
    grant::{Grant, State, Target},
    store, wire,
};

/// Grants served in one transaction.
const AT_ONCE: usize = 100;
/// Pause between two looks for what a crash left.
const PAUSE: Duration = Duration::from_secs(5);

/// Serves up to [`AT_ONCE`] waiting grants of the till's budgets.
///
/// # Errors
/// [`Error`].
pub async fn serve_all(conn: &mut PgConnection, till: &mut Till<'_>) -> Result<usize, Error> {
    let budgets: Vec<Uuid> = till.budgets().map(|budget| budget.budget_id).collect();
    let mut served: usize = 0;
    for budget in budgets {
        while served < AT_ONCE {
            let available = till.budget(budget)?.available;
            let Some(grant) = store::grant::lock_next_waiting(conn, budget, available).await? else { break };
            serve(conn, till, grant).await?;
            served = served.saturating_add(1);
        }
    }
    Ok(served)
}

async fn serve(conn: &mut PgConnection, till: &mut Till<'_>, mut grant: Grant) -> Result<(), Error> {
    let loaded = grant.version;
    grant.state = State::Reserved;
    let whole = Target { planned: grant.planned, earned: Fen::ZERO, due: Fen::ZERO };
    till.bring(&mut grant, whole, Fen::ZERO)?;
    grant.changed();
    till.tell(&grant, &GrantReserved { grant: Some(wire::grant(&grant)) })?;
    if grant.disbursed {
        catch_up(conn, till, &mut grant).await?;
        grant.changed();
        till.tell(&grant, &GrantActivated { grant: Some(wire::grant(&grant)) })?;
    }
    store::grant::update(conn, &grant, loaded).await
}

/// The loan has been running while its grant waited.
async fn catch_up(conn: &mut PgConnection, till: &mut Till<'_>, grant: &mut Grant) -> Result<(), Error> {
    let loan = grant.loan_id.uuid();
    let Some(approved) = store::loan::find(conn, grant.loan_id).await? else {
        return Err(Error::Stored("subsidy_grant.loan_id"));
    };
    let events = store::loan::events(conn, &[loan]).await?.remove(&loan).unwrap_or_default();
    let mut grants = store::grant::of_loans(conn, &[loan]).await?.remove(&loan).unwrap_or_default();
    let own = grants.iter_mut().find(|found| found.grant_id == grant.grant_id);
    let own = own.ok_or(Error::Stored("subsidy_grant.grant_id"))?;
    *own = grant.clone();
    course::narrow(conn, till.desk(), std::slice::from_mut(own)).await?;
    let mut rooms = Vec::with_capacity(grants.len());
    for found in &grants {
        // The others keep what they are due; nobody changes that while this budget is locked.
        let own = found.grant_id == grant.grant_id;
        rooms.push(if own { course::room(till, found)? } else { Room::kept(found)? });
    }
    let day = business_date(till.now());
    let standings = course::standings(conn, till.desk(), &approved, (&grants, &rooms), &events, day).await?;
    if let Some(standing) = standings.get(&grant.grant_id.uuid()) {
        grant.follow(standing, day);
        till.bring(grant, Target::from(standing), Fen::ZERO)?;
    }
    Ok(())
}

/// Goes on where a transaction stopped.
pub struct Queue {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// What every step needs.
    pub desk: Desk,
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
        let mut till = Till::lock(&mut tx, &self.desk, &[budget], self.clock.now()).await?;
        let served = serve_all(&mut tx, &mut till).await?;
        till.close(&mut tx).await?;
        tx.commit().await?;
        if served > 0 {
            tracing::info!(budget_id = %budget, served, "waiting grants were served");
            self.outbox.notify();
        }
        Ok(served)
    }
}
