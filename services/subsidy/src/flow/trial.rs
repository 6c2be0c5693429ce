//! A policy is tried on loans of the past: who would have got what, as if it had stood alone and had been in force.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    clock::business_date,
    feature::Features,
    lpr::LprHistory,
    rule::{Inputs, RuleContext},
};

use super::compensation;
use crate::{
    combine,
    entitlement::{self, Candidate},
    error::Error,
    explain::{self, Figures},
    life::{self, Terms, What},
    loss::{self, Bearer},
    plan::{ExactRate, Plan},
    policy::{Benefit, Published, Spec},
    sharing,
    store::{self, loan::Approved},
};

/// Loans read at once.
const AT_ONCE: i64 = 500;

/// What the policy would give one loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The loan.
    pub loan_id: Uuid,
    /// The borrower.
    pub enterprise_id: String,
    /// What it would get.
    pub amount: Fen,
    /// What it has now.
    pub granted_now: i64,
    /// How it comes about.
    pub calculation_zh: String,
}

/// What the policy would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// Loans approved in the period.
    pub loans: i64,
    /// Loans that would get something.
    pub grants: i64,
    /// Enterprises that would.
    pub enterprises: i64,
    /// In all.
    pub total: Fen,
    /// By year: loans and amount.
    pub years: BTreeMap<i32, (i64, Fen)>,
    /// What these loans have now.
    pub granted_now: i64,
    /// Those that would get most, most first; of the rest, [`Trial::unlisted`] tells.
    pub lines: Vec<Tried>,
}

impl Trial {
    /// Loans that would get something and are no lines, and what they would get in all.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn unlisted(&self) -> Result<(i64, Fen), Error> {
        let listed = i64::try_from(self.lines.len()).unwrap_or(i64::MAX);
        let sum = Fen::sum(self.lines.iter().map(|line| line.amount))?;
        Ok((self.grants.saturating_sub(listed), self.total.checked_sub(sum)?))
    }
}

/// Tries a policy on the loans approved in a time, up to the business date of `now`, each by what was known when it was approved.
/// Nothing is stored.
///
/// # Errors
/// [`Error::Entitlement`] when the LPR is not known; [`Error::Database`].
pub async fn try_policy(
    conn: &mut PgConnection,
    policy: &Published,
    period: (Timestamp, Timestamp),
    most_lines: usize,
    now: Timestamp,
) -> Result<Trial, Error> {
    let history = store::lpr::load(conn).await?;
    let mut trial = Trial::default();
    let mut enterprises = BTreeSet::new();
    // The cap of an enterprise and a year is used up in the order of approval.
    let mut spent: HashMap<(String, i32), Fen> = HashMap::new();
    let mut after = None;
    loop {
        let loans = store::loan::approved_between(conn, period, after, AT_ONCE).await?;
        let Some(last) = loans.last() else { break };
        after = Some((last.loan.approved_at, last.loan.loan_id.uuid()));
        let ids: Vec<Uuid> = loans.iter().map(|approved| approved.loan.loan_id.uuid()).collect();
        let events = store::loan::events(conn, &ids).await?;
        let now_has: HashMap<Uuid, i64> = store::grant::planned_of_loans(conn, &ids).await?.into_iter().collect();
        let features = match policy.spec.who {
            Some(_) => store::known::of_loans(conn, &ids).await?,
            None => HashMap::new(),
        };
        for approved in &loans {
            let loan = &approved.loan;
            trial.loans = trial.loans.saturating_add(1);
            let id = loan.loan_id.uuid();
            let year = i32::from(loan.approved_on().year());
            let owner = loan.enterprise_id.to_string();
            let key = (owner.clone(), year);
            let left = policy.spec.cap_per_enterprise_year.map(|cap| {
                let used = spent.get(&key).copied().unwrap_or(Fen::ZERO);
                cap.checked_sub(used).unwrap_or(Fen::ZERO)
            });
            let nothing = Features::new();
            let known = features.get(&id).unwrap_or(&nothing);
            let course = events.get(&id).map(Vec::as_slice).unwrap_or_default();
            let given = match policy.spec.pool() {
                Some(_) => bear(policy, history.as_ref(), approved, known, course)?,
                None => give(policy, history.as_ref(), approved, known, course, left, now)?
                    .map(|(amount, text)| (amount, text, year)),
            };
            let Some((amount, calculation_zh, year)) = given else { continue };
            let used = spent.entry(key).or_insert(Fen::ZERO);
            *used = used.checked_add(amount)?;
            let granted_now = now_has.get(&id).copied().unwrap_or(0);
            trial.grants = trial.grants.saturating_add(1);
            trial.granted_now = trial.granted_now.saturating_add(granted_now);
            trial.total = trial.total.checked_add(amount)?;
            let of_year = trial.years.entry(year).or_insert((0, Fen::ZERO));
            *of_year = (of_year.0.saturating_add(1), of_year.1.checked_add(amount)?);
            enterprises.insert(owner.clone());
            trial.lines.push(Tried { loan_id: id, enterprise_id: owner, amount, granted_now, calculation_zh });
        }
        trial.lines.sort_by_key(|line| (std::cmp::Reverse(line.amount), line.loan_id));
        trial.lines.truncate(most_lines);
    }
    trial.enterprises = i64::try_from(enterprises.len()).unwrap_or(i64::MAX);
    Ok(trial)
}

