//! Matching from outside: real clients on real servers, with a database and a broker of their own for each test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod adjustments;
mod answers;
mod at_once;
mod audit;
mod calculator;
mod erasure;
mod expiry;
mod facts;
mod inbox;
mod loans;
mod needed;
mod orders;
mod preapproval;
mod registry;
mod report;
mod shuffle;
mod subsidies;
mod support;
mod targeting;
mod told;
mod withheld;
