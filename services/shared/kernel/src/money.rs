//! Money in fen (1 CNY = 100 fen).

use std::{fmt, iter, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why an amount can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The result does not fit into 64 bits.
    #[error("the amount is beyond {} yuan", Fen::MAX.to_yuan_string())]
    Overflow,
    /// A principal, a rate or a number of days below zero.
    #[error("a principal, a rate and a number of days are never below zero")]
    Negative,
    /// The text is not an amount in yuan.
    #[error("`{0}` is not an amount in yuan with at most two decimals, such as 121000000.00")]
    NotYuan(String),
}

/// An amount of money in fen. May be negative, as a difference or a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fen(i64);

impl Fen {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// This many fen.
    #[must_use]
    pub const fn new(fen: i64) -> Self {
        Self(fen)
    }

    /// The number of fen.
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

    /// This many times the amount.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn checked_mul(self, times: i64) -> Result<Self, Error> {
        self.0.checked_mul(times).map(Self).ok_or(Error::Overflow)
    }

    /// The sum of many.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, Error> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// Whether it is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// In yuan with two decimals: `121000000.00`.
    #[must_use]
    pub fn to_yuan_string(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = self.0.unsigned_abs();
        let (yuan, fen) = (digits.checked_div(100).unwrap_or(0), digits.checked_rem(100).unwrap_or(0));
        format!("{sign}{yuan}.{fen:02}")
    }
}

/// In yuan with two decimals and groups of three: `121,000,000.00`.
impl fmt::Display for Fen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_yuan_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, "00"));
        let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
        out.write_str(sign)?;
        for (place, digit) in digits.chars().enumerate() {
            let left = digits.len().saturating_sub(place);
            if place > 0 && left.is_multiple_of(3) {
                out.write_str(",")?;
            }
            write!(out, "{digit}")?;
        }
        write!(out, ".{decimals}")
    }
}

/// Reads yuan: `4980000`, `4980000.5`, `-0.01`.
impl FromStr for Fen {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::NotYuan(text.chars().take(32).collect());
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let point_without_decimals = digits.contains('.') && decimals.is_empty();
        if whole.is_empty() || !plain(whole) || !plain(decimals) || decimals.len() > 2 || point_without_decimals {
            return Err(wrong());
        }
        let padding: String = iter::repeat_n('0', 2_usize.saturating_sub(decimals.len())).collect();
        format!("{sign}{whole}{decimals}{padding}").parse().map(Self).map_err(|_| Error::Overflow)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_yuan() {
        assert_eq!(Fen::new(12_100_000_000).to_yuan_string(), "121000000.00");
        assert_eq!(Fen::new(12_100_000_000).to_string(), "121,000,000.00");
        assert_eq!(Fen::new(-5).to_string(), "-0.05");
        assert_eq!(Fen::new(99_999).to_string(), "999.99");
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for text in ["", "-", ".5", "1.", "1.234", "1e3", "１", "1,000", "--1", "+1"] {
            assert!(matches!(text.parse::<Fen>(), Err(Error::NotYuan(_))), "{text}");
        }
        assert_eq!("99999999999999999999".parse::<Fen>(), Err(Error::Overflow));
    }

    #[test]
    fn an_overflow_is_an_error() {
        assert_eq!(Fen::MAX.checked_add(Fen::new(1)), Err(Error::Overflow));
        assert_eq!(Fen::sum([Fen::MAX, Fen::MAX]), Err(Error::Overflow));
        assert_eq!(Fen::new(i64::MIN).checked_sub(Fen::new(1)), Err(Error::Overflow));
        assert_eq!(Fen::MAX.checked_mul(2), Err(Error::Overflow));
        assert_eq!(Fen::new(i64::MIN).checked_mul(-1), Err(Error::Overflow));
    }

    #[test]
    fn computes() {
        let parts = [Fen::new(100), Fen::new(-30), Fen::new(5)];
        assert_eq!(Fen::sum(parts), Ok(Fen::new(75)));
        assert_eq!(Fen::new(100).checked_sub(Fen::new(130)), Ok(Fen::new(-30)));
        assert_eq!(Fen::new(-30).checked_mul(3), Ok(Fen::new(-90)));
        assert_eq!(Fen::sum([]), Ok(Fen::ZERO));
    }

    #[test]
    fn travels_as_an_integer() {
        assert_eq!(serde_json::to_string(&Fen::new(-5)).unwrap(), "-5");
        assert_eq!(serde_json::from_str::<Fen>("498").unwrap(), Fen::new(498));
        assert!(serde_json::from_str::<Fen>("4.98").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(fen: i64) {
            prop_assert_eq!(Fen::new(fen).to_yuan_string().parse::<Fen>(), Ok(Fen::new(fen)));
        }
    }
}
