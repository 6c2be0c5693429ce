//! The scorecard: points for what is known of an enterprise, a grade, and the reasons that cost most.
//!
//! A card is data of one version. Base score, bands, weights and bounds are all there is to it, so that whoever has a card and
//! the features gets the same score to the point.

use zhirong_kernel::feature::{FeatureValue, Features};
use zhirong_proto::profile::v1::{self as pb, Characteristic, ScoreBand};

pub mod check;
mod file;
pub mod odds;
pub mod trial;

pub use file::{Error, first};

/// Reasons told at most.
const REASONS: usize = 4;
/// One in parts per million.
const ONE: i64 = 1_000_000;

/// What the scorecard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// Within the card's bounds.
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
    /// The reason's code.
    pub code: String,
    /// The feature.
    pub feature: String,
    /// A Chinese sentence.
    pub text_zh: String,
    /// Points short of the best.
    pub points_lost: i32,
}

/// What a known characteristic adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part<'a> {
    /// The characteristic.
    pub characteristic: &'a Characteristic,
    /// The enterprise's value.
    pub value: &'a FeatureValue,
    /// Place of the band, from 0.
    pub band: usize,
    /// The band's points.
    pub band_points: i32,
    /// With the weight.
    pub points: i32,
}

/// A card ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard(pb::Scorecard);

impl Scorecard {
    /// A card that was checked before it was kept.
    #[must_use]
    pub fn new(card: pb::Scorecard) -> Self {
        Self(card)
    }

    /// What it says.
    #[must_use]
    pub fn card(&self) -> &pb::Scorecard {
        &self.0
    }

    /// What every known characteristic adds, in the card's order.
    #[must_use]
    pub fn parts<'a>(&'a self, features: &'a Features) -> Vec<Part<'a>> {
        let part = |characteristic: &'a Characteristic| {
            let value = features.get(&characteristic.feature)?;
            let band = place(&characteristic.bands, value)?;
            let band_points = characteristic.bands.get(band)?.points;
            let points = weighted(band_points, characteristic.weight_ppm);
            Some(Part { characteristic, value, band, band_points, points })
        };
        self.0.characteristics.iter().filter_map(part).collect()
    }

    /// Scores what is known; nothing when too little is.
    #[must_use]
    pub fn score(&self, features: &Features) -> Option<Score> {
        let parts = self.parts(features);
        if parts.len() < usize::try_from(self.0.minimum_known).unwrap_or(usize::MAX) {
            return None;
        }
        let sum = parts.iter().fold(self.0.base_points, |sum, part| sum.saturating_add(part.points));
        let points = sum.min(self.0.most_points).max(self.0.least_points);
        let mut reasons: Vec<Reason> = parts
            .iter()
            .map(|part| Reason {
                code: part.characteristic.reason_code.clone(),
                feature: part.characteristic.feature.clone(),
                text_zh: part.characteristic.reason_zh.clone(),
                points_lost: best(part.characteristic).saturating_sub(part.points),
            })
            .filter(|reason| reason.points_lost > 0)
            .collect();
        reasons.sort_by(|a, b| b.points_lost.cmp(&a.points_lost).then_with(|| a.feature.cmp(&b.feature)));
        reasons.truncate(REASONS);
        let grade = self.0.grades.iter().find(|grade| points >= grade.from_points);
        let grade = grade.or(self.0.grades.last()).map(|grade| grade.grade.clone()).unwrap_or_default();
        Some(Score { points, grade, scorecard_version: self.0.version, reasons })
    }
}

/// The band that a value lies in.
fn place(bands: &[ScoreBand], value: &FeatureValue) -> Option<usize> {
    match value {
        FeatureValue::Int(number) => bands.iter().position(|band| {
            band.from.is_none_or(|from| from <= *number) && band.below.is_none_or(|below| *number < below)
        }),
        FeatureValue::Bool(flag) => bands.iter().position(|band| band.flag == Some(*flag)),
        FeatureValue::Text(text) => bands
            .iter()
            .position(|band| band.values.contains(text))
            .or_else(|| bands.iter().position(|band| band.otherwise)),
    }
}

/// Points times weight, rounded half away from zero.
fn weighted(points: i32, weight_ppm: i64) -> i32 {
    let product = i64::from(points).saturating_mul(weight_ppm);
    let half = if product < 0 { -ONE / 2 } else { ONE / 2 };
    i32::try_from(product.saturating_add(half) / ONE).unwrap_or(if product < 0 { i32::MIN } else { i32::MAX })
}

fn best(characteristic: &Characteristic) -> i32 {
    characteristic.bands.iter().map(|band| weighted(band.points, characteristic.weight_ppm)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
