//! What feedback hears of: an approved loan, which gets its one rating SMS.

use sqlx::PgConnection;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;
use zhirong_kernel::{
    clock::Clock,
    id::{LoanId, SmsId},
};
use zhirong_proto::{Fact as _, feedback::v1::SmsQueued, matching::v1::LoanApproved};
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    outbox::{self, Aggregate},
    streams,
};

use crate::{store, text};

/// What feedback consumes.
pub const SUBSCRIPTION: Subscription = Subscription {
    durable: "feedback-loans",
    stream: streams::MATCHING,
    subjects: &["zr.matching.v1.loan.approved.>"],
};

/// Queues the rating SMS of each approved loan.
pub struct LoanHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the sender.
    pub sender: Arc<Notify>,
}

impl Handler for LoanHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        if delivery.ce_type != LoanApproved::TYPE {
            return Err(Rejection::Poison(format!("`{}` is not a fact feedback knows", delivery.ce_type)));
        }
        let approved: LoanApproved = delivery.decode()?;
        let loan = approved.loan.ok_or_else(|| Rejection::Poison("`loan` is missing".to_owned()))?;
        let institution_name = loan.institution_name_zh.clone();
        let loan = parse(loan)?;
        if !store::insert_loan(conn, &loan).await? {
            return Ok(());
        }
        let now = self.clock.now();
        let sms_id = SmsId::new(uuid::Uuid::now_v7());
        store::insert_sms(conn, sms_id, &loan, &text::rating_request(&institution_name), now).await?;
        let fact = SmsQueued { sms_id: sms_id.to_string(), loan_id: loan.loan_id.to_string() };
        let id = sms_id.to_string();
        outbox::append(conn, Aggregate { kind: "sms", id: &id, version: 1 }, &id, &fact, now)
            .await
            .map_err(|error| Rejection::Retry(Box::new(error)))?;
        Ok(())
    }

    async fn committed(&self) {
        self.sender.notify_one();
    }
}

fn parse(loan: zhirong_proto::matching::v1::Loan) -> Result<store::Loan, Rejection> {
    let broken = |field: &str, why: String| Rejection::Poison(format!("`loan.{field}` {why}"));
    let approved_at = loan
        .approved_at
        .and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
        // The database's calendar begins later than a timestamp's; a delivery that it refuses would be tried for ever.
        .filter(|at| *at >= Timestamp::UNIX_EPOCH)
        .ok_or_else(|| broken("approved_at", "is missing or out of range".to_owned()))?;
    let loan_id: LoanId = loan.loan_id.parse().map_err(|_| broken("loan_id", "is not a UUID".to_owned()))?;
    Ok(store::Loan {
        loan_id,
        enterprise_id: loan.enterprise_id.parse().map_err(|error| broken("enterprise_id", format!("{error}")))?,
        institution_id: loan.institution_id.parse().map_err(|error| broken("institution_id", format!("{error}")))?,
        product_id: loan.product_id.parse().map_err(|_| broken("product_id", "is not a UUID".to_owned()))?,
        approved_at,
    })
}
