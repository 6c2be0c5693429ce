//! What a loan costs: the first payment and the interest over its term, by the way it is repaid. Months of 30 days on 360.

use zhirong_kernel::{
    interest::{DayCount, interest},
    money::Fen,
    rate::Ppm,
};
use zhirong_proto::catalog::v1::RepaymentMethod;

/// What a loan costs before subsidy and coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Paid after the first month, principal and interest, fen.
    pub first_month_fen: i64,
    /// Interest over the term, fen.
    pub total_interest_fen: i64,
}

/// Millionths a year in a month's rate of one.
const MONTHS_OF_MILLION: i128 = 12_000_000;
/// Fixed-point scale of the growth factor: 15 digits keep an instalment exact to the fen, and leave room in 128 bits for loans
/// up to a trillion CNY.
const SCALE: i128 = 1_000_000_000_000_000;

/// The cost of a loan; nothing when it does not fit into 64 bits or an argument is negative.
#[must_use]
pub fn cost(method: RepaymentMethod, principal_fen: i64, rate_ppm: i64, months: i32) -> Option<Cost> {
    let (principal, rate) = (Fen::new(principal_fen), Ppm::new(rate_ppm));
    let days = i64::from(months).checked_mul(30)?;
    let of_days = |days| interest(principal, rate, days, DayCount::Actual360).ok().map(Fen::get);
    match method {
        RepaymentMethod::InterestFirst => {
            let month = of_days(30)?;
            let first_month_fen = if months == 1 { month.checked_add(principal_fen)? } else { month };
            Some(Cost { first_month_fen, total_interest_fen: of_days(days)? })
        }
        RepaymentMethod::EqualInstalment => equal_instalments(principal_fen, rate_ppm, months),
        RepaymentMethod::Bullet | RepaymentMethod::Unspecified => {
            let total_interest_fen = of_days(days)?;
            let first_month_fen = if months == 1 { total_interest_fen.checked_add(principal_fen)? } else { 0 };
            Some(Cost { first_month_fen, total_interest_fen })
        }
    }
}

/// The instalment is principal × i × (1 + i)ⁿ / ((1 + i)ⁿ − 1), rounded half up; the last payment takes what rounding left.
fn equal_instalments(principal_fen: i64, rate_ppm: i64, months: i32) -> Option<Cost> {
    if principal_fen < 0 || rate_ppm < 0 || months <= 0 {
        return None;
    }
    let (principal, rate) = (i128::from(principal_fen), i128::from(rate_ppm));
    let month_of = |owed: i128| half_up(owed.checked_mul(rate)?, MONTHS_OF_MILLION);
    let mut growth = SCALE;
    for _ in 0..months {
        growth = growth.checked_add(half_up(growth.checked_mul(rate)?, MONTHS_OF_MILLION)?)?;
    }
    let instalment = if rate == 0 {
        half_up(principal, i128::from(months))?
    } else {
        // One division at the end: at low rates the divisor is small and would enlarge an earlier rounding.
        let dividend = principal.checked_mul(rate)?.checked_mul(growth)?;
        half_up(dividend, growth.checked_sub(SCALE)?.checked_mul(MONTHS_OF_MILLION)?)?
    };
    let (mut owed, mut total) = (principal, 0_i128);
    for month in 1..=months {
        let interest = month_of(owed)?;
        total = total.checked_add(interest)?;
        let repaid = if month == months { owed } else { instalment.checked_sub(interest)?.clamp(0, owed) };
        owed = owed.checked_sub(repaid)?;
    }
    let first = if months == 1 { principal.checked_add(total)? } else { instalment };
    Some(Cost { first_month_fen: i64::try_from(first).ok()?, total_interest_fen: i64::try_from(total).ok()? })
}

/// A quotient of numbers that are not negative, rounded half up.
fn half_up(dividend: i128, divisor: i128) -> Option<i128> {
    dividend.checked_mul(2)?.checked_add(divisor)?.checked_div(divisor.checked_mul(2)?)
}

