//! What somebody wants computed: amount, term, and what is supposed beside the profile.

use std::collections::BTreeMap;

use zhirong_kernel::feature::{FeatureDictionary, FeatureValue, Features};
use zhirong_proto::{
    matching::v1::CalculateRequest,
    profile::v1::{self as pb, Profile, feature_value::Kind},
};

/// A term that the calculator takes when none is wished.
pub const USUAL_TERM_MONTHS: i32 = 12;
/// Most features that may be supposed.
pub const MOST_SUPPOSED: usize = 32;

/// A field of a request and what is wrong with it.
pub type Violation = (String, String);

/// Checks a wish; gives what is wrong with it.
#[must_use]
pub fn violations(request: &CalculateRequest) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut wrong = |field: String, why: &str| found.push((field, why.to_owned()));
    if request.requested_fen < 0 {
        wrong("requested_fen".to_owned(), "must be positive, or 0 for no wish");
    }
    if !(0..=360).contains(&request.term_months) {
        wrong("term_months".to_owned(), "must be 1 to 360, or 0 for no wish");
    }
    if request.limit < 0 {
        wrong("limit".to_owned(), "must not be negative");
    }
    if request.what_if.len() > MOST_SUPPOSED {
        wrong("what_if".to_owned(), &format!("must name at most {MOST_SUPPOSED} features"));
        return found;
    }
    for (name, supposed) in &request.what_if {
        let shown: String = name.chars().take(64).collect();
        match (FeatureDictionary::standard().get(name), value(supposed)) {
            (None, _) => wrong(format!("what_if[{shown}]"), "is not a feature of the dictionary"),
            (Some(_), None) => wrong(format!("what_if[{shown}]"), "must have a value"),
            (Some(known), Some(value)) if value.kind() != known.kind => {
                wrong(format!("what_if[{shown}]"), &format!("must be of type {}", known.kind));
            }
            _ => {}
        }
    }
    found
}

/// The value of a feature out of its message.
#[must_use]
pub fn value(message: &pb::FeatureValue) -> Option<FeatureValue> {
    Some(match message.kind.as_ref()? {
        Kind::Integer(number) => FeatureValue::Int(*number),
        Kind::Flag(flag) => FeatureValue::Bool(*flag),
        Kind::Text(text) => FeatureValue::Text(text.clone()),
    })
}

/// A value as a message, without where it comes from.
#[must_use]
pub fn message(value: &FeatureValue) -> pb::FeatureValue {
    let kind = match value {
        FeatureValue::Int(number) => Kind::Integer(*number),
        FeatureValue::Bool(flag) => Kind::Flag(*flag),
        FeatureValue::Text(text) => Kind::Text(text.clone()),
    };
    pb::FeatureValue { kind: Some(kind), ..pb::FeatureValue::default() }
}

/// What is known or supposed of one feature.
#[must_use]
pub fn feature<'a>(
    profile: &'a Profile,
    what_if: &'a BTreeMap<String, pb::FeatureValue>,
    name: &str,
) -> Option<&'a pb::FeatureValue> {
    what_if.get(name).or_else(|| profile.features.get(name))
}

/// What is known of an enterprise, with what is supposed in its place.
#[must_use]
pub fn features(profile: &Profile, what_if: &BTreeMap<String, pb::FeatureValue>) -> Features {
    let known = profile.features.iter().filter(|(name, _)| !what_if.contains_key(*name));
    known.chain(what_if).filter_map(|(name, found)| Some((name.clone(), value(found)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_supposed_takes_the_profiles_place() {
        let profile = Profile {
            features: [("patent_count", 1), ("age_days", 700)]
                .map(|(name, number)| (name.to_owned(), message(&FeatureValue::Int(number))))
                .into(),
            ..Profile::default()
        };
        let what_if = BTreeMap::from([("patent_count".to_owned(), message(&FeatureValue::Int(5)))]);
        let found = features(&profile, &what_if);
        assert_eq!(found.get("patent_count"), Some(&FeatureValue::Int(5)));
        assert_eq!(found.get("age_days"), Some(&FeatureValue::Int(700)));
    }

    #[test]
    fn a_supposition_must_be_of_the_dictionary_and_its_type() {
        let request = CalculateRequest {
            what_if: BTreeMap::from([
                ("no_such_feature".to_owned(), message(&FeatureValue::Int(1))),
                ("patent_count".to_owned(), message(&FeatureValue::Bool(true))),
                ("is_high_tech".to_owned(), pb::FeatureValue::default()),
            ]),
            ..CalculateRequest::default()
        };
        let fields: Vec<_> = violations(&request).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["what_if[is_high_tech]", "what_if[no_such_feature]", "what_if[patent_count]"]);
    }
}
