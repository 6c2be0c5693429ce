//! What another card would change: both cards over every profile, put side by side.

use std::collections::BTreeMap;

use zhirong_proto::profile::v1::{Distribution, GradeMove, ScoreMove, ScorecardTrial};

use super::{Score, Scorecard, check::GRADES};

/// Largest changes told at most.
const MOVES: usize = 20;

/// Collects both scores of every profile.
#[derive(Debug, Default)]
pub struct Trial {
    profiles: i64,
    lose: i64,
    gain: i64,
    grades: BTreeMap<(usize, usize), i64>,
    both: Vec<(String, i32, i32)>,
}

impl Trial {
    /// One enterprise's score by the card in force and by the one that is tried.
    pub fn add(&mut self, enterprise_id: &str, before: Option<&Score>, after: Option<&Score>) {
        self.profiles = self.profiles.saturating_add(1);
        match (before, after) {
            (Some(before), Some(after)) => self.both.push((enterprise_id.to_owned(), before.points, after.points)),
            (Some(_), None) => self.lose = self.lose.saturating_add(1),
            (None, Some(_)) => self.gain = self.gain.saturating_add(1),
            (None, None) => {}
        }
        let count = self.grades.entry((rank(before), rank(after))).or_default();
        *count = count.saturating_add(1);
    }

    /// How many profiles it has seen.
    #[must_use]
    pub fn profiles(&self) -> i64 {
        self.profiles
    }

    /// What came out.
    #[must_use]
    pub fn finish(mut self, tried: &Scorecard, in_force: &Scorecard) -> ScorecardTrial {
        let grade = |rank: usize| GRADES.get(rank).copied().unwrap_or_default().to_owned();
        let before = distribution(self.both.iter().map(|(_, before, _)| *before).collect());
        let after = distribution(self.both.iter().map(|(_, _, after)| *after).collect());
        let gained = |before: i32, after: i32| after.saturating_sub(before);
        let change = distribution(self.both.iter().map(|(_, before, after)| gained(*before, *after)).collect());
        let scored_by_both = i64::try_from(self.both.len()).unwrap_or(i64::MAX);
        self.both.sort_by_cached_key(|(id, before, after)| {
            (std::cmp::Reverse(gained(*before, *after).unsigned_abs()), id.clone())
        });
        ScorecardTrial {
            version: tried.card().version,
            compared_with: in_force.card().version,
            profiles: self.profiles,
            scored_by_both,
            lose_score: self.lose,
            gain_score: self.gain,
            grade_moves: self
                .grades
                .into_iter()
                .map(|((from, to), enterprises)| GradeMove { from: grade(from), to: grade(to), enterprises })
                .collect(),
            before: Some(before),
            after: Some(after),
            change: Some(change),
            largest_moves: self
                .both
                .into_iter()
                .filter(|(_, before, after)| before != after)
                .take(MOVES)
                .map(|(enterprise_id, before, after)| ScoreMove { enterprise_id, before, after })
                .collect(),
        }
    }
}

/// Place of a grade, best first; no grade is last.
fn rank(score: Option<&Score>) -> usize {
    score.and_then(|score| GRADES.iter().position(|grade| *grade == score.grade)).unwrap_or(GRADES.len())
}

fn distribution(mut numbers: Vec<i32>) -> Distribution {
    numbers.sort_unstable();
    let (Some(least), Some(most)) = (numbers.first().copied(), numbers.last().copied()) else {
        return Distribution::default();
    };
    let count = numbers.len();
    // Nearest rank: the smallest number that so many of a hundred do not exceed.
    let percentile = |share: usize| {
        let rank = count.saturating_mul(share).div_ceil(100).max(1);
        numbers.get(rank.saturating_sub(1)).copied().unwrap_or(most)
    };
    Distribution {
        mean_milli: mean_milli(&numbers),
        least,
        p5: percentile(5),
        p25: percentile(25),
        p50: percentile(50),
        p75: percentile(75),
        p95: percentile(95),
        most,
    }
}

fn mean_milli(numbers: &[i32]) -> i64 {
    let count = i64::try_from(numbers.len()).unwrap_or(i64::MAX).max(1);
    let sum = numbers.iter().fold(0_i64, |sum, number| sum.saturating_add(i64::from(*number))).saturating_mul(1000);
    let half = if sum < 0 { (count / 2).saturating_neg() } else { count / 2 };
    sum.saturating_add(half) / count
}

#[cfg(test)]
mod tests {
    use super::distribution;

    #[test]
    fn numbers_are_spread_by_nearest_rank() {
        let spread = distribution((1..=100).rev().collect());
        assert_eq!((spread.least, spread.p5, spread.p25, spread.p50, spread.p75, spread.p95), (1, 5, 25, 50, 75, 95));
        assert_eq!((spread.most, spread.mean_milli), (100, 50_500));
        assert_eq!(distribution(vec![-1, -1, 0]).mean_milli, -667);
        assert_eq!(distribution(Vec::new()).most, 0);
    }
}
