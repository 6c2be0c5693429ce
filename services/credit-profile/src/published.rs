//! What the data engineer is given: of every category a JSON Schema, a protobuf message, an example and a page, made from the same
//! declaration and the same limits by which records are checked.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value, json};
use zhirong_kernel::feature::{FeatureDictionary, FeatureType};
use zhirong_proto::profile::v1::{Category, CategoryField, FieldType};

use crate::{arrival, record, schema};

mod proto_file;

pub use proto_file::{PACKAGE, message_name, proto_file};

/// The example's enterprise; no such one exists.
const EXAMPLE_USCC: &str = "91331102MA2X000010";

/// The JSON Schema (2020-12) of a category's records as they are sent in JSON.
#[must_use]
pub fn json_schema(category: &Category) -> Value {
    let name = &category.category;
    let slug = "^[a-z0-9-]{2,64}$";
    let source = if category.sources.is_empty() {
        json!({ "type": "string", "pattern": slug })
    } else {
        json!({ "enum": category.sources })
    };
    let required: Vec<&str> =
        category.fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    let fields: Map<String, Value> =
        category.fields.iter().map(|field| (field.name.clone(), field_schema(field))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:zhirong:gov:v1:{name}"),
        "title": category.label_zh,
        "description": category.department_zh,
        "type": "object",
        "additionalProperties": false,
        "required": ["source", "category", "record_id", "uscc", "observed_at"],
        "properties": {
            "source": source,
            "category": { "const": name },
            "record_id": { "type": "string", "minLength": 1, "maxLength": record::LONGEST_ID, "pattern": "^[^\\p{Cc}]*$" },
            "uscc": { "type": "string", "pattern": "^[0-9A-HJ-NPQRTUW-Y]{2}[0-9]{6}[0-9A-HJ-NPQRTUW-Y]{10}$",
                      "description": "统一社会信用代码，校验位须相符" },
            "observed_at": { "type": "string", "format": "date-time", "description": "观测时间，不得晚于当前时间" },
            "operation": { "enum": ["OPERATION_UPSERT", "OPERATION_WITHDRAW"], "default": "OPERATION_UPSERT" },
            "revision": { "type": "integer", "minimum": 0, "maximum": record::LAST_REVISION, "default": 0 },
            "reload_id": { "type": "string", "pattern": "^[a-z0-9-]{0,64}$" },
            "data": { "type": "object" },
        },
        "if": { "properties": { "operation": { "const": "OPERATION_WITHDRAW" } }, "required": ["operation"] },
        "else": {
            "required": if required.is_empty() { json!([]) } else { json!(["data"]) },
            "properties": {
                "data": { "additionalProperties": false, "required": required, "properties": fields },
            },
        },
        "examples": [example(category)],
    })
}

fn field_schema(field: &CategoryField) -> Value {
    let value = match field.r#type() {
        FieldType::Integer => {
            let exact = i64::try_from(schema::EXACT_INTEGER).unwrap_or(i64::MAX);
            let (low, high) = (field.minimum.unwrap_or(i64::MIN), field.maximum.unwrap_or(i64::MAX));
            json!({
                "type": ["integer", "string"], "minimum": low.max(exact.saturating_neg()), "maximum": high.min(exact),
                "pattern": "^[+-]?[0-9]+$",
            })
        }
        FieldType::Boolean => json!({ "type": "boolean" }),
        FieldType::Text if field.allowed_values.is_empty() => {
            json!({ "type": "string", "maxLength": schema::LONGEST_TEXT, "pattern": "^[^\\p{Cc}]*$" })
        }
        FieldType::Text => json!({ "enum": field.allowed_values }),
        FieldType::Date => json!({ "type": "string", "format": "date" }),
        FieldType::Unspecified => json!(false),
    };
    let mut value = if field.required { value } else { json!({ "anyOf": [value, { "type": "null" }] }) };
    if let Value::Object(fields) = &mut value {
        fields.insert("title".to_owned(), json!(field.label_zh));
        if !field.unit.is_empty() {
            fields.insert("description".to_owned(), json!(unit_zh(&field.unit)));
        }
    }
    value
}

/// A record that is taken as it stands.
#[must_use]
pub fn example(category: &Category) -> Value {
    let data: Map<String, Value> =
        category.fields.iter().map(|field| (field.name.clone(), example_value(field))).collect();
    let slug = category.category.replace('_', "-");
    json!({
        "source": category.sources.first().unwrap_or(&format!("sample-{slug}")),
        "category": category.category,
        "record_id": format!("{EXAMPLE_USCC}-1"),
        "uscc": EXAMPLE_USCC,
        "observed_at": "2026-03-01T08:00:00+08:00",
        "operation": "OPERATION_UPSERT",
        "revision": 0,
        "data": data,
    })
}

