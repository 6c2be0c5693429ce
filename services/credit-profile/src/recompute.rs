//! Computes stale profiles again, one at a time, so that many records of one enterprise cost one computation. Several replicas
//! share the work.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock, business_date};
use zhirong_proto::profile::v1::{Profile, ProfileUpdated};
use zhirong_runtime::outbox::{self, Aggregate, OutboxWake};

use crate::{
    error::Error,
    follow::follow,
    profile::{assemble, proto_time},
    store::{self, scorecards},
};

/// Looks for what other replicas left, and for a new day.
const POLL: Duration = Duration::from_secs(1);

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
}

impl Recompute {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.one().await {
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

    /// Computes one stale profile; says whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn one(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let today = business_date(now);
        let mut tx = self.pool.begin().await?;
        let Some(stale) = store::take_stale(&mut tx, today).await? else {
            return Ok(false);
        };
        let categories = store::categories(&mut tx).await?;
        let scorecard = scorecards::in_force(&mut tx).await?;
        let records = store::live_records(&mut tx, &stale.enterprise_id).await?;
        let mut profile = assemble(&stale.enterprise_id, &categories, &records, &scorecard, today);
        follow(&mut tx, &mut profile, now, today).await?;
        let before = Profile::decode(stale.content.as_slice())?;
        if stale.version > 0 && same(&before, &profile) {
            store::touch(&mut tx, &stale.enterprise_id, today).await?;
            tx.commit().await?;
            self.outbox.notify();
            return Ok(true);
        }
        profile.version = stale.version.saturating_add(1);
        profile.computed_at = Some(proto_time(now));
        store::save(&mut tx, &profile, today).await?;
        let fact = ProfileUpdated { profile: Some(profile.clone()) };
        let key = profile.enterprise_id.as_str();
        let aggregate = Aggregate { kind: "profile", id: key, version: profile.version };
        outbox::append(&mut tx, aggregate, key, &fact, now).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(true)
    }
}

/// Whether two profiles say the same, whenever they were computed.
fn same(before: &Profile, after: &Profile) -> bool {
    before.name == after.name && before.features == after.features && before.score == after.score
}
