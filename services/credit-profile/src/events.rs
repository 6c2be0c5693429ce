//! What the profile hears of: records of government data.

use std::sync::Arc;

use sqlx::PgConnection;
use tokio::sync::Notify;
use zhirong_kernel::clock::{Clock, business_date};
use zhirong_proto::gov::v1::Record;
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use crate::{record, store};

/// What the profile consumes.
pub const SUBSCRIPTION: Subscription =
    Subscription { durable: "profile-records", stream: streams::GOVDATA, subjects: &["gov.data.v1.>"] };

/// Keeps records.
pub struct RecordHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes whoever computes profiles.
    pub stale: Arc<Notify>,
}

impl Handler for RecordHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let message: Record = delivery.message("zhirong.gov.v1.Record")?;
        let now = self.clock.now();
        let envelope = record::envelope(&message, delivery.key(), now).map_err(Rejection::Poison)?;
        let (category, _) =
            store::category(conn, &envelope.category).await.map_err(Rejection::retry)?.ok_or_else(|| {
                Rejection::poison(format!("there is no category `{}`", envelope.category.escape_default()))
            })?;
        let data = record::data(&message, &category, envelope.withdrawn).map_err(Rejection::Poison)?;
        store::put_record(conn, &envelope, &data, business_date(now)).await?;
        Ok(())
    }

    async fn committed(&self) {
        self.stale.notify_one();
    }
}
