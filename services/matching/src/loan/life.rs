//! What may happen to a loan after it was paid out. The rules take the loan and the day, and give the loan after it.

use jiff::civil::Date;
use zhirong_proto::matching::v1::{Loan, LoanState};

/// Why a loan does not take what is reported of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not paid out yet.
    #[error("the loan has not been paid out")]
    NotDisbursed,
    /// Settled, or in default where only an open loan will do.
    #[error("the loan is closed ({})", .0.as_str_name())]
    Closed(LoanState),
    /// Recoveries come after a default.
    #[error("the loan is not in default")]
    NotDefaulted,
    /// More principal than is owed.
    #[error("{paid} fen of principal are more than the {owed} fen owed")]
    AboveOutstanding {
        /// What was paid.
        paid: i64,
        /// What is owed.
        owed: i64,
    },
    /// Before the last thing that happened to the loan.
    #[error("{day} is before {last}, the day of the loan's last event")]
    OutOfOrder {
        /// The day reported.
        day: Date,
        /// Day of the last event.
        last: Date,
    },
    /// Not yet come.
    #[error("{day} lies in the future; today is {today}")]
    Future {
        /// The day reported.
        day: Date,
        /// Today.
        today: Date,
    },
    /// Rate and maturity are what they were.
    #[error("neither rate nor maturity changes")]
    NothingChanges,
    /// A renewal that would leave principal of the old loan unpaid.
    #[error("{paid} fen do not cover the {owed} fen owed on the loan that is renewed")]
    BelowOutstanding {
        /// What the new loan pays out.
        paid: i64,
        /// What the old one owes.
        owed: i64,
    },
    /// The sum is no amount any more.
    #[error("the sum of the amounts is too large")]
    TooLarge,
}

/// A day on which something happened, with what it must follow.
#[derive(Debug, Clone, Copy)]
pub struct Day {
    /// The day reported.
    pub day: Date,
    /// Day of the loan's last event; none before it was paid out.
    pub last: Option<Date>,
    /// Today.
    pub today: Date,
}

impl Day {
    fn check(self) -> Result<(), Refusal> {
        let Self { day, last, today } = self;
        match last {
            _ if day > today => Err(Refusal::Future { day, today }),
            Some(last) if day < last => Err(Refusal::OutOfOrder { day, last }),
            _ => Ok(()),
        }
    }
}

/// The loan after a payment. Paid in full, it is to be [`settle`]d next.
///
/// # Errors
/// When the loan is not open, or the payment does not fit it.
pub fn repay(loan: &Loan, principal_fen: i64, interest_fen: i64, day: Day) -> Result<Loan, Refusal> {
    open(loan)?;
    day.check()?;
    let owed = loan.outstanding_fen;
    if principal_fen > owed {
        return Err(Refusal::AboveOutstanding { paid: principal_fen, owed });
    }
    let mut after = next(loan);
    after.outstanding_fen = owed.checked_sub(principal_fen).ok_or(Refusal::TooLarge)?;
    after.interest_paid_fen = loan.interest_paid_fen.checked_add(interest_fen).ok_or(Refusal::TooLarge)?;
    Ok(after)
}

/// The loan when nothing is owed any more.
#[must_use]
pub fn settle(loan: &Loan) -> Loan {
    let mut after = next(loan);
    after.outstanding_fen = 0;
    after.set_state(LoanState::Settled);
    after
}

/// The old loan, settled by one that takes its place: first as settled, then as renewed.
///
/// # Errors
/// When the old loan is not open, or the new one does not cover it.
pub fn renew(old: &Loan, new_id: &str, paid_fen: i64, day: Day) -> Result<(Loan, Loan), Refusal> {
    open(old)?;
    day.check()?;
    let owed = old.outstanding_fen;
    if paid_fen < owed {
        return Err(Refusal::BelowOutstanding { paid: paid_fen, owed });
    }
    let settled = Loan { renewed_by_loan_id: new_id.to_owned(), ..settle(old) };
    let renewed = next(&settled);
    Ok((settled, renewed))
}

/// The loan under new terms.
///
/// # Errors
/// When the loan is not open, or nothing changes.
pub fn change(loan: &Loan, rate_ppm: Option<i64>, matures_on: Option<Date>, day: Day) -> Result<Loan, Refusal> {
    open(loan)?;
    day.check()?;
    let mut after = next(loan);
    after.rate_ppm = rate_ppm.unwrap_or(loan.rate_ppm);
    after.matures_on = matures_on.map_or_else(|| loan.matures_on.clone(), |date| date.to_string());
    if after.rate_ppm == loan.rate_ppm && after.matures_on == loan.matures_on {
        return Err(Refusal::NothingChanges);
    }
    Ok(after)
}

/// The loan in default. What is owed stays as it is: it is the principal lost.
///
/// # Errors
/// When the loan is not open.
pub fn default(loan: &Loan, day: Day) -> Result<Loan, Refusal> {
    open(loan)?;
    day.check()?;
    let mut after = next(loan);
    after.set_state(LoanState::Defaulted);
    Ok(after)
}

