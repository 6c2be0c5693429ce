//! What a score means: good enterprises to one bad one, in whole-number arithmetic, so that it is the same on every machine.

/// Fraction bits.
const BITS: u32 = 40;
const ONE: u128 = 1 << BITS;
/// Beyond 2 to this power nothing is told apart.
const MOST_DOUBLINGS: i64 = 60;

/// Good enterprises to one bad one in thousandths, rounded down: `base_odds` at `base`, doubled every `double` points.
#[must_use]
pub fn milli(points: i32, base: i32, base_odds: i32, double: i32) -> i64 {
    let double = i64::from(double.max(1));
    let above = i64::from(points).saturating_sub(i64::from(base));
    let whole = above.div_euclid(double).clamp(-MOST_DOUBLINGS, MOST_DOUBLINGS);
    let rest = above.rem_euclid(double);
    let at_base = u128::from(base_odds.max(0).unsigned_abs()).saturating_mul(1000);
    let scaled = at_base.saturating_mul(power(rest.unsigned_abs().into(), double.unsigned_abs().into())) >> BITS;
    let doublings = u32::try_from(whole.unsigned_abs()).unwrap_or(0);
    let odds = if whole < 0 { scaled >> doublings } else { scaled.saturating_mul(1 << doublings) };
    i64::try_from(odds).unwrap_or(i64::MAX)
}

/// 2 to the power of `rest / double`, a fraction below one, with [`BITS`] fraction bits: the product of the roots of two that
/// its binary digits name.
fn power(rest: u128, double: u128) -> u128 {
    let (mut rest, mut root, mut product) = (rest, ONE.saturating_mul(2), ONE);
    for _ in 0..BITS {
        root = root.saturating_mul(ONE).isqrt();
        rest = rest.saturating_mul(2);
        if rest >= double {
            rest = rest.saturating_sub(double);
            product = product.saturating_mul(root) >> BITS;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn so_many_points_double_the_odds() {
        assert_eq!(milli(500, 500, 4, 50), 4_000);
        assert_eq!(milli(550, 500, 4, 50), 8_000);
        assert_eq!(milli(450, 500, 4, 50), 2_000);
        assert_eq!(milli(800, 500, 4, 50), 256_000);
        // Between, by the root of two: 4 000 times 1.41421356.
        assert!((5_655..=5_656).contains(&milli(525, 500, 4, 50)));
        assert!((2_827..=2_828).contains(&milli(475, 500, 4, 50)));
        assert_eq!(milli(300, 500, 4, 50), 250);
    }
}
