//! How much a loan gets: principal × rate × days / 360 (or 365), exact, rounded once half up, capped.

use jiff::{Span, civil::Date};
use zhirong_kernel::{Fen, Ppm, money, rate::WHOLE};

use crate::policy::{Benefit, Spec};

/// A yearly rate in parts per 10^12, so that a share (ppm) of a rate (ppm) stays exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExactRate(i64);

impl ExactRate {
    /// A rate in parts per 10^12.
    #[must_use]
    pub const fn new(e12: i64) -> Self {
        Self(e12)
    }

    /// Parts per 10^12.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// For display: rounded half up to ppm.
    #[must_use]
    pub const fn to_ppm(self) -> Ppm {
        Ppm::new(self.0.saturating_add(WHOLE.saturating_div(2)).saturating_div(WHOLE))
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A share of the LPR was asked for without an LPR.
    #[error("the policy pays a share of the LPR, and no LPR was given")]
    LprMissing,
    /// An amount or a rate is beyond what can be computed.
    #[error("an amount or a rate is out of range")]
    OutOfRange,
    /// The dates are.
    #[error("the dates are out of range: {0}")]
    Dates(String),
}

impl From<money::Error> for Error {
    fn from(_: money::Error) -> Self {
        Self::OutOfRange
    }
}

/// What the policy pays at a loan's rate, before other policies and that rate bound it. Zero for what is no rate.
///
/// # Errors
/// [`Error::LprMissing`] when the policy pays a share of the LPR and `lpr` is none; [`Error::OutOfRange`].
pub fn offered_rate(benefit: Benefit, lpr: Option<Ppm>, loan_rate: Ppm) -> Result<ExactRate, Error> {
    let exact = |share: Ppm, of: i64| share.get().checked_mul(of).ok_or(Error::OutOfRange);
    Ok(ExactRate(match benefit {
        Benefit::LprShare { share, .. } => exact(share, lpr.ok_or(Error::LprMissing)?.get())?,
        Benefit::FixedRate(rate) | Benefit::RateCoupon(rate) => exact(rate, WHOLE)?,
        Benefit::InterestShare(share) => exact(share, loan_rate.get())?,
        Benefit::GuaranteeFeeShare(_) | Benefit::RiskCompensation { .. } => 0,
    }))
}

/// The subsidised rate: what is offered, as far as the loan's own rate goes beyond what other policies take of it.
///
/// # Errors
/// [`Error::OutOfRange`].
pub fn bounded_rate(offered: ExactRate, loan_rate: Ppm, taken: ExactRate) -> Result<ExactRate, Error> {
    let whole = loan_rate.get().checked_mul(WHOLE).ok_or(Error::OutOfRange)?;
    Ok(ExactRate(offered.0.min(whole.saturating_sub(taken.0).max(0))))
}

/// The subsidised rate of a policy that is paid alone.
///
/// # Errors
/// As [`offered_rate`].
pub fn subsidised_rate(benefit: Benefit, lpr: Option<Ppm>, loan_rate: Ppm) -> Result<ExactRate, Error> {
    bounded_rate(offered_rate(benefit, lpr, loan_rate)?, loan_rate, ExactRate(0))
}

/// What a share of a fee comes to beside what other policies take of the fee. Rounded so that all of them together are never
/// above the fee, whatever the odd fen.
///
/// # Errors
/// [`Error::OutOfRange`].
pub fn fee_subsidy(share: Ppm, fee: Fen, taken: ExactRate) -> Result<Fen, Error> {
    let before = part_of(fee, taken)?;
    let with = taken.0.checked_add(bounded_share(share, taken)?.0).ok_or(Error::OutOfRange)?;
    Ok(part_of(fee, ExactRate(with))?.checked_sub(before)?)
}

/// A share of a fee, as far as others have not taken it.
///
/// # Errors
/// [`Error::OutOfRange`].
pub fn bounded_share(share: Ppm, taken: ExactRate) -> Result<ExactRate, Error> {
    bounded_rate(ExactRate(share.get().checked_mul(WHOLE).ok_or(Error::OutOfRange)?), Ppm::new(WHOLE), taken)
}

/// A part of an amount, rounded half up.
fn part_of(amount: Fen, part: ExactRate) -> Result<Fen, Error> {
    let unit = i128::from(WHOLE).saturating_mul(i128::from(WHOLE));
    i128::from(amount.get())
        .checked_mul(i128::from(part.0))
        .and_then(|exact| exact.checked_add(unit.saturating_div(2)))
        .and_then(|sum| sum.checked_div(unit))
        .and_then(|fen| i64::try_from(fen).ok())
        .map(Fen::new)
        .ok_or(Error::OutOfRange)
}

/// What the interest is computed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis {
    /// The loan's principal.
    pub principal: Fen,
    /// First day: of the approval, or the value date.
    pub from: Date,
    /// The loan's term, months.
    pub term_months: i32,
    /// The fee for its guarantee.
    pub fee: Fen,
    /// What other policies take of that fee.
    pub fee_taken: ExactRate,
}

