//! Loans are approved: the best legal combination of the policies that fit and have money gives grants, without an application.
//!
//! A batch is written in a few statements, because a popular budget is one row that everybody waits for. While there is money for
//! all, everything but the ledger is written before that row is locked; else the batch is decided under the lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    feature::Features,
    id::{CouponId, GrantId, PolicyId},
};
use zhirong_proto::subsidy::v1::{GrantQueued, GrantReserved};

use super::{Desk, coupon, till::Till};
use crate::{
    budget::Reason,
    combine::{self, Share},
    entitlement::{self, Candidate, Holding, Loan},
    error::Error,
    explain::{self, Figures},
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
/// [`Error::Entitlement`] when reference data is missing for one of them; nothing is written then that stands without the
/// caller's commit.
pub async fn approve_all(
    conn: &mut PgConnection,
    desk: &Desk,
    loans: &[Approved],
    now: Timestamp,
) -> Result<(), Error> {
    let fresh = fresh(conn, loans).await?;
    if fresh.is_empty() {
        return Ok(());
    }
    let published = desk.book.published(conn).await?;
    let history = store::lpr::load(conn).await?;
    let features = features(conn, &published, &fresh).await?;
    let coupons = coupons(conn, &fresh).await?;
    let nothing = Features::new();
    let mut cases = Vec::with_capacity(fresh.len());
    for approved in fresh {
        let loan = &approved.loan;
        let coupon = approved.coupon.and_then(|id| coupons.get(&id)).filter(|coupon| coupon.serves(loan));
        let holding = coupon.map(|coupon| Holding { policy_id: coupon.policy_id, version: coupon.policy_version });
        let known = features.get(loan.enterprise_id.as_str()).unwrap_or(&nothing);
        let candidates = entitlement::candidates(&published, history.as_ref(), loan, known, holding)?;
        cases.push(Case { approved, candidates, coupon });
    }
    let rows: Vec<_> =
        cases.iter().map(|case| Judged { approved: case.approved, fitting: case.candidates.len() }).collect();
    let new: HashSet<Uuid> = store::loan::insert_all(conn, &rows).await?.into_iter().collect();
    cases.retain(|case| new.contains(&case.approved.loan.loan_id.uuid()) && !case.candidates.is_empty());
    if cases.is_empty() {
        return Ok(());
    }
    cases.sort_by_key(|case| (case.approved.loan.approved_at, case.approved.loan.loan_id));
    decide(conn, desk, &cases, now).await
}

/// Those that are not known, each once.
async fn fresh<'a>(conn: &mut PgConnection, loans: &'a [Approved]) -> Result<Vec<&'a Approved>, Error> {
    let ids: Vec<Uuid> = loans.iter().map(|approved| approved.loan.loan_id.uuid()).collect();
    let mut seen: HashSet<Uuid> = store::loan::known(conn, &ids).await?.into_iter().collect();
    Ok(loans.iter().filter(|approved| seen.insert(approved.loan.loan_id.uuid())).collect())
}

