//! One event as it arrived.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use zhirong_kernel::shown;
use zhirong_proto::Fact;

use super::{
    Rejection,
    cloudevents::{self, Envelope},
    dead::storable,
    headers::Headers,
};
use crate::json;

/// What the payload is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentType {
    /// Protobuf.
    Protobuf,
    /// JSON, in the proto3 mapping.
    Json,
    /// Something else; the media type.
    Other(String),
}

impl ContentType {
    /// By media type; without one by the look of the payload, because a protobuf message of ours never begins with a brace.
    pub(super) fn of(media: Option<&str>, payload: &[u8]) -> Self {
        match media {
            Some("application/protobuf" | "application/x-protobuf" | "application/vnd.google.protobuf") => {
                Self::Protobuf
            }
            Some(json) if json == "application/json" || json == "text/json" || json.ends_with("+json") => Self::Json,
            Some(other) => Self::Other(other.to_owned()),
            None if payload.first() == Some(&b'{') => Self::Json,
            None => Self::Protobuf,
        }
    }
}

/// One event as it arrived.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// CloudEvents `id`; with the consumer it makes the event count once.
    pub id: String,
    /// CloudEvents `type`; equals [`Fact::TYPE`] for our own events.
    pub ce_type: String,
    /// CloudEvents `source`; empty when the sender left it out.
    pub source: String,
    /// The NATS subject.
    pub subject: String,
    /// CloudEvents `subject`: what the event is about.
    pub about: Option<String>,
    /// CloudEvents `time`; none when missing or no RFC 3339 time.
    pub time: Option<Timestamp>,
    /// What the payload is written in.
    pub content_type: ContentType,
    /// The payload.
    pub payload: Bytes,
    /// All headers.
    pub headers: Headers,
    /// The stream.
    pub stream: Arc<str>,
    /// Its sequence in the stream.
    pub stream_sequence: u64,
    /// How many times it was delivered, from 1; 0 for the replay of a dead letter.
    pub attempt: u64,
}

/// Where a message was, and with which headers.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) subject: String,
    pub(super) headers: Headers,
    pub(super) stream: Arc<str>,
    pub(super) stream_sequence: u64,
}

/// A message that is no event.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) origin: Origin,
    /// What the inbox knows it by.
    pub(super) key: String,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl Delivery {
    /// Reads a message, or says why it is no event.
    pub(super) fn read(origin: Origin, payload: &Bytes, attempt: u64) -> Result<Self, Box<Unreadable>> {
        let envelope = match cloudevents::read(&origin.headers, payload) {
            Ok(envelope) => envelope,
            Err(reason) => {
                let key = format!("{}@{}", origin.stream, origin.stream_sequence);
                return Err(Box::new(Unreadable { origin, key, reason }));
            }
        };
        let Envelope { id, source, ce_type, about, time, content_type, payload } = envelope;
        let Origin { subject, headers, stream, stream_sequence } = origin;
        Ok(Self {
            id: storable(id),
            ce_type: storable(ce_type),
            source: storable(source),
            subject,
            about: about.map(storable),
            time,
            content_type,
            payload,
            headers,
            stream,
            stream_sequence,
            attempt,
        })
    }

    /// The payload as one of our facts.
    ///
    /// # Errors
    /// [`Rejection::Poison`] when the event has another type or does not parse.
    pub fn decode<F: Fact>(&self) -> Result<F, Rejection> {
        if self.ce_type != F::TYPE {
            return Err(Rejection::Poison(format!("the type is {}, not {}", shown::name(&self.ce_type), F::TYPE)));
        }
        self.decode_with(json::read_fact::<F>)
    }

    /// The payload as any message, by its full proto name such as `zhirong.gov.v1.Record`.
    ///
    /// # Errors
    /// [`Rejection::Poison`] when it does not parse.
    pub fn message<M: Message + Default>(&self, name: &str) -> Result<M, Rejection> {
        self.decode_with(|json| json::read(name, json))
    }

    /// The last token of the NATS subject: the key of one of our facts, the category of a government record.
    #[must_use]
    pub fn key(&self) -> &str {
        self.subject.rsplit('.').next().unwrap_or_default()
    }

    fn decode_with<M: Message + Default>(
        &self,
        from_json: impl FnOnce(&[u8]) -> Result<M, String>,
    ) -> Result<M, Rejection> {
        match &self.content_type {
            ContentType::Protobuf => M::decode(self.payload.clone()).map_err(|error| error.to_string()),
            ContentType::Json => from_json(&self.payload),
            ContentType::Other(media) => Err(format!("{} is not understood", shown::media_type(media))),
        }
        .map_err(|error| Rejection::Poison(format!("the payload does not parse: {error}")))
    }
}
