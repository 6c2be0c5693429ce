//! The five-level rating (好差评) and what all ratings say of a product.

use zhirong_kernel::rate::Ppm;

/// One of the five levels, 1 (very dissatisfied) to 5 (very satisfied).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(i16);

impl Level {
    /// The level with a number from 1 to 5.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        i16::try_from(number).ok().filter(|level| (1..=5).contains(level)).map(Self)
    }

    /// 1 to 5.
    #[must_use]
    pub fn number(self) -> i16 {
        self.0
    }
}

/// All ratings of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Sum of the levels.
    pub level_sum: i64,
    /// Number of ratings.
    pub rating_count: i64,
}

impl Score {
    /// The score with one rating more.
    #[must_use]
    pub fn with(self, level: Level) -> Self {
        Self {
            level_sum: self.level_sum.saturating_add(i64::from(level.number())),
            rating_count: self.rating_count.saturating_add(1),
        }
    }

    /// Mean level in ppm, 1 000 000 to 5 000 000, rounded half up; `None` without ratings.
    #[must_use]
    pub fn mean(self) -> Option<Ppm> {
        let (sum, count) = (i128::from(self.level_sum), i128::from(self.rating_count));
        let doubled = sum.checked_mul(2_000_000)?.checked_add(count)?;
        let mean = doubled.checked_div(count.checked_mul(2)?)?;
        i64::try_from(mean).ok().map(Ppm::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_five_levels() {
        assert!(Level::from_number(0).is_none());
        assert!(Level::from_number(6).is_none());
        assert_eq!((1..=5).filter_map(Level::from_number).count(), 5);
    }

    #[test]
    fn the_mean_is_rounded_half_up() {
        assert_eq!(Score::default().mean(), None);
        let score = [5, 5, 4].into_iter().filter_map(Level::from_number).fold(Score::default(), Score::with);
        assert_eq!(score.mean(), Some(Ppm::new(4_666_667)));
    }
}
