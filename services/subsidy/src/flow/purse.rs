//! What budgets owe beside their balances: who stands in line, and what each enterprise has of a year's cap.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{Fen, id::LoanId};

use super::till::Till;
use crate::{
    entitlement::{Candidate, Loan},
    error::Error,
    grant::{Grant, State},
    store::{self, queue::Place},
};

/// See the module.
pub struct Purses {
    heads: BTreeMap<Uuid, Place>,
    spent: HashMap<(Uuid, String), Fen>,
    capped: Vec<String>,
}

impl Purses {
    /// Of the budgets of a till; what was spent is read of the enterprises with a cap alone.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn load(conn: &mut PgConnection, till: &Till<'_>, capped: Vec<String>) -> Result<Self, Error> {
        let budgets: Vec<Uuid> = till.budgets().map(|budget| budget.budget_id).collect();
        let spent = spent(conn, &budgets, &capped).await?;
        let mut purses = Self { heads: BTreeMap::new(), spent, capped };
        for (budget, place) in store::queue::heads(conn, &budgets).await? {
            purses.join(budget, place);
        }
        Ok(purses)
    }

    /// Whether, with the budgets locked and the grants written, each enterprise with a cap has what was reckoned with and no
    /// more.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn hold(&self, conn: &mut PgConnection, till: &Till<'_>) -> Result<bool, Error> {
        let budgets: Vec<Uuid> = till.budgets().map(|budget| budget.budget_id).collect();
        let now = spent(conn, &budgets, &self.capped).await?;
        Ok(now.iter().all(|(of, has)| self.spent.get(of) == Some(has)))
    }

    /// Whether somebody stands before a loan in the line of a budget: then it gets nothing there, however much is left. The line
    /// is in order of approval, whenever the news came. An approval that comes late, of before all who wait, stands before them,
    /// is first, and takes what is there if it fits: to serve it after them would let the delay of a message decide.
    #[must_use]
    pub fn somebody_is_before(&self, budget_id: Uuid, loan: &Loan) -> bool {
        self.heads.get(&budget_id).is_some_and(|head| *head < place(loan.approved_at, loan.loan_id))
    }

    fn join(&mut self, budget_id: Uuid, place: Place) {
        self.heads.entry(budget_id).and_modify(|head| *head = place.min(*head)).or_insert(place);
    }

    /// What the enterprise may still get of the year's budget; none when there is no such cap.
    #[must_use]
    pub fn left_of_cap(&self, candidate: &Candidate<'_>, budget_id: Uuid, loan: &Loan) -> Option<Fen> {
        let cap = candidate.policy.spec.cap_per_enterprise_year?;
        let key = (budget_id, loan.enterprise_id.to_string());
        let spent = self.spent.get(&key).copied().unwrap_or(Fen::ZERO);
        Some(cap.checked_sub(spent).unwrap_or(Fen::ZERO).max(Fen::ZERO))
    }

    /// Reckons with a grant that was decided on.
    pub fn spend(&mut self, grant: &Grant) {
        let spent = self.spent.entry((grant.budget_id, grant.enterprise_id.to_string())).or_insert(Fen::ZERO);
        *spent = spent.checked_add(grant.planned).unwrap_or(Fen::MAX);
        if grant.state == State::Waiting {
            self.join(grant.budget_id, place(grant.approved_at, grant.loan_id));
        }
    }
}

/// The place of a loan in a line.
#[must_use]
pub fn place(approved_at: Timestamp, loan: LoanId) -> Place {
    (approved_at.as_microsecond(), loan.uuid())
}

async fn spent(
    conn: &mut PgConnection,
    budgets: &[Uuid],
    enterprises: &[String],
) -> Result<HashMap<(Uuid, String), Fen>, Error> {
    if enterprises.is_empty() {
        return Ok(HashMap::new());
    }
    let spent = store::grant::of_enterprises(conn, budgets, enterprises).await?;
    Ok(spent.into_iter().map(|(budget, of, fen)| ((budget, of), Fen::new(fen))).collect())
}
