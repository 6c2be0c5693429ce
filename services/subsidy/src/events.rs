//! What subsidy hears of: loans from their approval to their end, what is known of enterprises and what of it is erased, the LPR.

use std::{ops::RangeInclusive, sync::Arc};

use jiff::{Span, Timestamp, civil::Date};
use sqlx::PgConnection;
use tokio::sync::Notify;
use zhirong_kernel::{
    Clock, Fen, Ppm, Uscc,
    clock::business_date,
    id::LoanId,
    lpr::{Change, LprHistory},
};
use zhirong_proto::{
    Fact as _,
    catalog::v1::{LprTable, ReferencePublished, reference_published::Reference},
    matching::v1::{
        self as matching, IpKind as pb_ip, LoanApproved, LoanDefaulted, LoanDisbursed, LoanRecovered, LoanRenewed,
        LoanRepaid, LoanSettled, LoanTermsChanged,
    },
    profile::v1::{EnterpriseErased, ProfileUpdated},
};
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use crate::{
    entitlement::Loan,
    error::Error,
    flow::{
        Desk, approval, batch,
        course::{self, Happened},
    },
    life::{Event, What},
    policy::IpKind,
    store::{
        self,
        known::{self, Known},
        loan::Approved,
    },
};

/// Loans, from their approval to their end.
pub const LOANS: Subscription =
    Subscription { durable: "subsidy-loan-life", stream: streams::MATCHING, subjects: &["zr.matching.v1.loan.>"] };

/// Reference data.
pub const REFERENCE: Subscription = Subscription {
    durable: "subsidy-reference",
    stream: streams::CATALOG,
    subjects: &["zr.catalog.v1.reference.published.>"],
};

/// What is known of enterprises.
pub const PROFILES: Subscription = Subscription {
    durable: "subsidy-profiles",
    stream: streams::PROFILE,
    subjects: &["zr.profile.v1.profile.updated.>"],
};

/// Erasures of what is known of enterprises.
pub const ERASURES: Subscription = Subscription {
    durable: "subsidy-erasures",
    stream: streams::PROFILE,
    subjects: &["zr.profile.v1.enterprise.erased.>"],
};

const LONGEST_TERM_MONTHS: i32 = 600;
/// Years that can have a budget.
const YEARS: RangeInclusive<i16> = 2019..=2100;

/// Gives grants to loans and follows them.
pub struct LoanHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What every step needs.
    pub desk: Desk,
    /// Wakes the task that serves who waits.
    pub queue: Arc<Notify>,
}

impl Handler for LoanHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        match parse(delivery)? {
            Fact::Approved(approved) => {
                approval::approve_all(conn, &self.desk, &[*approved], self.clock.now()).await?;
            }
            Fact::Happened(fact) => course::happen(conn, &self.desk, &fact, self.clock.now()).await?,
        }
        Ok(())
    }

    /// Approvals that come together are decided together: they wait for the same budgets.
    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        let (mut outcomes, mut places) = (Vec::with_capacity(deliveries.len()), Vec::new());
        let (mut approved, mut happened) = (Vec::new(), Vec::new());
        for (place, delivery) in deliveries.iter().enumerate() {
            outcomes.push(match parse(delivery) {
                Ok(Fact::Approved(loan)) => {
                    approved.push(*loan);
                    Ok(())
                }
                Ok(Fact::Happened(fact)) => {
                    happened.push(fact);
                    places.push(place);
                    Ok(())
                }
                Err(rejection) => Err(rejection),
            });
        }
        for (which, reason) in batch::apply(conn, &self.desk, &approved, &happened, self.clock.now()).await? {
            if let Some(outcome) = places.get(which).and_then(|place| outcomes.get_mut(*place)) {
                *outcome = Err(Rejection::NotYet(reason));
            }
        }
        Ok(outcomes)
    }

    async fn lock(&self, conn: &mut PgConnection, deliveries: &[&Delivery]) -> Result<(), Rejection> {
        let (mut approved, mut happened) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            match parse(delivery) {
                Ok(Fact::Approved(loan)) => approved.push(*loan),
                Ok(Fact::Happened(fact)) => happened.push(fact),
                Err(_) => {}
            }
        }
        Ok(batch::lock(conn, &self.desk, &approved, &happened, self.clock.now()).await?)
    }

    async fn committed(&self) {
        self.queue.notify_one();
    }
}

/// A fact about a loan that can be applied.
enum Fact {
    Approved(Box<Approved>),
    Happened(Happened),
}

