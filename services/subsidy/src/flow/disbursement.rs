//! A loan is paid out: its grant is fixed on the real principal and dates, and the difference goes back or is taken.

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use zhirong_kernel::{Fen, clock::business_date, id::Ids, id::LoanId};

use crate::{
    budget::Budget,
    error::Error,
    explain::{self, Figures},
    facts,
    flow::queue,
    grant::{Grant, Movement, State},
    plan::{self, Basis},
    store::{self, budget::Cause},
};

/// A loan that was paid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disbursement {
    /// The loan.
    pub loan_id: LoanId,
    /// What was paid out.
    pub amount: Fen,
    /// Value date.
    pub on: Date,
    /// Version of the loan.
    pub version: i64,
}

/// Applies the disbursement; one that was applied before changes nothing.
pub async fn disburse(
    conn: &mut PgConnection,
    ids: &dyn Ids,
    fact: &Disbursement,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(loan) = store::loan::lock(conn, fact.loan_id).await? else {
        return Err(Error::Early(format!("the approval of loan {} has not arrived", fact.loan_id)));
    };
    if fact.version <= loan.version {
        return Ok(());
    }
    if fact.amount > loan.amount {
        let reason =
            format!("loan {}: {} was paid out, more than the approved {}", fact.loan_id, fact.amount, loan.amount);
        return Err(Error::BrokenFact(reason));
    }
    store::loan::disburse(conn, fact.loan_id, fact.amount, fact.on, fact.version).await?;
    let Some(budget_id) = store::grant::budget_of(conn, fact.loan_id).await? else {
        return Ok(());
    };
    let mut budget = store::budget::lock(conn, budget_id).await?;
    let mut grant = store::grant::lock_of_loan(conn, fact.loan_id).await?;
    let loaded = grant.version;
    let spec = store::policy::version(conn, grant.policy_id, grant.policy_version).await?.spec()?;
    // The rate is pinned at the approval; only principal and dates are new.
    let basis = Basis { principal: fact.amount, from: fact.on, term_months: loan.term_months };
    let plan = plan::plan(&spec, grant.rate, basis)?;
    let (movement, short) = grant.disburse(&plan, budget.available)?;
    let figures = Figures {
        principal: fact.amount,
        disbursed: true,
        lpr: grant.lpr,
        lpr_year: business_date(grant.approved_at).year().saturating_sub(1),
    };
    grant.calculation_zh = explain::calculation(&spec, &plan, figures);
    if short {
        grant.calculation_zh.push_str(&explain::ceiling(grant.planned));
    }
    store::grant::update(conn, &grant, loaded).await?;
    move_money(conn, ids, &mut budget, &grant, movement, now).await?;
    if grant.state == State::Waiting {
        facts::queued(conn, &grant, now).await?;
    } else {
        facts::activated(conn, &grant, now).await?;
    }
    if short {
        facts::exhausted(conn, &budget, now).await?;
    }
    // Money came back, or a waiting grant became small enough.
    if matches!(movement, Movement::GiveBack(_)) || grant.state == State::Waiting {
        queue::serve(conn, ids, &mut budget, now).await?;
    }
    Ok(())
}

async fn move_money(
    conn: &mut PgConnection,
    ids: &dyn Ids,
    budget: &mut Budget,
    grant: &Grant,
    movement: Movement,
    now: Timestamp,
) -> Result<(), Error> {
    let entry = match movement {
        Movement::None => return Ok(()),
        Movement::Take(amount) => budget.reserve(amount),
        Movement::GiveBack(amount) => budget.release(amount),
    };
    let entry = entry.map_err(|error| Error::Budget { policy: budget.policy_id, year: budget.year, error })?;
    store::budget::post(conn, budget.budget_id, ids.next(), entry, Cause::Grant(grant.grant_id), now).await?;
    Ok(())
}
