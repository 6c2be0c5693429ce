//! Watches the clock of objections: tells of each whose last day is over, once, and measures how many there are.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use opentelemetry::{global, metrics::Gauge};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock, business_date};
use zhirong_proto::profile::v1::ObjectionOverdue;
use zhirong_runtime::outbox::OutboxWake;

use super::{
    objections::{raised, tell},
    store,
};
use crate::error::Error;

/// The deadline is a day, and it only has to be told soon that it is over.
const POLL: Duration = Duration::from_secs(5);

static OVERDUE: LazyLock<Gauge<i64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .i64_gauge("objections.overdue")
        .with_description("Objections whose last day is over and that nobody has decided")
        .build()
});

/// Watches.
pub struct Overdue {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
}

impl Overdue {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.one().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "overdue objections could not be told of; trying again");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Tells of one; says whether there was one. Then they are counted.
    async fn one(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let today = business_date(now);
        let mut tx = self.pool.begin().await?;
        let Some(untold) = store::untold(&mut tx, today).await? else {
            OVERDUE.record(store::overdue(&mut tx, today).await?, &[]);
            return Ok(false);
        };
        let objection = untold.objection;
        let id = objection.objection_id.clone();
        if untold.raised {
            store::told(&mut tx, &id, 1).await?;
            tell(&mut tx, &id, 1, &raised(&objection, untold.computed_values), now).await?;
        } else {
            store::told(&mut tx, &id, 2).await?;
            let fact = ObjectionOverdue {
                objection_id: id.clone(),
                enterprise_id: objection.enterprise_id,
                due_on: objection.due_on,
            };
            tell(&mut tx, &id, 2, &fact, now).await?;
            tracing::warn!(objection_id = id, "the last day of an objection is over and nobody has decided");
        }
        tx.commit().await?;
        self.outbox.notify();
        Ok(true)
    }
}
