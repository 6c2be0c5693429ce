//! What a source has sent, as it stands in the payload: JSON in the proto3 mapping, or protobuf. Nothing is judged here but
//! whether it can be read.

use jiff::Timestamp;
use prost::Message as _;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};
use zhirong_proto::gov::v1::{DeliveryEnded, Operation, Record, RejectionCode, ReloadCompleted};
use zhirong_runtime::json::fault;

use crate::refusal::Refusal;

mod strict;

/// Largest payload, in bytes.
pub const LARGEST: usize = 64 * 1024;

/// One version of one record, read and not yet checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arrival {
    /// The source.
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    /// The category.
    #[serde(deserialize_with = "or_default")]
    pub category: String,
    /// The record's id at its source.
    #[serde(alias = "recordId", deserialize_with = "or_default")]
    pub record_id: String,
    /// The enterprise.
    #[serde(deserialize_with = "or_default")]
    pub uscc: String,
    /// When it was observed.
    #[serde(alias = "observedAt", deserialize_with = "time")]
    pub observed_at: Time,
    /// What happened; the number of [`Operation`].
    #[serde(deserialize_with = "operation")]
    pub operation: i32,
    /// The fields.
    #[serde(deserialize_with = "strict::object")]
    pub data: Map<String, Value>,
    /// Which correction of the observation.
    #[serde(deserialize_with = "integer")]
    pub revision: i64,
    /// The full reload it belongs to.
    #[serde(alias = "reloadId", deserialize_with = "or_default")]
    pub reload_id: String,
}

/// A time that a source gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Time {
    /// None.
    #[default]
    Missing,
    /// It can't be read, or no calendar has it.
    Wrong,
    /// A time.
    At(Timestamp),
}

/// The end of a full reload, read and not yet checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadEnd {
    /// The source.
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    /// The category.
    #[serde(deserialize_with = "or_default")]
    pub category: String,
    /// The reload.
    #[serde(alias = "reloadId", deserialize_with = "or_default")]
    pub reload_id: String,
    /// The instant whose state was sent.
    #[serde(alias = "asOf", deserialize_with = "time")]
    pub as_of: Time,
    /// How many records belong to it.
    #[serde(alias = "recordCount", deserialize_with = "integer")]
    pub record_count: i64,
}

/// The end of a delivery, read and not yet checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryEnd {
    /// Who sends.
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    /// The delivery.
    #[serde(alias = "deliveryId", deserialize_with = "or_default")]
    pub delivery_id: String,
}

/// Reads a payload in JSON.
///
/// # Errors
/// Where it does not parse; without its values, which may be personal.
pub fn from_json<T: for<'a> Deserialize<'a>>(payload: &[u8]) -> Result<T, Refusal> {
    small_enough(payload)?;
    let refuse = |why: String, zh: String| {
        let (reason, zh) = (format!("the payload does not parse: {why}"), format!("报文无法解析：{zh}"));
        Refusal::of(RejectionCode::Payload, reason, zh)
    };
    let text = std::str::from_utf8(payload).map_err(|error| {
        let byte = error.valid_up_to().saturating_add(1);
        refuse(format!("byte {byte} is not UTF-8"), format!("第{byte}字节不是 UTF-8 编码"))
    })?;
    serde_json::from_str(text)
        .map_err(|error| refuse(fault(&error), format!("第{}行第{}列有误", error.line(), error.column())))
}

/// Reads a record in protobuf.
///
/// # Errors
/// When it does not parse.
pub fn record_from_protobuf(payload: &[u8]) -> Result<Arrival, Refusal> {
    small_enough(payload)?;
    Ok(Record::decode(payload).map_err(|error| broken(&error))?.into())
}

/// Reads the end of a reload in protobuf.
///
/// # Errors
/// When it does not parse.
pub fn reload_from_protobuf(payload: &[u8]) -> Result<ReloadEnd, Refusal> {
    small_enough(payload)?;
    Ok(ReloadCompleted::decode(payload).map_err(|error| broken(&error))?.into())
}