/// The planned subsidy of a loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the loan gets.
    pub amount: Fen,
    /// Whether the cap per loan cut it.
    pub capped: bool,
    /// Principal that is subsidised.
    pub principal: Fen,
    /// The rate.
    pub rate: ExactRate,
    /// First day.
    pub from: Date,
    /// Day after the last one.
    pub until: Date,
    /// Days between.
    pub days: i32,
}

/// Plans the subsidy of a loan at a rate from [`bounded_rate`]; `cap` is the most that it may get.
///
/// # Errors
/// [`Error::Dates`], [`Error::OutOfRange`].
pub fn plan(spec: &Spec, rate: ExactRate, cap: Fen, basis: Basis) -> Result<Plan, Error> {
    let months = basis.term_months.min(spec.max_months);
    let dates = |error: jiff::Error| Error::Dates(error.to_string());
    // A month later is the same day of that month, or its last one.
    let until = Span::new().try_months(months).and_then(|span| basis.from.checked_add(span)).map_err(dates)?;
    let days = basis.from.until(until).map_err(dates)?.get_days();
    let principal = basis.principal.min(spec.principal_cap);
    let full = match spec.benefit {
        Benefit::GuaranteeFeeShare(share) => fee_subsidy(share, basis.fee, basis.fee_taken)?,
        _ => exact_interest(principal, rate, days, spec.day_count.days())?,
    };
    Ok(Plan { amount: full.min(cap), capped: full > cap, principal, rate, from: basis.from, until, days })
}

