//! The calculator: one enterprise against one product, and the ranking of what comes of it. Pure and deterministic.

use std::{cmp::Ordering, collections::BTreeSet};

use serde::Deserialize;
use zhirong_engine::{Reason, Row, Verdict as Answer};

use crate::product::CompiledProduct;

const UNUSABLE_ZH: &str = "产品规则暂不可用";
const BELOW_MINIMUM_ZH: &str = "测算额度低于产品起贷金额";

/// What a product means for an enterprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may have it.
    Eligible {
        /// Limit, fen.
        limit_fen: i64,
        /// Yearly rate, ppm.
        rate_ppm: i64,
    },
    /// At least one condition fails.
    Refused(Vec<Failed>),
    /// No condition fails, but these features are not known.
    Unknown(BTreeSet<String>),
}

/// A condition that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What it asks, in Chinese.
    pub label_zh: String,
    /// What the enterprise can do about it, in Chinese.
    pub advice_zh: String,
    /// The features it looks at.
    pub features: Vec<String>,
    /// Its place among the product's conditions; nothing for what is no condition.
    pub condition: Option<usize>,
}

impl Failed {
    fn said(label_zh: &str) -> Self {
        Self { label_zh: label_zh.to_owned(), advice_zh: String::new(), features: Vec::new(), condition: None }
    }
}

/// Computes one product.
#[must_use]
pub fn judge(product: &CompiledProduct, row: &Row) -> Verdict {
    match product.engine.verdict(row) {
        Answer::Eligible { limit_fen, rate_ppm } => Verdict::Eligible { limit_fen, rate_ppm },
        Answer::Unknown(missing) => Verdict::Unknown(missing),
        Answer::Refused(reasons) => {
            Verdict::Refused(reasons.into_iter().filter_map(|reason| failed(product, reason)).collect())
        }
    }
}

fn failed(product: &CompiledProduct, reason: Reason) -> Option<Failed> {
    Some(match reason {
        Reason::Condition(place) => {
            let condition = product.conditions.get(place)?;
            Failed {
                label_zh: condition.label_zh.clone(),
                advice_zh: condition.advice_zh.clone(),
                features: condition.rule.features().to_vec(),
                condition: Some(place),
            }
        }
        Reason::BelowMinimum => Failed { features: product.limit_features.clone(), ..Failed::said(BELOW_MINIMUM_ZH) },
        Reason::Unusable => {
            tracing::warn!(product_id = %product.product.product_id, "a rule can't be computed for a profile");
            Failed::said(UNUSABLE_ZH)
        }
    })
}

/// What ratings weigh in the ranking; `defaults.toml` explains every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// What a whole level of the mean rating is worth, ppm of yearly rate.
    pub level_worth_ppm: i64,
    /// What a product that nobody has rated is taken to have, ppm of a level.
    pub unrated_level_ppm: i64,
}

impl Weights {
    /// What is wrong with them, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        if !(0..=100_000).contains(&self.level_worth_ppm) {
            return Some("ranking.level_worth_ppm must be 0 to 100000");
        }
        if !(1_000_000..=5_000_000).contains(&self.unrated_level_ppm) {
            return Some("ranking.unrated_level_ppm must be 1000000 to 5000000");
        }
        None
    }

    /// The rate less what the rating is worth, in millionths of a ppm. Levels are 1 to 5, so that it can't overflow.
    fn points(self, standing: &Standing<'_>) -> i128 {
        let level = if standing.score_ppm > 0 { standing.score_ppm } else { self.unrated_level_ppm };
        let rate = i128::from(standing.rate_ppm).saturating_mul(1_000_000);
        rate.saturating_sub(i128::from(self.level_worth_ppm).saturating_mul(level.into()))
    }
}

/// What the ranking looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Yearly rate, ppm; less is better.
    pub rate_ppm: i64,
    /// Mean rating of the product, ppm; more is better, 0 when nobody has rated.
    pub score_ppm: i64,
    /// Limit, fen; more is better.
    pub limit_fen: i64,
    /// Breaks ties, so that the order is always the same.
    pub product_id: &'a str,
}

/// Best first: what the enterprise pays less what others' ratings are worth, then the rating, then the limit, then the id.
#[must_use]
pub fn rank(weights: Weights, a: &Standing<'_>, b: &Standing<'_>) -> Ordering {
    weights
        .points(a)
        .cmp(&weights.points(b))
        .then(b.score_ppm.cmp(&a.score_ppm))
        .then(b.limit_fen.cmp(&a.limit_fen))
        .then(a.product_id.cmp(b.product_id))
}

#[cfg(test)]
mod tests {
    use zhirong_engine::Symbols;
    use zhirong_kernel::{
        feature::{FeatureValue, Features},
        rule::Inputs,
    };
    use zhirong_proto::catalog::v1::{Condition, CreditTerms, Product, ProductSpec, product_spec::Terms};

    use super::*;

    fn product(change: impl FnOnce(&mut CreditTerms)) -> CompiledProduct {
        let condition = |expression: &str, label: &str| Condition {
            expression: expression.to_owned(),
            label_zh: label.to_owned(),
            ..Condition::default()
        };
        let mut terms = CreditTerms {
            conditions: vec![condition("patent_count >= 3", "专利"), condition("is_high_tech", "高企")],
            limit_formula: "patent_count * 1000".to_owned(),
            rate_formula: "lpr_1y_ppm + 5000".to_owned(),
            min_amount_fen: 2000,
            max_amount_fen: 4000,
            ..CreditTerms::default()
        };
        change(&mut terms);
        let spec = ProductSpec { terms: Some(Terms::Credit(terms)), ..ProductSpec::default() };
        CompiledProduct::compile(Product { spec: Some(spec), ..Product::default() }, &Symbols::default())
            .unwrap()
            .unwrap()
    }

