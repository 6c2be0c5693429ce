//! What the data engineer is given is what records are checked by.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use credit_profile::{
    arrival, feeding,
    published::{example, files, json_schema},
    record::{self, Sender},
    schema,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use zhirong_kernel::feature::{Better, Feature, FeatureDictionary};
use zhirong_proto::profile::v1::{Category, FieldType};

use crate::load;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn categories() -> Vec<Category> {
    load::categories(&root().join("seeds/categories")).unwrap()
}

#[test]
fn the_folder_is_current() {
    let folder = root().join("docs/data");
    let wanted = files(&categories());
    let names: BTreeSet<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, wanted.keys().cloned().collect::<BTreeSet<_>>(), "run make schemas");
    for (name, text) in wanted {
        assert!(fs::read_to_string(folder.join(&name)).unwrap() == text, "{name} is not current: run make schemas");
    }
}

#[test]
fn records_bring_the_texts_that_a_feature_puts_in_order_and_no_others() {
    let mut ordered = 0;
    for field in categories().into_iter().flat_map(|category| category.fields) {
        let feature = FeatureDictionary::standard().get(&field.feature);
        if let Some(Feature { better: Better::Order(order), .. }) = feature {
            assert_eq!(BTreeSet::from_iter(field.allowed_values), BTreeSet::from_iter(order.clone()), "{}", field.name);
            ordered += 1;
        }
    }
    assert_eq!(ordered, 4);
}

#[test]
fn every_example_is_taken_and_every_schema_can_be_put_into_force() {
    let categories = categories();
    assert_eq!(categories.len(), 32);
    let by_name: BTreeMap<String, Category> =
        categories.iter().map(|category| (category.category.clone(), category.clone())).collect();
    assert_eq!(feeding::all(&by_name), []);
    for category in &categories {
        assert_eq!(schema::violations(category), []);
        let example = example(category);
        let sender = Sender {
            source: example["source"].as_str().unwrap(),
            category: &category.category,
            now: "2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap(),
        };
        let arrived = arrival::from_json(example.to_string().as_bytes()).unwrap();
        let version = record::check(arrived, sender, &by_name).unwrap();
        let kept: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&version.data).unwrap();
        assert_eq!(kept.len(), category.fields.len());
    }
}

/// Every field of every category with values of all kinds: an independent validator of JSON Schema and our check agree.
#[test]
fn a_schema_says_what_the_check_says() {
    let categories = categories();
    let by_name: BTreeMap<String, Category> =
        categories.iter().map(|category| (category.category.clone(), category.clone())).collect();
    let now = "2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let values = [
        Value::Null,
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(2.0),
        json!(1.5),
        json!(1_000_000_000_000_001_i64),
        json!(1e18),
        json!(9_007_199_254_740_993_i64),
        json!("5"),
        json!("+5"),
        json!("x"),
        json!(""),
        json!("a\u{0}"),
        json!("甲".repeat(513)),
        json!("2026-02-28"),
        json!("2026-02-30"),
        json!("20260228"),
        json!([1]),
        json!({}),
    ];
    let (mut taken, mut refused) = (0, 0);
    for category in &categories {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&json_schema(category))
            .expect("a valid JSON Schema");
        let good = example(category);
        let mut compare = |record: &Value| {
            let sender = Sender { source: good["source"].as_str().unwrap(), category: &category.category, now };
            let ours = arrival::from_json(record.to_string().as_bytes())
                .and_then(|arrived| record::check(arrived, sender, &by_name));
            assert_eq!(validator.is_valid(record), ours.is_ok(), "{record}: {ours:?}");
            if ours.is_ok() { taken += 1 } else { refused += 1 }
        };
        for field in &category.fields {
            // the bounds of a number that is sent as text are beyond JSON Schema
            let judged = |value: &&Value| {
                let number = value.as_str().and_then(|text| text.parse::<i64>().ok());
                let low = field.minimum.is_none_or(|low| number >= Some(low));
                let high = field.maximum.is_none_or(|high| number <= Some(high));
                field.r#type() != FieldType::Integer || number.is_none() || (low && high)
            };
            for value in values.iter().filter(judged) {
                let mut record = good.clone();
                record["data"][&field.name] = value.clone();
                compare(&record);
            }
            let mut record = good.clone();
            record["data"].as_object_mut().unwrap().remove(&field.name);
            compare(&record);
        }
        for (name, value) in [
            ("uscc", json!("９1331102MA2X000010")),
            ("uscc", json!("1")),
            ("record_id", json!("")),
            ("record_id", json!("x".repeat(129))),
            ("revision", json!(-1)),
            ("revision", json!(7)),
            ("operation", json!("OPERATION_ERASE")),
            ("reload_id", json!("A b")),
            ("observed_at", json!("yesterday")),
            ("category", json!("other")),
            ("source", json!("X")),
            ("phone", json!("1")),
        ] {
            let mut record = good.clone();
            record[name] = value;
            compare(&record);
        }
        for name in ["source", "category", "record_id", "uscc", "observed_at", "data", "operation"] {
            let mut record = good.clone();
            record.as_object_mut().unwrap().remove(name);
            compare(&record);
        }
        let mut unknown = good.clone();
        unknown["data"]["phone"] = json!("1");
        compare(&unknown);
        unknown["operation"] = json!("OPERATION_WITHDRAW");
        compare(&unknown);
    }
    assert!(taken > 300 && refused > 1000, "{taken} {refused}");
}
