//! The connection to NATS.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event,
    connection::State,
    jetstream::{self, consumer::PullConsumer},
};
use secrecy::ExposeSecret as _;
use tokio::{sync::watch, time::Instant};

use crate::{
    Error,
    config::{self, Nats, ms},
    streams,
};

/// A connection that knows how often it was made, so that the relay can look at the streams after each loss.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    context: jetstream::Context,
    connections: Arc<watch::Sender<u64>>,
    replicas: usize,
}

impl Broker {
    /// Connects, waiting for the broker up to `start_timeout_ms`; later losses are mended by itself.
    ///
    /// # Errors
    /// [`Error::Broker`] when the broker does not answer in time; [`Error::Config`] when the seed can't be read.
    pub async fn connect(service: &str, settings: &Nats) -> Result<Self, Error> {
        let connections = Arc::new(watch::Sender::new(0));
        let seed = config::read_secret(&settings.nkey_seed, &settings.nkey_seed_file)?;
        let deadline = Instant::now() + ms(settings.start_timeout_ms);
        let addresses: Vec<String> = settings.url.split(',').map(|url| url.trim().to_owned()).collect();
        let client = loop {
            let attempt = options(service, settings, seed.expose_secret(), &connections).connect(&addresses).await;
            match attempt {
                Ok(client) => break client,
                Err(error) if Instant::now() >= deadline => return Err(Error::broker(error)),
                Err(error) => {
                    tracing::warn!(%error, "the broker does not answer yet");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        };
        let context = jetstream::ContextBuilder::new()
            .timeout(ms(settings.request_timeout_ms))
            .max_ack_inflight(1000)
            .build(client.clone());
        Ok(Self { client, context, connections, replicas: settings.replicas })
    }

    /// The JetStream API.
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.context
    }

    /// Makes one of our streams, and a durable pull consumer of it for somebody outside who may not make any.
    ///
    /// # Errors
    /// When the broker does not answer, or has them in another shape.
    pub async fn offer(&self, stream: &str, durable: &str) -> Result<(), Error> {
        let stream = streams::ensure(&self.context, stream, self.replicas).await?;
        let config = jetstream::consumer::pull::Config { durable_name: Some(durable.to_owned()), ..Default::default() };
        stream.create_consumer(config).await.map_err(Error::broker)?;
        Ok(())
    }

    /// Makes one of our streams.
    ///
    /// # Errors
    /// When the broker does not answer, or has it in another shape.
    pub async fn keep(&self, stream: &str) -> Result<(), Error> {
        streams::ensure(&self.context, stream, self.replicas).await.map(|_| ())
    }

    /// The place in a stream up to which a consumer has acknowledged every message, which is after what it did with it was
    /// committed.
    ///
    /// # Errors
    /// When the broker does not answer, or has no such consumer.
    pub async fn judged(&self, stream: &str, durable: &str) -> Result<u64, Error> {
        let consumer: PullConsumer =
            self.context.get_consumer_from_stream(durable, stream).await.map_err(Error::broker)?;
        Ok(consumer.cached_info().ack_floor.stream_sequence)
    }

    /// The plain connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How many times the connection was made; another number means that it was lost in between.
    #[must_use]
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }

    /// Returns when the connection was made anew since it was made `connections` times: what was then asked is not answered.
    pub(crate) async fn reconnected(&self, connections: u64) {
        let mut changes = self.connections.subscribe();
        // ends with an error only when the sender is gone, and we hold it
        let _ = changes.wait_for(|now| *now != connections).await;
    }

    /// Whether the connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Replicas that each stream must have.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas
    }
}

fn options(service: &str, settings: &Nats, seed: &str, connections: &Arc<watch::Sender<u64>>) -> ConnectOptions {
    let connections = Arc::clone(connections);
    let mut options = ConnectOptions::new()
        .name(service)
        .request_timeout(Some(ms(settings.request_timeout_ms)))
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|attempt| {
            // quick first, then twice a second: a broker that restarts is found again at once
            Duration::from_millis(u64::try_from(attempt).unwrap_or(u64::MAX).saturating_mul(50).min(500))
        })
        .event_callback(move |event| {
            let connections = Arc::clone(&connections);
            async move {
                match event {
                    Event::Connected => {
                        connections.send_modify(|connections| *connections = connections.saturating_add(1));
                        tracing::info!("connected to the broker");
                    }
                    Event::Disconnected => tracing::warn!("the connection to the broker is lost"),
                    other => tracing::warn!(event = %other, "the broker's connection reports"),
                }
            }
        });
    if !seed.is_empty() {
        options = options.nkey(seed.to_owned());
    }
    if !settings.ca_file.is_empty() {
        options = options.add_root_certificates(settings.ca_file.clone().into()).require_tls(true);
    }
    options
}
