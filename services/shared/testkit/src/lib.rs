//! What a test needs to try a service on real servers.
//!
//! - [`TestDatabase`], [`TestBroker`]: for one test alone, gone at its end. `with-servers COMMAND…` starts one PostgreSQL for all
//!   tests that the command runs; without it each test program starts its own, so that a plain `cargo nextest run -p …` works
//!   too, only slower.
//! - [`eventually`]: waits on a condition, never for a time, and for [`PATIENCE`] at most.
//! - [`Deliveries`]: events as a broker may bring them, twice and in any order.
//! - [`any_order_ends_the_same`]: a history told in many orders ends in one [`State`], but for what is set [`Aside`].
//! - [`heard`]: whether a consumer has acknowledged all there is.
//! - [`Kept`]: whether a text is anywhere in databases and streams, for what must be nowhere.
//! - [`settings`]: of a service that has them.
//! - [`ServiceProcess`]: a program of this workspace, killed and started again where it was.
//! - [`ManualClock`]: the date is what the test says.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod any_order;
mod aside;
mod broker;
mod database;
mod deliveries;
mod eventually;
mod folder;
mod heard;
mod kept;
mod seed;
mod service;
mod settings;
mod state;

pub use any_order::any_order_ends_the_same;
pub use aside::{Aside, Row, blanked, message_in};
pub use broker::TestBroker;
pub use database::{POSTGRES_VARIABLE, TestDatabase};
pub use deliveries::{Deliveries, Event};
pub use eventually::{PATIENCE, eventually};
pub use folder::folder;
pub use heard::{heard, heard_by_all};
pub use kept::Kept;
pub use seed::seed;
pub use service::{ServiceProcess, program};
pub use settings::settings;
pub use state::State;
pub use zhirong_kernel::clock::ManualClock;