/// The yearly rate that an amount of interest comes to, where a known rate comes to a known amount, ppm, half up.
#[must_use]
pub fn rate_of(net_fen: i64, total_interest_fen: i64, rate_ppm: i64) -> Option<i64> {
    if total_interest_fen <= 0 {
        return Some(rate_ppm);
    }
    let scaled = i128::from(net_fen).checked_mul(i128::from(rate_ppm))?;
    i64::try_from(half_up(scaled, i128::from(total_interest_fen))?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn interest_first_pays_interest_monthly_and_a_bullet_nothing() {
        let found = cost(RepaymentMethod::InterestFirst, 100_000_000, 36_000, 12).unwrap();
        assert_eq!(found, Cost { first_month_fen: 300_000, total_interest_fen: 3_600_000 });
        let found = cost(RepaymentMethod::Bullet, 100_000_000, 36_000, 12).unwrap();
        assert_eq!(found, Cost { first_month_fen: 0, total_interest_fen: 3_600_000 });
    }

    #[test]
    fn equal_instalments_are_the_textbooks() {
        // 100 000.00 at 6 % over 12 months: 8 606.64 a month.
        let found = cost(RepaymentMethod::EqualInstalment, 10_000_000, 60_000, 12).unwrap();
        assert_eq!(found.first_month_fen, 860_664);
        assert!((327_970..=327_974).contains(&found.total_interest_fen), "{found:?}");
    }

    #[test]
    fn a_low_rate_is_as_exact_as_a_high_one() {
        // Found by the property below: 117 628 768.518 fen, which an early rounding had moved.
        let found = cost(RepaymentMethod::EqualInstalment, 704_189_246, 7_705, 6).unwrap();
        assert_eq!(found.first_month_fen, 117_628_769);
    }

    #[test]
    fn a_month_is_paid_at_its_end_whatever_the_way() {
        for method in [RepaymentMethod::InterestFirst, RepaymentMethod::EqualInstalment, RepaymentMethod::Bullet] {
            let found = cost(method, 1_000_000, 36_000, 1).unwrap();
            assert_eq!(found, Cost { first_month_fen: 1_003_000, total_interest_fen: 3_000 }, "{method:?}");
        }
    }

    #[test]
    fn without_interest_only_the_principal_comes_back() {
        let found = cost(RepaymentMethod::EqualInstalment, 1_000, 0, 3).unwrap();
        assert_eq!(found, Cost { first_month_fen: 333, total_interest_fen: 0 });
    }

    #[test]
    fn the_net_rate_is_in_proportion() {
        assert_eq!(rate_of(1_800, 3_600, 36_000), Some(18_000));
        assert_eq!(rate_of(0, 0, 36_000), Some(36_000));
    }

    proptest! {
        /// Beside the closed formula in floating point, which is good to a few fen at these sizes.
        #[test]
        #[expect(clippy::float_arithmetic, clippy::as_conversions, reason = "an independent computation")]
        fn instalments_agree_with_the_closed_formula(
            principal in 100_000_i64..1_000_000_000, rate in 1_000_i64..240_000, months in 2_i32..=60,
        ) {
            let found = cost(RepaymentMethod::EqualInstalment, principal, rate, months).unwrap();
            let i = rate as f64 / 12e6;
            let growth = (1.0 + i).powi(months);
            let instalment = principal as f64 * i * growth / (growth - 1.0);
            prop_assert!((found.first_month_fen as f64 - instalment).abs() <= 0.51);
            let total = instalment * f64::from(months) - principal as f64;
            prop_assert!((found.total_interest_fen as f64 - total).abs() <= f64::from(months));
        }

        #[test]
        fn nothing_panics_at_the_edges(principal: i64, rate: i64, months: i32) {
            let months = months % 400;
            for method in [RepaymentMethod::InterestFirst, RepaymentMethod::EqualInstalment, RepaymentMethod::Bullet] {
                let _ = cost(method, principal, rate, months);
            }
        }
    }
}
