//! From records to features: every feature is an aggregate over the enterprise's live records, with the categories and the
//! latest observation it comes from.

use std::collections::BTreeMap;

use jiff::{Timestamp, Unit, civil::Date};
use serde_json::{Map, Value};
use zhirong_kernel::feature::{Aggregate, FeatureDictionary, FeatureValue};
use zhirong_proto::profile::v1::{Category, FieldType};

/// One live record.
#[derive(Debug, Clone)]
pub struct LiveRecord {
    /// Its category.
    pub category: String,
    /// When its source observed it.
    pub observed_at: Timestamp,
    /// Its fields.
    pub data: Map<String, Value>,
}

/// A feature with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The value.
    pub value: FeatureValue,
    /// Categories of the records that went into it, in order.
    pub categories: Vec<String>,
    /// The latest observation that went into it.
    pub observed_at: Timestamp,
}

/// Computes every feature on a business day. Records in any order give the same.
#[must_use]
pub fn derive(
    categories: &BTreeMap<String, Category>,
    records: &[LiveRecord],
    today: Date,
) -> BTreeMap<String, Derived> {
    let mut ordered: Vec<&LiveRecord> = records.iter().collect();
    // The text of the data decides between observations of one instant.
    ordered.sort_by_cached_key(|record| {
        (record.observed_at, record.category.clone(), Value::Object(record.data.clone()).to_string())
    });
    let mut features: BTreeMap<String, Derived> = BTreeMap::new();
    for record in ordered {
        let Some(category) = categories.get(&record.category) else {
            continue;
        };
        for field in category.fields.iter().filter(|field| !field.feature.is_empty()) {
            let Some(feature) = FeatureDictionary::standard().get(&field.feature) else {
                continue;
            };
            let Some(value) = record.data.get(&field.name).and_then(|value| value_of(field.r#type(), value, today))
            else {
                continue;
            };
            let value = if feature.aggregate == Aggregate::Count { FeatureValue::Int(1) } else { value };
            match features.get_mut(&field.feature) {
                None => {
                    let derived =
                        Derived { value, categories: vec![record.category.clone()], observed_at: record.observed_at };
                    features.insert(field.feature.clone(), derived);
                }
                Some(derived) => {
                    derived.value = combine(feature.aggregate, &derived.value, value);
                    derived.observed_at = derived.observed_at.max(record.observed_at);
                    if let Err(place) = derived.categories.binary_search(&record.category) {
                        derived.categories.insert(place, record.category.clone());
                    }
                }
            }
        }
    }
    features
}

/// `later` was observed later than what is there.
fn combine(aggregate: Aggregate, so_far: &FeatureValue, later: FeatureValue) -> FeatureValue {
    match (aggregate, so_far, &later) {
        (Aggregate::Sum | Aggregate::Count, FeatureValue::Int(a), FeatureValue::Int(b)) => {
            FeatureValue::Int(a.saturating_add(*b))
        }
        (Aggregate::Max, FeatureValue::Int(a), FeatureValue::Int(b)) => FeatureValue::Int(*a.max(b)),
        (Aggregate::Min, FeatureValue::Int(a), FeatureValue::Int(b)) => FeatureValue::Int(*a.min(b)),
        _ => later,
    }
}

fn value_of(kind: FieldType, value: &Value, today: Date) -> Option<FeatureValue> {
    match (kind, value) {
        (FieldType::Integer, Value::Number(number)) => number.as_i64().map(FeatureValue::Int),
        (FieldType::Boolean, Value::Bool(flag)) => Some(FeatureValue::Bool(*flag)),
        (FieldType::Text, Value::String(text)) => Some(FeatureValue::Text(text.clone())),
        (FieldType::Date, Value::String(text)) => {
            let date: Date = text.parse().ok()?;
            let days = date.until((Unit::Day, today)).ok()?.get_days();
            Some(FeatureValue::Int(i64::from(days)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use zhirong_proto::profile::v1::CategoryField;

    use super::*;

    fn categories() -> BTreeMap<String, Category> {
        let category = |name: &str, fields: &[(&str, FieldType, &str)]| {
            let fields = fields
                .iter()
                .map(|(name, kind, feature)| CategoryField {
                    name: (*name).to_owned(),
                    r#type: (*kind).into(),
                    feature: (*feature).to_owned(),
                    ..CategoryField::default()
                })
                .collect();
            (name.to_owned(), Category { category: name.to_owned(), fields, ..Category::default() })
        };
        BTreeMap::from([
            category("patent", &[("n", FieldType::Integer, "patent_count")]),
            category("business_registration", &[("on", FieldType::Date, "age_days")]),
            category("tax_credit", &[("grade", FieldType::Text, "tax_credit_grade")]),
            category("credit_record", &[("lender", FieldType::Text, "lender_count")]),
        ])
    }

    fn record(category: &str, second: i64, data: Value) -> LiveRecord {
        let Value::Object(data) = data else { panic!("an object") };
        LiveRecord { category: category.to_owned(), observed_at: Timestamp::from_second(second).unwrap(), data }
    }

    #[test]
    fn records_become_features_whatever_their_order() {
        let mut records = vec![
            record("patent", 10, serde_json::json!({ "n": 2 })),
            record("patent", 20, serde_json::json!({ "n": 3 })),
            record("tax_credit", 5, serde_json::json!({ "grade": "A" })),
            record("tax_credit", 9, serde_json::json!({ "grade": "B" })),
            record("credit_record", 1, serde_json::json!({ "lender": "x" })),
            record("credit_record", 2, serde_json::json!({ "lender": "y" })),
            record("business_registration", 1, serde_json::json!({ "on": "2025-12-31" })),
        ];
        let features = derive(&categories(), &records, date(2026, 1, 10));
        let value = |name: &str| features[name].value.clone();
        assert_eq!(value("patent_count"), FeatureValue::Int(5));
        assert_eq!(value("tax_credit_grade"), FeatureValue::Text("B".to_owned()));
        assert_eq!(value("lender_count"), FeatureValue::Int(2));
        assert_eq!(value("age_days"), FeatureValue::Int(10));
        assert_eq!(features["patent_count"].observed_at.as_second(), 20);
        records.reverse();
        assert_eq!(derive(&categories(), &records, date(2026, 1, 10)), features);
    }

    #[test]
    fn what_is_missing_stays_missing() {
        let records = [record("patent", 1, serde_json::json!({}))];
        assert!(derive(&categories(), &records, date(2026, 1, 1)).is_empty());
        let unknown = [record("nothing", 1, serde_json::json!({ "n": 1 }))];
        assert!(derive(&categories(), &unknown, date(2026, 1, 1)).is_empty());
    }
}
