//! How far an institution lets adjustments of its product go.

use zhirong_proto::catalog::v1::AdjustmentBounds;

use super::Findings;

/// Checks the bounds that a product sets.
pub(super) fn check(bounds: &AdjustmentBounds, answer_working_days: i32, found: &mut Findings) {
    let path = |field: &str| format!("spec.credit.adjustment_bounds.{field}");
    let cut = (0..=240_000).contains(&bounds.max_rate_cut_ppm);
    found.check(cut, path("max_rate_cut_ppm"), "must be 0 to 240000");
    let factor = bounds.max_limit_factor_ppm == 0 || (1_000_001..=10_000_000).contains(&bounds.max_limit_factor_ppm);
    found.check(factor, path("max_limit_factor_ppm"), "must be 0, or 1000001 to 10000000");
    found.check(bounds.max_limit_extra_fen >= 0, path("max_limit_extra_fen"), "must not be negative");
    let days =
        bounds.min_answer_working_days == 0 || (1..answer_working_days).contains(&bounds.min_answer_working_days);
    found.check(days, path("min_answer_working_days"), "must be 0, or 1 to answer_working_days less 1");
}
