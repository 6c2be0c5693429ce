//! What subsidy hears of: loans approved and paid out, and the LPR.

use std::{ops::RangeInclusive, sync::Arc};

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use tokio::sync::Notify;
use zhirong_kernel::{
    Clock, Fen, Ppm,
    clock::business_date,
    id::{Ids, LoanId},
    lpr::{Change, LprHistory},
};
use zhirong_proto::{
    Fact as _,
    catalog::v1::{LprTable, ReferencePublished, reference_published::Reference},
    matching::v1::{self as matching, LoanApproved, LoanDisbursed},
};
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use crate::{
    entitlement::Loan,
    error::Error,
    flow::{
        approval,
        disbursement::{self, Disbursement},
    },
    store,
};

/// Loans.
pub const LOANS: Subscription = Subscription {
    durable: "subsidy-loans",
    stream: streams::MATCHING,
    subjects: &["zr.matching.v1.loan.approved.>", "zr.matching.v1.loan.disbursed.>"],
};

/// Reference data.
pub const REFERENCE: Subscription = Subscription {
    durable: "subsidy-reference",
    stream: streams::CATALOG,
    subjects: &["zr.catalog.v1.reference.published.>"],
};

const LONGEST_TERM_MONTHS: i32 = 600;
/// Years that can have a budget.
const YEARS: RangeInclusive<i16> = 2019..=2100;

/// Gives grants to loans.
pub struct LoanHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
    /// Wakes the task that serves who waits.
    pub queue: Arc<Notify>,
}

impl Handler for LoanHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let now = self.clock.now();
        match delivery.ce_type.as_str() {
            LoanApproved::TYPE => {
                let loan = parse_approved(present(delivery.decode::<LoanApproved>()?.loan)?)?;
                approval::approve(conn, self.ids.as_ref(), &loan, now).await?;
            }
            LoanDisbursed::TYPE => {
                let fact = parse_disbursed(&present(delivery.decode::<LoanDisbursed>()?.loan)?)?;
                disbursement::disburse(conn, self.ids.as_ref(), &fact, now).await?;
            }
            other => return Err(Rejection::poison(format!("`{other}` is not a fact subsidy knows"))),
        }
        Ok(())
    }

    async fn committed(&self) {
        self.queue.notify_one();
    }
}

/// Keeps the LPR.
pub struct ReferenceHandler;

impl Handler for ReferenceHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let fact: ReferencePublished = delivery.decode()?;
        let Some(Reference::Lpr(table)) = fact.reference else {
            return Ok(());
        };
        if fact.version < 1 {
            return Err(Rejection::poison("`version` must be positive"));
        }
        let table = parse_table(&table)?;
        Ok(store::lpr::replace(conn, fact.version, &table).await?)
    }
}

fn present(loan: Option<matching::Loan>) -> Result<matching::Loan, Rejection> {
    loan.ok_or_else(|| Rejection::poison("`loan` is missing"))
}

fn broken(field: &str, why: impl std::fmt::Display) -> Rejection {
    Rejection::from(Error::BrokenFact(format!("`loan.{field}` {why}")))
}

fn loan_id(loan: &matching::Loan) -> Result<LoanId, Rejection> {
    loan.loan_id.parse().map_err(|error| broken("loan_id", format!("is {error}")))
}

fn parse_approved(loan: matching::Loan) -> Result<Loan, Rejection> {
    let approved_at = loan
        .approved_at
        .and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
        .ok_or_else(|| broken("approved_at", "is missing or out of range"))?;
    if !YEARS.contains(&business_date(approved_at).year()) {
        return Err(broken("approved_at", "must be in the years 2019 to 2100"));
    }
    if loan.product_tags.iter().chain([&loan.enterprise_class]).any(|text| text.contains('\0')) {
        return Err(broken("product_tags", "and the class must not hold a zero character"));
    }
    if loan.amount_fen <= 0 {
        return Err(broken("amount_fen", "must be positive"));
    }
    if !(0..=1_000_000).contains(&loan.rate_ppm) {
        return Err(broken("rate_ppm", "must be between 0 and 1000000"));
    }
    if !(1..=LONGEST_TERM_MONTHS).contains(&loan.term_months) {
        return Err(broken("term_months", format!("must be between 1 and {LONGEST_TERM_MONTHS}")));
    }
    if loan.version < 1 {
        return Err(broken("version", "must be positive"));
    }
    Ok(Loan {
        loan_id: loan_id(&loan)?,
        enterprise_id: loan.enterprise_id.parse().map_err(|error| broken("enterprise_id", error))?,
        institution_id: loan.institution_id.parse().map_err(|error| broken("institution_id", error))?,
        product_id: loan.product_id.parse().map_err(|error| broken("product_id", format!("is {error}")))?,
        product_tags: loan.product_tags,
        enterprise_class: loan.enterprise_class,
        amount: Fen::new(loan.amount_fen),
        rate: Ppm::new(loan.rate_ppm),
        term_months: loan.term_months,
        approved_at,
        version: loan.version,
    })
}

fn parse_disbursed(loan: &matching::Loan) -> Result<Disbursement, Rejection> {
    if loan.disbursed_fen <= 0 {
        return Err(broken("disbursed_fen", "must be positive"));
    }
    let on: Date = loan.disbursed_on.parse().map_err(|_| broken("disbursed_on", "must be a date, YYYY-MM-DD"))?;
    Ok(Disbursement { loan_id: loan_id(loan)?, amount: Fen::new(loan.disbursed_fen), on, version: loan.version })
}

fn parse_table(table: &LprTable) -> Result<LprHistory, Rejection> {
    let day =
        |text: &str| text.parse::<Date>().map_err(|_| Rejection::poison(format!("`{text}` is not a date, YYYY-MM-DD")));
    let changes = table
        .changes
        .iter()
        .map(|change| {
            Ok(Change {
                published_on: day(&change.published_on)?,
                one_year: Ppm::new(change.one_year_ppm),
                five_year: Ppm::new(change.five_year_ppm),
            })
        })
        .collect::<Result<Vec<_>, Rejection>>()?;
    LprHistory::try_new(changes, day(&table.known_through)?).map_err(Rejection::poison)
}
