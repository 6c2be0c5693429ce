//! What the data engineer is given is what records are checked by.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use credit_profile::{
    arrival, feeding,
    published::{PACKAGE, example, files, json_schema, message_name, proto_file},
    record::{self, Sender},
    schema,
};
use jiff::Timestamp;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
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

/// The messages of some files in a folder, by an independent compiler.
fn compiled(folder: &Path, files: &[String]) -> DescriptorPool {
    let compiled = protox::compile(files, [folder]).unwrap_or_else(|error| panic!("{error:?}"));
    DescriptorPool::from_file_descriptor_set(compiled).unwrap()
}

/// What a program that knows only the message prints of what it reads.
fn printed(message: &MessageDescriptor, data: &Value, options: &SerializeOptions) -> Value {
    let read = DynamicMessage::deserialize(message.clone(), data).unwrap();
    // over the wire
    let read = DynamicMessage::decode(message.clone(), read.encode_to_vec().as_slice()).unwrap();
    read.serialize_with_options(serde_json::value::Serializer, options).unwrap()
}

#[test]
fn a_message_holds_what_its_categorys_records_hold_and_prints_what_is_taken() {
    let categories = categories();
    let names: Vec<String> = categories.iter().map(|of| format!("{}.proto", of.category)).collect();
    let pool = compiled(&root().join("docs/data"), &names);
    let by_name: BTreeMap<String, Category> =
        categories.iter().map(|category| (category.category.clone(), category.clone())).collect();
    for category in &categories {
        let full = format!("{PACKAGE}.{}", message_name(&category.category));
        let message = pool.get_message_by_name(&full).unwrap_or_else(|| panic!("{full}"));
        let declared: BTreeMap<String, i32> = category.fields.iter().map(|of| (of.name.clone(), of.number)).collect();
        let described =
            message.fields().map(|of| (of.json_name().to_owned(), i32::try_from(of.number()).unwrap())).collect();
        assert_eq!(declared, described, "{full}");

        let whole = example(category);
        let mut least = whole.clone();
        let data = least["data"].as_object_mut().unwrap();
        data.retain(|name, _| category.fields.iter().any(|of| of.name == *name && of.required));
        for record in [whole, least] {
            let numbers = SerializeOptions::new().stringify_64_bit_integers(false);
            assert_eq!(printed(&message, &record["data"], &numbers), record["data"], "{full}");
            // what a printer does by itself: 64 bits as text
            let mut sent = record.clone();
            sent["data"] = printed(&message, &record["data"], &SerializeOptions::new());
            let sender = Sender {
                source: record["source"].as_str().unwrap(),
                category: &category.category,
                now: "2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap(),
            };
            let kept = |record: &Value| {
                let arrived = arrival::from_json(record.to_string().as_bytes()).unwrap();
                record::check(arrived, sender, &by_name).unwrap()
            };
            assert_eq!(kept(&sent), kept(&record), "{full}");
        }
    }
}

#[test]
fn a_message_keeps_what_is_no_longer_used_and_stands_whatever_a_declaration_says() {
    let mut category = categories().into_iter().find(|of| of.category == "patent").unwrap();
    category.label_zh = "专利\n} 及\u{2028}其他".to_owned();
    category.fields[0].label_zh = "有效\r\n专利数".to_owned();
    category.fields[0].name = "reserved".to_owned();
    category.fields[1].name = "message".to_owned();
    category.fields[1].number = 536_870_911;
    category.withdrawn_numbers = vec![9, 2];
    assert_eq!(schema::violations(&category), []);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.proto"), proto_file(&category).unwrap()).unwrap();
    let message =
        compiled(folder.path(), &["a.proto".to_owned()]).get_message_by_name(&format!("{PACKAGE}.Patent")).unwrap();
    assert_eq!(message.reserved_ranges().collect::<Vec<_>>(), [9..10, 2..3]);
    assert_eq!(message.get_field_by_name("message").unwrap().number(), 536_870_911);

    category.fields[1].number = 0;
    assert_eq!(proto_file(&category), None, "of a field from before there were numbers no message can be made");
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
