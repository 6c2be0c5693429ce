//! A loan is approved: the best policy that fits and has money gives a grant, without an application.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::{GrantId, Ids, PolicyId};

use crate::{
    budget::Budget,
    entitlement::{self, Candidate, Loan},
    error::Error,
    explain::{self, Figures},
    facts,
    grant::{self, Grant, State},
    store::{self, budget::Cause},
};

/// Applies the approval; one that was applied before changes nothing.
///
/// Of the policies that fit, the one that gives most is taken whose budget for the year has the money; when none has, the
/// grant waits for the one that gives most. Who waits already and fits what is left goes first.
pub async fn approve(conn: &mut PgConnection, ids: &dyn Ids, loan: &Loan, now: Timestamp) -> Result<(), Error> {
    let published = store::policy::ever_published(conn).await?;
    let history = store::lpr::load(conn).await?;
    let ranked = entitlement::candidates(&published, history.as_ref(), loan)?;
    if !store::loan::insert(conn, loan, ranked.len()).await? || ranked.is_empty() {
        return Ok(());
    }
    let mut budgets = lock_budgets(conn, ids, &ranked, loan).await?;
    let mut free = HashMap::new();
    for budget in budgets.values() {
        let waited_for = store::grant::somebody_waits_for(conn, budget.budget_id, budget.available).await?;
        free.insert(budget.policy_id, !waited_for);
    }
    let has_money = |candidate: &Candidate<'_>| {
        let policy = candidate.policy.policy_id;
        let enough = budgets.get(&policy).is_some_and(|budget| budget.can_reserve(candidate.plan.amount));
        enough && free.get(&policy).copied().unwrap_or(false)
    };
    let Some((chosen, state)) = grant::choose(&ranked, has_money) else {
        return Ok(());
    };
    let policy = chosen.policy.policy_id;
    let short: Vec<PolicyId> = match state {
        State::Waiting => vec![policy],
        _ => ranked
            .iter()
            .map(|candidate| candidate.policy.policy_id)
            .take_while(|passed_over| *passed_over != policy)
            .collect(),
    };
    let budget = budgets.get_mut(&policy).ok_or(Error::Stored("budget.policy_id"))?;
    let grant = new_grant(ids, loan, chosen, state, budget, now);
    store::grant::insert(conn, &grant).await?;
    if state == State::Reserved {
        let entry =
            budget.reserve(grant.planned).map_err(|error| Error::Budget { policy, year: budget.year, error })?;
        store::budget::post(conn, budget.budget_id, ids.next(), entry, Cause::Grant(grant.grant_id), now).await?;
        facts::reserved(conn, &grant, now).await?;
    } else {
        facts::queued(conn, &grant, now).await?;
    }
    for budget in short.iter().filter_map(|policy| budgets.get(policy)) {
        facts::exhausted(conn, budget, now).await?;
    }
    Ok(())
}

async fn lock_budgets(
    conn: &mut PgConnection,
    ids: &dyn Ids,
    ranked: &[Candidate<'_>],
    loan: &Loan,
) -> Result<HashMap<PolicyId, Budget>, Error> {
    let policies: Vec<PolicyId> = ranked.iter().map(|candidate| candidate.policy.policy_id).collect();
    let new_ids: Vec<Uuid> = policies.iter().map(|_| ids.next()).collect();
    let year = i32::from(loan.approved_on().year());
    let locked = store::budget::lock_all(conn, &policies, year, &new_ids).await?;
    Ok(locked.into_iter().map(|budget| (budget.policy_id, budget)).collect())
}

fn new_grant(
    ids: &dyn Ids,
    loan: &Loan,
    chosen: &Candidate<'_>,
    state: State,
    budget: &Budget,
    now: Timestamp,
) -> Grant {
    let Candidate { policy, lpr, plan } = chosen;
    let figures =
        Figures { principal: loan.amount, disbursed: false, lpr: *lpr, lpr_year: entitlement::lpr_year(loan) };
    Grant {
        grant_id: GrantId::new(ids.next()),
        loan_id: loan.loan_id,
        enterprise_id: loan.enterprise_id.clone(),
        policy_id: policy.policy_id,
        policy_version: policy.version,
        policy_name_zh: policy.spec.name_zh.clone(),
        budget_id: budget.budget_id,
        budget_year: budget.year,
        state,
        planned: plan.amount,
        rate: plan.rate,
        lpr: *lpr,
        principal: plan.principal,
        from: plan.from,
        until: plan.until,
        disbursed: false,
        calculation_zh: explain::calculation(&policy.spec, plan, figures),
        version: 1,
        approved_at: loan.approved_at,
        created_at: microseconds(now),
    }
}

/// As the database keeps it, so that the event tells the same instant as a list does later.
fn microseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