/// The one rounding of the whole computation.
fn exact_interest(principal: Fen, rate: ExactRate, days: i32, year: i64) -> Result<Fen, Error> {
    if principal.get() < 0 || rate.get() < 0 || days < 0 {
        return Err(Error::OutOfRange);
    }
    let unit = i128::from(year).saturating_mul(i128::from(WHOLE)).saturating_mul(i128::from(WHOLE));
    i128::from(principal.get())
        .checked_mul(i128::from(rate.get()))
        .and_then(|product| product.checked_mul(i128::from(days)))
        .and_then(|exact| exact.checked_add(unit.saturating_div(2)))
        .and_then(|sum| sum.checked_div(unit))
        .and_then(|fen| i64::try_from(fen).ok())
        .map(Fen::new)
        .ok_or(Error::OutOfRange)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use zhirong_kernel::interest::{DayCount, interest};

    use super::*;
    use crate::policy::tests::wish;

    fn spec(benefit: Benefit, max_months: i32, cap: i64) -> Spec {
        let mut wish = wish();
        wish.benefit = Some(benefit);
        wish.max_months = max_months;
        wish.cap_per_loan = Fen::new(cap);
        Spec::try_from(wish).unwrap()
    }

    fn share(ppm: i64) -> Benefit {
        crate::policy::tests::lpr_share(ppm)
    }

    fn lpr() -> Option<Ppm> {
        Some(Ppm::new(34_500))
    }

    #[test]
    fn a_million_at_50_and_80_percent_of_the_lpr_of_3_45_percent() {
        let million = Fen::new(100_000_000);
        for (ppm, fen) in [(500_000, 1_725_000), (800_000, 2_760_000)] {
            let rate = subsidised_rate(share(ppm), lpr(), Ppm::new(50_000)).unwrap();
            assert_eq!(exact_interest(million, rate, 360, 360), Ok(Fen::new(fen)));
        }
    }

    #[test]
    fn the_loans_own_rate_is_the_ceiling() {
        let at = |loan_rate| subsidised_rate(share(800_000), lpr(), Ppm::new(loan_rate)).unwrap().to_ppm();
        assert_eq!(at(27_601), Ppm::new(27_600));
        assert_eq!(at(27_600), Ppm::new(27_600));
        assert_eq!(at(20_000), Ppm::new(20_000));
        let fixed = subsidised_rate(Benefit::FixedRate(Ppm::new(10_000)), None, Ppm::new(9_000)).unwrap();
        assert_eq!(fixed.to_ppm(), Ppm::new(9_000));
        assert_eq!(subsidised_rate(share(500_000), None, Ppm::new(1)), Err(Error::LprMissing));
    }

    #[test]
    fn a_share_that_is_no_whole_ppm_stays_exact() {
        // 55.5555 % of 3.33 % is 18 499.9815 ppm: shown as 18 500, computed exactly.
        let rate = subsidised_rate(share(555_555), Some(Ppm::new(33_300)), Ppm::new(99_999)).unwrap();
        assert_eq!(rate.to_ppm(), Ppm::new(18_500));
        let (principal, days) = (Fen::new(1_000_000_000_000), 360);
        assert_eq!(exact_interest(principal, rate, days, 360), Ok(Fen::new(18_499_981_500)));
        let rounded_first = interest(principal, rate.to_ppm(), i64::from(days), DayCount::Actual360).unwrap();
        assert_eq!(rounded_first, Fen::new(18_500_000_000));
    }

    #[test]
    fn the_time_ends_with_the_term_or_with_the_policys_months() {
        let basis = |from, term_months| Basis {
            principal: Fen::new(100_000_000),
            from,
            term_months,
            fee: Fen::ZERO,
            fee_taken: ExactRate(0),
        };
        let plan = |max_months, basis| {
            plan(&spec(share(500_000), max_months, 20_000_000), ExactRate(15_000_000_000), Fen::new(20_000_000), basis)
                .unwrap()
        };
        let short = plan(12, basis(date(2026, 1, 31), 1));
        assert_eq!((short.until, short.days), (date(2026, 2, 28), 28));
        let long = plan(12, basis(date(2026, 3, 1), 36));
        assert_eq!((long.until, long.days), (date(2027, 3, 1), 365));
        // 1 000 000 CNY × 1.5 % × 365 / 360 = 15 208.333…
        assert_eq!((long.amount, long.capped), (Fen::new(1_520_833), false));
    }

    #[test]
    fn principal_and_amount_are_capped() {
        let basis = Basis {
            principal: Fen::new(2_000_000_000),
            from: date(2026, 3, 1),
            term_months: 12,
            fee: Fen::ZERO,
            fee_taken: ExactRate(0),
        };
        let capped =
            plan(&spec(share(500_000), 12, 5_000_000), ExactRate(15_000_000_000), Fen::new(5_000_000), basis).unwrap();
        assert_eq!(
            (capped.principal, capped.amount, capped.capped),
            (Fen::new(1_000_000_000), Fen::new(5_000_000), true)
        );
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let huge = Basis {
            principal: Fen::MAX,
            from: date(9999, 6, 1),
            term_months: 12,
            fee: Fen::ZERO,
            fee_taken: ExactRate(0),
        };
        assert!(matches!(plan(&spec(share(500_000), 12, 1), ExactRate(1), Fen::new(1), huge), Err(Error::Dates(_))));
        assert_eq!(exact_interest(Fen::MAX, ExactRate(i64::MAX), i32::MAX, 360), Err(Error::OutOfRange));
        assert_eq!(exact_interest(Fen::new(-1), ExactRate(1), 1, 360), Err(Error::OutOfRange));
    }

    proptest! {
        #[test]
        fn agrees_with_the_kernel_where_the_rate_is_a_whole_ppm(
            principal in 0_i64..1_000_000_000_000, ppm in 0_i64..240_000, days in 0_i32..4000,
        ) {
            let found = exact_interest(Fen::new(principal), ExactRate(ppm * 1_000_000), days, 365);
            let expected = interest(Fen::new(principal), Ppm::new(ppm), i64::from(days), DayCount::Actual365).unwrap();
            prop_assert_eq!(found, Ok(expected));
        }

        #[test]
        fn never_more_than_the_interest_of_the_loan(
            principal in 1_i64..10_000_000_000, loan_rate in 0_i64..240_000, ppm in 500_000_i64..=800_000, term in 1_i32..60,
        ) {
            let rate = subsidised_rate(share(ppm), lpr(), Ppm::new(loan_rate)).unwrap();
            let basis = Basis { principal: Fen::new(principal), from: date(2026, 2, 28), term_months: term, fee: Fen::ZERO, fee_taken: ExactRate(0) };
            let plan = plan(&spec(share(ppm), 24, 20_000_000), rate, Fen::new(20_000_000), basis).unwrap();
            let whole = interest(Fen::new(principal), Ppm::new(loan_rate), i64::from(plan.days), DayCount::Actual360).unwrap();
            prop_assert!(plan.amount <= whole && plan.amount <= Fen::new(20_000_000));
        }

        #[test]
        fn less_principal_never_gives_more(principal in 1_i64..10_000_000_000, less in 0_i64..10_000_000_000) {
            let at = |fen| exact_interest(Fen::new(fen), ExactRate(18_499_981_500), 365, 360).unwrap();
            prop_assert!(at(principal.min(less)) <= at(principal));
        }
    }
}