/// Reads the end of a delivery in protobuf.
///
/// # Errors
/// When it does not parse.
pub fn delivery_from_protobuf(payload: &[u8]) -> Result<DeliveryEnd, Refusal> {
    small_enough(payload)?;
    let DeliveryEnded { source, delivery_id } = DeliveryEnded::decode(payload).map_err(|error| broken(&error))?;
    Ok(DeliveryEnd { source, delivery_id })
}

fn broken(error: &prost::DecodeError) -> Refusal {
    Refusal::of(RejectionCode::Payload, format!("the payload does not parse: {error}"), "报文不是有效的 protobuf")
}

fn small_enough(payload: &[u8]) -> Result<(), Refusal> {
    if payload.len() > LARGEST {
        let length = payload.len();
        let reason = format!("the payload has {length} bytes, more than {LARGEST}");
        return Err(Refusal::of(RejectionCode::TooLarge, reason, format!("报文{length}字节，超过上限{LARGEST}字节")));
    }
    Ok(())
}

impl From<Record> for Arrival {
    fn from(record: Record) -> Self {
        Self {
            source: record.source,
            category: record.category,
            record_id: record.record_id,
            uscc: record.uscc,
            observed_at: record.observed_at.map_or(Time::Missing, Time::of),
            operation: record.operation,
            data: record.data.unwrap_or_default().fields.into_iter().map(|(name, value)| (name, json(value))).collect(),
            revision: i64::from(record.revision),
            reload_id: record.reload_id,
        }
    }
}

impl From<ReloadCompleted> for ReloadEnd {
    fn from(end: ReloadCompleted) -> Self {
        Self {
            source: end.source,
            category: end.category,
            reload_id: end.reload_id,
            as_of: end.as_of.map_or(Time::Missing, Time::of),
            record_count: end.record_count,
        }
    }
}

impl Time {
    fn of(time: prost_types::Timestamp) -> Self {
        Timestamp::new(time.seconds, time.nanos).map_or(Self::Wrong, Self::At)
    }
}

/// A value of a structure as JSON has it; what JSON has no number for becomes a text that no number is read from.
#[must_use]
pub fn json(value: prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::NumberValue(number)) => {
            serde_json::Number::from_f64(number).map_or_else(|| Value::String("no number".to_owned()), Value::Number)
        }
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(json).collect()),
        Some(Kind::StructValue(fields)) => {
            Value::Object(fields.fields.into_iter().map(|(name, value)| (name, json(value))).collect())
        }
    }
}

/// As the proto3 mapping has it, null means the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.map_or(Time::Missing, |text| text.parse().map_or(Time::Wrong, Time::At)))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(i64),
    Digits(String),
}

fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Option::deserialize(deserializer)? {
        None => Ok(0),
        Some(Number::Plain(number)) => Ok(number),
        Some(Number::Digits(text)) => text.parse().map_err(|_| D::Error::custom("an integer was expected")),
    }
}

