//! Which policies an approved loan fits, and what each would give.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use zhirong_kernel::{
    Fen, Ppm, Uscc,
    clock::business_date,
    feature::Features,
    id::{InstitutionId, LoanId, PolicyId, ProductId},
    lpr::{self, LprHistory, Tenor},
    rule::Inputs,
};

use crate::{
    audience::{Audience, Who},
    plan::{self, Basis, ExactRate, Plan},
    policy::{Benefit, COPYRIGHT_PLEDGE, IpKind, Published, REGISTERED_PLEDGES, Spec},
};

/// An approved loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// The loan.
    pub loan_id: LoanId,
    /// The borrower.
    pub enterprise_id: Uscc,
    /// The lender.
    pub institution_id: InstitutionId,
    /// The product.
    pub product_id: ProductId,
    /// Tags of the product.
    pub product_tags: Vec<String>,
    /// Class of the enterprise; empty when not known.
    pub enterprise_class: String,
    /// Approved amount.
    pub amount: Fen,
    /// Yearly rate.
    pub rate: Ppm,
    /// Term, months.
    pub term_months: i32,
    /// When it was approved.
    pub approved_at: Timestamp,
    /// What intellectual property is pledged.
    pub ip_kinds: Vec<IpKind>,
    /// What the enterprise pays for a guarantee; zero without one.
    pub guarantee_fee: Fen,
    /// Version of the loan.
    pub version: i64,
}

/// A coupon that the borrower uses: a right to one version of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The policy.
    pub policy_id: PolicyId,
    /// Its version.
    pub version: i32,
}

impl Loan {
    /// What a plan is computed on at the approval.
    #[must_use]
    pub fn basis(&self) -> Basis {
        Basis {
            principal: self.amount,
            from: self.approved_on(),
            term_months: self.term_months,
            fee: self.guarantee_fee,
            fee_taken: ExactRate::new(0),
        }
    }

    /// The day of the approval.
    #[must_use]
    pub fn approved_on(&self) -> Date {
        business_date(self.approved_at)
    }
}

/// What one policy would give a loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The policy version.
    pub policy: &'a Published,
    /// The LPR that counts, of the tenor that the policy names; none where none does.
    pub lpr: Option<Ppm>,
    /// What it offers, before the loan's own rate and other policies bound it.
    pub offered: ExactRate,
    /// The plan, if it is paid alone.
    pub plan: Plan,
}

/// Why the entitlement can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No LPR table has come yet.
    #[error("no LPR table has been published yet; a policy that fits pays a share of the {0}")]
    LprNotPublished(Tenor),
    /// The table does not tell the rate.
    #[error("a policy that fits pays a share of the {0} at the end of the year before: {1}")]
    Lpr(Tenor, #[source] lpr::Error),
    /// Nothing is known of the enterprise.
    #[error("nothing is known yet of the enterprise, and a policy that may fit asks for it")]
    ProfileUnknown,
    /// The amount can't be computed.
    #[error(transparent)]
    Plan(#[from] plan::Error),
}

impl Error {
    /// Whether data that are still to come can cure it.
    #[must_use]
    pub const fn waits_for_data(&self) -> bool {
        matches!(self, Self::LprNotPublished(_) | Self::Lpr(..) | Self::ProfileUnknown)
    }
}

/// The policies that an approved loan fits and that give it anything, the best first: the one that gives most; at a tie the
/// lower priority number, then the id. `features` is what is known of the enterprise, none when nothing has come of it;
/// `coupon` is the one it uses.
///
/// # Errors
/// [`Error`].
pub fn candidates<'a>(
    published: &'a [Published],
    history: Option<&LprHistory>,
    loan: &Loan,
    features: Option<&Features>,
    coupon: Option<Holding>,
) -> Result<Vec<Candidate<'a>>, Error> {
    let mut applicant = Applicant::new(history, loan, features);
    let mut found = Vec::new();
    for policy in entitling(published, loan.approved_at, coupon) {
        let spec = &policy.spec;
        if spec.benefit.is_compensation() || !fits(spec, loan) || !applicant.is_among(spec.who.as_ref())? {
            continue;
        }
        let lpr = match spec.benefit {
            Benefit::LprShare { tenor, .. } => Some(year_end(history, loan, tenor)?),
            _ => None,
        };
        let offered = plan::offered_rate(spec.benefit, lpr, loan.rate)?;
        let rate = plan::bounded_rate(offered, loan.rate, ExactRate::new(0))?;
        let plan = plan::plan(spec, rate, spec.cap_per_loan, loan.basis())?;
        if plan.amount.is_positive() {
            found.push(Candidate { policy, lpr, offered, plan });
        }
    }
    found.sort_by_key(|candidate| {
        let policy = candidate.policy;
        (std::cmp::Reverse(candidate.plan.amount), policy.spec.priority, policy.policy_id)
    });
    Ok(found)
}

/// Of the policies whose pool bears a part of a loss, the one that the loan fitted at its approval: the lowest priority number,
/// then the id. `features` is what was known of the enterprise then, none when nothing has come of it.
///
/// # Errors
/// [`Error`].
pub fn pool<'a>(
    published: &'a [Published],
    history: Option<&LprHistory>,
    loan: &Loan,
    features: Option<&Features>,
) -> Result<Option<&'a Published>, Error> {
    let mut applicant = Applicant::new(history, loan, features);
    let mut found = Vec::new();
    for policy in in_force(published, loan.approved_at) {
        let spec = &policy.spec;
        if spec.benefit.is_compensation() && fits(spec, loan) && applicant.is_among(spec.who.as_ref())? {
            found.push(policy);
        }
    }
    Ok(found.into_iter().min_by_key(|policy| (policy.spec.priority, policy.policy_id)))
}

