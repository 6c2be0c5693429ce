//! Categories of government data: what a schema must be like, and whether a record keeps to it.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde_json::{Map, Value};
use zhirong_kernel::shown;
use zhirong_proto::{
    gov::v1::RejectionCode,
    profile::v1::{Category, CategoryField, FieldType},
};

use crate::{feeding, numbers, record::is_source, refusal::Refusal};

/// Longest text in a record, in characters.
pub const LONGEST_TEXT: usize = 512;
/// Integers beyond this are not exact in JSON and must come as text.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// The same as an integer.
pub const EXACT_INTEGER: u64 = 1 << 53;

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
    check(category.sources.len() <= 64, "category.sources".to_owned(), "must be at most 64");
    for (index, source) in category.sources.iter().enumerate().take(64) {
        check(is_source(source), format!("category.sources[{index}]"), "must be 2 to 64 of a-z, 0-9 and -");
    }
    let last_day = &category.last_day_field;
    check(
        last_day.is_empty()
            || category.fields.iter().any(|field| field.name == *last_day && field.r#type() == FieldType::Date),
        "category.last_day_field".to_owned(),
        "must be the name of a date field, or empty",
    );
    let (mut names, mut joined) = (BTreeSet::new(), BTreeSet::new());
    for (index, field) in category.fields.iter().enumerate().take(64) {
        let path = |part: &str| format!("category.fields[{index}].{part}");
        check(slug(&field.name, 63), path("name"), "must be 2 to 63 of a-z, 0-9 and _, beginning with a letter");
        if names.insert(field.name.as_str()) {
            // a compiler of protobuf has them by one name
            let alone = joined.insert(field.name.replace('_', ""));
            check(alone, path("name"), "must differ from every other by more than its underscores");
        } else {
            check(false, path("name"), "must not repeat");
        }
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
    }
    found.extend(numbers::within(category));
    found.extend(feeding::within(category).into_iter().take(64).map(in_field));
    found
}

/// A field that can't feed its feature, as field path and sentence.
#[must_use]
pub fn in_field(misfit: feeding::Misfit) -> (String, String) {
    let feature = misfit.feature.chars().take(64).flat_map(char::escape_default).collect::<String>();
    (format!("category.fields[{}].feature", misfit.index), format!("can't be `{feature}`, which {}", misfit.why))
}

/// Reads a record's data by the schema; the fields come in the schema's order.
///
/// # Errors
/// The first field that does not keep to it, with the reason; never its value, which may be personal.
pub fn read(category: &Category, mut data: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut read = Map::new();
    for field in &category.fields {
        match data.remove_entry(&field.name) {
            None | Some((_, Value::Null)) if field.required => {
                return Err(refusal(&field.name, said("is missing", "缺失")));
            }
            None | Some((_, Value::Null)) => {}
            Some((name, value)) => {
                let value = read_field(field, value).map_err(|why| refusal(&field.name, why))?;
                read.insert(name, value);
            }
        }
    }
    match data.keys().min() {
        None => Ok(read),
        Some(unknown) => Err(refusal(
            &shown::name(unknown),
            said(format!("is not a field of {}", category.category), "不在该类别的字段之列"),
        )),
    }
}

/// A sentence in English and in Chinese.
type Said = (String, String);

fn said(english: impl Into<String>, chinese: impl Into<String>) -> Said {
    (english.into(), chinese.into())
}

fn refusal(name: &str, (why, why_zh): Said) -> Refusal {
    Refusal::field(RejectionCode::Schema, format!("data.{name}"), why, why_zh)
}

