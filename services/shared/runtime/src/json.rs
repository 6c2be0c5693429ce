//! Protobuf messages in the proto3 JSON mapping, read by the descriptors that are compiled in.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
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
    let message =
        DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options).map_err(|e| e.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    message.transcode_to().map_err(|error| error.to_string())
}
