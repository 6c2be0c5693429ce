//! The scorecard: points for what is known of an enterprise, a grade, and the reasons that cost most.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;
use zhirong_kernel::feature::{FeatureDictionary, FeatureType, FeatureValue, Features};

/// Fewest and most points.
const LEAST: i32 = 300;
const MOST: i32 = 900;
/// Reasons told at most.
const REASONS: usize = 4;

/// Why a scorecard can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not in the form of a scorecard.
    #[error("the scorecard can't be read: {0}")]
    Form(#[from] serde_norway::Error),
    /// A characteristic does not fit its feature.
    #[error("characteristic `{feature}`: {why}")]
    Characteristic {
        /// The feature.
        feature: String,
        /// What is wrong.
        why: String,
    },
}

/// A scorecard of one version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorecard {
    version: i32,
    base: i32,
    minimum_known: usize,
    grades: Vec<Grade>,
    characteristics: Vec<Characteristic>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grade {
    from: i32,
    grade: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Characteristic {
    feature: String,
    reason_zh: String,
    #[serde(default)]
    bands: Vec<Band>,
    #[serde(default)]
    flag: Option<Flag>,
    #[serde(default)]
    values: BTreeMap<String, i32>,
    #[serde(default)]
    otherwise: i32,
}

/// Points below a bound; the last band has none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Band {
    below: Option<i64>,
    points: i32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flag {
    yes: i32,
    no: i32,
}

/// What the scorecard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// 300 to 900.
    pub points: i32,
    /// AAA to D.
    pub grade: String,
    /// The scorecard's version.
    pub scorecard_version: i32,
    /// What cost most, most costly first.
    pub reasons: Vec<Reason>,
}

/// Why points were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The feature.
    pub feature: String,
    /// A Chinese sentence.
    pub text_zh: String,
    /// Points short of the best.
    pub points_lost: i32,
}

static FIRST: LazyLock<Result<Scorecard, Error>> =
    LazyLock::new(|| Scorecard::parse(include_str!("../data/scorecard.yaml")));

impl Scorecard {
    /// The scorecard compiled into this version.
    ///
    /// # Errors
    /// Only when it is broken, which a test excludes.
    pub fn standard() -> Result<&'static Self, &'static Error> {
        FIRST.as_ref()
    }

    /// Reads a scorecard.
    ///
    /// # Errors
    /// When it has not the form, bands overlap, or a characteristic does not fit its feature.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let card: Self = serde_norway::from_str(text)?;
        for characteristic in &card.characteristics {
            characteristic
                .check()
                .map_err(|why| Error::Characteristic { feature: characteristic.feature.clone(), why })?;
        }
        Ok(card)
    }

    /// Scores what is known; nothing when too little is.
    #[must_use]
    pub fn score(&self, features: &Features) -> Option<Score> {
        let known: Vec<(&Characteristic, i32)> = self
            .characteristics
            .iter()
            .filter_map(|characteristic| {
                Some((characteristic, characteristic.points(features.get(&characteristic.feature)?)?))
            })
            .collect();
        if known.len() < self.minimum_known {
            return None;
        }
        let sum = known.iter().fold(self.base, |sum, (_, points)| sum.saturating_add(*points));
        let points = sum.clamp(LEAST, MOST);
        let mut reasons: Vec<Reason> = known
            .iter()
            .map(|(characteristic, points)| Reason {
                feature: characteristic.feature.clone(),
                text_zh: characteristic.reason_zh.clone(),
                points_lost: characteristic.best().saturating_sub(*points),
            })
            .filter(|reason| reason.points_lost > 0)
            .collect();
        reasons.sort_by(|a, b| b.points_lost.cmp(&a.points_lost).then_with(|| a.feature.cmp(&b.feature)));
        reasons.truncate(REASONS);
        let grade = self
            .grades
            .iter()
            .find(|grade| points >= grade.from)
            .map_or_else(|| "D".to_owned(), |grade| grade.grade.clone());
        Some(Score { points, grade, scorecard_version: self.version, reasons })
    }
}

