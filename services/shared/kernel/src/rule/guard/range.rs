//! The values that a number may take.

/// From `low` to `high`, both included; perhaps without zero. Wider than 64 bits, so that what overflows can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    low: i128,
    high: i128,
    /// Zero is not one of them, although it may lie between the ends.
    not_zero: bool,
}

const LEAST: i128 = -(1 << 63);
const MOST: i128 = (1 << 63) - 1;

impl Range {
    /// Every number there is.
    pub(super) const ANY: Self = Self { low: LEAST, high: MOST, not_zero: false };

    pub(super) fn exactly(number: i64) -> Self {
        Self { low: number.into(), high: number.into(), not_zero: false }
    }

    fn of(ends: [i128; 4]) -> Self {
        let low = ends.into_iter().fold(i128::MAX, i128::min);
        Self { low, high: ends.into_iter().fold(i128::MIN, i128::max), not_zero: false }
    }

    /// Numbers that are at least so much below some number of the other range.
    pub(super) fn below(other: Self, by: i128) -> Self {
        Self { high: other.high.saturating_sub(by), ..Self::ANY }
    }

    /// Numbers that are at least so much above some number of the other range.
    pub(super) fn above(other: Self, by: i128) -> Self {
        Self { low: other.low.saturating_add(by), ..Self::ANY }
    }

    /// Numbers that differ from the other, as far as a range can say it.
    pub(super) fn other_than(other: Self) -> Self {
        Self { not_zero: other.low == 0 && other.high == 0, ..Self::ANY }
    }

    pub(super) fn may_be_zero(self) -> bool {
        self.low <= 0 && self.high >= 0 && !self.not_zero
    }

    /// What lies in both. Where nothing does, the code can't be reached; the first range is kept then.
    pub(super) fn and(self, other: Self) -> Self {
        let both = Self {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
            not_zero: self.not_zero || other.not_zero,
        };
        if both.low <= both.high { both } else { self }
    }

    /// What lies in one of them.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            not_zero: !self.may_be_zero() && !other.may_be_zero(),
        }
    }

    pub(super) fn negated(self) -> Self {
        Self { low: self.high.saturating_neg(), high: self.low.saturating_neg(), not_zero: self.not_zero }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { low: self.low.saturating_add(other.low), high: self.high.saturating_add(other.high), not_zero: false }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    pub(super) fn times(self, other: Self) -> Self {
        let product = Self::of([
            self.low.saturating_mul(other.low),
            self.low.saturating_mul(other.high),
            self.high.saturating_mul(other.low),
            self.high.saturating_mul(other.high),
        ]);
        Self { not_zero: !self.may_be_zero() && !other.may_be_zero(), ..product }
    }

    /// Rounded towards zero. The divisor is not zero.
    pub(super) fn divided_by(self, divisor: Self) -> Self {
        let quotient = |a: i128, b: i128| a.checked_div(b).unwrap_or(a);
        if divisor.low > 0 || divisor.high < 0 {
            return Self::of([
                quotient(self.low, divisor.low),
                quotient(self.low, divisor.high),
                quotient(self.high, divisor.low),
                quotient(self.high, divisor.high),
            ]);
        }
        // From both sides of zero: nothing is further away from it than when it is divided by 1 or -1.
        let furthest = self.low.saturating_abs().max(self.high.saturating_abs());
        Self { low: furthest.saturating_neg(), high: furthest, not_zero: false }
    }

    /// The remainder, which has the sign of the dividend. The divisor is not zero.
    pub(super) fn modulo(self, divisor: Self) -> Self {
        let largest = divisor.low.saturating_abs().max(divisor.high.saturating_abs()).saturating_sub(1);
        Self {
            low: if self.low < 0 { self.low.max(largest.saturating_neg()) } else { 0 },
            high: if self.high > 0 { self.high.min(largest) } else { 0 },
            not_zero: false,
        }
    }

    pub(super) fn min(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.min(other.high), not_zero: self.neither_zero(other) }
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.max(other.high), not_zero: self.neither_zero(other) }
    }

    fn neither_zero(self, other: Self) -> bool {
        !self.may_be_zero() && !other.may_be_zero()
    }

    /// The part of it that is a 64-bit number; none when all of it overflows.
    pub(super) fn within_int64(self) -> Option<Self> {
        let within = Self { low: self.low.max(LEAST), high: self.high.min(MOST), not_zero: self.not_zero };
        (within.low <= within.high).then_some(within)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range() -> impl Strategy<Value = (Range, i64)> {
        let small = -20_i64..20;
        (small.clone(), small.clone(), small, any::<bool>()).prop_filter_map("a number of it", |(a, b, c, not_zero)| {
            let (low, high) = (a.min(b), a.max(b));
            let range = Range { low: low.into(), high: high.into(), not_zero };
            ((low..=high).contains(&c) && !(not_zero && c == 0)).then_some((range, c))
        })
    }

    fn holds(range: Range, number: i64) -> bool {
        range.low <= number.into() && i128::from(number) <= range.high && (number != 0 || range.may_be_zero())
    }

    proptest! {
        #[test]
        fn whatever_comes_out_lies_in_the_range((a, x) in range(), (b, y) in range()) {
            prop_assert!(holds(a.plus(b), x + y));
            prop_assert!(holds(a.minus(b), x - y));
            prop_assert!(holds(a.times(b), x * y));
            prop_assert!(holds(a.min(b), x.min(y)));
            prop_assert!(holds(a.max(b), x.max(y)));
            prop_assert!(holds(a.negated(), -x));
            prop_assert!(holds(a.or(b), x) && holds(a.or(b), y));
            if holds(b, x) {
                prop_assert!(holds(a.and(b), x));
            }
            if !b.may_be_zero() {
                prop_assert!(holds(a.divided_by(b), x / y));
                prop_assert!(holds(a.modulo(b), x % y));
            }
            if x < y {
                prop_assert!(holds(Range::below(b, 1), x) && holds(Range::above(a, 1), y));
            }
            if x != y {
                prop_assert!(holds(Range::other_than(b), x));
            }
        }
    }
}
