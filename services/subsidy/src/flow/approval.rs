//! Loans are approved: the best legal combination of the policies that fit and have money gives grants, without an application.
//!
//! A batch is written in a few statements, because a popular budget is one row that everybody waits for. While there is money for
//! all, everything but the ledger is written before that row is locked; else the batch is decided under the lock. Coupons are
//! locked before anything is decided, and what an enterprise has of a cap is looked at once more under the budget's lock, so
//! that neither sends a batch the slow way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    feature::Features,
    id::{CouponId, GrantId, PolicyId},
    lpr::LprHistory,
};
use zhirong_proto::subsidy::v1::{GrantQueued, GrantReserved};

use super::{
    Desk, coupon,
    purse::{self, Purses},
    till::Till,
};
use crate::{
    budget::Reason,
    combine::{self, Share},
    entitlement::{self, Candidate, Holding, Loan},
    error::Error,
    explain::{self, Decision, Figures},
    grant::{Grant, Money, State},
    policy::Published,
    store::{self, budget::Owner, coupon::Coupon, loan::Approved, loan::Judged},
    wire,
};

/// A loan with the policies that it fits.
struct Case<'a> {
    approved: &'a Approved,
    candidates: Vec<Candidate<'a>>,
    coupon: Option<&'a Coupon>,
}

impl Case<'_> {
    fn is_capped(&self) -> bool {
        self.candidates.iter().any(|found| found.policy.spec.cap_per_enterprise_year.is_some())
    }
}

/// Applies approvals; those that were applied before change nothing.
///
/// # Errors
/// [`Error::Entitlement`] when data are missing for one of them; nothing is written then that stands without the caller's
/// commit. [`Error::Database`] with a unique violation when another transaction applies one of them at the same time: the whole is
/// to be done again.
pub async fn approve_all(
    conn: &mut PgConnection,
    desk: &Desk,
    loans: &[Approved],
    now: Timestamp,
) -> Result<(), Error> {
    store::known::hold_erasures(conn).await?;
    approve_beside(conn, desk, loans, &[], now).await
}

/// As [`approve_all`], in a transaction that holds erasures already; whenever it locks budgets, it locks with them those `beside`
/// that the transaction needs later.
///
/// # Errors
/// As [`approve_all`].
pub async fn approve_beside(
    conn: &mut PgConnection,
    desk: &Desk,
    loans: &[Approved],
    beside: &[Uuid],
    now: Timestamp,
) -> Result<(), Error> {
    let fresh = fresh(conn, loans).await?;
    if fresh.is_empty() {
        return Ok(());
    }
    let known = Known::load(conn, desk, &fresh).await?;
    let mut cases = fresh.into_iter().map(|approved| known.judge(approved)).collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<_> =
        cases.iter().map(|case| Judged { approved: case.approved, fitting: case.candidates.len() }).collect();
    store::loan::insert_all(conn, &rows).await?;
    cases.retain(|case| !case.candidates.is_empty());
    if cases.is_empty() {
        return Ok(());
    }
    cases.sort_by_key(|case| purse::place(case.approved.loan.approved_at, case.approved.loan.loan_id));
    if foreseen(conn, desk, &cases, beside, now).await? {
        return Ok(());
    }
    under_lock(conn, desk, &cases, beside, now).await
}

/// The budgets at which approvals may get something; their coupons are locked on the way.
///
/// # Errors
/// [`Error::Database`], [`Error::Stored`].
pub async fn wanted(
    conn: &mut PgConnection,
    desk: &Desk,
    loans: &[Approved],
) -> Result<BTreeSet<(PolicyId, i32)>, Error> {
    let fresh = fresh(conn, loans).await?;
    if fresh.is_empty() {
        return Ok(BTreeSet::new());
    }
    let known = Known::load(conn, desk, &fresh).await?;
    // one that can't be judged yet wants nothing yet
    let cases: Vec<_> = fresh.into_iter().filter_map(|approved| known.judge(approved).ok()).collect();
    Ok(budgets_of(&cases))
}

