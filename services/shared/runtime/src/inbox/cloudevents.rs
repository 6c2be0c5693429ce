//! CloudEvents 1.0 over NATS: binary mode (attributes in headers) and structured JSON mode.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use zhirong_kernel::shown;

use super::{delivery::ContentType, headers::Headers};
use crate::json;

/// The attributes and the payload.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) source: String,
    pub(super) ce_type: String,
    pub(super) about: Option<String>,
    pub(super) time: Option<Timestamp>,
    pub(super) content_type: ContentType,
    pub(super) payload: Bytes,
}

/// Reads a message, or says why it is no CloudEvent; never with a value of it, which may be personal.
pub(super) fn read(headers: &Headers, payload: &Bytes) -> Result<Envelope, String> {
    let content_type = headers.get("content-type").or_else(|| headers.get("ce-datacontenttype"));
    match content_type.map(media_type) {
        Some(mode) if mode == "application/cloudevents+json" => structured(payload),
        Some(mode) if mode.starts_with("application/cloudevents") => {
            Err(format!("{} is not supported", shown::media_type(&mode)))
        }
        media => binary(headers, media.as_deref(), payload),
    }
}

fn binary(headers: &Headers, media: Option<&str>, payload: &Bytes) -> Result<Envelope, String> {
    let attribute = |name: &str| headers.get(name).map(percent_decode).filter(|value| !value.is_empty());
    check_version(attribute("ce-specversion").as_deref())?;
    Ok(Envelope {
        id: attribute("ce-id").ok_or("the header ce-id is missing")?.into_owned(),
        source: attribute("ce-source").unwrap_or_default().into_owned(),
        ce_type: attribute("ce-type").unwrap_or_default().into_owned(),
        about: attribute("ce-subject").map(Cow::into_owned),
        time: attribute("ce-time").and_then(|time| time.parse().ok()),
        content_type: ContentType::of(media, payload),
        payload: payload.clone(),
    })
}

#[derive(Deserialize)]
struct Structured<'a> {
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    ce_type: Option<String>,
    specversion: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

fn structured(payload: &Bytes) -> Result<Envelope, String> {
    let event: Structured<'_> = serde_json::from_slice(payload)
        .map_err(|error| format!("the structured CloudEvent does not parse: {}", json::fault(&error)))?;
    check_version(event.specversion.as_deref())?;
    let data = match (event.data, event.data_base64) {
        (Some(_), Some(_)) => {
            return Err("the structured CloudEvent has data and data_base64".to_owned());
        }
        (Some(json), None) => Bytes::copy_from_slice(json.get().as_bytes()),
        (None, Some(text)) => STANDARD.decode(text).map_err(|_| "data_base64 does not decode")?.into(),
        (None, None) => Bytes::new(),
    };
    let media = event.datacontenttype.as_deref().map_or(Cow::Borrowed("application/json"), media_type);
    Ok(Envelope {
        id: event.id.filter(|id| !id.is_empty()).ok_or("the attribute id is missing")?,
        source: event.source.unwrap_or_default(),
        ce_type: event.ce_type.unwrap_or_default(),
        about: event.subject,
        time: event.time.and_then(|time| time.parse().ok()),
        content_type: ContentType::of(Some(&media), &data),
        payload: data,
    })
}

fn check_version(version: Option<&str>) -> Result<(), String> {
    match version {
        None => Ok(()), // sloppy senders leave it out
        Some(version) if version.starts_with("1.") => Ok(()),
        Some(version) => Err(format!("CloudEvents {} is not supported", shown::name(version))),
    }
}

/// Without parameters, in lower case.
fn media_type(content_type: &str) -> Cow<'_, str> {
    let bare = content_type.split(';').next().unwrap_or_default().trim();
    if bare.chars().any(|c| c.is_ascii_uppercase()) { bare.to_ascii_lowercase().into() } else { bare.into() }
}

/// Header values carry printable ASCII; the rest, a blank, a quote and the percent sign are escaped.
pub(crate) fn percent_encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' => encoded.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Undoes [`percent_encode`]; what is no escape stays as it is.
pub(crate) fn percent_decode(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| tail.get(..2)).flatten();
        let escaped =
            escaped.and_then(|digits| std::str::from_utf8(digits).ok()).filter(|digits| !digits.starts_with('+'));
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(value), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn chinese_survives_a_header() {
        let encoded = percent_encode("莲都区 100%");
        assert!(encoded.is_ascii() && !encoded.contains(' '));
        assert_eq!(percent_decode(&encoded), "莲都区 100%");
        assert_eq!(percent_decode("100%, 5 %zz"), "100%, 5 %zz");
    }

    #[test]
    fn both_modes_give_the_same_event() {
        let from_headers = read(
            &headers(&[
                ("ce-id", "7"),
                ("ce-type", "t"),
                ("ce-source", "%E8%8E%B2"),
                ("ce-datacontenttype", "Application/JSON; charset=utf-8"),
            ]),
            &Bytes::from_static(b"{\"a\":1}"),
        )
        .unwrap();
        let from_body = read(
            &headers(&[("content-type", "application/cloudevents+json")]),
            &Bytes::from_static(
                "{\"specversion\":\"1.0\",\"id\":\"7\",\"type\":\"t\",\"source\":\"莲\",\"data\":{\"a\":1}}".as_bytes(),
            ),
        )
        .unwrap();
        assert_eq!(format!("{from_headers:?}"), format!("{from_body:?}"));
        assert_eq!((from_body.source.as_str(), from_body.content_type), ("莲", ContentType::Json));
    }

    #[test]
    fn what_is_wrong_is_said_without_what_was_sent() {
        let structured = [("content-type", "application/cloudevents+json")];
        for payload in [
            r#""张三 13800000001""#,
            r#"{"id":13800000001}"#,
            r#"{"id":"1","source":13800000001}"#,
            r#"{"id":"1","specversion":"张三 13800000001"}"#,
            r#"{"id":"1","data_base64":"张三 13800000001"}"#,
            "张三 13800000001",
        ] {
            let error = read(&headers(&structured), &Bytes::from_static(payload.as_bytes())).unwrap_err();
            assert!(!error.contains("张三") && !error.contains("138"), "{payload}: {error}");
        }
        let odd = [("content-type", "application/cloudevents-13800000001")];
        let error = read(&headers(&odd), &Bytes::new()).unwrap_err();
        assert_eq!(error, "application/cloudevents-*********** is not supported");
    }

    #[test]
    fn an_event_without_id_or_of_another_version_is_refused() {
        assert_eq!(read(&headers(&[("ce-type", "t")]), &Bytes::new()).unwrap_err(), "the header ce-id is missing");
        let error = read(&headers(&[("ce-id", "1"), ("ce-specversion", "0.3")]), &Bytes::new()).unwrap_err();
        assert_eq!(error, "CloudEvents 0.3 is not supported");
    }
}