fn parse(delivery: &Delivery) -> Result<Fact, Rejection> {
    let fact = match delivery.ce_type.as_str() {
        LoanApproved::TYPE => {
            let fact = delivery.decode::<LoanApproved>()?;
            let features = Known::told(fact.features, fact.profile_version);
            return Ok(Fact::Approved(Box::new(Approved { features, ..parse_approved(present(fact.loan)?)? })));
        }
        LoanDisbursed::TYPE => parse_disbursed(&present(delivery.decode::<LoanDisbursed>()?.loan)?)?,
        LoanRepaid::TYPE => {
            let fact = delivery.decode::<LoanRepaid>()?;
            let (principal, interest) = (Fen::new(fact.principal_fen), Fen::new(fact.interest_fen));
            if principal < Fen::ZERO || interest < Fen::ZERO {
                return Err(Rejection::poison("`principal_fen` and `interest_fen` must not be negative"));
            }
            happened(&present(fact.loan)?, &fact.paid_on, What::Repaid { principal, interest })?
        }
        LoanTermsChanged::TYPE => {
            let fact = delivery.decode::<LoanTermsChanged>()?;
            let loan = present(fact.loan)?;
            let what = What::Terms { rate: rate(&loan)?, matures_on: day("loan.matures_on", &loan.matures_on)? };
            happened(&loan, &fact.effective_on, what)?
        }
        LoanSettled::TYPE => {
            let fact = delivery.decode::<LoanSettled>()?;
            let loan = present(fact.loan)?;
            // A loan that another takes the place of is not repaid early, whether or not the renewal itself was told yet.
            let what = if loan.renewed_by_loan_id.is_empty() { What::Settled } else { What::Renewed };
            happened(&loan, &fact.settled_on, what)?
        }
        LoanRenewed::TYPE => {
            let loan = present(delivery.decode::<LoanRenewed>()?.loan)?;
            // It follows on the settlement of the same day, whose date decides; its own is that of the fact.
            let on = delivery.time.map_or(Date::MAX, business_date);
            Happened { loan_id: loan_id(&loan)?, version: loan.version, event: Event { on, what: What::Renewed } }
        }
        LoanDefaulted::TYPE => {
            let fact = delivery.decode::<LoanDefaulted>()?;
            let loan = present(fact.loan)?;
            let (principal, interest) = (Fen::new(loan.outstanding_fen), Fen::new(fact.overdue_interest_fen));
            if principal < Fen::ZERO || interest < Fen::ZERO {
                return Err(Rejection::poison("`outstanding_fen` and `overdue_interest_fen` must not be negative"));
            }
            happened(&loan, &fact.defaulted_on, What::Defaulted { principal, interest })?
        }
        LoanRecovered::TYPE => {
            let fact = delivery.decode::<LoanRecovered>()?;
            if fact.recovered_fen <= 0 {
                return Err(Rejection::poison("`recovered_fen` must be positive"));
            }
            let what = What::Recovered { amount: Fen::new(fact.recovered_fen) };
            happened(&present(fact.loan)?, &fact.recovered_on, what)?
        }
        other => return Err(Rejection::poison(format!("`{other}` is not a fact subsidy knows"))),
    };
    Ok(Fact::Happened(fact))
}

fn happened(loan: &matching::Loan, on: &str, what: What) -> Result<Happened, Rejection> {
    Ok(Happened { loan_id: loan_id(loan)?, version: loan.version, event: Event { on: day("the day", on)?, what } })
}

fn day(name: &str, text: &str) -> Result<Date, Rejection> {
    text.parse().map_err(|_| Rejection::poison(format!("{name} must be a date, YYYY-MM-DD")))
}

/// Keeps what is known of enterprises.
pub struct ProfileHandler;

impl Handler for ProfileHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let profile = delivery.decode::<ProfileUpdated>()?.profile;
        let profile = profile.ok_or_else(|| Rejection::poison("`profile` is missing"))?;
        profile.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
        Ok(store::profile::put(conn, &profile).await?)
    }
}

/// Erases what loans keep of enterprises. The profile that stands is replaced by the next one.
pub struct ErasureHandler;

impl Handler for ErasureHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        Ok(known::erase(conn, &[parse_erasure(delivery)?]).await?)
    }

    /// All at once, so that the loans are locked in order.
    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        let mut facts = Vec::with_capacity(deliveries.len());
        let read = |delivery: &&Delivery| parse_erasure(delivery).map(|fact| facts.push(fact));
        let outcomes = deliveries.iter().map(read).collect();
        known::erase(conn, &facts).await?;
        Ok(outcomes)
    }
}

