//! Computes profiles again that are marked, some at a time and in the order of their marks, so that many records of one enterprise cost
//! one computation, and of records that have changed those alone that they concern; see [`crate::extent`]. Several replicas share the work. An enterprise whose profile can't be computed is set aside and tried again alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use jiff::Timestamp;
use opentelemetry::{
    global,
    metrics::{Counter, Gauge},
};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock, business_date};
use zhirong_proto::profile::v1::{Category, Profile, ProfileUpdated};
use zhirong_runtime::outbox::{self, Aggregate, OutboxWake, Prepared};

use crate::{
    backlog::Backlog,
    error::Error,
    follow::follow,
    profile::{assemble, proto_time},
    scorecard::Scorecard,
    store::{
        self,
        profiles::{self, Computed, Stale},
        scorecards,
    },
};

mod renew;
#[cfg(test)]
mod tests;

use renew::said;

/// Looks for what other replicas left, and for a new day.
const POLL: Duration = Duration::from_secs(1);

/// Most profiles of one transaction: enough to share its cost, few enough that none waits long.
const AT_ONCE: i64 = 50;

static FAILED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .u64_counter("profiles.failed")
        .with_description("Computations of single profiles that failed")
        .build()
});
static TOO_LARGE: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .u64_counter("profiles.too_large")
        .with_description("Computations of profiles of which records add up to more than a number holds")
        .build()
});
static ASIDE: LazyLock<Gauge<i64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .i64_gauge("profiles.set_aside")
        .with_description("Profiles that can't be computed and are tried again with back-off")
        .build()
});

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
    /// The number of this program's declaration of features.
    pub declaration: i64,
}

/// What profiles are computed by.
struct Rules {
    categories: BTreeMap<String, Category>,
    scorecard: Scorecard,
    declaration: i64,
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
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "profiles could not be computed; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
            }
        }
    }

    /// Computes some stale profiles and tries one again that failed, if it is due; says whether there were any.
    ///
    /// # Errors
    /// When the database fails, or what all profiles are computed by.
    pub async fn some(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut conn = self.pool.acquire().await?;
        let due = profiles::due(&mut conn, now).await?;
        drop(conn);
        if let Some(enterprise) = &due {
            self.alone(enterprise, now).await?;
        }
        let computed = self.batch(now).await?;
        if due.is_some() || !computed {
            ASIDE.record(profiles::aside(&mut *self.pool.acquire().await?).await?, &[]);
        }
        Ok(due.is_some() || computed)
    }

    /// Computes those whose marks are oldest, together; when that fails by one of them, each alone.
    async fn batch(&self, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.pool.begin().await?;
        profiles::use_rules(&mut tx).await?;
        let stale = profiles::take_stale(&mut tx, business_date(now), self.declaration, AT_ONCE).await?;
        if stale.is_empty() {
            return Ok(false);
        }
        let rules = self.rules(&mut tx).await?;
        let enterprises: Vec<String> = stale.iter().map(|stale| stale.enterprise_id.clone()).collect();
        match compute(&mut tx, stale, &rules, now).await {
            Ok(()) => {
                tx.commit().await?;
                self.outbox.notify();
                return Ok(true);
            }
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => {
                tx.rollback().await?;
                tracing::warn!(%error, profiles = enterprises.len(), "profiles can't be computed together; each is computed alone");
            }
        }
        for enterprise in enterprises {
            self.alone(&enterprise, now).await?;
        }
        ASIDE.record(profiles::aside(&mut *self.pool.acquire().await?).await?, &[]);
        Ok(true)
    }

    /// Computes one profile in a transaction of its own, and sets it aside when it can't be computed.
    async fn alone(&self, enterprise: &str, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        profiles::use_rules(&mut tx).await?;
        let today = business_date(now);
        let Some(stale) = profiles::take_one(&mut tx, enterprise, today, self.declaration).await? else {
            return Ok(());
        };
        let rules = self.rules(&mut tx).await?;
        let failures = stale.failures;
        match compute(&mut tx, vec![stale], &rules, now).await {
            Ok(()) => {
                tx.commit().await?;
                self.outbox.notify();
                if failures > 0 {
                    tracing::info!(enterprise, failures, "a profile that was set aside is computed again");
                }
                Ok(())
            }
            Err(error) if error.may_pass() => Err(error),
            Err(error) => {
                tx.rollback().await?;
                let failures = profiles::set_aside(&mut *self.pool.acquire().await?, enterprise, now).await?;
                FAILED.add(1, &[]);
                tracing::error!(enterprise, failures, %error, source = ?std::error::Error::source(&error), "a profile can't be computed and is set aside; it is tried again with back-off");
                Ok(())
            }
        }
    }

    async fn rules(&self, conn: &mut PgConnection) -> Result<Rules, Error> {
        let (categories, scorecard) = (store::categories(conn).await?, scorecards::in_force(conn).await?);
        Ok(Rules { categories, scorecard, declaration: self.declaration })
    }
}

/// Computes profiles that are locked, keeps them and what they emit.
async fn compute(conn: &mut PgConnection, stale: Vec<Stale>, rules: &Rules, now: Timestamp) -> Result<(), Error> {
    let today = business_date(now);
    let said = said(conn, &stale, rules, today).await?;
    let (mut computed, mut events) = (Vec::with_capacity(stale.len()), Vec::new());
    for (stale, (before, said)) in stale.into_iter().zip(said) {
        let (mut profile, provenance) = assemble(&stale.enterprise_id, said, &rules.scorecard);
        if !provenance.too_large.is_empty() {
            TOO_LARGE.add(1, &[]);
            tracing::warn!(enterprise = stale.enterprise_id, features = ?provenance.too_large, "records add up to more than a number holds: what they feed is unknown until their source corrects them");
        }
        follow(conn, &mut profile, now, today).await?;
        if stale.standing.version > 0 && same(&before, &profile) {
            profile = before;
        } else {
            profile.version = stale.standing.version.saturating_add(1);
            profile.computed_at = Some(proto_time(now));
            let fact = ProfileUpdated { profile: Some(profile.clone()) };
            let key = profile.enterprise_id.as_str();
            let aggregate = Aggregate { kind: "profile", id: key, version: profile.version };
            events.push(Prepared::new(aggregate, key, &fact, now)?);
        }
        computed.push(Computed { profile, provenance });
    }
    profiles::save(conn, &computed, today, rules.declaration).await?;
    outbox::append_all(conn, &events).await?;
    Ok(())
}

/// Whether two profiles say the same, whenever they were computed. Ages count: rules of products ask for them, whoever evaluates those
/// hears of them by the profile's versions alone, and a score is computed again from the features of its version. So a day makes a
/// version of each profile that has one, and that can't be spared.
fn same(before: &Profile, after: &Profile) -> bool {
    before.name == after.name && before.features == after.features && before.score == after.score
}
