//! What the stories share: a district of their own, run by the program its users run, and seen only from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "support of tests"
)]

pub mod apart;
pub mod bench;
pub mod compensation;
pub mod consents;
pub mod district;
pub mod finance;
pub mod liandu;
pub mod products;
pub mod quiet;
pub mod records;
pub mod trail;
