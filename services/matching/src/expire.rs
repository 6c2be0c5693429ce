//! Closes orders that nobody answered in time.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock, business_date};
use zhirong_proto::matching::v1::OrderExpired;
use zhirong_runtime::outbox::{self, Aggregate, OutboxWake};

use crate::{
    error::Error,
    order::{Command, decide},
    store,
};

/// The deadline is a day, and an answer after it is refused whether this has looked or not; it only has to be told soon.
const POLL: Duration = Duration::from_secs(5);

/// Expires orders.
pub struct Expire {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// Wakes open inbox streams of this process.
    pub inbox: Arc<Notify>,
}

impl Expire {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.one().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "overdue orders could not be closed");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Expires one overdue order; says whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn one(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let Some(mut order) = store::order::lock_overdue(&mut tx, business_date(now)).await? else {
            return Ok(false);
        };
        order.set_state(decide(order.state(), Command::Expire)?);
        order.version = order.version.saturating_add(1);
        let id = order.order_id.parse().map_err(|_| Error::Stored("orders.content".to_owned()))?;
        store::order::update(&mut tx, id, &order, now).await?;
        let fact = OrderExpired { order: Some(order.clone()) };
        let aggregate = Aggregate { kind: "order", id: &order.order_id, version: order.version };
        outbox::append(&mut tx, aggregate, &order.order_id, &fact, now).await?;
        tx.commit().await?;
        self.outbox.notify();
        self.inbox.notify_waiters();
        Ok(true)
    }
}