fn parse_erasure(delivery: &Delivery) -> Result<EnterpriseErased, Rejection> {
    let fact: EnterpriseErased = delivery.decode()?;
    fact.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
    if fact.profile_version < 0 {
        return Err(Rejection::poison("`profile_version` must not be negative"));
    }
    Ok(fact)
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

fn rate(loan: &matching::Loan) -> Result<Ppm, Rejection> {
    let allowed = (0..=1_000_000).contains(&loan.rate_ppm);
    if allowed { Ok(Ppm::new(loan.rate_ppm)) } else { Err(broken("rate_ppm", "must be between 0 and 1000000")) }
}

fn parse_approved(loan: matching::Loan) -> Result<Approved, Rejection> {
    let approved_at = loan
        .approved_at
        .and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
        .ok_or_else(|| broken("approved_at", "is missing or out of range"))?;
    if !YEARS.contains(&business_date(approved_at).year()) {
        return Err(broken("approved_at", "must be in the years 2019 to 2100"));
    }
    if loan.product_tags.iter().chain([&loan.enterprise_class]).any(|text| text.contains(char::is_control)) {
        return Err(broken("product_tags", "and the class must not hold a control character"));
    }
    if loan.amount_fen <= 0 {
        return Err(broken("amount_fen", "must be positive"));
    }
    if !(1..=LONGEST_TERM_MONTHS).contains(&loan.term_months) {
        return Err(broken("term_months", format!("must be between 1 and {LONGEST_TERM_MONTHS}")));
    }
    if loan.version < 1 {
        return Err(broken("version", "must be positive"));
    }
    let fee = loan.guarantee.as_ref().map_or(0, |guarantee| guarantee.fee_fen);
    if fee < 0 {
        return Err(broken("guarantee.fee_fen", "must not be negative"));
    }
    let coupon = Some(loan.coupon_id.as_str()).filter(|id| !id.is_empty()).map(str::parse).transpose();
    let mut ip_kinds: Vec<IpKind> = loan.ip_pledges.iter().filter_map(|pledge| ip_kind(pledge.kind())).collect();
    ip_kinds.sort_unstable();
    ip_kinds.dedup();
    Ok(Approved {
        coupon: coupon.map_err(|error| broken("coupon_id", format!("is {error}")))?,
        bank_reference: loan.bank_reference.replace('\0', ""),
        loan: Loan {
            loan_id: loan_id(&loan)?,
            enterprise_id: loan.enterprise_id.parse().map_err(|error| broken("enterprise_id", error))?,
            institution_id: loan.institution_id.parse().map_err(|error| broken("institution_id", error))?,
            product_id: loan.product_id.parse().map_err(|error| broken("product_id", format!("is {error}")))?,
            rate: rate(&loan)?,
            product_tags: loan.product_tags,
            enterprise_class: loan.enterprise_class,
            amount: Fen::new(loan.amount_fen),
            term_months: loan.term_months,
            approved_at,
            ip_kinds,
            guarantee_fee: Fen::new(fee),
            version: loan.version,
        },
        guarantee: loan.guarantee,
        features: None,
    })
}

const fn ip_kind(kind: pb_ip) -> Option<IpKind> {
    match kind {
        pb_ip::Patent => Some(IpKind::Patent),
        pb_ip::Trademark => Some(IpKind::Trademark),
        pb_ip::Copyright => Some(IpKind::Copyright),
        pb_ip::Unspecified => None,
    }
}

fn parse_disbursed(loan: &matching::Loan) -> Result<Happened, Rejection> {
    if loan.disbursed_fen <= 0 {
        return Err(broken("disbursed_fen", "must be positive"));
    }
    let on: Date = loan.disbursed_on.parse().map_err(|_| broken("disbursed_on", "must be a date, YYYY-MM-DD"))?;
    let matures_on = if loan.matures_on.is_empty() {
        let term = Span::new().try_months(loan.term_months).and_then(|span| on.checked_add(span));
        term.map_err(|_| broken("term_months", "is out of range"))?
    } else {
        day("`loan.matures_on`", &loan.matures_on)?
    };
    let what = What::Disbursed { amount: Fen::new(loan.disbursed_fen), rate: rate(loan)?, matures_on };
    Ok(Happened { loan_id: loan_id(loan)?, version: loan.version, event: Event { on, what } })
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
