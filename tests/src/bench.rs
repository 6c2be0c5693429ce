//! What `make bench` measures, in groups.

use std::pin::Pin;

use anyhow::Result;

pub mod bare;
mod changed;
mod fresh;
mod matching;
mod products;
mod profile;
pub mod spine;
mod subsidy;

/// Every group by name; a group runs by itself, with servers of its own.
pub const GROUPS: &[(&str, Run)] = &[
    ("spine", || Box::pin(spine::run())),
    ("matching", || Box::pin(matching::run())),
    ("subsidy", || Box::pin(subsidy::run())),
    ("profile", || Box::pin(profile::run())),
];

/// Runs a group.
pub type Run = fn() -> Pin<Box<dyn Future<Output = Result<Figures>>>>;

/// What a group found: figures, and notes that say where the time went.
pub type Figures = (Vec<Measure>, Vec<String>);

/// One figure beside its baseline.
pub struct Measure {
    /// What is measured.
    pub name: String,
    /// Ours.
    pub ours: f64,
    /// The baseline's, of the same run.
    pub baseline: f64,
    /// What the baseline is.
    pub baseline_name: String,
    /// Of both.
    pub unit: String,
    /// The ratio wished for.
    pub goal: Option<f64>,
}

/// The middle one of some turns.
fn median(turns: &mut [f64]) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}
