//! Yearly rates and shares in parts per million (3.45 % = 34 500 ppm).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::money::{Error, Fen};

/// The whole, in ppm.
pub const WHOLE: i64 = 1_000_000;

/// A rate a year or a share, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ppm(i64);

impl Ppm {
    /// This many parts per million.
    #[must_use]
    pub const fn new(ppm: i64) -> Self {
        Self(ppm)
    }

    /// The number of parts per million.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, Error> {
        self.0.checked_add(other.0).map(Self).ok_or(Error::Overflow)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn checked_sub(self, other: Self) -> Result<Self, Error> {
        self.0.checked_sub(other.0).map(Self).ok_or(Error::Overflow)
    }

    /// This share of an amount, rounded half away from zero.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn share_of(self, amount: Fen) -> Result<Fen, Error> {
        let product = i128::from(amount.get()).checked_mul(i128::from(self.0)).ok_or(Error::Overflow)?;
        let half = i128::from(WHOLE).saturating_div(2).saturating_mul(product.signum());
        let share =
            product.checked_add(half).and_then(|sum| sum.checked_div(i128::from(WHOLE))).ok_or(Error::Overflow)?;
        i64::try_from(share).map(Fen::new).map_err(|_| Error::Overflow)
    }
}

/// In percent: `3.45%`.
impl fmt::Display for Ppm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = self.0.unsigned_abs();
        let (whole, rest) = (digits.checked_div(10_000).unwrap_or(0), digits.checked_rem(10_000).unwrap_or(0));
        let decimals = format!("{rest:04}");
        let shown = decimals.trim_end_matches('0');
        let shown = if shown.len() < 2 { decimals.get(..2).unwrap_or(shown) } else { shown };
        write!(out, "{sign}{whole}.{shown}%")
    }
}

/// Reads a plain number of parts per million.
impl FromStr for Ppm {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_rounded_half_away_from_zero() {
        assert_eq!(Ppm::new(500_000).share_of(Fen::new(-3)), Ok(Fen::new(-2)));
        assert_eq!(Ppm::new(499_999).share_of(Fen::new(1)), Ok(Fen::ZERO));
        assert_eq!(Ppm::new(WHOLE).share_of(Fen::MAX), Ok(Fen::MAX));
        assert_eq!(Ppm::new(500_000).share_of(Fen::new(3)), Ok(Fen::new(2)));
        assert_eq!(Ppm::new(333_333).share_of(Fen::new(100)), Ok(Fen::new(33)));
        assert_eq!(Ppm::new(2_000_000).share_of(Fen::MAX), Err(Error::Overflow));
    }

    #[test]
    fn prints_percent() {
        assert_eq!(Ppm::new(34_500).to_string(), "3.45%");
        assert_eq!(Ppm::new(30_000).to_string(), "3.00%");
        assert_eq!(Ppm::new(20_701).to_string(), "2.0701%");
        assert_eq!(Ppm::new(-5_000).to_string(), "-0.50%");
    }

    #[test]
    fn adds_and_reads() {
        let spread = Ppm::new(34_500).checked_sub(Ppm::new(40_000));
        assert_eq!(spread, Ok(Ppm::new(-5_500)));
        assert_eq!(Ppm::new(1).checked_add(Ppm::new(i64::MAX)), Err(Error::Overflow));
        assert_eq!("34500".parse(), Ok(Ppm::new(34_500)));
        assert!("3.45".parse::<Ppm>().is_err());
        assert_eq!(serde_json::to_string(&Ppm::new(34_500)).unwrap(), "34500");
    }

    proptest! {
        /// The rounded share is nearer than any other number of fen; a share and its rest differ from the whole by one at most.
        #[test]
        fn a_share_is_the_nearest_number_of_fen(fen in -1_000_000_000_000_i64..1_000_000_000_000, ppm in 0..=WHOLE) {
            let share = Ppm::new(ppm).share_of(Fen::new(fen)).unwrap().get();
            let twice_error = 2 * (i128::from(share) * i128::from(WHOLE) - i128::from(fen) * i128::from(ppm));
            prop_assert!(twice_error.abs() <= i128::from(WHOLE), "{share}");
            let rest = Ppm::new(WHOLE - ppm).share_of(Fen::new(fen)).unwrap().get();
            prop_assert!((share + rest - fen).abs() <= 1);
        }
    }
}
