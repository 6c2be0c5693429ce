//! What a loan must be like.

pub mod life;
pub mod security;

use jiff::{ToSpan as _, civil::Date};
use zhirong_proto::matching::v1::{Loan, LoanState};

/// Why a disbursement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was paid out before.
    #[error("the loan has been paid out on {0}")]
    AlreadyDisbursed(String),
    /// More than was approved.
    #[error("{asked} fen are more than the approved {approved} fen")]
    AboveApproved {
        /// What was paid out.
        asked: i64,
        /// What was approved.
        approved: i64,
    },
    /// Before the day of approval, or not yet come.
    #[error("the value date {date} must lie from {approved_on} to {today}")]
    Date {
        /// The value date.
        date: Date,
        /// Day of approval.
        approved_on: Date,
        /// Today.
        today: Date,
    },
    /// The maturity lies beyond the end of time.
    #[error("the maturity can't be computed")]
    Maturity,
}

/// The loan after it was paid out.
///
/// # Errors
/// When it may not be paid out like this.
pub fn disburse(loan: &Loan, amount_fen: i64, date: Date, approved_on: Date, today: Date) -> Result<Loan, Refusal> {
    if loan.state() != LoanState::Approved {
        return Err(Refusal::AlreadyDisbursed(loan.disbursed_on.clone()));
    }
    if amount_fen > loan.amount_fen {
        return Err(Refusal::AboveApproved { asked: amount_fen, approved: loan.amount_fen });
    }
    if date < approved_on || date > today {
        return Err(Refusal::Date { date, approved_on, today });
    }
    let matures_on = date.checked_add(loan.term_months.months()).map_err(|_| Refusal::Maturity)?;
    let mut disbursed = loan.clone();
    disbursed.set_state(LoanState::Disbursed);
    disbursed.version = loan.version.saturating_add(1);
    disbursed.disbursed_fen = amount_fen;
    disbursed.outstanding_fen = amount_fen;
    disbursed.disbursed_on = date.to_string();
    disbursed.matures_on = matures_on.to_string();
    Ok(disbursed)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn loan() -> Loan {
        let mut loan = Loan { amount_fen: 100, term_months: 12, version: 1, ..Loan::default() };
        loan.set_state(LoanState::Approved);
        loan
    }

    #[test]
    fn a_loan_is_paid_out_once_within_its_bounds() {
        let (approved, today) = (date(2026, 1, 30), date(2026, 2, 2));
        let paid = disburse(&loan(), 80, date(2026, 1, 31), approved, today).unwrap();
        assert_eq!((paid.disbursed_fen, paid.version, paid.matures_on.as_str()), (80, 2, "2027-01-31"));
        assert_eq!(paid.outstanding_fen, 80);
        assert_eq!(
            disburse(&paid, 80, today, approved, today),
            Err(Refusal::AlreadyDisbursed("2026-01-31".to_owned()))
        );
        assert!(matches!(disburse(&loan(), 101, today, approved, today), Err(Refusal::AboveApproved { .. })));
        assert!(matches!(disburse(&loan(), 80, date(2026, 1, 29), approved, today), Err(Refusal::Date { .. })));
        assert!(matches!(disburse(&loan(), 80, date(2026, 2, 3), approved, today), Err(Refusal::Date { .. })));
    }
}
