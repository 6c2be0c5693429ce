//! A grant: what one loan gets out of one budget, and where its money stands.

use jiff::{Timestamp, civil::Date};
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm, Uscc,
    id::{GrantId, LoanId, PolicyId},
    money,
};

use crate::{budget::Reason, life::Standing, plan::ExactRate};

/// Where a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The money is set aside.
    Reserved,
    /// The loan is paid out.
    Active,
    /// The budget was short.
    Waiting,
    /// The loan has ended.
    Ended,
    /// Taken back.
    Reversed,
}

impl State {
    const ALL: [Self; 5] = [Self::Reserved, Self::Active, Self::Waiting, Self::Ended, Self::Reversed];

    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
            Self::Reversed => "reversed",
        }
    }

    /// Reads [`State::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// Where the money of a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Money {
    /// Still promised.
    pub reserved: Fen,
    /// Earned, the interest not yet paid.
    pub accrued: Fen,
    /// Due.
    pub payable: Fen,
    /// Paid.
    pub paid: Fen,
    /// Claimed back and not yet returned.
    pub clawed_back: Fen,
}

impl Money {
    /// Everything that is set aside or was paid.
    ///
    /// # Errors
    /// When the sum does not fit.
    pub fn held(&self) -> Result<Fen, money::Error> {
        Fen::sum([self.reserved, self.accrued, self.payable, self.paid])
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
    /// Where the money stands; nothing while it waits.
    pub money: Money,
    /// Most that it may get.
    pub cap: Fen,
    /// Subsidised rate.
    pub rate: ExactRate,
    /// What grants before it take of the loan's rate; for a share of the fee, of the fee.
    pub taken: ExactRate,
    /// The LPR it came from, of the tenor that its policy names.
    pub lpr: Option<Ppm>,
    /// Principal that is subsidised.
    pub principal: Fen,
    /// First day.
    pub from: Date,
    /// Day after the last one.
    pub until: Date,
    /// Everything before this day is accrued.
    pub accrued_until: Option<Date>,
    /// Whether the figures rest on the real disbursement.
    pub disbursed: bool,
    /// Whether the budget had less than it needs: what is set aside is the ceiling until money comes.
    pub short: bool,
    /// How the amount came about at the approval, or on what was really paid out, in Chinese.
    pub calculation_zh: String,
    /// The amount there; not known of grants of before it was kept.
    pub explained: Option<Fen>,
    /// Why this combination of the policies that fitted at the approval, in Chinese; empty when only one did.
    pub combination_zh: String,
    /// Counts the changes.
    pub version: i64,
    /// When the loan was approved: the place in the queue.
    pub approved_at: Timestamp,
    /// When it was reserved or began to wait.
    pub created_at: Timestamp,
}

/// What the money of a grant should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// In all.
    pub planned: Fen,
    /// Of it earned.
    pub earned: Fen,
    /// Of it due or paid.
    pub due: Fen,
}

impl Target {
    /// Nothing: the grant is taken back.
    pub const NOTHING: Self = Self { planned: Fen::ZERO, earned: Fen::ZERO, due: Fen::ZERO };
}

impl From<&Standing> for Target {
    fn from(standing: &Standing) -> Self {
        Self { planned: standing.planned, earned: standing.earned, due: standing.due }
    }
}

/// What brings the money of a grant to its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The money afterwards.
    pub money: Money,
    /// The movements, in the order in which no account is ever overdrawn.
    pub moves: Vec<(Reason, Fen)>,
    /// Whether the budget had less than was needed: what was set aside is the ceiling.
    pub short: bool,
}

/// How the money moves to its target. `on_its_way` is in a settlement: it stays due until the bank has answered. `available` is
/// what the budget has left.
///
/// # Errors
/// When a sum does not fit.
pub fn rebalance(money: Money, target: Target, on_its_way: Fen, available: Fen) -> Result<Change, money::Error> {
    let paid = money.paid.min(target.due);
    let claimed = money.paid.checked_sub(paid)?;
    let held = money.held()?.checked_sub(claimed)?;
    let floor = paid.checked_add(on_its_way)?;
    let wanted = target.planned.max(target.earned).max(target.due).max(floor);
    let most = held.checked_add(available)?;
    let whole = wanted.min(most);
    let due = target.due.min(whole).max(floor);
    let earned = target.earned.min(whole).max(due);
    let after = Money {
        reserved: whole.checked_sub(earned)?,
        accrued: earned.checked_sub(due)?,
        payable: due.checked_sub(paid)?,
        paid,
        clawed_back: money.clawed_back.checked_add(claimed)?,
    };
    let due_before = money.payable.checked_add(paid)?;
    let earned_before = due_before.checked_add(money.accrued)?;
    let moves = [
        (Reason::ClawBack, claimed),
        (Reason::Undue, due_before.checked_sub(due)?),
        (Reason::Unaccrue, earned_before.checked_sub(earned)?),
        (Reason::Release, held.checked_sub(whole)?),
        (Reason::Reserve, whole.checked_sub(held)?),
        (Reason::Accrue, earned.checked_sub(earned_before)?),
        (Reason::FallDue, due.checked_sub(due_before)?),
    ];
    let moves = moves.into_iter().filter(|(_, amount)| amount.is_positive()).collect();
    Ok(Change { money: after, moves, short: wanted > most })
}

