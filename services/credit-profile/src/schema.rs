//! Categories of government data: what a schema must be like, and whether a record keeps to it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde_json::{Map, Value};
use zhirong_kernel::feature::{Aggregate, FeatureDictionary, FeatureType};
use zhirong_proto::profile::v1::{Category, CategoryField, FieldType};

/// Longest text in a record.
const LONGEST_TEXT: usize = 512;
/// Integers beyond this are not exact in JSON and must come as text.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What is wrong with a schema: field path and sentence.
#[must_use]
pub fn violations(category: &Category) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut check = |holds: bool, field: String, why: &str| {
        if !holds {
            found.push((field, why.to_owned()));
        }
    };
    check(
        slug(&category.category, 63),
        "category.category".to_owned(),
        "must be 2 to 63 of a-z, 0-9 and _, beginning with a letter",
    );
    check(fits(&category.label_zh, 1, 64), "category.label_zh".to_owned(), "must have 1 to 64 characters");
    check(fits(&category.department_zh, 0, 64), "category.department_zh".to_owned(), "must have at most 64 characters");
    check((1..=64).contains(&category.fields.len()), "category.fields".to_owned(), "must be 1 to 64");
    let mut names = BTreeSet::new();
    for (index, field) in category.fields.iter().enumerate().take(64) {
        let path = |part: &str| format!("category.fields[{index}].{part}");
        check(slug(&field.name, 63), path("name"), "must be 2 to 63 of a-z, 0-9 and _, beginning with a letter");
        check(names.insert(field.name.as_str()), path("name"), "must not repeat");
        check(fits(&field.label_zh, 1, 64), path("label_zh"), "must have 1 to 64 characters");
        check(field.r#type() != FieldType::Unspecified, path("type"), "must be a known type");
        let integer = field.r#type() == FieldType::Integer;
        check(
            integer || (field.minimum.is_none() && field.maximum.is_none()),
            path("minimum"),
            "bounds are for integers",
        );
        let ordered = field.minimum.zip(field.maximum).is_none_or(|(low, high)| low <= high);
        check(ordered, path("maximum"), "must not be below minimum");
        check(
            field.r#type() == FieldType::Text || field.allowed_values.is_empty(),
            path("allowed_values"),
            "are for text",
        );
        check(feeds(field), path("feature"), "must be a feature of the dictionary with a type that fits");
    }
    found
}

/// Whether the field's feature exists and takes such values.
fn feeds(field: &CategoryField) -> bool {
    if field.feature.is_empty() {
        return true;
    }
    let Some(feature) = FeatureDictionary::standard().get(&field.feature) else {
        return false;
    };
    if feature.aggregate == Aggregate::Count {
        return true;
    }
    match field.r#type() {
        FieldType::Integer | FieldType::Date => feature.kind == FeatureType::Int,
        FieldType::Boolean => feature.kind == FeatureType::Bool,
        FieldType::Text => feature.kind == FeatureType::Text,
        FieldType::Unspecified => false,
    }
}

/// Reads a record's data by the schema.
///
/// # Errors
/// The first field that does not keep to it, with the reason; never its value, which may be personal.
pub fn read(category: &Category, data: &BTreeMap<String, prost_types::Value>) -> Result<Map<String, Value>, String> {
    if let Some(unknown) = data.keys().find(|name| !category.fields.iter().any(|field| &field.name == *name)) {
        let name: String = unknown.chars().take(64).collect();
        return Err(format!("`data.{}` is not a field of {}", name.escape_default(), category.category));
    }
    let mut read = Map::new();
    for field in &category.fields {
        match data.get(&field.name).and_then(|value| value.kind.as_ref()) {
            None | Some(prost_types::value::Kind::NullValue(_)) if field.required => {
                return Err(format!("`data.{}` is missing", field.name));
            }
            None | Some(prost_types::value::Kind::NullValue(_)) => {}
            Some(kind) => {
                let value = read_field(field, kind).map_err(|why| format!("`data.{}` {why}", field.name))?;
                read.insert(field.name.clone(), value);
            }
        }
    }
    Ok(read)
}

fn read_field(field: &CategoryField, kind: &prost_types::value::Kind) -> Result<Value, String> {
    use prost_types::value::Kind;
    match (field.r#type(), kind) {
        (FieldType::Integer, Kind::NumberValue(number)) => bounded(field, exact(*number)?),
        (FieldType::Integer, Kind::StringValue(text)) => {
            let number = text.parse().map_err(|_| "must be an integer, or its decimal digits as text".to_owned())?;
            bounded(field, number)
        }
        (FieldType::Boolean, Kind::BoolValue(flag)) => Ok(Value::Bool(*flag)),
        (FieldType::Text, Kind::StringValue(text)) => {
            if text.chars().count() > LONGEST_TEXT {
                return Err(format!("must have at most {LONGEST_TEXT} characters"));
            }
            if text.chars().any(char::is_control) {
                return Err("must not have control characters".to_owned());
            }
            if !field.allowed_values.is_empty() && !field.allowed_values.contains(text) {
                return Err(format!("must be one of {}", field.allowed_values.join(", ")));
            }
            Ok(Value::String(text.clone()))
        }
        (FieldType::Date, Kind::StringValue(text)) => {
            let date: Date = text.parse().map_err(|_| "must be a date, YYYY-MM-DD".to_owned())?;
            Ok(Value::String(date.to_string()))
        }
        (wanted, _) => Err(format!("must be {}", type_word(wanted))),
    }
}

