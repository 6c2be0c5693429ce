//! What `make bench` measures.

pub mod bare;
pub mod spine;

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