    fn verdict(product: &CompiledProduct, features: &[(&str, FeatureValue)]) -> Verdict {
        let features: Features = features.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let inputs = Inputs { requested_fen: 0, term_months: 12, lpr_1y_ppm: 30_000 };
        judge(product, &Row::new(&Symbols::default(), &features, inputs))
    }

    const HIGH_TECH: (&str, FeatureValue) = ("is_high_tech", FeatureValue::Bool(true));

    #[test]
    fn who_meets_everything_gets_limit_and_rate() {
        let product = product(|_| {});
        let eligible = |patents, limit_fen| {
            let found = verdict(&product, &[("patent_count", FeatureValue::Int(patents)), HIGH_TECH]);
            assert_eq!(found, Verdict::Eligible { limit_fen, rate_ppm: 35_000 });
        };
        eligible(3, 3000);
        eligible(9, 4000);
    }

    #[test]
    fn every_condition_that_fails_is_told() {
        let found = verdict(
            &product(|_| {}),
            &[("patent_count", FeatureValue::Int(1)), ("is_high_tech", FeatureValue::Bool(false))],
        );
        let Verdict::Refused(failed) = found else { panic!("{found:?}") };
        assert_eq!(failed.iter().map(|failed| failed.label_zh.as_str()).collect::<Vec<_>>(), ["专利", "高企"]);
        assert_eq!(failed[0].features, ["patent_count"]);
    }

    #[test]
    fn a_certain_failure_outweighs_what_is_not_known() {
        let product = product(|_| {});
        assert!(matches!(verdict(&product, &[("patent_count", FeatureValue::Int(1))]), Verdict::Refused(_)));
        let missing = BTreeSet::from(["is_high_tech".to_owned()]);
        assert_eq!(verdict(&product, &[("patent_count", FeatureValue::Int(5))]), Verdict::Unknown(missing));
    }

    #[test]
    fn a_limit_below_the_smallest_amount_is_a_refusal() {
        let product = product(|terms| terms.min_amount_fen = 3500);
        let found = verdict(&product, &[("patent_count", FeatureValue::Int(3)), HIGH_TECH]);
        assert!(matches!(found, Verdict::Refused(failed) if failed[0].label_zh == BELOW_MINIMUM_ZH));
    }

    #[test]
    fn a_formula_that_overflows_or_gives_a_senseless_rate_refuses_this_product_alone() {
        let overflow = product(|terms| terms.limit_formula = "patent_count * 9223372036854775807".to_owned());
        let senseless = product(|terms| terms.rate_formula = "lpr_1y_ppm - 40000".to_owned());
        for product in [overflow, senseless] {
            let found = verdict(&product, &[("patent_count", FeatureValue::Int(3)), HIGH_TECH]);
            assert!(matches!(found, Verdict::Refused(failed) if failed[0].label_zh == UNUSABLE_ZH));
        }
    }

    #[test]
    fn a_better_rating_makes_up_for_a_little_rate() {
        let weights = Weights { level_worth_ppm: 200, unrated_level_ppm: 3_000_000 };
        let standing = |rate_ppm, score_ppm, product_id| Standing { rate_ppm, score_ppm, limit_fen: 1, product_id };
        let mut all = [
            standing(30_401, 5_000_000, "loved, dear"),
            standing(30_000, 0, "not rated"),
            standing(30_399, 5_000_000, "loved"),
            standing(29_700, 1_000_000, "hated"),
        ];
        all.sort_by(|a, b| rank(weights, a, b));
        assert_eq!(all.map(|standing| standing.product_id), ["loved", "not rated", "loved, dear", "hated"]);
        let by_rate = Weights { level_worth_ppm: 0, ..weights };
        all.sort_by(|a, b| rank(by_rate, a, b));
        assert_eq!(all.map(|standing| standing.product_id), ["hated", "not rated", "loved", "loved, dear"]);
    }

    #[test]
    fn weights_have_bounds() {
        let good = Weights { level_worth_ppm: 100_000, unrated_level_ppm: 5_000_000 };
        assert_eq!(good.fault(), None);
        assert!(Weights { level_worth_ppm: -1, ..good }.fault().is_some());
        assert!(Weights { level_worth_ppm: 100_001, ..good }.fault().is_some());
        assert!(Weights { unrated_level_ppm: 999_999, ..good }.fault().is_some());
        assert!(Weights { unrated_level_ppm: 5_000_001, ..good }.fault().is_some());
    }

    #[test]
    fn what_comes_out_the_same_is_ranked_by_rating_then_limit_then_id() {
        let by_rate = Weights { level_worth_ppm: 0, unrated_level_ppm: 3_000_000 };
        let standing =
            |rate_ppm, score_ppm, limit_fen, product_id| Standing { rate_ppm, score_ppm, limit_fen, product_id };
        let mut all = [
            standing(30_000, 0, 9, "d"),
            standing(30_000, 4_000_000, 1, "c"),
            standing(30_000, 0, 9, "b"),
            standing(29_000, 0, 1, "a"),
            standing(30_000, 0, 10, "e"),
        ];
        all.sort_by(|a, b| rank(by_rate, a, b));
        assert_eq!(all.map(|standing| standing.product_id), ["a", "c", "e", "b", "d"]);
    }
}
