//! What the profile hears of loans, orders and ratings: the borrower's own history.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;
use zhirong_kernel::{
    clock::{Clock, business_date},
    uscc::Uscc,
};
use zhirong_proto::{
    Fact as _,
    feedback::v1::{RatingLevel, RatingReceived},
    matching::v1::{
        Loan, LoanApproved, LoanDefaulted, LoanDisbursed, LoanRecovered, LoanRenewed, LoanRepaid, LoanSettled,
        LoanState, LoanTermsChanged, OrderPlaced,
    },
};
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use crate::{
    marks::Marks,
    store::{
        self,
        quality::{self, Step},
    },
};

/// Loans and orders.
pub const LOANS: Subscription = Subscription {
    durable: "profile-loans",
    stream: streams::MATCHING,
    subjects: &["zr.matching.v1.loan.>", "zr.matching.v1.order.placed.>"],
};
/// Ratings.
pub const RATINGS: Subscription = Subscription {
    durable: "profile-ratings",
    stream: streams::FEEDBACK,
    subjects: &["zr.feedback.v1.rating.received.>"],
};

/// Keeps the history and marks profiles as stale.
pub struct HistoryHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes whoever computes profiles.
    pub stale: Arc<Notify>,
}

/// What an event says.
enum Told {
    Demand { order_id: Uuid, enterprise: String, placed_at: Timestamp },
    Rating { rating_id: Uuid, enterprise: String, level: i32, received_at: Timestamp },
    Step(Step),
}

impl Told {
    fn enterprise(&self) -> &str {
        match self {
            Self::Demand { enterprise, .. } | Self::Rating { enterprise, .. } => enterprise,
            Self::Step(step) => &step.enterprise_id,
        }
    }
}

impl Handler for HistoryHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        self.handle_all(conn, &[delivery]).await?.into_iter().collect()
    }

    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        let (mut told, mut outcomes) = (Vec::with_capacity(deliveries.len()), Vec::with_capacity(deliveries.len()));
        for delivery in deliveries {
            outcomes.push(read(delivery).map(|read| told.extend(read)));
        }
        self.mark(conn, &told).await?;
        for told in &told {
            keep(conn, told).await?;
        }
        Ok(outcomes)
    }

    async fn lock(&self, conn: &mut PgConnection, deliveries: &[&Delivery]) -> Result<(), Rejection> {
        let told: Vec<Told> = deliveries.iter().filter_map(|delivery| read(delivery).ok().flatten()).collect();
        self.mark(conn, &told).await
    }

    async fn committed(&self) {
        self.stale.notify_one();
    }
}

impl HistoryHandler {
    /// Locks the profiles before anything is kept, so that an erasure comes wholly before or wholly after it; and all at once and in
    /// order, so that two who mark the same profiles wait for each other instead of in a circle.
    async fn mark(&self, conn: &mut PgConnection, told: &[Told]) -> Result<(), Rejection> {
        let mut marks = Marks::default();
        for told in told {
            marks.other(told.enterprise());
        }
        Ok(store::mark(conn, &marks, business_date(self.clock.now())).await?)
    }
}

/// Keeps what an event says of an enterprise whose profile is locked.
async fn keep(conn: &mut PgConnection, told: &Told) -> Result<(), sqlx::Error> {
    match told {
        Told::Demand { order_id, enterprise, placed_at } => {
            quality::put_demand(conn, *order_id, enterprise, *placed_at).await
        }
        Told::Rating { rating_id, enterprise, level, received_at } => {
            quality::put_rating(conn, *rating_id, enterprise, *level, *received_at).await
        }
        Told::Step(step) => quality::put_step(conn, step).await,
    }
}

/// What an event says; nothing for one that says nothing about how an enterprise borrows.
fn read(delivery: &Delivery) -> Result<Option<Told>, Rejection> {
    match delivery.ce_type.as_str() {
        OrderPlaced::TYPE => {
            let order = delivery.decode::<OrderPlaced>()?.order.ok_or_else(|| missing("order"))?;
            Ok(Some(Told::Demand {
                enterprise: enterprise(&order.enterprise_id)?,
                placed_at: instant("order.placed_at", order.placed_at.as_ref())?,
                order_id: id("order.order_id", &order.order_id)?,
            }))
        }
        RatingReceived::TYPE => {
            let rating = delivery.decode::<RatingReceived>()?.rating.ok_or_else(|| missing("rating"))?;
            let enterprise = enterprise(&rating.enterprise_id)?;
            let level = rating.level();
            if level == RatingLevel::Unspecified {
                return Err(Rejection::poison("`rating.level` is not one of the five"));
            }
            Ok(Some(Told::Rating {
                enterprise,
                level: level.into(),
                received_at: instant("rating.received_at", rating.received_at.as_ref())?,
                rating_id: id("rating.rating_id", &rating.rating_id)?,
            }))
        }
        _ => Ok(step(delivery)?.map(Told::Step)),
    }
}