fn year_end(history: Option<&LprHistory>, loan: &Loan, tenor: Tenor) -> Result<Ppm, Error> {
    let history = history.ok_or(Error::LprNotPublished(tenor))?;
    history.at_end_of(lpr_year(loan), tenor).map_err(|error| Error::Lpr(tenor, error))
}

/// The borrower with the loan, as conditions of policies look at them, and what is not known yet.
struct Applicant<'a> {
    audience: Audience<'a>,
    is_known: bool,
    lpr: Result<Ppm, Error>,
}

impl<'a> Applicant<'a> {
    fn new(history: Option<&LprHistory>, loan: &Loan, features: Option<&'a Features>) -> Self {
        let lpr = year_end(history, loan, Tenor::OneYear);
        let lpr_1y_ppm = lpr.as_ref().map_or(0, |lpr| lpr.get());
        let inputs = Inputs { requested_fen: loan.amount.get(), term_months: loan.term_months.into(), lpr_1y_ppm };
        Self { audience: Audience::new(features, inputs), is_known: features.is_some(), lpr }
    }

    /// Whether a policy is for it. A condition waits for what it asks for, and for nothing else.
    fn is_among(&mut self, who: Option<&Who>) -> Result<bool, Error> {
        if let Some(who) = who {
            if !self.is_known && who.asks_features() {
                return Err(Error::ProfileUnknown);
            }
            if who.asks_lpr() {
                self.lpr.clone()?;
            }
        }
        Ok(self.audience.admits(who))
    }
}

/// What is in force, without what only a coupon gives, and what the coupon gives.
fn entitling(
    published: &[Published],
    approved_at: Timestamp,
    coupon: Option<Holding>,
) -> impl Iterator<Item = &Published> {
    let held = published.iter().filter(move |version| {
        coupon.is_some_and(|held| held.policy_id == version.policy_id && held.version == version.version)
    });
    in_force(published, approved_at)
        .filter(move |version| coupon.is_none_or(|held| held.policy_id != version.policy_id))
        .filter(|version| !matches!(version.spec.benefit, Benefit::RateCoupon(_)))
        .chain(held)
}

/// The year at whose end the LPR counts: the one before the approval.
#[must_use]
pub fn lpr_year(loan: &Loan) -> i16 {
    loan.approved_on().year().saturating_sub(1)
}

/// One version a policy: the one in force when the loan was approved, however late the news of it arrives.
///
/// A version takes over from the one before when it is published, but not before its first day, and what it takes over ends
/// with it. A policy that was first published after the approval counts back to its first day.
fn in_force(published: &[Published], approved_at: Timestamp) -> impl Iterator<Item = &Published> {
    let day = business_date(approved_at);
    let mut chosen: BTreeMap<PolicyId, &Published> = BTreeMap::new();
    for candidate in published.iter().filter(|version| version.spec.effective_from <= day) {
        let takes_over = |held: &&Published| {
            let (new, old) = (candidate.published_at <= approved_at, held.published_at <= approved_at);
            match (new, old) {
                (true, true) => candidate.version > held.version,
                (false, false) => candidate.version < held.version,
                (new, _) => new,
            }
        };
        if chosen.get(&candidate.policy_id).is_none_or(takes_over) {
            chosen.insert(candidate.policy_id, candidate);
        }
    }
    chosen
        .into_values()
        .filter(move |version| day <= version.spec.effective_to && version.ended_at.is_none_or(|at| approved_at < at))
}

fn fits(spec: &Spec, loan: &Loan) -> bool {
    let has = |tag: &str| loan.product_tags.iter().any(|found| found == tag);
    let tags_fit = spec.required_product_tags.iter().all(|tag| has(tag));
    let product_fits = spec.product_ids.is_empty() || spec.product_ids.contains(&loan.product_id);
    let class_fits = spec.enterprise_classes.is_empty() || spec.enterprise_classes.contains(&loan.enterprise_class);
    // A share of the LPR is for patents and trademarks: a pledge of copyright alone gets none, also under a general tag.
    let only_copyright = has(COPYRIGHT_PLEDGE) && !REGISTERED_PLEDGES.iter().any(|tag| has(tag));
    let refused = matches!(spec.benefit, Benefit::LprShare { .. }) && only_copyright;
    let region_fits = spec.region_codes.is_empty() || spec.region_codes.iter().any(|code| registered_in(loan, code));
    let pledge_fits = spec.ip_kinds.is_empty() || spec.ip_kinds.iter().any(|kind| loan.ip_kinds.contains(kind));
    tags_fit && product_fits && class_fits && region_fits && pledge_fits && !refused
}

/// The third to eighth characters of a USCC are the division of the registry (GB 32100).
fn registered_in(loan: &Loan, division: &str) -> bool {
    loan.enterprise_id.as_str().get(2..8).is_some_and(|registry| registry.starts_with(division))
}

#[cfg(test)]
mod tests;
