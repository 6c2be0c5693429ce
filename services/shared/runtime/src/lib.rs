//! What every service needs and no business.
//!
//! A service's `main` hands its settings and its `serve` function to [`run_main`]. `serve` starts a [`Service`], registers what it
//! consumes and what runs beside it, and hands over its gRPC routes:
//!
//! ```ignore
//! let mut service = Service::start("matching", settings.common(), &MIGRATIONS, shutdown).await?;
//! service.consume(inbox::Subscription { durable: "matching-profile", stream: streams::PROFILE, subjects: &["zr.profile.v1.>"] }, handler);
//! service.serve(Routes::new(OrderServiceServer::new(grpc))).await
//! ```
//!
//! A write is a straight line: parse → [`caller::Caller`] → begin → [`idempotency::claim`] → load for update → decide → save →
//! [`outbox::append`] → `slot.complete` → commit → `outbox.notify()`.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::float_arithmetic
    )
)]

pub mod access;
pub mod broker;
pub mod caller;
pub mod config;
pub mod database;
pub mod dead_letter;
mod error;
pub mod fault;
pub mod idempotency;
pub mod inbox;
pub mod json;
mod maintenance;
pub mod outbox;
pub mod page;
pub mod passes;
pub mod peer;
pub mod problem;
mod run;
pub mod seal;
pub mod server;
mod service;
pub mod streams;
pub mod telemetry;

pub use error::Error;
pub use run::run_main;
pub use service::Service;
