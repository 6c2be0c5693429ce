//! What feedback hears of: an approved loan, which gets its one rating SMS, a subsidy, of which the enterprise is told once, and an
//! erasure, after which the enterprise's contact and words are gone.

use sqlx::PgConnection;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;
use zhirong_kernel::{
    clock::Clock,
    id::{LoanId, SmsId},
    uscc::Uscc,
};
use zhirong_proto::{
    Fact,
    feedback::v1::{SmsKind, SmsQueued},
    matching::v1::LoanApproved,
    profile::v1::EnterpriseErased,
    subsidy::v1::GrantReserved,
};
use zhirong_runtime::{
    inbox::{self, Delivery, Handler, Rejection, Subscription},
    outbox::{self, Aggregate},
    streams,
};

use crate::{
    sms::{Kind, is_news},
    store, text,
};

/// What feedback consumes of loans.
pub const LOANS: Subscription = Subscription {
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
        let approved: LoanApproved = only(delivery)?;
        let loan = approved.loan.ok_or_else(|| Rejection::Poison("`loan` is missing".to_owned()))?;
        let institution_name = loan.institution_name_zh.clone();
        let loan = parse(loan)?;
        if !store::insert_loan(conn, &loan).await? {
            return Ok(());
        }
        let now = self.clock.now();
        let text_zh = text::rating_request(&institution_name);
        queue(conn, Kind::Rating, loan.loan_id, &loan.enterprise_id, &text_zh, now).await
    }

    async fn committed(&self) {
        self.sender.notify_one();
    }
}

/// What feedback consumes of subsidies.
pub const GRANTS: Subscription = Subscription {
    durable: "feedback-grants",
    stream: streams::SUBSIDY,
    subjects: &["zr.subsidy.v1.grant.reserved.>"],
};

/// Queues the notice of a loan's subsidy.
pub struct GrantHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the sender.
    pub sender: Arc<Notify>,
}

impl Handler for GrantHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let reserved: GrantReserved = only(delivery)?;
        let grant = reserved.grant.ok_or_else(|| Rejection::Poison("`grant` is missing".to_owned()))?;
        let broken = |field: &str, why: String| Rejection::Poison(format!("`grant.{field}` {why}"));
        let loan_id: LoanId = grant.loan_id.parse().map_err(|_| broken("loan_id", "is not a UUID".to_owned()))?;
        let enterprise: Uscc =
            grant.enterprise_id.parse().map_err(|error| broken("enterprise_id", format!("{error}")))?;
        match store::borrower(conn, loan_id).await.map_err(|error| Rejection::Retry(Box::new(error)))? {
            // Another stream brings the loan.
            None => return Err(Rejection::NotYet(format!("loan {loan_id} is not known yet"))),
            Some(borrower) if borrower != enterprise => {
                return Err(broken("enterprise_id", format!("is not the borrower of loan {loan_id}")));
            }
            Some(_) => {}
        }
        let now = self.clock.now();
        // The fact's time and not the grant's: one that waited for money is old when its money is there.
        if !is_news(delivery.time, now) {
            tracing::info!(%loan_id, "the subsidy was set aside too long ago to tell of it");
            return Ok(());
        }
        queue(conn, Kind::Grant, loan_id, &enterprise, text::grant_notice(), now).await
    }

    async fn committed(&self) {
        self.sender.notify_one();
    }
}

/// What feedback consumes of erasures.
pub const ERASURES: Subscription = Subscription {
    durable: "feedback-erasures",
    stream: streams::PROFILE,
    subjects: &["zr.profile.v1.enterprise.erased.>"],
};

/// Erases what feedback keeps of an enterprise's person and words.
pub struct ErasureHandler;

impl Handler for ErasureHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let fact: EnterpriseErased = only(delivery)?;
        let enterprise: Uscc = fact.enterprise_id.parse().map_err(Rejection::poison)?;
        let at = fact.erased_at.as_ref().and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
        let at = at.ok_or_else(|| Rejection::poison("`erased_at` is missing or out of range"))?;
        if fact.version <= 0 {
            return Err(Rejection::poison("`version` must be positive"));
        }
        store::erasure::erase(conn, &enterprise, fact.version, at).await.map_err(Rejection::retry)
    }

    async fn lock(&self, conn: &mut PgConnection, deliveries: &[&Delivery]) -> Result<(), Rejection> {
        let whom = |delivery: &&Delivery| Some(delivery.decode::<EnterpriseErased>().ok()?.enterprise_id);
        let enterprises: Vec<String> = deliveries.iter().filter_map(whom).collect();
        Ok(store::contact::lock_all(conn, &enterprises).await?)
    }

    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        self.lock(conn, deliveries).await?;
        inbox::in_turn(self, conn, deliveries).await
    }
}

/// The one fact that a subscription brings.
fn only<F: Fact>(delivery: &Delivery) -> Result<F, Rejection> {
    if delivery.ce_type != F::TYPE {
        return Err(Rejection::Poison(format!("`{}` is not a fact feedback knows", delivery.ce_type)));
    }
    delivery.decode()
}

/// Queues a message, unless the loan has one of its kind.
async fn queue(
    conn: &mut PgConnection,
    kind: Kind,
    loan_id: LoanId,
    enterprise_id: &Uscc,
    text_zh: &str,
    now: Timestamp,
) -> Result<(), Rejection> {
    let sms_id = SmsId::new(uuid::Uuid::now_v7());
    let sms = store::sms::NewSms { sms_id, kind, loan_id, enterprise_id, text_zh };
    if !store::sms::insert(conn, sms, now).await? {
        return Ok(());
    }
    let told = match kind {
        Kind::Rating => SmsKind::RatingRequest,
        Kind::Grant => SmsKind::GrantNotice,
    };
    let id = sms_id.to_string();
    let fact = SmsQueued { sms_id: id.clone(), loan_id: loan_id.to_string(), kind: told.into() };
    outbox::append(conn, Aggregate { kind: "sms", id: &id, version: 1 }, &id, &fact, now)
        .await
        .map_err(|error| Rejection::Retry(Box::new(error)))?;
    Ok(())
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