/// A fact of a loan; nothing for one that says nothing about how it is repaid.
fn step(delivery: &Delivery) -> Result<Option<Step>, Rejection> {
    let (loan, kind, day, overdue) = match delivery.ce_type.as_str() {
        LoanApproved::TYPE => (delivery.decode::<LoanApproved>()?.loan, "approved", None, false),
        LoanDisbursed::TYPE => {
            let loan = delivery.decode::<LoanDisbursed>()?.loan;
            let day = loan.as_ref().map(|loan| loan.disbursed_on.clone());
            (loan, "disbursed", day, false)
        }
        LoanRepaid::TYPE => {
            let fact = delivery.decode::<LoanRepaid>()?;
            (fact.loan, "repaid", Some(fact.paid_on), fact.overdue)
        }
        LoanTermsChanged::TYPE => {
            let fact = delivery.decode::<LoanTermsChanged>()?;
            (fact.loan, "other", Some(fact.effective_on), false)
        }
        LoanSettled::TYPE => {
            let fact = delivery.decode::<LoanSettled>()?;
            (fact.loan, "settled", Some(fact.settled_on), false)
        }
        LoanDefaulted::TYPE => {
            let fact = delivery.decode::<LoanDefaulted>()?;
            (fact.loan, "defaulted", Some(fact.defaulted_on), false)
        }
        LoanRecovered::TYPE => {
            let fact = delivery.decode::<LoanRecovered>()?;
            (fact.loan, "other", Some(fact.recovered_on), false)
        }
        LoanRenewed::TYPE => return Ok(None),
        other => return Err(Rejection::poison(format!("`{other}` is not a fact the profile knows"))),
    };
    let loan = loan.ok_or_else(|| missing("loan"))?;
    let happened_on = match day {
        Some(day) => date("the day", &day)?,
        None => business_date(instant("loan.approved_at", loan.approved_at.as_ref())?),
    };
    parse(&loan, kind, happened_on, overdue).map(Some)
}

fn parse(loan: &Loan, kind: &'static str, happened_on: Date, overdue: bool) -> Result<Step, Rejection> {
    let state = match loan.state() {
        LoanState::Approved => "approved",
        LoanState::Disbursed => "disbursed",
        LoanState::Settled => "settled",
        LoanState::Defaulted => "defaulted",
        LoanState::Unspecified => return Err(Rejection::poison("`loan.state` is missing")),
    };
    if loan.version < 1 || loan.outstanding_fen < 0 {
        return Err(Rejection::poison("`loan.version` must be positive, `loan.outstanding_fen` not negative"));
    }
    let matures_on = if loan.matures_on.is_empty() { None } else { Some(date("loan.matures_on", &loan.matures_on)?) };
    Ok(Step {
        loan_id: id("loan.loan_id", &loan.loan_id)?,
        version: loan.version,
        enterprise_id: enterprise(&loan.enterprise_id)?,
        kind,
        happened_on,
        overdue,
        state,
        outstanding_fen: loan.outstanding_fen,
        matures_on,
    })
}

fn missing(field: &str) -> Rejection {
    Rejection::poison(format!("`{field}` is missing"))
}

fn id(field: &str, text: &str) -> Result<Uuid, Rejection> {
    text.parse().map_err(|_| Rejection::poison(format!("`{field}` is not a UUID")))
}

fn date(field: &str, text: &str) -> Result<Date, Rejection> {
    text.parse().map_err(|_| Rejection::poison(format!("`{field}` is not a day, YYYY-MM-DD")))
}

fn instant(field: &str, at: Option<&prost_types::Timestamp>) -> Result<Timestamp, Rejection> {
    at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
        .ok_or_else(|| Rejection::poison(format!("`{field}` is missing or out of range")))
}

fn enterprise(text: &str) -> Result<String, Rejection> {
    let uscc: Result<Uscc, _> = text.parse();
    uscc.map(|uscc| uscc.to_string()).map_err(|error| Rejection::poison(format!("`enterprise_id`: {error}")))
}