fn read_field(field: &CategoryField, value: Value) -> Result<Value, Said> {
    match (field.r#type(), value) {
        (FieldType::Integer, Value::Number(number)) => bounded(field, exact(&number)?),
        (FieldType::Integer, Value::String(text)) => {
            let number = text.parse().map_err(|_| {
                said("must be a whole number, or its decimal digits as text", "须为整数，或其十进制数字文本")
            })?;
            bounded(field, number)
        }
        (FieldType::Boolean, Value::Bool(flag)) => Ok(Value::Bool(flag)),
        (FieldType::Text, Value::String(text)) => {
            if text.len() > LONGEST_TEXT && text.chars().count() > LONGEST_TEXT {
                return Err(said(
                    format!("must have at most {LONGEST_TEXT} characters"),
                    format!("不得超过{LONGEST_TEXT}个字符"),
                ));
            }
            if text.chars().any(char::is_control) {
                return Err(said("must not have control characters", "不得含控制字符"));
            }
            if !field.allowed_values.is_empty() && !field.allowed_values.contains(&text) {
                let allowed = field.allowed_values.join(", ");
                return Err(said(format!("must be one of {allowed}"), format!("须为下列之一：{allowed}")));
            }
            Ok(Value::String(text))
        }
        (FieldType::Date, Value::String(text)) => {
            let wrong = || said("must be a date, YYYY-MM-DD", "须为日期，格式 YYYY-MM-DD");
            if text.len() != 10 {
                return Err(wrong());
            }
            let date: Date = text.parse().map_err(|_| wrong())?;
            Ok(Value::String(date.to_string()))
        }
        (wanted, _) => {
            let (english, chinese) = type_words(wanted);
            Err(said(format!("must be {english}"), format!("须为{chinese}")))
        }
    }
}

fn bounded(field: &CategoryField, number: i64) -> Result<Value, Said> {
    if let Some(minimum) = field.minimum.filter(|minimum| number < *minimum) {
        return Err(said(format!("must not be below {minimum}"), format!("不得小于{minimum}")));
    }
    if let Some(maximum) = field.maximum.filter(|maximum| number > *maximum) {
        return Err(said(format!("must not be above {maximum}"), format!("不得大于{maximum}")));
    }
    Ok(Value::from(number))
}

/// The protobuf structure knows numbers only as doubles, and most programs read JSON so; what is then not a whole, exact
/// number is refused in either.
#[expect(clippy::as_conversions, reason = "checked just above to be whole and within 2^53")]
fn exact(number: &serde_json::Number) -> Result<i64, Said> {
    if let Some(integer) = number.as_i64().filter(|integer| integer.unsigned_abs() <= EXACT_INTEGER) {
        return Ok(integer);
    }
    match number.as_f64() {
        Some(double) if !number.is_i64() && double.fract() == 0.0 && double.abs() <= EXACT => Ok(double as i64),
        _ => Err(said(
            "must be a whole number; beyond 2^53 send its digits as text",
            "须为整数；超过2^53时请以数字文本报送",
        )),
    }
}