impl Characteristic {
    fn points(&self, value: &FeatureValue) -> Option<i32> {
        match value {
            FeatureValue::Int(number) => {
                self.bands.iter().find(|band| band.below.is_none_or(|below| *number < below)).map(|band| band.points)
            }
            FeatureValue::Bool(true) => self.flag.as_ref().map(|flag| flag.yes),
            FeatureValue::Bool(false) => self.flag.as_ref().map(|flag| flag.no),
            FeatureValue::Text(text) => Some(self.values.get(text).copied().unwrap_or(self.otherwise)),
        }
    }

    fn best(&self) -> i32 {
        let bands = self.bands.iter().map(|band| band.points);
        let flags = self.flag.iter().flat_map(|flag| [flag.yes, flag.no]);
        bands.chain(flags).chain(self.values.values().copied()).max().unwrap_or(0)
    }

    fn check(&self) -> Result<(), String> {
        let feature = FeatureDictionary::standard().get(&self.feature).ok_or("there is no such feature")?;
        match feature.kind {
            FeatureType::Int => {
                let bounds: Vec<Option<i64>> = self.bands.iter().map(|band| band.below).collect();
                let last_open = bounds.last().is_some_and(Option::is_none);
                let rising = bounds.iter().zip(bounds.iter().skip(1)).all(|(low, high)| match (low, high) {
                    (Some(low), Some(high)) => low < high,
                    (Some(_), None) => true,
                    (None, _) => false,
                });
                if last_open && rising {
                    Ok(())
                } else {
                    Err("bands must rise, and the last one must be open".to_owned())
                }
            }
            FeatureType::Bool if self.flag.is_none() => Err("a flag needs points for yes and no".to_owned()),
            FeatureType::Text if self.values.is_empty() => Err("a text needs points for its values".to_owned()),
            FeatureType::Bool | FeatureType::Text => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn solid() -> Features {
        Features::from([
            ("age_days".to_owned(), FeatureValue::Int(4000)),
            ("annual_revenue_fen".to_owned(), FeatureValue::Int(9_000_000_000)),
            ("net_profit_fen".to_owned(), FeatureValue::Int(500_000_000)),
            ("overdue_count_24m".to_owned(), FeatureValue::Int(0)),
            ("penalty_count_36m".to_owned(), FeatureValue::Int(0)),
            ("tax_credit_grade".to_owned(), FeatureValue::Text("A".to_owned())),
            ("is_dishonest".to_owned(), FeatureValue::Bool(false)),
        ])
    }

    #[test]
    fn the_compiled_in_scorecard_is_sound() {
        assert!(Scorecard::standard().is_ok());
    }

    #[test]
    fn too_little_known_gives_no_score() {
        let card = Scorecard::standard().unwrap();
        assert_eq!(card.score(&Features::new()), None);
        let mut few = solid();
        few.remove("age_days");
        few.remove("is_dishonest");
        assert_eq!(card.score(&few), None);
    }

    #[test]
    fn a_default_costs_points_and_is_named_first() {
        let card = Scorecard::standard().unwrap();
        let good = card.score(&solid()).unwrap();
        let mut features = solid();
        features.insert("is_dishonest".to_owned(), FeatureValue::Bool(true));
        features.insert("overdue_count_24m".to_owned(), FeatureValue::Int(2));
        let bad = card.score(&features).unwrap();
        assert_eq!(good.points - bad.points, 210 + 45);
        let reasons: Vec<&str> = bad.reasons.iter().map(|reason| reason.feature.as_str()).collect();
        assert_eq!(reasons, ["is_dishonest", "overdue_count_24m"]);
        assert!(good.reasons.is_empty(), "{good:?}");
    }

    #[test]
    fn overlapping_bands_are_refused() {
        let text = include_str!("../data/scorecard.yaml").replace("below: 1095", "below: 365");
        assert!(matches!(Scorecard::parse(&text), Err(Error::Characteristic { .. })));
    }

    proptest! {
        #[test]
        fn more_overdue_never_scores_better(a in 0_i64..50, b in 0_i64..50) {
            let card = Scorecard::standard().unwrap();
            let score = |count: i64| {
                let mut features = solid();
                features.insert("overdue_count_24m".to_owned(), FeatureValue::Int(count));
                card.score(&features).unwrap().points
            };
            prop_assert!(score(a.max(b)) <= score(a.min(b)));
        }
    }
}
