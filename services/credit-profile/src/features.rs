//! From records to features: every feature is an aggregate over the enterprise's live records within its window, with the
//! records and categories it comes from; what is older than its limit is told apart and not used.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan as _, Unit, civil::Date};
use serde_json::{Map, Value};
use zhirong_kernel::{
    clock::business_date,
    feature::{Aggregate, Feature, FeatureDictionary, FeatureValue},
};
use zhirong_proto::profile::v1::{Category, FieldType};

use crate::record::Key;

/// One live record.
#[derive(Debug, Clone)]
pub struct LiveRecord {
    /// What it is known by.
    pub key: Key,
    /// When its source observed it.
    pub observed_at: Timestamp,
    /// Which correction of that observation.
    pub revision: i32,
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
    /// The versions that went into it, in order of observation.
    pub records: Vec<Source>,
}

/// A version of a record that went into a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The record.
    pub key: Key,
    /// Its observation.
    pub observed_at: Timestamp,
    /// Which correction of it.
    pub revision: i32,
}

/// A feature of which only old things are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outdated {
    /// Its latest observation.
    pub observed_at: Timestamp,
    /// How old it may be, in days.
    pub limit_days: i32,
}

/// All that records say of an enterprise on a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Features by name.
    pub features: BTreeMap<String, Derived>,
    /// Features that are known too old.
    pub outdated: BTreeMap<String, Outdated>,
    /// Features whose records add up to more than a number holds: at least one of them is wrong, so that nothing is known.
    pub too_large: BTreeSet<String>,
}

/// Computes every feature on a business day. Records in any order give the same.
#[must_use]
pub fn derive(categories: &BTreeMap<String, Category>, records: &[LiveRecord], today: Date) -> Known {
    let mut ordered: Vec<&LiveRecord> = records.iter().collect();
    // the key decides between observations of one instant
    ordered.sort_by_key(|record| (record.observed_at, &record.key));
    let mut known = Known::default();
    // exact whatever comes first, which a sum that stops at a limit would not be
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    for record in ordered {
        let Some(category) = categories.get(&record.key.category).filter(|category| !ended(category, record, today))
        else {
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
            match too_old(feature, record.observed_at, today) {
                Some(limit_days) => {
                    // they come in order, so that the last one stays
                    let outdated = Outdated { observed_at: record.observed_at, limit_days };
                    known.outdated.insert(field.feature.clone(), outdated);
                }
                None => {
                    add_up(&mut sums, feature, &value);
                    add(&mut known.features, feature, record, value);
                }
            }
        }
    }
    let Known { features, outdated, too_large } = &mut known;
    for (name, sum) in sums {
        match (i64::try_from(sum), features.get_mut(&name)) {
            (Ok(sum), Some(derived)) => derived.value = FeatureValue::Int(sum),
            _ => {
                features.remove(&name);
                outdated.remove(&name);
                too_large.insert(name);
            }
        }
    }
    features.retain(|name, derived| {
        let limit = FeatureDictionary::standard().get(name).and_then(|feature| feature.fresh_days);
        let Some(limit) = limit.filter(|limit| age(derived.observed_at, today) > i32::from(*limit)) else {
            return true;
        };
        outdated.insert(name.clone(), Outdated { observed_at: derived.observed_at, limit_days: limit.into() });
        false
    });
    outdated.retain(|name, _| !features.contains_key(name));
    known
}

/// Whether the day is over that the record itself names as its last.
fn ended(category: &Category, record: &LiveRecord, today: Date) -> bool {
    let last = record.data.get(&category.last_day_field).and_then(Value::as_str);
    last.and_then(|day| day.parse::<Date>().ok()).is_some_and(|day| day < today)
}

fn add(features: &mut BTreeMap<String, Derived>, feature: &Feature, record: &LiveRecord, value: FeatureValue) {
    let category = &record.key.category;
    let source = Source { key: record.key.clone(), observed_at: record.observed_at, revision: record.revision };
    match features.get_mut(&feature.name) {
        None => {
            let (categories, records) = (vec![category.clone()], vec![source]);
            let derived = Derived { value, categories, observed_at: record.observed_at, records };
            features.insert(feature.name.clone(), derived);
        }
        Some(derived) => {
            derived.value = combine(feature.aggregate, &derived.value, value);
            derived.observed_at = derived.observed_at.max(record.observed_at);
            if let Err(place) = derived.categories.binary_search(category) {
                derived.categories.insert(place, category.clone());
            }
            if feature.aggregate == Aggregate::Latest {
                derived.records.clear();
            }
            derived.records.push(source);
        }
    }
}