/// What approvals are judged by.
struct Known {
    published: Vec<Published>,
    history: Option<LprHistory>,
    features: HashMap<String, Features>,
    coupons: HashMap<CouponId, Coupon>,
}

impl Known {
    async fn load(conn: &mut PgConnection, desk: &Desk, loans: &[&Approved]) -> Result<Self, Error> {
        let published = desk.book.published(conn).await?;
        let features = features(conn, &published, loans).await?;
        Ok(Self { history: store::lpr::load(conn).await?, coupons: coupons(conn, loans).await?, published, features })
    }

    fn judge<'a>(&'a self, approved: &'a Approved) -> Result<Case<'a>, Error> {
        let loan = &approved.loan;
        let coupon = approved.coupon.and_then(|id| self.coupons.get(&id)).filter(|coupon| coupon.serves(loan));
        let holding = coupon.map(|coupon| Holding { policy_id: coupon.policy_id, version: coupon.policy_version });
        let told = approved.features.as_ref().map(|told| &told.features);
        let known = told.or_else(|| self.features.get(loan.enterprise_id.as_str()));
        let candidates = entitlement::candidates(&self.published, self.history.as_ref(), loan, known, holding)?;
        Ok(Case { approved, candidates, coupon })
    }
}

/// Those that are not known, each once.
async fn fresh<'a>(conn: &mut PgConnection, loans: &'a [Approved]) -> Result<Vec<&'a Approved>, Error> {
    let ids: Vec<Uuid> = loans.iter().map(|approved| approved.loan.loan_id.uuid()).collect();
    let mut seen: HashSet<Uuid> = store::loan::known(conn, &ids).await?.into_iter().collect();
    Ok(loans.iter().filter(|approved| seen.insert(approved.loan.loan_id.uuid())).collect())
}

/// What is known of borrowers whose approval does not tell it, when a policy asks.
async fn features(
    conn: &mut PgConnection,
    published: &[Published],
    loans: &[&Approved],
) -> Result<HashMap<String, Features>, Error> {
    let silent = loans.iter().filter(|approved| approved.features.is_none());
    let enterprises: Vec<String> = silent.map(|approved| approved.loan.enterprise_id.to_string()).collect();
    if enterprises.is_empty() || published.iter().all(|policy| policy.spec.who.is_none()) {
        return Ok(HashMap::new());
    }
    store::profile::features(conn, &enterprises).await
}

async fn coupons(conn: &mut PgConnection, loans: &[&Approved]) -> Result<HashMap<CouponId, Coupon>, Error> {
    let named: Vec<Uuid> = loans.iter().filter_map(|approved| approved.coupon).map(CouponId::uuid).collect();
    if named.is_empty() {
        return Ok(HashMap::new());
    }
    let found = store::coupon::lock_some(conn, &named).await?;
    Ok(found.into_iter().map(|coupon| (coupon.coupon_id, coupon)).collect())
}

fn budgets_of(cases: &[Case<'_>]) -> BTreeSet<(PolicyId, i32)> {
    let of = |case: &Case<'_>| {
        let year = year(&case.approved.loan);
        case.candidates.iter().map(|found| (found.policy.policy_id, year)).collect::<Vec<_>>()
    };
    cases.iter().flat_map(of).collect()
}