fn bounded(field: &CategoryField, number: i64) -> Result<Value, String> {
    if let Some(minimum) = field.minimum.filter(|minimum| number < *minimum) {
        return Err(format!("must not be below {minimum}"));
    }
    if let Some(maximum) = field.maximum.filter(|maximum| number > *maximum) {
        return Err(format!("must not be above {maximum}"));
    }
    Ok(Value::from(number))
}

/// The protobuf structure knows numbers only as doubles; what is not a whole, exact number is refused.
#[expect(clippy::as_conversions, reason = "checked just above to be whole and within 2^53")]
fn exact(number: f64) -> Result<i64, String> {
    if number.is_finite() && number.fract() == 0.0 && number.abs() <= EXACT {
        Ok(number as i64)
    } else {
        Err("must be a whole number; beyond 2^53 send its digits as text".to_owned())
    }
}

fn type_word(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Integer => "an integer",
        FieldType::Boolean => "true or false",
        FieldType::Text => "a text",
        FieldType::Date => "a date, YYYY-MM-DD",
        FieldType::Unspecified => "of a known type",
    }
}

/// 2 to `longest` of a-z, 0-9 and _, beginning with a letter.
#[must_use]
pub fn slug(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (2..=longest).contains(&text.len())
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && text.bytes().all(allowed)
}

fn fits(text: &str, shortest: usize, longest: usize) -> bool {
    (shortest..=longest).contains(&text.chars().take(longest.saturating_add(1)).count())
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;

    use super::*;

    fn category() -> Category {
        let field = |name: &str, kind: FieldType, feature: &str| CategoryField {
            name: name.to_owned(),
            label_zh: "字段".to_owned(),
            r#type: kind.into(),
            required: true,
            feature: feature.to_owned(),
            ..CategoryField::default()
        };
        let mut count = field("patent_count", FieldType::Integer, "patent_count");
        (count.minimum, count.maximum) = (Some(0), Some(1000));
        let mut grade = field("grade", FieldType::Text, "tax_credit_grade");
        grade.allowed_values = vec!["A".to_owned(), "B".to_owned()];
        grade.required = false;
        Category {
            category: "patent".to_owned(),
            label_zh: "专利".to_owned(),
            department_zh: String::new(),
            fields: vec![count, grade, field("founded_on", FieldType::Date, "age_days")],
        }
    }

    fn data(entries: &[(&str, Kind)]) -> BTreeMap<String, prost_types::Value> {
        entries
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), prost_types::Value { kind: Some(kind.clone()) }))
            .collect()
    }

    fn with(name: &str, kind: Kind) -> Result<Map<String, Value>, String> {
        let mut all = data(&[
            ("patent_count", Kind::NumberValue(3.0)),
            ("founded_on", Kind::StringValue("2020-01-31".to_owned())),
        ]);
        all.insert(name.to_owned(), prost_types::Value { kind: Some(kind) });
        read(&category(), &all)
    }

    #[test]
    fn a_good_schema_and_record_pass() {
        assert_eq!(violations(&category()), []);
        assert_eq!(with("grade", Kind::StringValue("A".to_owned())).unwrap()["patent_count"], 3);
        assert_eq!(with("patent_count", Kind::StringValue("7".to_owned())).unwrap()["patent_count"], 7);
    }

    #[test]
    fn each_breach_of_the_schema_is_named() {
        let breach = |name: &str, kind: Kind| with(name, kind).unwrap_err();
        assert!(breach("patent_count", Kind::NumberValue(1.5)).contains("whole number"));
        assert!(breach("patent_count", Kind::NumberValue(f64::NAN)).contains("whole number"));
        assert!(breach("patent_count", Kind::NumberValue(1e18)).contains("2^53"));
        assert!(breach("patent_count", Kind::NumberValue(-1.0)).contains("below 0"));
        assert!(breach("patent_count", Kind::NumberValue(1001.0)).contains("above 1000"));
        assert!(breach("patent_count", Kind::BoolValue(true)).contains("an integer"));
        assert!(breach("patent_count", Kind::NullValue(0)).contains("missing"));
        assert!(breach("grade", Kind::StringValue("Z".to_owned())).contains("one of A, B"));
        assert!(breach("founded_on", Kind::StringValue("2020-13-01".to_owned())).contains("a date"));
        assert!(breach("owner_phone", Kind::StringValue("1".to_owned())).contains("not a field"));
    }

    #[test]
    fn a_schema_that_feeds_no_feature_of_its_type_is_refused() {
        let mut wrong = category();
        wrong.fields[0].feature = "is_high_tech".to_owned();
        wrong.fields[1].feature = "no_such_feature".to_owned();
        wrong.fields[2].name = "grade".to_owned();
        let fields: Vec<String> = violations(&wrong).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["category.fields[0].feature", "category.fields[1].feature", "category.fields[2].name"]);
    }
}
