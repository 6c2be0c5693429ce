//! How far a consumer has come.

use anyhow::Result;
use async_nats::jetstream::{self, stream::LastRawMessageErrorKind};
use futures::TryStreamExt as _;

/// Whether a durable consumer has acknowledged every message of its stream that is there for it. What the consumer says is left
/// does not tell: the broker counts a message for it a moment after the publisher has its acknowledgement.
///
/// # Errors
/// When the broker does not answer, or has no such stream or consumer.
pub async fn heard(jetstream: &jetstream::Context, stream: &str, durable: &str) -> Result<bool> {
    let stream = jetstream.get_stream(stream).await?;
    let config = stream.consumer_info(durable).await?.config;
    let mut filters = config.filter_subjects;
    if filters.is_empty() {
        filters.push(if config.filter_subject.is_empty() { ">".to_owned() } else { config.filter_subject });
    }
    let mut last = 0;
    for filter in filters {
        match stream.get_last_raw_message_by_subject(&filter).await {
            Ok(message) => last = last.max(message.sequence),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let info = stream.consumer_info(durable).await?;
    Ok(info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.stream_sequence >= last)
}

/// As [`heard`], by every durable consumer of a stream.
///
/// # Errors
/// As [`heard`].
pub async fn heard_by_all(jetstream: &jetstream::Context, stream: &str) -> Result<bool> {
    let found = jetstream.get_stream(stream).await?;
    let mut consumers = found.consumers();
    while let Some(consumer) = consumers.try_next().await? {
        // those without a name belong to programs that come and go
        if let Some(durable) = consumer.config.durable_name
            && !heard(jetstream, stream, &durable).await?
        {
            return Ok(false);
        }
    }
    Ok(true)
}
