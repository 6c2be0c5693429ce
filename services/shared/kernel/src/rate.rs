//! Yearly rates and shares in parts per million (3.45 % = 34 500 ppm).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::money::{Error, Fen};

/// The whole, in ppm.
pub const WHOLE: i64 = 1_000_000;

/// A rate a year or a share, in parts per million.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
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

    /// This share of an amount, rounded half away from zero.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn share_of(self, amount: Fen) -> Result<Fen, Error> {
        let product = i128::from(amount.get())
            .checked_mul(i128::from(self.0))
            .ok_or(Error::Overflow)?;
        let half = i128::from(WHOLE)
            .saturating_div(2)
            .saturating_mul(product.signum());
        let share = product
            .checked_add(half)
            .and_then(|sum| sum.checked_div(i128::from(WHOLE)))
            .ok_or(Error::Overflow)?;
        i64::try_from(share)
            .map(Fen::new)
            .map_err(|_| Error::Overflow)
    }
}

/// In percent: `3.45%`.
impl fmt::Display for Ppm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = self.0.unsigned_abs();
        let (whole, rest) = (
            digits.checked_div(10_000).unwrap_or(0),
            digits.checked_rem(10_000).unwrap_or(0),
        );
        let decimals = format!("{rest:04}");
        let shown = decimals.trim_end_matches('0');
        let shown = if shown.len() < 2 {
            decimals.get(..2).unwrap_or(shown)
        } else {
            shown
        };
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
    use super::*;

    #[test]
    fn a_share_is_rounded_half_up() {
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
}
