//! Protobuf messages in the proto3 JSON mapping, read by the descriptors that are compiled in; and what may be said of JSON that
//! can't be read.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use zhirong_kernel::shown;
use zhirong_proto::Fact;

static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(zhirong_proto::DESCRIPTOR_SET).map_err(|error| error.to_string()));

/// Reads a message by its full proto name.
pub(crate) fn read<M: Message + Default>(name: &str, json: &[u8]) -> Result<M, String> {
    let pool = POOL.as_ref()?;
    let descriptor = pool.get_message_by_name(name).ok_or_else(|| format!("there is no message {name}"))?;
    read_as(descriptor, json)
}

/// Reads the payload of an event.
pub(crate) fn read_fact<F: Fact>(json: &[u8]) -> Result<F, String> {
    let descriptor = POOL
        .as_ref()?
        .all_messages()
        .find(|message| event_type(message).is_some_and(|name| name == F::TYPE))
        .ok_or_else(|| format!("no message is the payload of {}", F::TYPE))?;
    read_as(descriptor, json)
}

fn event_type(message: &MessageDescriptor) -> Option<String> {
    let fact = message.parent_pool().get_extension_by_name("zhirong.event.v1.fact")?;
    let options = message.options();
    let value = options.get_extension(&fact);
    let name = value.as_message()?.get_field_by_name("type")?;
    name.as_str().map(str::to_owned)
}

fn read_as<M: Message + Default>(descriptor: MessageDescriptor, json: &[u8]) -> Result<M, String> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options)
        .map_err(|error| fault(&error))?;
    deserializer.end().map_err(|error| fault(&error))?;
    message.transcode_to().map_err(|error| error.to_string())
}

/// What is wrong with a text in JSON, and where. Never a value of it, which may be personal and which the parser's own words quote;
/// of a field that nobody has declared the name, as [`shown::name`] gives it.
#[must_use]
pub fn fault(error: &serde_json::Error) -> String {
    let place = format!("at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    if let Some((unknown, _)) = text.strip_prefix("unknown field `").and_then(|rest| rest.rsplit_once("`, expected ")) {
        return format!("unknown field `{}` {place}", shown::name(unknown));
    }
    // what is no error of data is one of the syntax, and the names of fields that stand twice are those that were declared
    if !error.is_data() || text.starts_with("duplicate field") {
        return text;
    }
    format!("a value is not of its field's type {place}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Known {
        #[expect(dead_code, reason = "read only to be refused")]
        name: String,
        #[expect(dead_code, reason = "read only to be refused")]
        count: Option<i64>,
    }

    #[test]
    fn a_fault_has_its_place_and_no_value() {
        let fault = |text: &str| fault(&serde_json::from_str::<Known>(text).unwrap_err());
        for text in
            [r#""张三 13800000001""#, "13800000001", r#"{"name":13800000001}"#, r#"{"name":"a","count":"张三"}"#]
        {
            assert!(fault(text).starts_with("a value is not of its field's type at line 1 column "), "{}", fault(text));
        }
        assert_eq!(fault(r#"{"ph_13800000001":1}"#), "unknown field `ph_***********` at line 1 column 17");
        assert_eq!(fault(r#"{"a`, expected 张三":1}"#), "unknown field `a***expected***` at line 1 column 22");
        assert_eq!(fault(r#"{"name":"a","name":"b"}"#), "duplicate field `name` at line 1 column 18");
        assert_eq!(fault("{ 张三"), "key must be a string at line 1 column 3");
        let message = read::<zhirong_proto::gov::v1::Record>("zhirong.gov.v1.Record", r#"{"张三":1}"#.as_bytes());
        assert_eq!(message.unwrap_err(), "a value is not of its field's type at line 1 column 9");
    }
}
