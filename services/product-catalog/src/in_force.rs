//! Puts reviewed versions into force: when somebody publishes one, and by itself on the day that was set.

use std::{sync::Arc, time::Duration};

use jiff::{Timestamp, civil::Date};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use zhirong_kernel::{
    clock::{Clock, business_date},
    id::ProductId,
};
use zhirong_proto::catalog::v1::{Product, ProductAction, ProductPublished};
use zhirong_runtime::outbox::{self, Aggregate, OutboxWake};

use crate::{
    error::Error,
    grpc::version_of,
    store::{
        self,
        history::{self, Deed},
        version,
    },
    workflow::State,
};

/// A day begins at midnight whether this has looked or not; orders that come within this time are of the version before.
const POLL: Duration = Duration::from_secs(5);

/// Puts a reviewed version into force in place of the one before, and announces it. The product is locked.
pub async fn publish(
    conn: &mut PgConnection,
    product: ProductId,
    number: i32,
    deed: Deed<'_>,
    on: Date,
) -> Result<Product, Error> {
    for other in version::unschedule(&mut *conn, product, number.saturating_sub(1)).await? {
        history::add(&mut *conn, product, deed, ProductAction::Unscheduled, other.into()).await?;
    }
    if let Some(before) = version::replace(&mut *conn, product).await? {
        history::add(&mut *conn, product, deed, ProductAction::Retired, before.into()).await?;
    }
    let sequence = version::publish(&mut *conn, product, number, deed.person, deed.at, on).await?;
    history::add(&mut *conn, product, deed, ProductAction::Published, number.into()).await?;
    let published = version_of(version::get(&mut *conn, product, Some(number)).await?)?;
    let fact = ProductPublished { product: Some(published.clone()), sequence };
    let id = product.to_string();
    let aggregate = Aggregate { kind: "product", id: &id, version: sequence };
    outbox::append(conn, aggregate, &id, &fact, deed.at).await?;
    Ok(published)
}

/// Puts versions into force on their day.
pub struct Schedule {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
}

impl Schedule {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.one(self.clock.now()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "a version whose day has come could not be put into force");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Puts one version into force whose day has come; says whether there was one.
    async fn one(&self, now: Timestamp) -> Result<bool, Error> {
        let today = business_date(now);
        let mut tx = self.pool.begin().await?;
        let Some((product, number)) = version::due(&mut tx, today).await? else {
            return Ok(false);
        };
        let product = ProductId::new(product);
        store::lock(&mut tx, product).await?;
        // Somebody may have sent it back, published it or set another day before the lock.
        let row = version::get(&mut tx, product, Some(number)).await?;
        let day = row.effective_on.map(jiff_sqlx::Date::to_jiff).filter(|day| *day <= today);
        if let (State::Reviewed, Some(day), Some(person)) = (row.state()?, day, row.scheduled_by.as_deref()) {
            let deed = Deed { person, role: "schedule", at: now, reason: "" };
            publish(&mut tx, product, number, deed, day).await?;
        }
        tx.commit().await?;
        self.outbox.notify();
        Ok(true)
    }
}
