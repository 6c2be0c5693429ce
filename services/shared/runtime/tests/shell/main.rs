//! The shell on a real PostgreSQL and a real NATS server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods
)]

mod access;
mod broker_loss;
mod dead_letters;
mod idempotency;
mod inbox;
mod outbox;
mod service;
mod support;