/// What is known of the borrowers, when a policy asks.
async fn features(
    conn: &mut PgConnection,
    published: &[Published],
    loans: &[&Approved],
) -> Result<HashMap<String, Features>, Error> {
    if published.iter().all(|policy| policy.spec.who.is_none()) {
        return Ok(HashMap::new());
    }
    let enterprises: Vec<String> = loans.iter().map(|approved| approved.loan.enterprise_id.to_string()).collect();
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

async fn decide(conn: &mut PgConnection, desk: &Desk, cases: &[Case<'_>], now: Timestamp) -> Result<(), Error> {
    let wanted: BTreeSet<(PolicyId, i32)> = cases
        .iter()
        .flat_map(|case| case.candidates.iter().map(|found| (found.policy.policy_id, year(&case.approved.loan))))
        .collect();
    if foreseen(conn, desk, cases, &wanted, now).await? {
        return Ok(());
    }
    let mut till = Till::lock_years(conn, desk, &wanted, now).await?;
    let mut purses = Purses::load(conn, &till, cases).await?;
    let mut grants = Vec::new();
    let mut redeemed = Vec::new();
    for case in cases {
        let from = grants.len();
        serve(&mut till, &mut purses, case, &mut grants)?;
        let used = |coupon: &&Coupon| {
            let mut made = grants.iter().skip(from);
            made.any(|grant: &Grant| grant.policy_id == coupon.policy_id)
        };
        if let Some(coupon) = case.coupon.filter(used) {
            redeemed.push(coupon::redeemed(&mut till, coupon, &case.approved.loan)?);
        }
    }
    store::grant::insert_all(conn, &grants).await?;
    store::coupon::redeem_all(conn, &redeemed).await?;
    till.close(conn).await
}

/// Decides and writes what needs no lock to be decided: there is money for all of it, whoever else takes some, and nobody waits.
/// The budgets are locked last and for a moment, to see that this still holds. False when nothing is written.
async fn foreseen(
    conn: &mut PgConnection,
    desk: &Desk,
    cases: &[Case<'_>],
    wanted: &BTreeSet<(PolicyId, i32)>,
    now: Timestamp,
) -> Result<bool, Error> {
    // a coupon, and what an enterprise has of a year's cap, are only known under the lock
    if cases.iter().any(|case| case.coupon.is_some() || case.is_capped()) {
        return Ok(false);
    }
    let Some(mut till) = Till::foresee(conn, desk, wanted, now).await? else { return Ok(false) };
    let (mut purses, mut grants, mut largest) = (Purses::default(), Vec::new(), BTreeMap::<Uuid, Fen>::new());
    for case in cases {
        for candidate in &case.candidates {
            let largest = largest.entry(till.of(candidate.policy.policy_id, year(&case.approved.loan))?.budget_id);
            let amount = candidate.plan.amount;
            largest.and_modify(|known| *known = amount.max(*known)).or_insert(amount);
        }
        serve(&mut till, &mut purses, case, &mut grants)?;
    }
    // with the largest still there in the end, every candidate had its money at every loan
    let enough = |(budget, largest): (&Uuid, &Fen)| Ok::<_, Error>(till.budget(*budget)?.available >= *largest);
    let enough = largest.iter().map(enough).collect::<Result<Vec<_>, _>>()?.into_iter().all(|enough| enough);
    if !enough || grants.iter().any(|grant| grant.state != State::Reserved) {
        return Ok(false);
    }
    let mut needed = largest;
    for grant in &grants {
        let needed = needed.entry(grant.budget_id).or_insert(Fen::ZERO);
        *needed = needed.checked_add(grant.planned)?;
    }
    let mut attempt = conn.begin().await?;
    store::grant::insert_all(&mut attempt, &grants).await?;
    till.write_facts(&mut attempt).await?;
    if !till.lock_foreseen(&mut attempt, &needed).await? {
        attempt.rollback().await?;
        return Ok(false);
    }
    till.close(&mut attempt).await?;
    attempt.commit().await?;
    Ok(true)
}

/// Decides one loan: what is paid, what waits.
fn serve(till: &mut Till<'_>, purses: &mut Purses, case: &Case<'_>, grants: &mut Vec<Grant>) -> Result<(), Error> {
    let loan = &case.approved.loan;
    let candidates = case.candidates.as_slice();
    let mut budgets = Vec::with_capacity(candidates.len());
    let mut funded = Vec::with_capacity(candidates.len());
    let mut caps = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let budget = till.of(candidate.policy.policy_id, year(loan))?;
        let left = purses.left_of_cap(candidate, budget.budget_id, loan);
        let amount = left.map_or(candidate.plan.amount, |left| left.min(candidate.plan.amount));
        budgets.push(budget.budget_id);
        caps.push(left);
        funded.push(amount <= budget.available && !purses.somebody_waits(budget.budget_id, budget.available));
    }
    let may = |place: usize| funded.get(place).copied().unwrap_or(false);
    let cap = |place: usize| caps.get(place).copied().flatten();
    let paid = combine::best(candidates, loan, may, cap)?;
    let waiting = match paid.is_empty() {
        true => combine::best(candidates, loan, |_| true, cap)?,
        false => combine::beside(candidates, loan, &paid, |place| !may(place), cap)?,
    };
    // Better ones that had no money, and what waits: their budgets could not serve in full.
    let first = paid.iter().map(|share| share.place).min().unwrap_or(usize::MAX);
    let passed_over = (0..candidates.len()).filter(|place| !may(*place) && *place < first);
    let short: BTreeSet<usize> = match paid.is_empty() {
        true => waiting.iter().map(|share| share.place).collect(),
        false => passed_over.chain(waiting.iter().map(|share| share.place)).collect(),
    };
    let names = explain::combination(candidates, &paid, &waiting);
    for (shares, state) in [(&paid, State::Reserved), (&waiting, State::Waiting)] {
        for share in shares {
            let Some((candidate, budget_id)) = candidates.get(share.place).zip(budgets.get(share.place)) else {
                continue;
            };
            let mut grant = new_grant(till, loan, candidate, share, (*budget_id, state))?;
            grant.calculation_zh.push_str(&names);
            purses.spend(&grant);
            if state == State::Reserved {
                till.post(*budget_id, Reason::Reserve, grant.planned, Owner::Grant(grant.grant_id), None)?;
                till.tell(&grant, &GrantReserved { grant: Some(wire::grant(&grant)) })?;
            } else {
                till.tell(&grant, &GrantQueued { grant: Some(wire::grant(&grant)) })?;
            }
            grants.push(grant);
        }
    }
    for budget_id in short.iter().filter_map(|place| budgets.get(*place)) {
        till.exhausted(*budget_id)?;
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
        version: 1,
        approved_at: loan.approved_at,
        created_at: microseconds(till.now()),
    })
}

/// As the database keeps it, so that the event tells the same instant as a list does later.
fn microseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// What the locked budgets owe beside their balances: who waits, and what each enterprise has of a year's cap.
#[derive(Default)]
struct Purses {
    least_waiting: BTreeMap<Uuid, Fen>,
    spent: HashMap<(Uuid, String), Fen>,
}

impl Purses {
    async fn load(conn: &mut PgConnection, till: &Till<'_>, cases: &[Case<'_>]) -> Result<Self, Error> {
        let budgets: Vec<Uuid> = till.budgets().map(|budget| budget.budget_id).collect();
        let least_waiting = store::grant::least_waiting(conn, &budgets).await?.into_iter().collect();
        let capped = cases.iter().filter(|case| case.is_capped());
        let enterprises: Vec<String> = capped.map(|case| case.approved.loan.enterprise_id.to_string()).collect();
        let spent = if enterprises.is_empty() {
            Vec::new()
        } else {
            store::grant::of_enterprises(conn, &budgets, &enterprises).await?
        };
        let spent = spent.into_iter().map(|(budget, of, fen)| ((budget, of), Fen::new(fen))).collect();
        Ok(Self { least_waiting, spent })
    }

    /// Who waits already and fits what is left goes first.
    fn somebody_waits(&self, budget_id: Uuid, available: Fen) -> bool {
        self.least_waiting.get(&budget_id).is_some_and(|least| *least <= available)
    }

    /// What the enterprise may still get of the year's budget; none when there is no such cap.
    fn left_of_cap(&self, candidate: &Candidate<'_>, budget_id: Uuid, loan: &Loan) -> Option<Fen> {
        let cap = candidate.policy.spec.cap_per_enterprise_year?;
        let key = (budget_id, loan.enterprise_id.to_string());
        let spent = self.spent.get(&key).copied().unwrap_or(Fen::ZERO);
        Some(cap.checked_sub(spent).unwrap_or(Fen::ZERO).max(Fen::ZERO))
    }

    fn spend(&mut self, grant: &Grant) {
        let spent = self.spent.entry((grant.budget_id, grant.enterprise_id.to_string())).or_insert(Fen::ZERO);
        *spent = spent.checked_add(grant.planned).unwrap_or(Fen::MAX);
        if grant.state == State::Waiting {
            let least = self.least_waiting.entry(grant.budget_id).or_insert(Fen::MAX);
            *least = grant.planned.min(*least);
        }
    }
}
