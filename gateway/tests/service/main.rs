//! The gateway alone, as its callers see it, in front of a stand-in for the services.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod limits;
mod relaying;
mod support;
mod upstream;
mod web;
