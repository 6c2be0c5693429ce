//! Puts a profile together from records: name, features, score.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use zhirong_kernel::feature::{FeatureValue, Features};
use zhirong_proto::profile::v1::{self as pb, Category, Profile};

use crate::{
    features::{Derived, Known, LiveRecord, derive},
    scorecard::{Score, Scorecard},
};

/// Where the registered name stands: category and field.
pub const NAME: (&str, &str) = ("business_registration", "name");
/// What the scorecard adds to the features.
pub const SCORE: &str = "credit_score";
/// The same as a letter.
pub const GRADE: &str = "credit_grade";

/// Most records that are named as where one feature comes from.
const MOST_NAMED: usize = 100;

/// What records say of an enterprise, as it is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// The registered name; empty when no record tells it.
    pub name: String,
    /// Features by name.
    pub features: BTreeMap<String, pb::FeatureValue>,
    /// Where they come from, and what is not used; without the profile.
    pub provenance: pb::GetProfileResponse,
}

impl Said {
    /// By records, on a business day.
    #[must_use]
    pub fn by(categories: &BTreeMap<String, Category>, records: &[LiveRecord], today: Date) -> Self {
        let derived = derive(categories, records, today);
        Self {
            name: name(records),
            provenance: provenance(&derived),
            features: derived.features.into_iter().map(|(name, derived)| (name, feature(derived))).collect(),
        }
    }

    /// By a profile that was kept. Among its features are those that were computed from others.
    #[must_use]
    pub fn before(profile: &Profile, provenance: pb::GetProfileResponse) -> Self {
        Self { name: profile.name.clone(), features: profile.features.clone(), provenance }
    }
}

/// The profile of an enterprise with where it comes from; version and time are left for whoever keeps it.
#[must_use]
pub fn assemble(enterprise_id: &str, said: Said, scorecard: &Scorecard) -> (Profile, pb::GetProfileResponse) {
    let Said { name, features, provenance } = said;
    let mut profile = Profile { enterprise_id: enterprise_id.to_owned(), name, features, ..Profile::default() };
    if let Some(score) = scorecard.score(&known(&profile)) {
        let computed =
            |kind| pb::FeatureValue { kind: Some(kind), categories: vec!["profile".to_owned()], observed_at: None };
        let points = computed(pb::feature_value::Kind::Integer(i64::from(score.points)));
        profile.features.insert(SCORE.to_owned(), points);
        profile.features.insert(GRADE.to_owned(), computed(pb::feature_value::Kind::Text(score.grade.clone())));
        profile.score = Some(score_message(score));
    }
    (profile, provenance)
}

fn provenance(known: &Known) -> pb::GetProfileResponse {
    let of = |(name, derived): (&String, &Derived)| pb::FeatureProvenance {
        feature: name.clone(),
        records: derived
            .records
            .iter()
            .skip(derived.records.len().saturating_sub(MOST_NAMED))
            .map(|source| pb::RecordVersion {
                source: source.key.source.clone(),
                category: source.key.category.clone(),
                record_id: source.key.record_id.clone(),
                observed_at: Some(proto_time(source.observed_at)),
                revision: source.revision,
            })
            .collect(),
        record_count: i64::try_from(derived.records.len()).unwrap_or(i64::MAX),
    };
    pb::GetProfileResponse {
        profile: None,
        provenance: known.features.iter().map(of).collect(),
        outdated: known
            .outdated
            .iter()
            .map(|(name, outdated)| pb::OutdatedFeature {
                feature: name.clone(),
                observed_at: Some(proto_time(outdated.observed_at)),
                limit_days: outdated.limit_days,
            })
            .collect(),
        too_large: known.too_large.iter().cloned().collect(),
    }
}

/// The name by the latest registration record.
fn name(records: &[LiveRecord]) -> String {
    let (category, field) = NAME;
    records
        .iter()
        .filter(|record| record.key.category == category)
        .filter_map(|record| Some((record.observed_at, record.data.get(field)?.as_str()?)))
        .max()
        .map(|(_, name)| name.to_owned())
        .unwrap_or_default()
}

fn feature(derived: Derived) -> pb::FeatureValue {
    pb::FeatureValue {
        categories: derived.categories,
        observed_at: Some(proto_time(derived.observed_at)),
        ..value_message(&derived.value)
    }
}

/// A value alone as it is told.
#[must_use]
pub fn value_message(value: &FeatureValue) -> pb::FeatureValue {
    use pb::feature_value::Kind;
    let kind = match value {
        FeatureValue::Int(number) => Kind::Integer(*number),
        FeatureValue::Bool(flag) => Kind::Flag(*flag),
        FeatureValue::Text(text) => Kind::Text(text.clone()),
    };
    pb::FeatureValue { kind: Some(kind), ..pb::FeatureValue::default() }
}

/// The features of a profile that was told, as rules and scorecards take them.
#[must_use]
pub fn known(profile: &Profile) -> Features {
    use pb::feature_value::Kind;
    let value = |value: &pb::FeatureValue| {
        Some(match value.kind.as_ref()? {
            Kind::Integer(number) => FeatureValue::Int(*number),
            Kind::Flag(flag) => FeatureValue::Bool(*flag),
            Kind::Text(text) => FeatureValue::Text(text.clone()),
        })
    };
    profile.features.iter().filter_map(|(name, told)| Some((name.clone(), value(told)?))).collect()
}

/// A score as it is told.
#[must_use]
pub fn score_message(score: Score) -> pb::Score {
    pb::Score {
        points: score.points,
        grade: score.grade,
        scorecard_version: score.scorecard_version,
        reasons: score
            .reasons
            .into_iter()
            .map(|reason| pb::ReasonCode {
                feature: reason.feature,
                text_zh: reason.text_zh,
                points_lost: reason.points_lost,
                code: reason.code,
            })
            .collect(),
    }
}

/// A time as protobuf writes it.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