/// Adds to the sums of those features that are sums.
fn add_up(sums: &mut BTreeMap<String, i128>, feature: &Feature, value: &FeatureValue) {
    let part = match (feature.aggregate, value) {
        (Aggregate::Count, _) => 1,
        (Aggregate::Sum, FeatureValue::Int(number)) => i128::from(*number),
        _ => return,
    };
    // as many parts as would overflow this no memory holds
    let sum = sums.entry(feature.name.clone()).or_default();
    *sum = sum.saturating_add(part);
}

/// How old an observation may be when it lies outside of the feature's window.
fn too_old(feature: &Feature, observed_at: Timestamp, today: Date) -> Option<i32> {
    let months = feature.window_months?;
    let first = today.checked_sub(i32::from(months).months()).ok()?;
    (business_date(observed_at) <= first).then(|| days(first, today))
}

fn age(observed_at: Timestamp, today: Date) -> i32 {
    days(business_date(observed_at), today)
}

fn days(from: Date, to: Date) -> i32 {
    from.until((Unit::Day, to)).map_or(0, |span| span.get_days())
}

/// `later` was observed later than what is there. What is added up is done so beside.
fn combine(aggregate: Aggregate, so_far: &FeatureValue, later: FeatureValue) -> FeatureValue {
    match (aggregate, so_far, &later) {
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
            Some(FeatureValue::Int(i64::from(days(date, today))))
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
            category("tax_payment", &[("paid", FieldType::Integer, "tax_paid_12m_fen")]),
        ])
    }

    fn record(category: &str, second: i64, data: Value) -> LiveRecord {
        let Value::Object(data) = data else { panic!("an object") };
        let record_id = format!("{category}-{second}");
        let key = Key { source: "s1".to_owned(), category: category.to_owned(), record_id };
        LiveRecord { key, observed_at: Timestamp::from_second(second).unwrap(), revision: 0, data }
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
            record("business_registration", 1, serde_json::json!({ "on": "1969-12-31" })),
        ];
        let known = derive(&categories(), &records, date(1970, 1, 10));
        let features = &known.features;
        let value = |name: &str| features[name].value.clone();
        assert_eq!(value("patent_count"), FeatureValue::Int(5));
        assert_eq!(value("tax_credit_grade"), FeatureValue::Text("B".to_owned()));
        assert_eq!(value("lender_count"), FeatureValue::Int(2));
        assert_eq!(value("age_days"), FeatureValue::Int(10));
        assert_eq!(features["patent_count"].observed_at.as_second(), 20);
        records.reverse();
        assert_eq!(derive(&categories(), &records, date(1970, 1, 10)), known);
        let sources = |name: &str| features[name].records.iter().map(|s| s.key.record_id.as_str()).collect::<Vec<_>>();
        assert_eq!(sources("patent_count"), ["patent-10", "patent-20"]);
        assert_eq!(sources("tax_credit_grade"), ["tax_credit-9"], "only the one that counts");
    }

    #[test]
    fn a_sum_that_no_number_holds_is_unknown_and_told_whatever_comes_first() {
        let patents = |second, n: i64| record("patent", second, serde_json::json!({ "n": n }));
        for (values, sum) in [
            (vec![i64::MAX, 1], None),
            (vec![i64::MIN, -1, 0], None),
            (vec![i64::MAX, 1, -2], Some(i64::MAX - 1)),
            (vec![-2, i64::MAX, 1], Some(i64::MAX - 1)),
            (vec![i64::MAX, i64::MAX, i64::MIN, i64::MIN, 5], Some(3)),
            (vec![i64::MAX, 0], Some(i64::MAX)),
        ] {
            let records: Vec<LiveRecord> = (1..).zip(&values).map(|(second, n)| patents(second, *n)).collect();
            let known = derive(&categories(), &records, date(1970, 1, 10));
            let value = known.features.get("patent_count").map(|derived| derived.value.clone());
            assert_eq!(value, sum.map(FeatureValue::Int), "{values:?}");
            assert_eq!(known.too_large.contains("patent_count"), sum.is_none());
            assert!(known.outdated.is_empty());
        }
    }

    #[test]
    fn a_record_that_names_its_last_day_counts_up_to_it() {
        let text = |name: &str, kind: FieldType, feature: &str| CategoryField {
            name: name.to_owned(),
            r#type: kind.into(),
            feature: feature.to_owned(),
            ..CategoryField::default()
        };
        let licences = Category {
            category: "administrative_license".to_owned(),
            fields: vec![
                text("licence_number", FieldType::Text, "license_count"),
                text("valid_until", FieldType::Date, ""),
            ],
            last_day_field: "valid_until".to_owned(),
            ..Category::default()
        };
        let categories = BTreeMap::from([(licences.category.clone(), licences)]);
        let licence = |second, data| record("administrative_license", second, data);
        let records = [
            licence(1, serde_json::json!({ "licence_number": "a" })),
            licence(2, serde_json::json!({ "licence_number": "b", "valid_until": "2026-03-31" })),
            licence(3, serde_json::json!({ "licence_number": "c", "valid_until": "2026-04-01" })),
        ];
        let on = |records: &[LiveRecord], day| {
            let known = derive(&categories, records, day);
            assert!(known.outdated.is_empty() && known.too_large.is_empty());
            known.features.get("license_count").map(|derived| (derived.value.clone(), derived.records.len()))
        };
        let count = |number: i64, of: usize| Some((FeatureValue::Int(number), of));
        for (day, counted) in [
            (date(2026, 3, 30), count(3, 3)),
            (date(2026, 3, 31), count(3, 3)),
            (date(2026, 4, 1), count(2, 2)),
            (date(2026, 4, 2), count(1, 1)),
            (date(2099, 1, 1), count(1, 1)),
        ] {
            assert_eq!(on(&records, day), counted, "{day}");
        }
        assert_eq!(on(&records[1..], date(2026, 4, 2)), None, "as if all had been withdrawn");
    }

    #[test]
    fn what_is_missing_stays_missing() {
        let records = [record("patent", 1, serde_json::json!({}))];
        assert_eq!(derive(&categories(), &records, date(2026, 1, 1)), Known::default());
        let unknown = [record("nothing", 1, serde_json::json!({ "n": 1 }))];
        assert_eq!(derive(&categories(), &unknown, date(2026, 1, 1)), Known::default());
    }

    #[test]
    fn what_lies_outside_of_the_window_or_is_no_longer_fresh_is_not_used() {
        let at = |day: Date| day.at(12, 0, 0, 0).in_tz("Asia/Shanghai").unwrap().timestamp().as_second();
        let (old, new) = (at(date(2025, 3, 31)), at(date(2025, 4, 1)));
        let paid = |second| record("tax_payment", second, serde_json::json!({ "paid": 5 }));
        let on = |records: &[LiveRecord], day| derive(&categories(), records, day);
        let both = [paid(old), paid(new)];
        let known = on(&both, date(2026, 3, 30));
        assert_eq!(known.features["tax_paid_12m_fen"].value, FeatureValue::Int(10));
        let known = on(&both, date(2026, 3, 31));
        assert_eq!(known.features["tax_paid_12m_fen"].value, FeatureValue::Int(5), "twelve months have passed");
        assert!(known.outdated.is_empty());
        let known = on(&both, date(2026, 4, 1));
        assert!(known.features.is_empty());
        assert_eq!(
            (known.outdated["tax_paid_12m_fen"].observed_at.as_second(), known.outdated["tax_paid_12m_fen"].limit_days),
            (new, 365)
        );

        let grade = [record("tax_credit", old, serde_json::json!({ "grade": "A" }))];
        assert!(on(&grade, date(2026, 10, 2)).features.contains_key("tax_credit_grade"));
        let known = on(&grade, date(2026, 10, 3));
        assert!(known.features.is_empty());
        assert_eq!(known.outdated["tax_credit_grade"].limit_days, 550);
    }
}