/// What the policy would give a loan, and how; none when nothing.
fn give(
    policy: &Published,
    history: Option<&LprHistory>,
    approved: &Approved,
    features: &Features,
    events: &[life::Event],
    left: Option<Fen>,
    now: Timestamp,
) -> Result<Option<(Fen, String)>, Error> {
    let loan = &approved.loan;
    // Everybody of the group counts as holding its coupon.
    let holding = matches!(policy.spec.benefit, Benefit::RateCoupon(_))
        .then_some(entitlement::Holding { policy_id: policy.policy_id, version: policy.version });
    let policies = [open(policy)];
    let candidates = entitlement::candidates(&policies, history, loan, Some(features), holding)?;
    let combination = combine::best(&candidates, loan, |_| true, |_| left)?;
    let Some((candidate, share)) = candidates.first().zip(combination.first()) else { return Ok(None) };
    let (plan, disbursed) = planned(candidate, share, approved, events, now)?;
    let figures = Figures {
        principal: loan.amount,
        disbursed,
        lpr: candidate.lpr,
        lpr_year: entitlement::lpr_year(loan),
        fee: loan.guarantee_fee,
    };
    let text = explain::calculation(&policy.spec, &plan, figures);
    Ok(Some((plan.amount, text)).filter(|(amount, _)| amount.is_positive()))
}

/// What the policy's pool would have borne of a loan that was lost, how, and in which year; none when nothing.
fn bear(
    policy: &Published,
    history: Option<&LprHistory>,
    approved: &Approved,
    features: &Features,
    events: &[life::Event],
) -> Result<Option<(Fen, String, i32)>, Error> {
    let lost = events.iter().find_map(|event| match event.what {
        What::Defaulted { principal, interest } => Some((event.on, (principal, interest))),
        _ => None,
    });
    let shares = compensation::shares(approved)?.filter(|shares| compensation::names_pool(shares));
    let Some(((on, owed), shares)) = lost.zip(shares) else { return Ok(None) };
    let policies = [open(policy)];
    let found = entitlement::pool(&policies, history, &approved.loan, Some(features))?;
    let Some(pool) = found.and_then(|found| found.spec.pool()) else { return Ok(None) };
    let broken = |error: loss::Error| Error::BrokenFact(format!("loan {}: {error}", approved.loan.loan_id));
    let whole = loss::lost(owed, Some(pool)).map_err(broken)?;
    let parts = loss::parts(owed, &shares, Some(pool), approved.loan.institution_id.as_str()).map_err(broken)?;
    let borne = Fen::sum(parts.iter().filter(|part| part.bearer == Bearer::PolicyPool).map(|part| part.amount))?;
    let text = explain::loss(owed, whole, &parts, Some(pool));
    Ok(borne.is_positive().then_some((borne, text, i32::from(on.year()))))
}

/// The plan at the approval, or what the loan really came to.
fn planned(
    candidate: &Candidate<'_>,
    share: &combine::Share,
    approved: &Approved,
    events: &[life::Event],
    now: Timestamp,
) -> Result<(Plan, bool), Error> {
    let day = business_date(now);
    let terms = Terms::new(
        &candidate.policy.spec,
        candidate.offered,
        ExactRate::new(0),
        share.cap,
        approved.loan.guarantee_fee,
    );
    let due = sharing::due_alone(&terms, events, day)?;
    Ok(match life::standing(&terms, events, day, due)? {
        None => (share.plan.clone(), false),
        Some(standing) => {
            let days = standing.from.until(standing.until).map_or(0, |span| span.get_days());
            let plan = Plan {
                amount: standing.planned,
                capped: standing.planned == share.cap,
                principal: standing.principal,
                rate: standing.rate,
                from: standing.from,
                until: standing.until,
                days,
            };
            (plan, true)
        }
    })
}

/// The policy in force at any time: its dates need not cover the past.
fn open(policy: &Published) -> Published {
    let spec = Spec {
        effective_from: jiff::civil::Date::MIN,
        effective_to: jiff::civil::Date::MAX,
        ..Spec::clone(&policy.spec)
    };
    Published { spec: std::sync::Arc::new(spec), ..policy.clone() }
}

/// Enterprises of which a condition is true on a day, in order of id. There is no loan yet: what it asks of one is zero.
///
/// # Errors
/// [`Error::GroupTooLarge`]; [`Error::LprUnknown`] when it asks for the LPR; [`Error::Database`].
pub async fn group(
    conn: &mut PgConnection,
    who: &crate::policy::Who,
    day: Date,
    most: usize,
) -> Result<Vec<zhirong_kernel::Uscc>, Error> {
    let lpr_1y_ppm = if who.asks_lpr() { lpr_in_force(conn, day).await? } else { 0 };
    let inputs = Inputs { requested_fen: 0, term_months: 0, lpr_1y_ppm };
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = store::profile::page(conn, &after, AT_ONCE).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after.clone_from(last);
        for (enterprise, features) in &page {
            if who.is_true(&RuleContext::new(features, inputs)) {
                if found.len() >= most {
                    return Err(Error::GroupTooLarge(most));
                }
                found.push(enterprise.parse().map_err(|_| Error::Stored("profile.enterprise_id"))?);
            }
        }
    }
}

async fn lpr_in_force(conn: &mut PgConnection, day: Date) -> Result<i64, Error> {
    let table = store::lpr::load(conn).await?;
    let table = table.ok_or_else(|| Error::LprUnknown("no LPR table has been published yet".to_owned()))?;
    let change = table.in_force(day).map_err(|error| Error::LprUnknown(error.to_string()))?;
    Ok(change.one_year.get())
}
