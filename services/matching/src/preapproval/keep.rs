//! Keeps the limits current: follows the catalog and the calendar, computes who is due, announces what has changed.

use std::{sync::Arc, time::Duration};

use jiff::{Timestamp, civil::Date};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock, business_date};
use zhirong_proto::{
    matching::v1::{Preapproval, PreapprovalComputed},
    profile::v1::Profile,
};
use zhirong_runtime::outbox::{self, Aggregate, OutboxWake};

use super::{Change, limits};
use crate::{
    error::Error,
    grpc::proto_time,
    snapshot::{Catalog, Snapshots},
    store::{kept, population, preapproval as store},
};

/// Looks for what another replica has let in; what this one lets in wakes it at once.
const POLL: Duration = Duration::from_millis(250);
/// Enterprises computed in one transaction.
const BATCH: i64 = 100;
/// Profiles compared at a time when products change.
const PAGE: i64 = 500;

/// Keeps pre-approvals.
pub struct Keep {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// The catalog in memory.
    pub snapshots: Snapshots,
    /// Notified when profiles have come in.
    pub due: Arc<Notify>,
}

impl Keep {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.step().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "pre-approvals could not be computed");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.due.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Does what there is to do next; says whether there was anything.
    async fn step(&self) -> Result<bool, Error> {
        self.snapshots.refresh().await?;
        let today = business_date(self.clock.now());
        // Nothing can be priced before there is an LPR; who is due stays due.
        if self.snapshots.current().one_year_lpr(today).is_err() {
            return Ok(false);
        }
        self.follow(today).await?;
        self.compute().await
    }

    /// Finds out whom a change of the catalog, or of the LPR in force, concerns.
    async fn follow(&self, today: Date) -> Result<(), Error> {
        let catalog = self.snapshots.current();
        if store::followed(&mut *self.pool.acquire().await?).await? == Some((catalog.version, today)) {
            return Ok(());
        }
        let mut tx = self.pool.begin().await?;
        // The lock makes replicas follow one after the other; the second finds nothing left.
        let followed = store::lock_followed(&mut tx).await?;
        match followed {
            None => store::all_due(&mut tx).await?,
            Some((version, day)) if version <= catalog.version && day <= today => {
                let before = self.snapshots.at(version).await?;
                if before.one_year_lpr(day).is_err() {
                    store::all_due(&mut tx).await?;
                } else {
                    let change = Change::between((&before, day), (&catalog, today))?;
                    mark(&mut tx, &change).await?;
                }
            }
            // Another replica is further; it has done it.
            Some(_) => return Ok(()),
        }
        store::set_followed(&mut tx, catalog.version, today).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Computes some of those who are due.
    async fn compute(&self) -> Result<bool, Error> {
        // As exactly as the database keeps it: a version is computed again for the day of its time.
        let now = self.clock.now();
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let mut tx = self.pool.begin().await?;
        let due = store::take_due(&mut tx, BATCH).await?;
        if due.is_empty() {
            return Ok(false);
        }
        // After the taking, so that the catalog is at least the one that made them due.
        self.snapshots.refresh().await?;
        let catalog = self.snapshots.current();
        for (profile, kept) in store::with_kept(&mut tx, &due).await? {
            let Some(preapproval) = renewed(&catalog, &profile, kept, now)? else {
                continue;
            };
            store::put(&mut tx, &preapproval).await?;
            kept::keep_preapproval(&mut tx, &preapproval, now).await?;
            let id = preapproval.enterprise_id.clone();
            let aggregate = Aggregate { kind: "preapproval", id: &id, version: preapproval.version };
            let fact = PreapprovalComputed { preapproval: Some(preapproval) };
            outbox::append(&mut tx, aggregate, &id, &fact, now).await?;
        }
        tx.commit().await?;
        self.outbox.notify();
        Ok(true)
    }
}

async fn mark(tx: &mut sqlx::PgConnection, change: &Change<'_>) -> Result<(), Error> {
    if change.is_empty() {
        return Ok(());
    }
    let mut after = String::new();
    loop {
        let page = population::page(&mut *tx, &after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.enterprise_id);
        let mut concerned = Vec::new();
        for profile in page {
            if change.concerns(&profile)? {
                concerned.push(profile.enterprise_id);
            }
        }
        store::due(&mut *tx, &concerned).await?;
    }
}

/// The next version, unless the limits are what they were.
fn renewed(
    catalog: &Catalog,
    profile: &Profile,
    kept: Option<Preapproval>,
    now: Timestamp,
) -> Result<Option<Preapproval>, Error> {
    let limits = limits(catalog, profile, business_date(now))?;
    if kept.as_ref().is_some_and(|kept| kept.limits == limits) {
        return Ok(None);
    }
    Ok(Some(Preapproval {
        enterprise_id: profile.enterprise_id.clone(),
        version: kept.map_or(1, |kept| kept.version.saturating_add(1)),
        limits,
        profile_version: profile.version,
        catalog_version: catalog.version,
        computed_at: Some(proto_time(now)),
    }))
}
