//! The card that is in force from the start, as seeds/ has it.

use serde::Deserialize;
use zhirong_proto::profile::v1::{self as pb, Characteristic, GradeBound, ScoreBand};

use super::check;

/// The card of seeds/, compiled in, so that a service alone has one.
const FIRST: &str = include_str!("../../../../seeds/scorecards/1.yaml");

/// Why a card of seeds/ can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not in the form of a scorecard.
    #[error("the scorecard can't be read: {0}")]
    Form(#[from] serde_norway::Error),
    /// A fault.
    #[error("`{field}` {why}")]
    Fault {
        /// Where.
        field: String,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFile {
    version: i32,
    name_zh: String,
    base_points: i32,
    base_odds: i32,
    points_to_double_odds: i32,
    least_points: i32,
    most_points: i32,
    minimum_known: i32,
    grades: Vec<GradeFile>,
    characteristics: Vec<CharacteristicFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GradeFile {
    grade: String,
    from_points: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CharacteristicFile {
    feature: String,
    weight_ppm: i64,
    reason_code: String,
    reason_zh: String,
    bands: Vec<BandFile>,
    #[serde(default)]
    not_monotonic_zh: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BandFile {
    from: Option<i64>,
    below: Option<i64>,
    flag: Option<bool>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    otherwise: bool,
    points: i32,
}

/// The first card.
///
/// # Errors
/// Only when it is broken, which a test excludes.
pub fn first() -> Result<pb::Scorecard, Error> {
    parse(FIRST)
}

/// Reads a card.
///
/// # Errors
/// When it has not the form or a fault.
pub fn parse(text: &str) -> Result<pb::Scorecard, Error> {
    let file: CardFile = serde_norway::from_str(text)?;
    let card = pb::Scorecard {
        version: file.version,
        name_zh: file.name_zh,
        base_points: file.base_points,
        base_odds: file.base_odds,
        points_to_double_odds: file.points_to_double_odds,
        least_points: file.least_points,
        most_points: file.most_points,
        minimum_known: file.minimum_known,
        grades: file
            .grades
            .into_iter()
            .map(|grade| GradeBound { grade: grade.grade, from_points: grade.from_points })
            .collect(),
        characteristics: file.characteristics.into_iter().map(characteristic).collect(),
    };
    match check::violations(&card).into_iter().next() {
        Some((field, why)) => Err(Error::Fault { field, why }),
        None => Ok(card),
    }
}

fn characteristic(file: CharacteristicFile) -> Characteristic {
    let band = |band: BandFile| ScoreBand {
        from: band.from,
        below: band.below,
        flag: band.flag,
        values: band.values,
        otherwise: band.otherwise,
        points: band.points,
    };
    Characteristic {
        feature: file.feature,
        weight_ppm: file.weight_ppm,
        reason_code: file.reason_code,
        reason_zh: file.reason_zh,
        bands: file.bands.into_iter().map(band).collect(),
        not_monotonic_zh: file.not_monotonic_zh,
    }
}
