//! Interest: principal × rate × days / 360 (or 365), exact until it is posted, then rounded once, half up.

use crate::{
    money::{Error, Fen},
    rate::{Ppm, WHOLE},
};

/// Days in the year of account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayCount {
    /// Actual days over 360.
    Actual360,
    /// Actual days over 365.
    Actual365,
}

impl DayCount {
    /// 360 or 365.
    #[must_use]
    pub const fn days(self) -> i64 {
        match self {
            Self::Actual360 => 360,
            Self::Actual365 => 365,
        }
    }
}

/// Interest of one principal at one rate for some days, rounded once half up. Nothing may be negative.
///
/// # Errors
/// [`Error::Negative`], [`Error::Overflow`].
pub fn interest(principal: Fen, rate: Ppm, days: i64, day_count: DayCount) -> Result<Fen, Error> {
    let mut accrual = Accrual::new(day_count);
    accrual.add(principal, rate, days)?;
    accrual.total()
}

/// Adds up interest exactly, in units of fen × ppm × day, over stretches of different principals and rates. What is posted
/// step by step always sums to the exact total rounded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accrual {
    day_count: DayCount,
    exact: i128,
    posted: i64,
}

impl Accrual {
    /// Nothing yet.
    #[must_use]
    pub const fn new(day_count: DayCount) -> Self {
        Self { day_count, exact: 0, posted: 0 }
    }

    /// Adds a stretch.
    ///
    /// # Errors
    /// [`Error::Negative`], [`Error::Overflow`]; nothing is added then.
    pub fn add(&mut self, principal: Fen, rate: Ppm, days: i64) -> Result<(), Error> {
        if principal.get() < 0 || rate.get() < 0 || days < 0 {
            return Err(Error::Negative);
        }
        let product = i128::from(principal.get())
            .checked_mul(i128::from(rate.get()))
            .and_then(|product| product.checked_mul(i128::from(days)))
            .and_then(|product| product.checked_add(self.exact))
            .ok_or(Error::Overflow)?;
        self.exact = product;
        Ok(())
    }

    /// Everything so far, rounded once half up.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn total(&self) -> Result<Fen, Error> {
        let unit = i128::from(WHOLE).saturating_mul(i128::from(self.day_count.days()));
        let rounded = self.exact.checked_add(unit.saturating_div(2)).and_then(|sum| sum.checked_div(unit));
        rounded.and_then(|fen| i64::try_from(fen).ok()).map(Fen::new).ok_or(Error::Overflow)
    }

    /// What is to be posted now, so that all postings together are the total.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn post(&mut self) -> Result<Fen, Error> {
        let total = self.total()?;
        let due = total.checked_sub(Fen::new(self.posted))?;
        self.posted = total.get();
        Ok(due)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_million_for_a_year_of_account_at_half_of_the_lpr() {
        let million = Fen::new(100_000_000);
        assert_eq!(interest(million, Ppm::new(17_250), 360, DayCount::Actual360), Ok(Fen::new(1_725_000)));
        assert_eq!(interest(million, Ppm::new(27_600), 360, DayCount::Actual360), Ok(Fen::new(2_760_000)));
    }

    #[test]
    fn half_a_fen_is_rounded_up() {
        assert_eq!(interest(Fen::new(1), Ppm::new(500_000), 360, DayCount::Actual360), Ok(Fen::new(1)));
        assert_eq!(interest(Fen::new(1), Ppm::new(499_999), 360, DayCount::Actual360), Ok(Fen::ZERO));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert_eq!(interest(Fen::MAX, Ppm::new(i64::MAX), 1_000_000, DayCount::Actual360), Err(Error::Overflow));
        assert_eq!(interest(Fen::new(-1), Ppm::new(1), 1, DayCount::Actual360), Err(Error::Negative));
        let mut accrual = Accrual::new(DayCount::Actual360);
        accrual.add(Fen::new(100_000_000), Ppm::new(36_000), 10).unwrap();
        assert_eq!(accrual.add(Fen::new(1), Ppm::new(1), -1), Err(Error::Negative));
        assert_eq!(accrual.add(Fen::new(1), Ppm::new(-1), 1), Err(Error::Negative));
        assert_eq!(accrual.total(), Ok(Fen::new(100_000)), "nothing was added");
    }

    proptest! {
        #[test]
        fn daily_postings_sum_to_the_total_rounded_once(
            principal in 0_i64..10_000_000_000,
            rate in 0_i64..240_000,
            days in 0_i64..800,
        ) {
            let mut accrual = Accrual::new(DayCount::Actual365);
            let mut posted = 0_i64;
            for _ in 0..days {
                accrual.add(Fen::new(principal), Ppm::new(rate), 1).unwrap();
                posted += accrual.post().unwrap().get();
            }
            let whole = interest(Fen::new(principal), Ppm::new(rate), days, DayCount::Actual365).unwrap();
            prop_assert_eq!(posted, whole.get());
        }

        /// Principals fall with repayments and rates change with the LPR; postings fall on any day.
        #[test]
        fn postings_of_changing_stretches_sum_to_the_total_rounded_once(
            stretches in prop::collection::vec((0_i64..10_000_000_000, 0_i64..240_000, 0_i64..400, any::<bool>()), 1..20),
        ) {
            let mut accrual = Accrual::new(DayCount::Actual360);
            let (mut posted, mut exact) = (0_i64, 0_i128);
            for (principal, rate, days, post) in stretches {
                accrual.add(Fen::new(principal), Ppm::new(rate), days).unwrap();
                exact += i128::from(principal) * i128::from(rate) * i128::from(days);
                if post {
                    let due = accrual.post().unwrap().get();
                    prop_assert!(due >= 0);
                    posted += due;
                }
            }
            posted += accrual.post().unwrap().get();
            let unit = 360_000_000_i128;
            let rounded = exact / unit + i128::from(exact % unit * 2 >= unit);
            prop_assert_eq!(i128::from(posted), rounded);
            prop_assert_eq!(accrual.post(), Ok(Fen::ZERO), "posted twice, due once");
        }

        #[test]
        fn agrees_with_long_division(principal in 0_i64..1_000_000_000_000, rate in 0_i64..240_000, days in 0_i64..4000) {
            // Doubling and comparing instead of adding half: another way to the same rounding.
            let (numerator, unit) = (i128::from(principal) * i128::from(rate) * i128::from(days), 360_000_000_i128);
            let (quotient, remainder) = (numerator / unit, numerator % unit);
            let expected = if remainder * 2 >= unit { quotient + 1 } else { quotient };
            let found = interest(Fen::new(principal), Ppm::new(rate), days, DayCount::Actual360).unwrap();
            prop_assert_eq!(i128::from(found.get()), expected);
        }
    }
}