/// Borrowers that a policy gives only so much a year.
fn capped(cases: &[Case<'_>]) -> Vec<String> {
    let capped = cases.iter().filter(|case| case.is_capped());
    capped.map(|case| case.approved.loan.enterprise_id.to_string()).collect()
}

/// What a batch comes to.
#[derive(Default)]
struct Decided {
    grants: Vec<Grant>,
    redeemed: Vec<Coupon>,
}

impl Decided {
    async fn write(&self, conn: &mut PgConnection) -> Result<(), Error> {
        store::grant::insert_all(conn, &self.grants).await?;
        if !self.redeemed.is_empty() {
            store::coupon::redeem_all(conn, &self.redeemed).await?;
        }
        Ok(())
    }
}

async fn under_lock(
    conn: &mut PgConnection,
    desk: &Desk,
    cases: &[Case<'_>],
    beside: &[Uuid],
    now: Timestamp,
) -> Result<(), Error> {
    let mut till = Till::lock_years(conn, desk, &budgets_of(cases), beside, now).await?;
    let mut purses = Purses::load(conn, &till, capped(cases)).await?;
    let mut decided = Decided::default();
    for case in cases {
        serve(&mut till, &mut purses, case, &mut decided)?;
    }
    decided.write(conn).await?;
    till.close(conn).await
}

/// Decides and writes what needs no lock to be decided: there is money for all of it, whoever else takes some, and nobody waits.
/// The budgets are locked last and for a moment, to see that this still holds. False when nothing is written.
async fn foreseen(
    conn: &mut PgConnection,
    desk: &Desk,
    cases: &[Case<'_>],
    beside: &[Uuid],
    now: Timestamp,
) -> Result<bool, Error> {
    let Some(mut till) = Till::foresee(conn, desk, &budgets_of(cases), now).await? else { return Ok(false) };
    let (mut decided, mut largest) = (Decided::default(), BTreeMap::<Uuid, Fen>::new());
    let mut purses = Purses::load(conn, &till, capped(cases)).await?;
    for case in cases {
        for candidate in &case.candidates {
            let largest = largest.entry(till.of(candidate.policy.policy_id, year(&case.approved.loan))?.budget_id);
            let amount = candidate.plan.amount;
            largest.and_modify(|known| *known = amount.max(*known)).or_insert(amount);
        }
        serve(&mut till, &mut purses, case, &mut decided)?;
    }
    // with the largest still there in the end, every candidate had its money at every loan
    let enough = |(budget, largest): (&Uuid, &Fen)| Ok::<_, Error>(till.budget(*budget)?.available >= *largest);
    let enough = largest.iter().map(enough).collect::<Result<Vec<_>, _>>()?.into_iter().all(|enough| enough);
    if !enough || decided.grants.iter().any(|grant| grant.state != State::Reserved) {
        return Ok(false);
    }
    let mut needed = largest;
    for grant in &decided.grants {
        let needed = needed.entry(grant.budget_id).or_insert(Fen::ZERO);
        *needed = needed.checked_add(grant.planned)?;
    }
    let mut attempt = conn.begin().await?;
    decided.write(&mut attempt).await?;
    till.write_facts(&mut attempt).await?;
    if !till.lock_foreseen(&mut attempt, &needed, beside).await? || !purses.hold(&mut attempt, &till).await? {
        attempt.rollback().await?;
        return Ok(false);
    }
    till.close(&mut attempt).await?;
    attempt.commit().await?;
    Ok(true)
}

/// Decides one loan: what is paid, what waits.
fn serve(till: &mut Till<'_>, purses: &mut Purses, case: &Case<'_>, decided: &mut Decided) -> Result<(), Error> {
    let loan = &case.approved.loan;
    let coupon = case.coupon.filter(|named| decided.redeemed.iter().all(|used| used.coupon_id != named.coupon_id));
    // A coupon that a loan of the batch has used gives nothing to the next one that names it.
    let mut open = case.candidates.clone();
    if let Some(used) = case.coupon.filter(|_| coupon.is_none()) {
        open.retain(|candidate| candidate.policy.policy_id != used.policy_id);
    }
    let candidates = open.as_slice();
    let mut budgets = Vec::with_capacity(candidates.len());
    let mut funded = Vec::with_capacity(candidates.len());
    let mut caps = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let budget = till.of(candidate.policy.policy_id, year(loan))?;
        let left = purses.left_of_cap(candidate, budget.budget_id, loan);
        let amount = left.map_or(candidate.plan.amount, |left| left.min(candidate.plan.amount));
        budgets.push(budget.budget_id);
        caps.push(left);
        funded.push(amount <= budget.available && !purses.somebody_is_before(budget.budget_id, loan));
    }
    let may = |place: usize| funded.get(place).copied().unwrap_or(false);
    let cap = |place: usize| caps.get(place).copied().flatten();
    let paid = combine::best(candidates, loan, may, cap)?;
    let waiting = match paid.is_empty() {
        true => combine::best(candidates, loan, |_| true, cap)?,
        false => combine::beside(candidates, loan, &paid, |place| !may(place), cap)?,
    };
    let used_up: Vec<usize> =
        (0..candidates.len()).filter(|place| cap(*place).is_some_and(|left| !left.is_positive())).collect();
    // Better ones that had no money, and what waits: their budgets could not serve in full.
    let first = paid.iter().map(|share| share.place).min().unwrap_or(0);
    let waits = |place: &usize| waiting.iter().any(|share| share.place == *place);
    let passed_over: Vec<usize> =
        (0..first).filter(|place| !may(*place) && !used_up.contains(place) && !waits(place)).collect();
    let short: BTreeSet<usize> = passed_over.iter().copied().chain(waiting.iter().map(|share| share.place)).collect();
    let decision =
        Decision { candidates, paid: &paid, waiting: &waiting, passed_over: &passed_over, used_up: &used_up };
    for (shares, state) in [(&paid, State::Reserved), (&waiting, State::Waiting)] {
        for share in shares {
            let Some((candidate, budget_id)) = candidates.get(share.place).zip(budgets.get(share.place)) else {
                continue;
            };
            let mut grant = new_grant(till, loan, candidate, share, (*budget_id, state))?;
            grant.combination_zh = explain::combination(&decision, share.place);
            purses.spend(&grant);
            if state == State::Reserved {
                till.post(*budget_id, Reason::Reserve, grant.planned, Owner::Grant(grant.grant_id), None)?;
                till.tell(&grant, &GrantReserved { grant: Some(wire::grant(&grant)) })?;
            } else {
                till.tell(&grant, &GrantQueued { grant: Some(wire::grant(&grant)) })?;
            }
            if let Some(coupon) = coupon.filter(|coupon| coupon.policy_id == grant.policy_id) {
                decided.redeemed.push(coupon::redeemed(till, coupon, loan)?);
            }
            decided.grants.push(grant);
        }
    }
    for budget_id in short.iter().filter_map(|place| budgets.get(*place)) {
        till.exhausted(*budget_id);
    }
    Ok(())
}

fn year(loan: &Loan) -> i32 {
    i32::from(loan.approved_on().year())
}

fn new_grant(
    till: &Till<'_>,
    loan: &Loan,
    candidate: &Candidate<'_>,
    share: &Share,
    (budget_id, state): (Uuid, State),
) -> Result<Grant, Error> {
    let (policy, plan) = (candidate.policy, &share.plan);
    let figures = Figures {
        principal: loan.amount,
        disbursed: false,
        lpr: candidate.lpr,
        lpr_year: entitlement::lpr_year(loan),
        fee: loan.guarantee_fee,
    };
    let reserved = if state == State::Reserved { plan.amount } else { Fen::ZERO };
    Ok(Grant {
        grant_id: GrantId::new(till.desk().ids.next()),
        loan_id: loan.loan_id,
        enterprise_id: loan.enterprise_id.clone(),
        policy_id: policy.policy_id,
        policy_version: policy.version,
        policy_name_zh: policy.spec.name_zh.clone(),
        budget_id,
        budget_year: till.budget(budget_id)?.year,
        state,
        planned: plan.amount,
        money: Money { reserved, ..Money::default() },
        cap: share.cap,
        rate: plan.rate,
        taken: share.taken,
        lpr: candidate.lpr,
        principal: plan.principal,
        from: plan.from,
        until: plan.until,
        accrued_until: None,
        disbursed: false,
        short: false,
        calculation_zh: explain::calculation(&policy.spec, plan, figures),
        explained: Some(plan.amount),
        combination_zh: String::new(),
        version: 1,
        approved_at: loan.approved_at,
        created_at: microseconds(till.now()),
    })
}

/// As the database keeps it, so that the event tells the same instant as a list does later.
fn microseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