fn operation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    match Option::deserialize(deserializer)? {
        None => Ok(0),
        // a number that is too large is as unknown as -1
        Some(Number::Plain(number)) => Ok(i32::try_from(number).unwrap_or(-1)),
        Some(Number::Digits(name)) => Ok(Operation::from_str_name(&name).map_or(-1, Into::into)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Result<Arrival, Refusal> {
        from_json(text.as_bytes())
    }

    #[test]
    fn both_spellings_and_protobuf_read_the_same() {
        let snake = record(
            r#"{"source":"s1","record_id":"r","observed_at":"2026-03-01T08:00:00+08:00","operation":"OPERATION_WITHDRAW",
                "revision":"2","reload_id":"x","data":{"n":5,"t":null}}"#,
        )
        .unwrap();
        let camel = record(
            r#"{"source":"s1","recordId":"r","observedAt":"2026-03-01T00:00:00Z","operation":2,"revision":2,"reloadId":"x",
                "data":{"n":5,"t":null},"category":null}"#,
        )
        .unwrap();
        assert_eq!(snake, camel);
        let number = |number| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(number)) };
        let message = Record {
            source: "s1".to_owned(),
            record_id: "r".to_owned(),
            observed_at: Some(prost_types::Timestamp { seconds: 1_772_323_200, nanos: 0 }),
            operation: 2,
            revision: 2,
            reload_id: "x".to_owned(),
            data: Some(prost_types::Struct {
                fields: [("n".to_owned(), number(5.0)), ("t".to_owned(), prost_types::Value { kind: None })].into(),
            }),
            ..Record::default()
        };
        let protobuf = record_from_protobuf(&message.encode_to_vec()).unwrap();
        assert_eq!(Arrival { data: Map::new(), ..protobuf.clone() }, Arrival { data: Map::new(), ..snake });
        assert_eq!(protobuf.data["n"].as_f64(), Some(5.0));
    }

    #[test]
    fn what_does_not_parse_is_refused_with_the_place_and_without_the_value() {
        let why = |text: &[u8]| from_json::<Arrival>(text).unwrap_err();
        assert!(why(b"{ not json").reason.contains("line 1 column 3"));
        assert!(why(b"{\"source\":\"\xff\"}").reason.contains("byte 12 is not UTF-8"));
        assert!(why(br#"{"owner_phone":"13800000000"}"#).reason.contains("unknown field `owner_phone`"));
        assert!(why(br#"{"owner_13800000000":1}"#).reason.contains("unknown field `owner_***********` at line 1"));
        assert!(why(br#"{"source":"a","source":"b"}"#).reason.contains("duplicate field"));
        assert!(why(br#"{"data":{"n":1,"n":1}}"#).reason.contains("duplicate field in the data"));
        assert!(why(br#"{"data":{"n":[{"m":1,"m":2}]}}"#).reason.contains("duplicate field in the data"));
        assert!(why(br#"{"data":[]}"#).reason.contains("not of its field's type"));
        assert_eq!(why(br#"{"data":{"n":1e999}}"#).code, RejectionCode::Payload);
        let refusal = why(br#"{"source":["13800000000"]}"#);
        assert_eq!(refusal.code, RejectionCode::Payload);
        assert!(refusal.reason.contains("not of its field's type") && !refusal.reason.contains("138"), "{refusal}");
        assert!(!why(br#"{"uscc":13800000000}"#).reason.contains("138"));
        let deep = format!(r#"{{"data":{{"n":{}1{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        assert!(why(deep.as_bytes()).reason.contains("recursion limit"));
        let large = format!(r#"{{"source":"{}"}}"#, "x".repeat(10_000_000));
        assert_eq!(why(large.as_bytes()).code, RejectionCode::TooLarge);
        assert_eq!(why(br#"{"source":"a"} {}"#).code, RejectionCode::Payload);
    }

    #[test]
    fn nested_protobuf_is_refused_and_does_not_overflow() {
        use prost_types::{ListValue, Value, value::Kind};
        let mut value = Value { kind: Some(Kind::NumberValue(1.0)) };
        for _ in 0..500 {
            value = Value { kind: Some(Kind::ListValue(ListValue { values: vec![value] })) };
        }
        let message = Record {
            data: Some(prost_types::Struct { fields: [("n".to_owned(), value)].into() }),
            ..Record::default()
        };
        let refusal = record_from_protobuf(&message.encode_to_vec()).unwrap_err();
        assert!(refusal.reason.contains("recursion limit"), "{refusal}");
    }

    #[test]
    fn odd_numbers_and_times_are_kept_apart() {
        assert_eq!(record(r#"{"operation":99}"#).unwrap().operation, 99);
        assert_eq!(record(r#"{"operation":"OPERATION_ERASE"}"#).unwrap().operation, -1);
        assert_eq!(record(r#"{"observed_at":"yesterday"}"#).unwrap().observed_at, Time::Wrong);
        assert_eq!(record("{}").unwrap().observed_at, Time::Missing);
        assert!(record(r#"{"revision":1.5}"#).is_err());
    }
}
