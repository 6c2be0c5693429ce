//! Subsidy from outside: its gRPC, its events, its database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::disallowed_methods
)]

mod budgets;
mod grants;
mod independent;
mod ledger;
mod loans;
mod policies;
mod race;
mod support;