/// The loan after something came back, with all that came back so far. What is owed stays the principal lost: whether money
/// recovered goes to costs, interest or principal is between the lender and the borrower.
///
/// # Errors
/// When the loan is not in default.
pub fn recover(loan: &Loan, before_fen: i64, recovered_fen: i64, day: Day) -> Result<(Loan, i64), Refusal> {
    if loan.state() != LoanState::Defaulted {
        return Err(Refusal::NotDefaulted);
    }
    day.check()?;
    Ok((next(loan), before_fen.checked_add(recovered_fen).ok_or(Refusal::TooLarge)?))
}

/// Whether the loan may still be paid back.
///
/// # Errors
/// When it was not paid out yet, or is closed.
pub fn open(loan: &Loan) -> Result<(), Refusal> {
    match loan.state() {
        LoanState::Disbursed => Ok(()),
        LoanState::Unspecified | LoanState::Approved => Err(Refusal::NotDisbursed),
        closed => Err(Refusal::Closed(closed)),
    }
}

fn next(loan: &Loan) -> Loan {
    Loan { version: loan.version.saturating_add(1), ..loan.clone() }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn loan(state: LoanState) -> Loan {
        Loan {
            state: state.into(),
            version: 2,
            rate_ppm: 34_500,
            disbursed_fen: 100,
            outstanding_fen: 100,
            matures_on: "2032-03-05".to_owned(),
            ..Loan::default()
        }
    }

    fn on(day: i8) -> Day {
        Day { day: date(2031, 3, day), last: Some(date(2031, 3, 5)), today: date(2031, 3, 20) }
    }

    #[test]
    fn only_an_open_loan_is_paid_back_changed_renewed_or_lost() {
        for (state, refusal) in [
            (LoanState::Approved, Refusal::NotDisbursed),
            (LoanState::Settled, Refusal::Closed(LoanState::Settled)),
            (LoanState::Defaulted, Refusal::Closed(LoanState::Defaulted)),
        ] {
            let loan = loan(state);
            assert_eq!(repay(&loan, 1, 0, on(6)), Err(refusal));
            assert_eq!(change(&loan, Some(1), None, on(6)), Err(refusal));
            assert_eq!(default(&loan, on(6)), Err(refusal));
            assert_eq!(renew(&loan, "new", 100, on(6)), Err(refusal));
        }
        for state in [LoanState::Approved, LoanState::Disbursed, LoanState::Settled] {
            assert_eq!(recover(&loan(state), 0, 1, on(6)), Err(Refusal::NotDefaulted));
        }
    }

    #[test]
    fn days_are_in_order_and_not_in_the_future() {
        let open = loan(LoanState::Disbursed);
        assert!(repay(&open, 1, 0, on(5)).is_ok());
        assert!(repay(&open, 1, 0, on(20)).is_ok());
        let (day, last, today) = (date(2031, 3, 4), date(2031, 3, 5), date(2031, 3, 20));
        assert_eq!(repay(&open, 1, 0, on(4)), Err(Refusal::OutOfOrder { day, last }));
        assert_eq!(default(&open, on(21)), Err(Refusal::Future { day: date(2031, 3, 21), today }));
    }

    #[test]
    fn terms_change_only_to_other_terms() {
        let open = loan(LoanState::Disbursed);
        let after = change(&open, Some(30_000), None, on(6)).unwrap();
        assert_eq!((after.rate_ppm, after.matures_on.as_str(), after.version), (30_000, "2032-03-05", 3));
        let same = date(2032, 3, 5);
        assert_eq!(change(&open, Some(34_500), Some(same), on(6)), Err(Refusal::NothingChanges));
        assert_eq!(change(&open, None, None, on(6)), Err(Refusal::NothingChanges));
    }

    #[test]
    fn a_renewal_covers_what_is_owed_and_settles() {
        let open = loan(LoanState::Disbursed);
        assert_eq!(renew(&open, "new", 99, on(6)), Err(Refusal::BelowOutstanding { paid: 99, owed: 100 }));
        let (settled, renewed) = renew(&open, "new", 100, on(6)).unwrap();
        assert_eq!((settled.state(), settled.outstanding_fen, settled.version), (LoanState::Settled, 0, 3));
        assert_eq!((renewed.renewed_by_loan_id.as_str(), renewed.version), ("new", 4));
    }

    #[test]
    fn a_default_keeps_the_principal_lost_and_recoveries_add_up() {
        let lost = default(&loan(LoanState::Disbursed), on(6)).unwrap();
        assert_eq!((lost.state(), lost.outstanding_fen), (LoanState::Defaulted, 100));
        let (after, recovered) = recover(&lost, 30, 12, on(6)).unwrap();
        assert_eq!((after.version, after.outstanding_fen, recovered), (4, 100, 42));
        assert_eq!(recover(&lost, i64::MAX, 1, on(6)), Err(Refusal::TooLarge));
    }

    proptest! {
        #[test]
        fn payments_never_lose_or_make_money(payments in prop::collection::vec((0_i64..60, 0_i64..60), 1..12)) {
            let mut open = loan(LoanState::Disbursed);
            let (mut principal, mut interest) = (0, 0);
            for (paid, fee) in payments {
                match repay(&open, paid, fee, on(6)) {
                    Ok(after) => {
                        (principal, interest) = (principal + paid, interest + fee);
                        open = after;
                    }
                    Err(refusal) => prop_assert_eq!(refusal, Refusal::AboveOutstanding { paid, owed: 100 - principal }),
                }
                prop_assert_eq!(open.outstanding_fen + principal, 100);
                prop_assert_eq!(open.interest_paid_fen, interest);
            }
        }
    }
}
