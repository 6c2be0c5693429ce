//! The catalog from outside: a real client on the real server, with a database and a broker of its own for each test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod adjustments;
mod agreements;
mod import;
mod institutions;
mod products;
mod publishing;
mod reference;
mod rules;
mod search;
mod support;
mod workflow;
