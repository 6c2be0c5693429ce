//! An unpublished row, and its form on the broker: CloudEvents 1.0, binary mode.

use async_nats::HeaderMap;
use jiff::civil::Date;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, inbox::cloudevents::percent_encode};

/// One row as the relay reads it.
pub(crate) struct Event {
    pub(crate) created_on: Date,
    pub(crate) event_id: Uuid,
    pub(crate) stream: String,
    pub(crate) subject: String,
    event_type: String,
    aggregate_id: String,
    aggregate_version: i64,
    occurred_at: jiff::Timestamp,
    trace_parent: Option<String>,
    pub(crate) payload: Vec<u8>,
}

/// The oldest unpublished rows. Rows commit out of order, so nothing is ever skipped by a cursor.
pub(crate) async fn unpublished(connection: &mut PgConnection, limit: i64) -> Result<Vec<Event>, Error> {
    let rows = sqlx::query!(
        r#"SELECT created_on AS "created_on: jiff_sqlx::Date", event_id, stream, subject, event_type, aggregate_id,
               aggregate_version, occurred_at AS "occurred_at: jiff_sqlx::Timestamp", trace_parent, payload
         FROM runtime.outbox WHERE published_at IS NULL ORDER BY event_id LIMIT $1"#,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Event {
            created_on: row.created_on.to_jiff(),
            event_id: row.event_id,
            stream: row.stream,
            subject: row.subject,
            event_type: row.event_type,
            aggregate_id: row.aggregate_id,
            aggregate_version: row.aggregate_version,
            occurred_at: row.occurred_at.to_jiff(),
            trace_parent: row.trace_parent,
            payload: row.payload,
        })
        .collect())
}

impl Event {
    /// The CloudEvents attributes; `source` names the service.
    pub(crate) fn headers(&self, source: &str) -> HeaderMap {
        let id = self.event_id.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        // the broker drops a second message with this id within its duplicate window
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        headers.insert("ce-id", id.as_str());
        headers.insert("ce-source", percent_encode(source).as_str());
        headers.insert("ce-type", percent_encode(&self.event_type).as_str());
        headers.insert("ce-time", self.occurred_at.to_string().as_str());
        headers.insert("ce-subject", percent_encode(&self.aggregate_id).as_str());
        // an extension attribute: orders the events of one subject
        headers.insert("ce-sequence", self.aggregate_version.to_string().as_str());
        headers.insert("content-type", "application/protobuf");
        if let Some(trace_parent) = &self.trace_parent {
            headers.insert("traceparent", trace_parent.as_str());
        }
        headers
    }
}
