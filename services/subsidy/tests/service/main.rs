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

mod accrual;
mod budgets;
mod compensations;
mod coupons;
mod explanations;
mod flow;
mod grants;
mod independent;
mod independent_combined;
mod independent_life;
mod independent_shared;
mod known;
mod ledger;
mod life;
mod loans;
mod policies;
mod queue;
mod race;
mod random;
mod samples;
mod settlement;
mod shuffle;
mod support;
