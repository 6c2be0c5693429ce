//! The money of a policy for one year: every movement keeps available + reserved + accrued + payable + paid + clawed back =
//! appropriated and nothing below zero, and is a ledger entry whose postings sum to zero. The database enforces the same once more.

use uuid::Uuid;
use zhirong_kernel::{Fen, Ppm, id::PolicyId};

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
    /// Earned, the interest not yet paid.
    pub accrued: Fen,
    /// Due.
    pub payable: Fen,
    /// Paid.
    pub paid: Fen,
    /// Claimed back and not yet returned.
    pub clawed_back: Fen,
    /// Below this share of the year's money it is low.
    pub low_at: Ppm,
    /// Whether it was told that little is left.
    pub low_told: bool,
    /// Whether it was last told that there is money.
    pub funded_told: bool,
    /// Whether what is available is kept for who waits.
    pub kept: bool,
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
    /// Earned, the interest not yet paid.
    Accrued,
    /// Due.
    Payable,
    /// Paid.
    Paid,
    /// Claimed back and not yet returned.
    ClawedBack,
}

impl Account {
    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Appropriation => "appropriation",
            Self::Available => "available",
            Self::Reserved => "reserved",
            Self::Accrued => "accrued",
            Self::Payable => "payable",
            Self::Paid => "paid",
            Self::ClawedBack => "clawed_back",
        }
    }
}

/// Why money moves; each from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The treasury gives.
    Appropriate,
    /// Promised.
    Reserve,
    /// The promise is taken back.
    Release,
    /// Days have passed.
    Accrue,
    /// They did not count.
    Unaccrue,
    /// Interest was paid.
    FallDue,
    /// It was not.
    Undue,
    /// The bank has paid.
    Pay,
    /// It is claimed back.
    ClawBack,
    /// It came back.
    Return,
}

impl Reason {
    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Appropriate => "appropriate",
            Self::Reserve => "reserve",
            Self::Release => "release",
            Self::Accrue => "accrue",
            Self::Unaccrue => "unaccrue",
            Self::FallDue => "fall_due",
            Self::Undue => "undue",
            Self::Pay => "pay",
            Self::ClawBack => "claw_back",
            Self::Return => "return",
        }
    }

    /// The account that loses and the one that gains.
    #[must_use]
    pub const fn accounts(self) -> (Account, Account) {
        match self {
            Self::Appropriate => (Account::Appropriation, Account::Available),
            Self::Reserve => (Account::Available, Account::Reserved),
            Self::Release => (Account::Reserved, Account::Available),
            Self::Accrue => (Account::Reserved, Account::Accrued),
            Self::Unaccrue => (Account::Accrued, Account::Reserved),
            Self::FallDue => (Account::Accrued, Account::Payable),
            Self::Undue => (Account::Payable, Account::Accrued),
            Self::Pay => (Account::Payable, Account::Paid),
            Self::ClawBack => (Account::Paid, Account::ClawedBack),
            Self::Return => (Account::ClawedBack, Account::Available),
        }
    }
}

