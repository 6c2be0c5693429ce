//! What one loan gets, from the approval on.

use jiff::{Timestamp, civil::Date};
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm, Uscc,
    id::{GrantId, LoanId, PolicyId},
};

use crate::{
    entitlement::Candidate,
    plan::{ExactRate, Plan},
};

/// Where a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The money is set aside.
    Reserved,
    /// The loan is paid out and the amount fixed.
    Active,
    /// The budget was short.
    Waiting,
}

impl State {
    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Active => "active",
            Self::Waiting => "waiting",
        }
    }

    /// Reads [`State::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Reserved, Self::Active, Self::Waiting].into_iter().find(|state| state.word() == word)
    }
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The grant.
    pub grant_id: GrantId,
    /// The loan.
    pub loan_id: LoanId,
    /// The borrower.
    pub enterprise_id: Uscc,
    /// The policy.
    pub policy_id: PolicyId,
    /// Its version.
    pub policy_version: i32,
    /// Its Chinese name.
    pub policy_name_zh: String,
    /// The budget.
    pub budget_id: Uuid,
    /// Its year.
    pub budget_year: i32,
    /// Where it stands.
    pub state: State,
    /// Planned for the whole loan; set aside unless it waits.
    pub planned: Fen,
    /// Subsidised rate.
    pub rate: ExactRate,
    /// The one-year LPR it came from.
    pub lpr: Option<Ppm>,
    /// Principal that is subsidised.
    pub principal: Fen,
    /// First day.
    pub from: Date,
    /// Day after the last one.
    pub until: Date,
    /// Whether the figures rest on the real disbursement.
    pub disbursed: bool,
    /// How the amount came about, in Chinese.
    pub calculation_zh: String,
    /// Counts the changes.
    pub version: i64,
    /// When the loan was approved: the place in the queue.
    pub approved_at: Timestamp,
    /// When it was reserved or began to wait.
    pub created_at: Timestamp,
}

/// Of the policies that fit, best first, the one that pays, and whether it can.
///
/// The best one whose budget has the money; if none has, the loan waits for the best one. `has_money` tells for each place.
#[must_use]
pub fn choose<'a, 'p>(
    ranked: &'a [Candidate<'p>],
    has_money: impl Fn(&Candidate<'p>) -> bool,
) -> Option<(&'a Candidate<'p>, State)> {
    let funded = ranked.iter().find(|candidate| has_money(candidate)).map(|candidate| (candidate, State::Reserved));
    funded.or_else(|| ranked.first().map(|candidate| (candidate, State::Waiting)))
}

/// What a disbursement does to the money of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// Nothing.
    None,
    /// So much more is set aside.
    Take(Fen),
    /// So much goes back.
    GiveBack(Fen),
}

impl Grant {
    /// The loan is paid out: the figures are fixed on the real principal and dates. What is too much goes back; what is
    /// missing is taken if `available` has it, else what was set aside is the ceiling (`short`). A waiting grant goes on
    /// waiting, with the new figures.
    ///
    /// # Errors
    /// When the amounts are out of range.
    pub fn disburse(&mut self, plan: &Plan, available: Fen) -> Result<(Movement, bool), zhirong_kernel::money::Error> {
        let (mut movement, mut short, mut planned) = (Movement::None, false, plan.amount);
        if self.state != State::Waiting {
            let more = plan.amount.checked_sub(self.planned)?;
            if more > available {
                (short, planned) = (true, self.planned);
            } else if more.is_positive() {
                movement = Movement::Take(more);
            } else if more != Fen::ZERO {
                movement = Movement::GiveBack(self.planned.checked_sub(plan.amount)?);
            }
            self.state = State::Active;
        }
        self.planned = planned;
        self.principal = plan.principal;
        self.from = plan.from;
        self.until = plan.until;
        self.disbursed = true;
        self.version = self.version.saturating_add(1);
        Ok((movement, short))
    }

    /// The money it waited for is set aside.
    pub fn serve(&mut self) {
        self.state = State::Reserved;
        self.version = self.version.saturating_add(1);
    }

    /// It is served after the loan was paid out: there is nothing more to wait for.
    pub fn activate(&mut self) {
        self.state = State::Active;
        self.version = self.version.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Published, Spec, tests::wish};

    fn plan(amount: i64) -> Plan {
        Plan {
            amount: Fen::new(amount),
            capped: false,
            principal: Fen::new(9),
            rate: ExactRate::new(1),
            from: "2026-03-02".parse().unwrap(),
            until: "2027-03-02".parse().unwrap(),
            days: 365,
        }
    }

    fn grant(state: State) -> Grant {
        Grant {
            grant_id: GrantId::new(Uuid::nil()),
            loan_id: LoanId::new(Uuid::nil()),
            enterprise_id: Uscc::with_check("91331102MA2E0EXAM").unwrap(),
            policy_id: PolicyId::new(Uuid::nil()),
            policy_version: 1,
            policy_name_zh: String::new(),
            budget_id: Uuid::nil(),
            budget_year: 2026,
            state,
            planned: Fen::new(100),
            rate: ExactRate::new(1),
            lpr: None,
            principal: Fen::new(10),
            from: "2026-03-01".parse().unwrap(),
            until: "2027-03-01".parse().unwrap(),
            disbursed: false,
            calculation_zh: String::new(),
            version: 1,
            approved_at: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_best_that_has_money_pays_and_the_best_is_waited_for() {
        let published = Published {
            policy_id: PolicyId::new(Uuid::nil()),
            version: 1,
            spec: Spec::try_from(wish()).unwrap(),
            published_at: Timestamp::UNIX_EPOCH,
        };
        let candidate = |amount| Candidate { policy: &published, lpr: None, plan: plan(amount) };
        let ranked = [candidate(30), candidate(20), candidate(10)];
        let left = |left| move |candidate: &Candidate<'_>| candidate.plan.amount.get() <= left;
        let chosen =
            |left_over| choose(&ranked, left(left_over)).map(|(candidate, state)| (candidate.plan.amount.get(), state));
        assert_eq!(chosen(30), Some((30, State::Reserved)));
        assert_eq!(chosen(20), Some((20, State::Reserved)));
        assert_eq!(chosen(9), Some((30, State::Waiting)));
        assert!(choose(&[], left(9)).is_none());
    }

    #[test]
    fn a_disbursement_moves_the_difference() {
        for (amount, available, movement, short, planned) in [
            (100, 0, Movement::None, false, 100),
            (60, 0, Movement::GiveBack(Fen::new(40)), false, 60),
            (0, 0, Movement::GiveBack(Fen::new(100)), false, 0),
            (103, 3, Movement::Take(Fen::new(3)), false, 103),
            (103, 2, Movement::None, true, 100),
        ] {
            let mut grant = grant(State::Reserved);
            assert_eq!(grant.disburse(&plan(amount), Fen::new(available)), Ok((movement, short)), "{amount}");
            assert_eq!((grant.planned, grant.state, grant.version), (Fen::new(planned), State::Active, 2));
            assert_eq!((grant.principal, grant.disbursed), (Fen::new(9), true));
        }
    }

    #[test]
    fn a_waiting_grant_waits_on_with_new_figures_and_moves_no_money() {
        let mut grant = grant(State::Waiting);
        assert_eq!(grant.disburse(&plan(60), Fen::new(0)), Ok((Movement::None, false)));
        assert_eq!((grant.planned, grant.state, grant.disbursed), (Fen::new(60), State::Waiting, true));
        grant.serve();
        assert_eq!((grant.state, grant.version), (State::Reserved, 3));
        grant.activate();
        assert_eq!((grant.state, grant.version), (State::Active, 4));
    }
}
