//! Computes stale profiles again, some at a time, so that many records of one enterprise cost one computation. Several
//! replicas share the work.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock, business_date};
use zhirong_proto::profile::v1::{Profile, ProfileUpdated};
use zhirong_runtime::outbox::{self, Aggregate, OutboxWake, Prepared};

use crate::{
    backlog::Backlog,
    error::Error,
    follow::follow,
    profile::{assemble, proto_time},
    store::{self, Computed, scorecards},
};

/// Looks for what other replicas left, and for a new day.
const POLL: Duration = Duration::from_secs(1);

/// Most profiles of one transaction: enough to share its cost, few enough that none waits long.
const AT_ONCE: i64 = 50;

/// Computes profiles.
pub struct Recompute {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// Tells that something has become stale.
    pub stale: Arc<Notify>,
    /// Many records go first.
    pub backlog: Arc<Backlog>,
}

impl Recompute {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            self.backlog.over().await;
            match self.some().await {
                Ok(true) => {}
                Ok(false) => {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = self.stale.notified() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "a profile could not be computed; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
            }
        }
    }

    /// Computes some stale profiles; says whether there were any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn some(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let today = business_date(now);
        let mut tx = self.pool.begin().await?;
        let stale = store::take_stale(&mut tx, today, AT_ONCE).await?;
        if stale.is_empty() {
            return Ok(false);
        }
        let categories = store::categories(&mut tx).await?;
        let scorecard = scorecards::in_force(&mut tx).await?;
        let enterprises: Vec<String> = stale.iter().map(|stale| stale.enterprise_id.clone()).collect();
        let records = store::live_records(&mut tx, &enterprises).await?;
        let (mut computed, mut events) = (Vec::with_capacity(stale.len()), Vec::new());
        for stale in stale {
            let records = records.get(&stale.enterprise_id).map(Vec::as_slice).unwrap_or_default();
            let (mut profile, provenance) = assemble(&stale.enterprise_id, &categories, records, &scorecard, today);
            follow(&mut tx, &mut profile, now, today).await?;
            let before = Profile::decode(stale.content.as_slice())?;
            if stale.version > 0 && same(&before, &profile) {
                profile = before;
            } else {
                profile.version = stale.version.saturating_add(1);
                profile.computed_at = Some(proto_time(now));
                let fact = ProfileUpdated { profile: Some(profile.clone()) };
                let key = profile.enterprise_id.as_str();
                let aggregate = Aggregate { kind: "profile", id: key, version: profile.version };
                events.push(Prepared::new(aggregate, key, &fact, now)?);
            }
            computed.push(Computed { profile, provenance });
        }
        store::save(&mut tx, &computed, today).await?;
        outbox::append_all(&mut tx, &events).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(true)
    }
}

/// Whether two profiles say the same, whenever they were computed.
fn same(before: &Profile, after: &Profile) -> bool {
    before.name == after.name && before.features == after.features && before.score == after.score
}