fn example_value(field: &CategoryField) -> Value {
    match field.r#type() {
        FieldType::Integer => {
            let usual = match field.unit.as_str() {
                "fen" => 120_000_000,
                "ppm" => 50_000,
                "kwh" | "m3" | "m2" => 36_000,
                "points" => 800,
                _ => 3,
            };
            let (low, high) = (field.minimum.unwrap_or(i64::MIN), field.maximum.unwrap_or(i64::MAX));
            json!(usual.max(low).min(high))
        }
        FieldType::Boolean => json!(false),
        FieldType::Text => json!(field.allowed_values.first().map_or("示例", String::as_str)),
        FieldType::Date => json!("2020-05-24"),
        FieldType::Unspecified => Value::Null,
    }
}

/// Every file of the folder for data engineers, by name: of each category schema, message and example, and the page.
#[must_use]
pub fn files(categories: &[Category]) -> BTreeMap<String, String> {
    let pretty = |value: &Value| format!("{value:#}\n");
    let mut files = BTreeMap::from([("README.md".to_owned(), page(categories))]);
    for category in categories {
        let name = &category.category;
        files.insert(format!("{name}.schema.json"), pretty(&json_schema(category)));
        files.insert(format!("{name}.example.json"), pretty(&example(category)));
        if let Some(message) = proto_file(category) {
            files.insert(format!("{name}.proto"), message);
        }
    }
    files
}

/// The page: how to send, every category with its fields, every feature with its definition.
fn page(categories: &[Category]) -> String {
    let mut page = include_str!("published/head.md")
        .replace("{largest}", &(arrival::LARGEST / 1024).to_string())
        .replace("{package}", PACKAGE)
        .replace("{categories}", &categories.len().to_string());
    for category in categories {
        let name = &category.category;
        let _ = write!(page, "\n### {} `{name}`\n\n", category.label_zh);
        let sources = match category.sources.as_slice() {
            [] => "any source".to_owned(),
            sources => sources.join(", "),
        };
        let _ = write!(
            page,
            "{} · from {sources} · [JSON Schema]({name}.schema.json) · [proto]({name}.proto) · [example]({name}.example.json)\n\n",
            category.department_zh
        );
        if !category.last_day_field.is_empty() {
            let field = &category.last_day_field;
            let _ =
                write!(page, "A record counts up to and including the day in `{field}`, and without one for good.\n\n");
        }
        page.push_str("| field | no. | 名称 | type | required | values | feature |\n|---|---|---|---|---|---|---|\n");
        for field in &category.fields {
            let required = if field.required { "yes" } else { "" };
            let feature = if field.feature.is_empty() { String::new() } else { format!("`{}`", field.feature) };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {required} | {} | {feature} |",
                field.name,
                field.number,
                field.label_zh,
                type_word(field),
                values(field)
            );
        }
    }
    page.push_str(include_str!("published/features.md"));
    for feature in FeatureDictionary::standard().iter() {
        let kind = match feature.kind {
            FeatureType::Int => unit_zh(&feature.unit),
            FeatureType::Bool => "是/否",
            FeatureType::Text => "文本",
        };
        let window = feature.window_months.map_or_else(String::new, |months| format!("{months} months"));
        let fresh = feature.fresh_days.map_or_else(String::new, |days| format!("{days} days"));
        let _ = writeln!(
            page,
            "| `{}` | {} | {kind} | {} | {window} | {fresh} |",
            feature.name, feature.label_zh, feature.definition_zh
        );
    }
    page
}

fn type_word(field: &CategoryField) -> String {
    match field.r#type() {
        FieldType::Integer => format!("integer, {}", unit_zh(&field.unit)),
        FieldType::Boolean => "boolean".to_owned(),
        FieldType::Text => "text".to_owned(),
        FieldType::Date => "date, `YYYY-MM-DD`".to_owned(),
        FieldType::Unspecified => String::new(),
    }
}

fn values(field: &CategoryField) -> String {
    match (field.minimum, field.maximum) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("from {low}"),
        (None, Some(high)) => format!("to {high}"),
        (None, None) => field.allowed_values.join(", "),
    }
}

fn unit_zh(unit: &str) -> &str {
    match unit {
        "fen" => "分（人民币）",
        "ppm" => "百万分之一",
        "days" => "天",
        "count" => "个/次/人",
        "kwh" => "千瓦时",
        "m3" => "立方米",
        "m2" => "平方米",
        "mu" => "亩",
        "points" => "分（评分）",
        other => other,
    }
}