/// One ledger transaction: an amount that goes from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Why.
    pub reason: Reason,
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
    /// More is taken from an account than it holds.
    #[error("{1} is taken from `{0}`, more than it holds")]
    Overdrawn(&'static str, Fen),
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
            payable: nothing,
            paid: nothing,
            clawed_back: nothing,
            low_at: Ppm::new(100_000),
            low_told: false,
            funded_told: false,
            kept: false,
        }
    }

    /// Moves money.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when less is available; [`Error::Overdrawn`] for other accounts; [`Error::NotPositive`];
    /// [`Error::Money`] when a sum does not fit. Nothing has moved then.
    pub fn post(&mut self, reason: Reason, amount: Fen) -> Result<Entry, Error> {
        if !amount.is_positive() {
            return Err(Error::NotPositive);
        }
        let (from, to) = reason.accounts();
        let mut after = self.clone();
        if let Some(balance) = after.balance(from) {
            if amount > *balance {
                return Err(match from {
                    Account::Available => Error::Exhausted { requested: amount, available: *balance },
                    other => Error::Overdrawn(other.word(), amount),
                });
            }
            *balance = balance.checked_sub(amount)?;
        } else {
            after.appropriated = after.appropriated.checked_add(amount)?;
        }
        if let Some(balance) = after.balance(to) {
            *balance = balance.checked_add(amount)?;
        }
        *self = after;
        Ok(Entry { reason, amount })
    }

    /// None for the treasury's side.
    const fn balance(&mut self, account: Account) -> Option<&mut Fen> {
        match account {
            Account::Appropriation => None,
            Account::Available => Some(&mut self.available),
            Account::Reserved => Some(&mut self.reserved),
            Account::Accrued => Some(&mut self.accrued),
            Account::Payable => Some(&mut self.payable),
            Account::Paid => Some(&mut self.paid),
            Account::ClawedBack => Some(&mut self.clawed_back),
        }
    }

    /// Whether less than the policy's share of the year's money is left.
    ///
    /// # Errors
    /// When the share can't be computed.
    pub fn is_low(&self) -> Result<bool, Error> {
        Ok(self.available < self.low_at.share_of(self.appropriated)?)
    }
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
        budget.post(Reason::Appropriate, Fen::new(100)).unwrap();
        assert!(budget.post(Reason::Reserve, Fen::new(60)).is_ok());
        let short = Error::Exhausted { requested: Fen::new(41), available: Fen::new(40) };
        assert_eq!(budget.post(Reason::Reserve, Fen::new(41)), Err(short));
        assert!(budget.post(Reason::Reserve, Fen::new(40)).is_ok());
        let overdrawn = Error::Overdrawn("reserved", Fen::new(101));
        assert_eq!(budget.post(Reason::Release, Fen::new(101)), Err(overdrawn));
        assert_eq!((budget.available, budget.reserved), (Fen::ZERO, Fen::new(100)));
    }

    #[test]
    fn nothing_moves_by_zero_or_less() {
        let mut budget = budget();
        for amount in [Fen::ZERO, Fen::new(-1)] {
            for reason in [Reason::Appropriate, Reason::Reserve, Reason::Release, Reason::Pay] {
                assert_eq!(budget.post(reason, amount), Err(Error::NotPositive));
            }
        }
        budget.post(Reason::Appropriate, Fen::MAX).unwrap();
        assert!(matches!(budget.post(Reason::Appropriate, Fen::new(1)), Err(Error::Money(_))));
    }

    #[test]
    fn it_is_low_below_its_threshold() {
        let mut budget = budget();
        budget.post(Reason::Appropriate, Fen::new(100)).unwrap();
        budget.post(Reason::Reserve, Fen::new(90)).unwrap();
        assert_eq!(budget.is_low(), Ok(false));
        budget.post(Reason::Reserve, Fen::new(1)).unwrap();
        assert_eq!(budget.is_low(), Ok(true));
    }

    const ALL: [Reason; 10] = [
        Reason::Appropriate,
        Reason::Reserve,
        Reason::Release,
        Reason::Accrue,
        Reason::Unaccrue,
        Reason::FallDue,
        Reason::Undue,
        Reason::Pay,
        Reason::ClawBack,
        Reason::Return,
    ];

    proptest! {
        #[test]
        fn money_is_neither_made_nor_lost(moves in prop::collection::vec((0_usize..10, 1_i64..1000), 0..300)) {
            let mut budget = budget();
            let mut given = 0;
            for (kind, amount) in moves {
                let before = budget.clone();
                match budget.post(ALL[kind], Fen::new(amount)) {
                    Ok(_) if kind == 0 => given += amount,
                    Ok(_) => {}
                    Err(_) => prop_assert_eq!(&before, &budget),
                }
                let held = [budget.available, budget.reserved, budget.accrued, budget.payable, budget.paid, budget.clawed_back];
                prop_assert_eq!(held.iter().map(|fen| fen.get()).sum::<i64>(), given);
                prop_assert_eq!(budget.appropriated.get(), given);
                prop_assert!(held.iter().all(|fen| *fen >= Fen::ZERO));
            }
        }
    }
}
