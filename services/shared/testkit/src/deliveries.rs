//! Events as a broker may bring them.

use anyhow::{Context as _, Result};
use async_nats::{HeaderMap, jetstream};
use bytes::Bytes;
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use uuid::Uuid;
use zhirong_proto::Fact;

/// A CloudEvent in binary mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    subject: String,
    /// Names in lower case; a later one of the same name takes the place of the earlier.
    headers: Vec<(String, String)>,
    payload: Bytes,
}

impl Event {
    /// An event of any kind under a new id.
    #[must_use]
    pub fn new(subject: &str, ce_type: &str, content_type: &str, payload: impl Into<Bytes>) -> Self {
        let event = Self { subject: subject.to_owned(), headers: Vec::new(), payload: payload.into() };
        event
            .with("ce-specversion", "1.0")
            .with("ce-id", &Uuid::now_v7().to_string())
            .with("ce-source", "/test")
            .with("ce-type", ce_type)
            .with("content-type", content_type)
    }

    /// A fact as its service's relay would publish it, under a new id; `key` is the last token of the subject.
    #[must_use]
    pub fn of<F: Fact>(key: &str, fact: &F) -> Self {
        let subject = format!("{}.{key}", F::SUBJECT);
        Self::new(&subject, F::TYPE, "application/protobuf", fact.encode_to_vec())
    }

    /// The same with another header, such as `ce-id` or `ce-time`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The fact that it tells, when it is one of this kind.
    #[must_use]
    pub fn fact<F: Fact>(&self) -> Option<F> {
        (self.header("ce-type") == Some(F::TYPE)).then(|| F::decode(self.payload.clone()).ok()).flatten()
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Events in the order in which they will be published.
///
/// ```no_run
/// # use zhirong_testkit::{Deliveries, Event};
/// # async fn example(events: Vec<Event>, jetstream: async_nats::jetstream::Context) -> anyhow::Result<()> {
/// Deliveries::new(events).twice().shuffled(7).publish(&jetstream).await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Deliveries {
    events: Vec<Event>,
}

impl Deliveries {
    /// Each once, in this order.
    #[must_use]
    pub fn new(events: impl IntoIterator<Item = Event>) -> Self {
        Self { events: events.into_iter().collect() }
    }

    /// Everything once more, under the same ids.
    #[must_use]
    pub fn twice(mut self) -> Self {
        self.events.extend(self.events.clone());
        self
    }

    /// One of every `every` once more under another id: as a fact comes again of which it is forgotten that it came.
    #[must_use]
    pub fn retold(mut self, every: usize) -> Self {
        let again = self.events.iter().step_by(every.max(1));
        let again: Vec<Event> = again.map(|event| event.clone().with("ce-id", &Uuid::now_v7().to_string())).collect();
        self.events.extend(again);
        self
    }

    /// In an order that the seed decides; the same seed gives the same order, so put it into the assertion's message.
    #[must_use]
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.events.shuffle(&mut StdRng::seed_from_u64(seed));
        self
    }

    /// The events in their order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Publishes all and waits for the broker's answers. There is no `Nats-Msg-Id`, so the broker drops no duplicate.
    ///
    /// # Errors
    /// When the broker refuses one.
    pub async fn publish(&self, jetstream: &jetstream::Context) -> Result<()> {
        let mut answers = Vec::new();
        for event in &self.events {
            let mut headers = HeaderMap::new();
            for (name, value) in &event.headers {
                headers.insert(name.as_str(), value.as_str());
            }
            let sent = jetstream.publish_with_headers(event.subject.clone(), headers, event.payload.clone()).await;
            answers.push((event, sent.with_context(|| format!("publishing to {}", event.subject))?));
        }
        for (event, answer) in answers {
            answer.await.with_context(|| format!("the broker's answer for {}", event.subject))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(deliveries: &Deliveries) -> Vec<&str> {
        deliveries.events().iter().map(|event| event.header("ce-id").unwrap()).collect()
    }

    #[test]
    fn duplicates_keep_their_ids_and_a_seed_decides_the_order() {
        let events: Vec<Event> = (0..20).map(|_| Event::new("a.b", "t", "text/plain", "x")).collect();
        let twice = Deliveries::new(events.clone()).twice();
        let shuffled = twice.clone().shuffled(1);
        assert_eq!(ids(&shuffled), ids(&twice.clone().shuffled(1)));
        assert_ne!(ids(&shuffled), ids(&twice));
        assert_ne!(ids(&shuffled), ids(&twice.shuffled(2)));
        for event in &events {
            let id = event.header("ce-id").unwrap();
            assert_eq!(ids(&shuffled).iter().filter(|known| **known == id).count(), 2);
        }
    }
}
