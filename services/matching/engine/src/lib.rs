//! The matching engine: one enterprise against every product, one product against every enterprise, all against all. Pure: no
//! clock, no I/O; the same profile and products always give the same answer, and it is the one that CEL's interpreter gives.
//!
//! A rule that looks at a feature that is not known is *unknown*, not false.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod batch;
mod bits;
mod chain;
mod code;
mod coded;
mod columns;
mod engine;
mod explain;
mod expression;
mod joint;
mod population;
mod product;
mod ranges;
mod sweep;
mod thresholds;

pub use coded::Coded;
pub use columns::{Row, Symbols};
pub use engine::{Engine, Found, Weights};
pub use explain::{Needed, SmallestChange, needed, smallest_change};
pub use population::{Candidate, Id, Population};
pub use product::{HIGHEST_RATE_PPM, Product, Reason, Terms, Verdict};
