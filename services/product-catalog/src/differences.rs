//! What differs between two specifications of a product, field by field, as people read it.

use std::{collections::BTreeSet, sync::LazyLock};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use zhirong_proto::{
    DESCRIPTOR_SET,
    catalog::v1::{FieldChange, ProductSpec},
};

/// The proto files compiled into this version; without them nothing is told.
static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).ok());

/// Every field that differs, in order of path.
pub fn differences(before: &ProductSpec, after: &ProductSpec) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("spec", json(before).as_ref(), json(after).as_ref(), &mut found);
    found
}

/// A specification in the proto3 JSON mapping with the names of the proto files.
fn json(spec: &ProductSpec) -> Option<Value> {
    let descriptor = POOL.as_ref()?.get_message_by_name("zhirong.catalog.v1.ProductSpec")?;
    let message = DynamicMessage::decode(descriptor, spec.encode_to_vec().as_slice()).ok()?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<FieldChange>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                compare(&format!("{path}.{name}"), a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                compare(&format!("{path}[{at}]"), a.get(at), b.get(at), found);
            }
        }
        (before, after) => {
            let text = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
            found.push(FieldChange { field: path.to_owned(), before: text(before), after: text(after) });
        }
    }
}

#[cfg(test)]
mod tests {
    use zhirong_proto::catalog::v1::{Condition, CreditTerms, product_spec::Terms};

    use super::*;

    fn spec(most: i64, conditions: &[&str], tags: &[&str]) -> ProductSpec {
        let conditions = conditions
            .iter()
            .map(|&expression| Condition { expression: expression.to_owned(), ..Condition::default() })
            .collect();
        let terms = CreditTerms { max_amount_fen: most, conditions, ..CreditTerms::default() };
        ProductSpec {
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            terms: Some(Terms::Credit(terms)),
            ..ProductSpec::default()
        }
    }

    #[test]
    fn every_field_that_differs_is_told_with_both_values() {
        let (before, after) = (spec(1, &["a", "b"], &["x"]), spec(i64::MAX, &["a", "c", "d"], &[]));
        assert_eq!(differences(&before, &before), []);
        let told: Vec<_> = differences(&before, &after)
            .into_iter()
            .map(|change| (change.field, change.before, change.after))
            .collect();
        let line = |field: &str, before: &str, after: &str| (field.to_owned(), before.to_owned(), after.to_owned());
        assert_eq!(
            told,
            [
                line("spec.credit.conditions[1].expression", "\"b\"", "\"c\""),
                line("spec.credit.conditions[2]", "", "{\"expression\":\"d\"}"),
                line("spec.credit.max_amount_fen", "1", "9223372036854775807"),
                line("spec.tags", "[\"x\"]", ""),
            ]
        );
    }
}
