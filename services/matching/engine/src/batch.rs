//! Chains for many values at once. That nothing overflows is shown once, from the least and the largest value, so that the loops
//! over the values have no branches.

/// The steps of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Run(pub Vec<Step>);

/// A step, as [`crate::chain::Chain`] has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Add(i64),
    Subtract(i64),
    /// The number less the value.
    From(i64),
    Multiply(i64),
    Divide(Divisor),
    Remainder(Divisor),
    Min(i64),
    Max(i64),
    /// The number whatever the value is.
    Be(i64),
}

impl Run {
    /// Puts what values lead to in their place, given that all of them are within bounds. Says whether it could: if not, some
    /// value within the bounds might lead to none, and the values are spoiled.
    pub fn of_values(&self, mut bounds: (i64, i64), values: &mut [i64]) -> bool {
        let mut steps = self.0.as_slice();
        while !steps.is_empty() {
            // What most formulas have is done in one go.
            let many = match steps {
                [Step::Divide(by), Step::Min(most), ..] if bounds.0 >= 0 => {
                    each(values, |value| by.divide(value).min(*most));
                    2
                }
                [Step::Multiply(by), Step::Min(most), ..] => {
                    each(values, |value| value.wrapping_mul(*by).min(*most));
                    2
                }
                [Step::From(number), Step::Max(least), ..] => {
                    each(values, |value| number.wrapping_sub(value).max(*least));
                    2
                }
                [step, ..] => {
                    step.of_values(bounds.0, values);
                    1
                }
                [] => 0,
            };
            let (done, left) = steps.split_at_checked(many).unwrap_or_default();
            for step in done {
                let Some(next) = step.bounds(bounds) else { return false };
                bounds = next;
            }
            steps = left;
        }
        true
    }
}

impl Step {
    /// Bounds of what it makes of what is within bounds; nothing when that may overflow.
    fn bounds(&self, (least, most): (i64, i64)) -> Option<(i64, i64)> {
        Some(match self {
            Self::Add(number) => (least.checked_add(*number)?, most.checked_add(*number)?),
            Self::Subtract(number) => (least.checked_sub(*number)?, most.checked_sub(*number)?),
            Self::From(number) => (number.checked_sub(most)?, number.checked_sub(least)?),
            Self::Multiply(number) => {
                let (a, b) = (least.checked_mul(*number)?, most.checked_mul(*number)?);
                (a.min(b), a.max(b))
            }
            Self::Divide(by) => (by.of_any(least), by.of_any(most)),
            // The magnitude does not grow.
            Self::Remainder(_) => (least.min(0), most.max(0)),
            Self::Min(number) => (least.min(*number), most.min(*number)),
            Self::Max(number) => (least.max(*number), most.max(*number)),
            Self::Be(number) => (*number, *number),
        })
    }

    fn of_values(&self, least: i64, values: &mut [i64]) {
        match *self {
            Self::Add(number) => each(values, |value| value.wrapping_add(number)),
            Self::Subtract(number) => each(values, |value| value.wrapping_sub(number)),
            Self::From(number) => each(values, |value| number.wrapping_sub(value)),
            Self::Multiply(number) => each(values, |value| value.wrapping_mul(number)),
            Self::Divide(by) if least >= 0 => each(values, |value| by.divide(value)),
            Self::Divide(by) => each(values, |value| by.of_any(value)),
            Self::Remainder(by) => each(values, |value| value % by.number),
            Self::Min(number) => each(values, |value| value.min(number)),
            Self::Max(number) => each(values, |value| value.max(number)),
            Self::Be(number) => values.fill(number),
        }
    }
}

#[inline]
fn each(values: &mut [i64], change: impl Fn(i64) -> i64) {
    for value in values {
        *value = change(*value);
    }
}

/// A positive number to divide by, and what to multiply with instead: a processor takes many times as long to divide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Divisor {
    number: i64,
    factor: u64,
    shift: u32,
}

impl Divisor {
    /// Nothing for a number that is not positive.
    ///
    /// With `2^l >= d`, `m = floor(2^(63 + l) / d) + 1` is below 2^64, and `floor(n * m / 2^(63 + l))` is `floor(n / d)` for every
    /// `0 <= n < 2^63` (Granlund and Montgomery, "Division by Invariant Integers using Multiplication", theorem 4.2).
    pub fn of(number: i64) -> Option<Self> {
        let divisor = u128::try_from(number).ok().filter(|divisor| *divisor > 0)?;
        let shift = divisor.next_power_of_two().trailing_zeros();
        let factor = (1_u128 << shift.checked_add(63)?).checked_div(divisor)?.checked_add(1)?;
        Some(Self { number, factor: u64::try_from(factor).ok()?, shift })
    }

    /// The quotient of a number that is not negative.
    #[inline]
    fn divide(self, value: i64) -> i64 {
        // Twice the number, so that what is left after the multiplication is the upper word.
        let twice = u128::from(value.cast_unsigned() << 1);
        let upper = u64::try_from(twice.wrapping_mul(u128::from(self.factor)) >> 64).unwrap_or(u64::MAX);
        (upper >> self.shift).cast_signed()
    }

    /// The quotient of any number, rounded towards zero.
    #[inline]
    fn of_any(self, value: i64) -> i64 {
        if value >= 0 { self.divide(value) } else { value / self.number }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn multiplying_divides(
            value in prop_oneof![0..=i64::MAX, 0..1_000_i64, i64::MAX - 1_000..=i64::MAX],
            number in prop_oneof![1..=i64::MAX, 1..1_000_i64, i64::MAX - 1_000..=i64::MAX, (0..63_u32).prop_map(|bit| 1 << bit)],
            off in -1..=1_i64,
        ) {
            let by = Divisor::of(number).unwrap();
            // Around multiples, where a factor that is not quite right shows.
            let near = (value / number).saturating_mul(number).saturating_add(off).max(0);
            for value in [value, near] {
                prop_assert_eq!(by.divide(value), value / number);
            }
        }
    }

    #[test]
    fn what_is_not_positive_is_no_divisor() {
        assert!(Divisor::of(0).is_none() && Divisor::of(-1).is_none());
    }
}
