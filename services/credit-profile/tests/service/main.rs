//! The credit profile from outside: its gRPC, its events, its database, and what it publishes for data engineers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod appraisal_and_tier;
mod checks;
mod deliveries;
mod keys;
#[path = "../../examples/schemas/load.rs"]
mod load;
mod objections;
mod orders;
mod personal;
mod profiles;
mod published;
mod quality;
mod records;
mod refusals;
mod reloads;
mod scorecard;
mod scored;
mod shuffle;
mod trust;
mod trusted;
mod world;
