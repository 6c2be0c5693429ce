//! Who waits for money is served when some comes, strictly in order: first grants that run and were held short get what they lack,
//! then those that wait get all they wait for, each in order of approval of their loans (and of the loans' ids, where two were
//! approved at the same instant). As long as the first does not fit what is left, nobody behind it is served, nor does a newcomer
//! get money of that budget: however large a grant is, it is not passed by. What is left idles for it meanwhile. Staff see it
//! in the budget, and resolve it by appropriating more or by taking a grant back.
//!
//! A transaction serves a bounded number; the background task goes on with the rest, and newcomers wait behind them.
//!
//! What a grant whose loan runs already is due hangs on the loan's events and its other grants, so that the loan is locked, too.
//! That lock comes out of order, and is therefore taken only when nobody else has it: else the line is left as it is. Whoever
//! has the loan is about to lock its budgets and serves the line then, or the background task does.

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zhirong_kernel::{Clock, Fen, clock::business_date, id::GrantId};
use zhirong_proto::subsidy::v1::{GrantActivated, GrantReserved};
use zhirong_runtime::outbox::OutboxWake;

use super::{
    Desk,
    course::{self, Room, Voice},
    till::Till,
};
use crate::{
    error::Error,
    grant::{Grant, State, Target},
    life::Standing,
    store::{self, loan::Approved},
    wire,
};

/// Grants served in one transaction.
const AT_ONCE: usize = 100;
/// Pause between two looks for what a crash left.
const PAUSE: Duration = Duration::from_secs(5);

/// Serves up to [`AT_ONCE`] grants in line at the till's budgets.
///
/// # Errors
/// [`Error`].
pub async fn serve_all(conn: &mut PgConnection, till: &mut Till<'_>) -> Result<usize, Error> {
    let budgets: Vec<Uuid> = till.budgets().map(|budget| budget.budget_id).collect();
    let mut served: usize = 0;
    for budget in budgets {
        while served < AT_ONCE && serve_first(conn, till, budget).await? {
            served = served.saturating_add(1);
        }
    }
    Ok(served)
}

/// Serves the first in line at a budget; false when there is none, or it has to wait on. Each that is served leaves the line, or
/// leaves nothing in the budget.
async fn serve_first(conn: &mut PgConnection, till: &mut Till<'_>, budget_id: Uuid) -> Result<bool, Error> {
    let available = till.budget(budget_id)?.available;
    if !available.is_positive() {
        return Ok(false);
    }
    let Some(first) = store::grant::first_in_line(conn, budget_id).await? else { return Ok(false) };
    if first.state == State::Waiting && first.planned > available {
        return Ok(false);
    }
    if !first.disbursed {
        serve(conn, till, first, None).await?;
        return Ok(true);
    }
    if !store::queue::hold_if_free(conn, first.loan_id).await? {
        return Ok(false);
    }
    let approved = store::loan::find(conn, first.loan_id).await?.ok_or(Error::Stored("subsidy_grant.loan_id"))?;
    match first.state {
        State::Waiting => serve(conn, till, first, Some(&approved)).await?,
        _ => top_up(conn, till, first.grant_id, &approved).await?,
    }
    Ok(true)
}

/// Gives a grant that waits all that it waits for; with its loan, when that was paid out meanwhile.
async fn serve(
    conn: &mut PgConnection,
    till: &mut Till<'_>,
    mut grant: Grant,
    running: Option<&Approved>,
) -> Result<(), Error> {
    let loaded = grant.version;
    grant.state = State::Reserved;
    let whole = Target { planned: grant.planned, earned: Fen::ZERO, due: Fen::ZERO };
    till.bring(&mut grant, whole, Fen::ZERO)?;
    grant.changed();
    till.tell(&grant, &GrantReserved { grant: Some(wire::grant(&grant)) })?;
    if let Some(approved) = running {
        if let Some(standing) = standing(conn, till, approved, &grant).await? {
            grant.follow(&standing, business_date(till.now()));
            till.bring(&mut grant, Target::from(&standing), Fen::ZERO)?;
        }
        if grant.short {
            till.exhausted(grant.budget_id);
        }
        grant.changed();
        till.tell(&grant, &GrantActivated { grant: Some(wire::grant(&grant)) })?;
    }
    store::grant::update(conn, &grant, loaded).await
}

/// Gives a grant what its budget lacked, as far as it has it now; also one whose loan has ended, which is due it at once.
async fn top_up(
    conn: &mut PgConnection,
    till: &mut Till<'_>,
    grant_id: GrantId,
    approved: &Approved,
) -> Result<(), Error> {
    // The loan was not locked when the line was read: a settlement may have counted a change since.
    let found = store::grant::find(conn, grant_id).await?;
    let mut grant = found.ok_or(Error::Stored("subsidy_grant.grant_id"))?;
    let standing = standing(conn, till, approved, &grant).await?.ok_or(Error::Stored("loan_event"))?;
    course::follow(conn, till, approved, &mut grant, &standing, Voice::Aloud).await
}

/// Where a grant of a locked loan stands, with what its budget has.
async fn standing(
    conn: &mut PgConnection,
    till: &Till<'_>,
    approved: &Approved,
    grant: &Grant,
) -> Result<Option<Standing>, Error> {
    let loan = grant.loan_id.uuid();
    let events = store::loan::events(conn, &[loan]).await?.remove(&loan).unwrap_or_default();
    let mut grants = store::grant::of_loans(conn, &[loan]).await?.remove(&loan).unwrap_or_default();
    let own = grants.iter_mut().find(|found| found.grant_id == grant.grant_id);
    let own = own.ok_or(Error::Stored("subsidy_grant.grant_id"))?;
    *own = grant.clone();
    course::narrow(conn, till.desk(), std::slice::from_mut(own)).await?;
    let mut rooms = Vec::with_capacity(grants.len());
    for found in &grants {
        // The others keep what they are due; nobody changes that while the loan is locked.
        let own = found.grant_id == grant.grant_id;
        rooms.push(if own { course::room(till, found)? } else { Room::kept(found)? });
    }
    let day = business_date(till.now());
    let standings = course::standings(conn, till.desk(), approved, (&grants, &rooms), &events, day).await?;
    Ok(standings.get(&grant.grant_id.uuid()).copied())
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
        for budget in store::queue::servable(&mut *self.pool.acquire().await?).await? {
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
