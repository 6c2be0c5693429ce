//! What budgets owe beside their balances: who waits, and what each enterprise has of a year's cap.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::Fen;

use super::till::Till;
use crate::{
    entitlement::{Candidate, Loan},
    error::Error,
    grant::{Grant, State},
    store,
};

/// See the module.
pub struct Purses {
    least_waiting: BTreeMap<Uuid, Fen>,
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
        let least_waiting = store::grant::least_waiting(conn, &budgets).await?.into_iter().collect();
        Ok(Self { least_waiting, spent: spent(conn, &budgets, &capped).await?, capped })
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

    /// Who waits already and fits what is left goes first.
    #[must_use]
    pub fn somebody_waits(&self, budget_id: Uuid, available: Fen) -> bool {
        self.least_waiting.get(&budget_id).is_some_and(|least| *least <= available)
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
            let least = self.least_waiting.entry(grant.budget_id).or_insert(Fen::MAX);
            *least = grant.planned.min(*least);
        }
    }
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
