//! The money of a policy for one year: every movement keeps reserved + accrued + paid + available = appropriated and nothing
//! below zero, and is a ledger entry whose postings sum to zero. The database enforces the same once more.

use uuid::Uuid;
use zhirong_kernel::{Fen, id::PolicyId};

/// A budget with its balances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The budget.
    pub budget_id: Uuid,
    /// The policy.
    pub policy_id: PolicyId,
    /// The year.
    pub year: i32,
    /// Given by the treasury.
    pub appropriated: Fen,
    /// Not yet promised.
    pub available: Fen,
    /// Promised.
    pub reserved: Fen,
    /// Earned, not paid.
    pub accrued: Fen,
    /// Paid.
    pub paid: Fen,
}

/// An account of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The treasury's side.
    Appropriation,
    /// Not yet promised.
    Available,
    /// Promised.
    Reserved,
}

impl Account {
    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Appropriation => "appropriation",
            Self::Available => "available",
            Self::Reserved => "reserved",
        }
    }
}

/// Why money moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The treasury gives.
    Appropriate,
    /// Promised to a grant.
    Reserve,
    /// Given back by a grant.
    Release,
}

impl Reason {
    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Appropriate => "appropriate",
            Self::Reserve => "reserve",
            Self::Release => "release",
        }
    }
}

/// One ledger transaction: an amount that goes from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Why.
    pub reason: Reason,
    /// The account that loses.
    pub from: Account,
    /// The account that gains.
    pub to: Account,
    /// How much; positive.
    pub amount: Fen,
}

/// Why money can't move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than is left.
    #[error("{requested} is asked for and {available} is left")]
    Exhausted {
        /// Asked for.
        requested: Fen,
        /// Left.
        available: Fen,
    },
    /// More is given back than was promised.
    #[error("{0} is given back, more than is promised")]
    NotReserved(Fen),
    /// Not positive.
    #[error("an amount must be positive")]
    NotPositive,
    /// The sum does not fit.
    #[error(transparent)]
    Money(#[from] zhirong_kernel::money::Error),
}

impl Budget {
    /// An empty budget.
    #[must_use]
    pub const fn new(budget_id: Uuid, policy_id: PolicyId, year: i32) -> Self {
        let nothing = Fen::ZERO;
        Self {
            budget_id,
            policy_id,
            year,
            appropriated: nothing,
            available: nothing,
            reserved: nothing,
            accrued: nothing,
            paid: nothing,
        }
    }

    /// Whether this much is left.
    #[must_use]
    pub fn can_reserve(&self, amount: Fen) -> bool {
        amount <= self.available
    }

    /// The treasury gives.
    ///
    /// # Errors
    /// [`Error::NotPositive`]; [`Error::Money`] when the sum does not fit.
    pub fn appropriate(&mut self, amount: Fen) -> Result<Entry, Error> {
        positive(amount)?;
        self.appropriated = self.appropriated.checked_add(amount)?;
        self.available = self.available.checked_add(amount)?;
        Ok(Entry { reason: Reason::Appropriate, from: Account::Appropriation, to: Account::Available, amount })
    }

    /// Promises money.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when less is left; [`Error::NotPositive`].
    pub fn reserve(&mut self, amount: Fen) -> Result<Entry, Error> {
        positive(amount)?;
        if !self.can_reserve(amount) {
            return Err(Error::Exhausted { requested: amount, available: self.available });
        }
        self.available = self.available.checked_sub(amount)?;
        self.reserved = self.reserved.checked_add(amount)?;
        Ok(Entry { reason: Reason::Reserve, from: Account::Available, to: Account::Reserved, amount })
    }

    /// Takes a promise back.
    ///
    /// # Errors
    /// [`Error::NotReserved`] when less was promised; [`Error::NotPositive`].
    pub fn release(&mut self, amount: Fen) -> Result<Entry, Error> {
        positive(amount)?;
        if amount > self.reserved {
            return Err(Error::NotReserved(amount));
        }
        self.reserved = self.reserved.checked_sub(amount)?;
        self.available = self.available.checked_add(amount)?;
        Ok(Entry { reason: Reason::Release, from: Account::Reserved, to: Account::Available, amount })
    }
}

fn positive(amount: Fen) -> Result<(), Error> {
    if amount.is_positive() { Ok(()) } else { Err(Error::NotPositive) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget() -> Budget {
        Budget::new(Uuid::nil(), PolicyId::new(Uuid::nil()), 2026)
    }

    #[test]
    fn no_more_is_promised_than_is_left() {
        let mut budget = budget();
        budget.appropriate(Fen::new(100)).unwrap();
        assert!(budget.reserve(Fen::new(60)).is_ok());
        let short = Error::Exhausted { requested: Fen::new(41), available: Fen::new(40) };
        assert_eq!(budget.reserve(Fen::new(41)), Err(short));
        assert!(budget.reserve(Fen::new(40)).is_ok());
        assert_eq!(budget.release(Fen::new(101)), Err(Error::NotReserved(Fen::new(101))));
        assert_eq!((budget.available, budget.reserved), (Fen::ZERO, Fen::new(100)));
    }

    #[test]
    fn nothing_moves_by_zero_or_less() {
        let mut budget = budget();
        for amount in [Fen::ZERO, Fen::new(-1)] {
            assert_eq!(budget.appropriate(amount), Err(Error::NotPositive));
            assert_eq!(budget.reserve(amount), Err(Error::NotPositive));
            assert_eq!(budget.release(amount), Err(Error::NotPositive));
        }
        budget.appropriate(Fen::MAX).unwrap();
        assert!(matches!(budget.appropriate(Fen::new(1)), Err(Error::Money(_))));
    }

    proptest! {
        #[test]
        fn money_is_neither_made_nor_lost(moves in prop::collection::vec((0_u8..3, 1_i64..1000), 0..200)) {
            let mut budget = budget();
            let mut given = 0;
            for (kind, amount) in moves {
                let before = budget.clone();
                let done = match kind {
                    0 => budget.appropriate(Fen::new(amount)).inspect(|_| given += amount),
                    1 => budget.reserve(Fen::new(amount)),
                    _ => budget.release(Fen::new(amount)),
                };
                if done.is_err() {
                    prop_assert_eq!(&before, &budget);
                }
                prop_assert_eq!(budget.available.get() + budget.reserved.get(), given);
                prop_assert_eq!(budget.appropriated.get(), given);
                prop_assert!(budget.available >= Fen::ZERO && budget.reserved >= Fen::ZERO);
            }
        }
    }
}