impl Grant {
    /// What is due of it, paid or not.
    ///
    /// # Errors
    /// When the sum does not fit.
    pub fn due(&self) -> Result<Fen, money::Error> {
        self.money.payable.checked_add(self.money.paid)
    }

    /// Takes over what the loan has come to; the state follows. The money is moved apart from it.
    pub fn follow(&mut self, standing: &Standing, day: Date) {
        self.principal = standing.principal;
        self.rate = standing.rate;
        self.from = standing.from;
        // A loan that ended on its first day leaves one day to name.
        self.until = standing.until.max(standing.from.tomorrow().unwrap_or(standing.from));
        self.disbursed = true;
        self.accrued_until = Some(day);
        if self.state == State::Waiting {
            self.planned = standing.planned;
        }
        self.state = match self.state {
            State::Reversed => State::Reversed,
            State::Waiting if standing.planned.is_positive() => State::Waiting,
            _ if standing.ended => State::Ended,
            _ => State::Active,
        };
    }

    /// Takes over the money after a change.
    ///
    /// # Errors
    /// When the sum does not fit.
    pub fn hold(&mut self, money: Money) -> Result<(), money::Error> {
        self.planned = money.held()?;
        self.money = money;
        Ok(())
    }

    /// Counts a change.
    pub fn changed(&mut self) {
        self.version = self.version.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::Budget;

    fn money(reserved: i64, accrued: i64, payable: i64, paid: i64) -> Money {
        let [reserved, accrued, payable, paid] = [reserved, accrued, payable, paid].map(Fen::new);
        Money { reserved, accrued, payable, paid, clawed_back: Fen::ZERO }
    }

    fn target(planned: i64, earned: i64, due: i64) -> Target {
        let [planned, earned, due] = [planned, earned, due].map(Fen::new);
        Target { planned, earned, due }
    }

    fn moved(from: Money, to: Target, on_its_way: i64, available: i64) -> (Money, Vec<(Reason, i64)>, bool) {
        let change = rebalance(from, to, Fen::new(on_its_way), Fen::new(available)).unwrap();
        (change.money, change.moves.iter().map(|(reason, fen)| (*reason, fen.get())).collect(), change.short)
    }

    #[test]
    fn money_goes_where_the_loan_says() {
        use Reason::{Accrue, ClawBack, FallDue, Release, Reserve, Unaccrue, Undue};
        let accrued = moved(money(100, 0, 0, 0), target(100, 30, 20), 0, 0);
        assert_eq!(accrued, (money(70, 10, 20, 0), vec![(Accrue, 30), (FallDue, 20)], false));
        let repaid = moved(money(70, 10, 20, 0), target(60, 30, 30), 0, 0);
        assert_eq!(repaid, (money(30, 0, 30, 0), vec![(Release, 40), (FallDue, 10)], false));
        let more = moved(money(70, 10, 0, 20), target(110, 30, 20), 0, 10);
        assert_eq!(more, (money(80, 10, 0, 20), vec![(Reserve, 10)], false));
        let short = moved(money(70, 10, 0, 20), target(110, 30, 20), 0, 4);
        assert_eq!(short, (money(74, 10, 0, 20), vec![(Reserve, 4)], true));
        let back = moved(money(70, 10, 5, 20), Target::NOTHING, 5, 0);
        let after = Money { clawed_back: Fen::new(20), ..money(0, 0, 5, 0) };
        assert_eq!(back, (after, vec![(ClawBack, 20), (Unaccrue, 10), (Release, 80)], false));
        let undone = moved(money(70, 10, 20, 0), target(100, 5, 5), 0, 0);
        assert_eq!(undone, (money(95, 0, 5, 0), vec![(Undue, 15), (Unaccrue, 25)], false));
    }

    proptest! {
        /// Whatever the target, the moves lead from the money before to the money after, no account is overdrawn, and nothing
        /// exceeds the budget.
        #[test]
        fn the_moves_are_legal(
            before in [0_i64..500, 0_i64..500, 0_i64..500, 0_i64..500], planned in 0_i64..3000, earned in 0_i64..3000,
            due in 0_i64..3000, left in 0_i64..1000, way in 0_i64..500,
        ) {
            let from = money(before[0], before[1], before[2], before[3]);
            let way = way.min(before[2]);
            let to = target(planned.max(earned).max(due), earned.max(due), due);
            let change = rebalance(from, to, Fen::new(way), Fen::new(left)).unwrap();
            let mut budget = Budget::new(Uuid::nil(), PolicyId::new(Uuid::nil()), 2026);
            (budget.available, budget.reserved, budget.accrued) = (Fen::new(left), from.reserved, from.accrued);
            (budget.payable, budget.paid) = (from.payable, from.paid);
            for (reason, amount) in &change.moves {
                budget.post(*reason, *amount).unwrap();
            }
            let found = Money {
                reserved: budget.reserved, accrued: budget.accrued, payable: budget.payable, paid: budget.paid,
                clawed_back: budget.clawed_back,
            };
            prop_assert_eq!(found, change.money);
            prop_assert!(budget.available >= Fen::ZERO && change.money.payable >= Fen::new(way));
            prop_assert_eq!(change.short, change.money.held().unwrap() < to.planned);
        }
    }
}