fn type_words(kind: FieldType) -> (&'static str, &'static str) {
    match kind {
        FieldType::Integer => ("an integer", "整数"),
        FieldType::Boolean => ("true or false", "true 或 false"),
        FieldType::Text => ("a text", "文本"),
        FieldType::Date => ("a date, YYYY-MM-DD", "日期，格式 YYYY-MM-DD"),
        FieldType::Unspecified => ("of a known type", "已知类型"),
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
    use serde_json::json;

    use super::*;

    fn category() -> Category {
        let field = |number: i32, name: &str, kind: FieldType, feature: &str| CategoryField {
            number,
            name: name.to_owned(),
            label_zh: "字段".to_owned(),
            r#type: kind.into(),
            required: true,
            feature: feature.to_owned(),
            ..CategoryField::default()
        };
        let mut count = field(1, "patent_count", FieldType::Integer, "patent_count");
        count.unit = "count".to_owned();
        (count.minimum, count.maximum) = (Some(0), Some(1000));
        let mut grade = field(2, "grade", FieldType::Text, "tax_credit_grade");
        grade.allowed_values = vec!["A".to_owned(), "B".to_owned()];
        grade.required = false;
        Category {
            category: "patent".to_owned(),
            label_zh: "专利".to_owned(),
            department_zh: String::new(),
            fields: vec![count, grade, field(3, "founded_on", FieldType::Date, "age_days")],
            ..Category::default()
        }
    }

    fn with(name: &str, value: Value) -> Result<Map<String, Value>, Refusal> {
        let mut all = json!({ "patent_count": 3, "founded_on": "2020-01-31" });
        all[name] = value;
        let Value::Object(all) = all else { panic!("an object") };
        read(&category(), all)
    }

    #[test]
    fn a_good_schema_and_record_pass() {
        assert_eq!(violations(&category()), []);
        assert_eq!(with("grade", json!("A")).unwrap()["patent_count"], 3);
        for seven in [json!(7), json!(7.0), json!("7")] {
            assert_eq!(with("patent_count", seven).unwrap()["patent_count"], 7);
        }
        assert!(!with("grade", Value::Null).unwrap().contains_key("grade"));
    }

    #[test]
    fn each_breach_of_the_schema_is_named() {
        for (field, value, why) in [
            ("patent_count", json!(1.5), "whole number"),
            ("patent_count", json!(1e18), "2^53"),
            ("patent_count", json!(9_007_199_254_740_993_i64), "2^53"),
            ("patent_count", json!("1e3"), "whole number"),
            ("patent_count", json!("99999999999999999999"), "whole number"),
            ("patent_count", json!(-1), "below 0"),
            ("patent_count", json!(1001), "above 1000"),
            ("patent_count", json!(true), "an integer"),
            ("patent_count", json!([1]), "an integer"),
            ("patent_count", json!({ "n": 1 }), "an integer"),
            ("patent_count", Value::Null, "missing"),
            ("grade", json!("Z"), "one of A, B"),
            ("grade", json!("A\u{0}"), "control"),
            ("grade", json!("甲".repeat(513)), "at most 512"),
            ("grade", json!(1), "a text"),
            ("founded_on", json!("2020-13-01"), "a date"),
            ("founded_on", json!("2020-01-31T00:00:00"), "a date"),
            ("founded_on", json!(20200131), "a date"),
            ("owner_phone", json!("13800000000"), "not a field"),
        ] {
            let refusal = with(field, value).unwrap_err();
            assert_eq!((refusal.code, refusal.field.as_str()), (RejectionCode::Schema, &*format!("data.{field}")));
            assert!(refusal.reason.contains(why) && !refusal.reason.contains("138"), "{refusal}");
        }
        for (sent, shown) in [("13800000000", "data.***********"), ("张三", "data.**"), ("张三 138", "data.***138")]
        {
            assert_eq!(with(sent, json!(1)).unwrap_err().field, shown);
        }
    }

    #[test]
    fn a_schema_that_no_message_can_be_made_of_or_whose_end_is_no_date_is_refused() {
        let mut good = category();
        good.last_day_field = "founded_on".to_owned();
        assert_eq!(violations(&good), []);
        let refused = |change: &dyn Fn(&mut Category)| {
            let mut wrong = category();
            change(&mut wrong);
            violations(&wrong).into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        for name in ["grade", "closed_on"] {
            assert_eq!(refused(&|of| of.last_day_field = name.to_owned()), ["category.last_day_field"]);
        }
        assert_eq!(refused(&|of| of.fields[1].number = 1), ["category.fields[1].number"]);
        assert_eq!(refused(&|of| of.fields[1].name = "patentcount".to_owned()), ["category.fields[1].name"]);
    }

    #[test]
    fn a_schema_that_feeds_no_feature_of_its_type_is_refused() {
        let mut wrong = category();
        wrong.fields[0].feature = "is_high_tech".to_owned();
        wrong.fields[1].feature = "no_such_feature".to_owned();
        wrong.fields[2].name = "grade".to_owned();
        let fields: Vec<String> = violations(&wrong).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["category.fields[2].name", "category.fields[0].feature", "category.fields[1].feature"]);
    }
}
