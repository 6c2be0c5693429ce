//! Better terms for a set of enterprises (产品动态调整), applied to what a product's formulas gave. Pure.
//!
//! Adjustments don't add up: of each kind the best one counts, never beyond the bounds of the product version they are applied to.

use jiff::civil::Date;
use zhirong_proto::{
    catalog::v1::{Adjustment, AdjustmentBounds, CreditTerms, adjustment::Limit},
    matching::v1::{AppliedAdjustment, CalculateRequest},
    profile::v1::{Profile, feature_value::Kind},
};

use crate::{product::CompiledProduct, snapshot::Catalog};

const WHOLE_PPM: i128 = 1_000_000;

/// What an enterprise is offered of a product.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// Limit, fen.
    pub limit_fen: i64,
    /// Yearly rate, ppm.
    pub rate_ppm: i64,
    /// Working days until the answer.
    pub answer_working_days: i32,
    /// What was adjusted.
    pub applied: Vec<AppliedAdjustment>,
    /// The features that say that the enterprise belongs to the sets by which limit or rate were adjusted.
    pub sets: Vec<String>,
}

/// Applies a product's adjustments that count for an enterprise on a day to its limit and rate.
#[must_use]
pub fn offered(
    catalog: &Catalog,
    product: &CompiledProduct,
    profile: &Profile,
    wish: &CalculateRequest,
    day: Date,
    (limit_fen, rate_ppm): (i64, i64),
) -> Offered {
    offered_to(catalog, product, |tag| belongs(profile, wish, tag), day, (limit_fen, rate_ppm))
}

/// The same for who belongs to the sets that `belongs` says yes to.
#[must_use]
pub fn offered_to(
    catalog: &Catalog,
    product: &CompiledProduct,
    belongs: impl Fn(&str) -> bool,
    day: Date,
    (limit_fen, rate_ppm): (i64, i64),
) -> Offered {
    let counting: Vec<&Adjustment> = in_time(catalog, &product.product.product_id, day)
        .filter(|adjustment| belongs(&adjustment.enterprise_tag))
        .collect();
    apply(&counting, &product.terms, limit_fen, rate_ppm)
}

/// A product's adjustments that are in time on a day, in order of id.
pub fn in_time<'a>(catalog: &'a Catalog, product_id: &str, day: Date) -> impl Iterator<Item = &'a Adjustment> {
    let of_product = catalog.adjustments.get(product_id).map(Vec::as_slice).unwrap_or_default();
    of_product.iter().filter(move |adjustment| {
        let date = |text: &str| text.parse::<Date>().ok();
        date(&adjustment.from).is_some_and(|from| from <= day) && date(&adjustment.to).is_some_and(|to| day <= to)
    })
}

/// Whether an enterprise belongs to a set: its profile, or what is supposed in its place, says yes to the feature of that name.
fn belongs(profile: &Profile, wish: &CalculateRequest, tag: &str) -> bool {
    let value = wish.what_if.get(tag).or_else(|| profile.features.get(tag));
    matches!(value.and_then(|value| value.kind.as_ref()), Some(Kind::Flag(true)))
}

fn apply(counting: &[&Adjustment], terms: &CreditTerms, limit_fen: i64, rate_ppm: i64) -> Offered {
    let bounds = terms.adjustment_bounds.unwrap_or_default();
    let effects: Vec<(&Adjustment, Effect)> = counting
        .iter()
        .map(|adjustment| (*adjustment, Effect::of(adjustment, &bounds, terms, limit_fen, rate_ppm)))
        .collect();
    // Of each kind the best; of equals the first by id.
    let best = |better: fn(Effect, Effect) -> bool, has: fn(Effect) -> bool| {
        let mut best: Option<usize> = None;
        for (at, (_, effect)) in effects.iter().enumerate().filter(|(_, (_, effect))| has(*effect)) {
            if best.and_then(|best| effects.get(best)).is_none_or(|(_, before)| better(*effect, *before)) {
                best = Some(at);
            }
        }
        best
    };
    let rate = best(|a, b| a.rate_cut_ppm > b.rate_cut_ppm, |effect| effect.rate_cut_ppm > 0);
    let limit = best(|a, b| a.limit_raise_fen > b.limit_raise_fen, |effect| effect.limit_raise_fen > 0);
    let days = best(|a, b| a.answer_working_days < b.answer_working_days, |effect| effect.answer_working_days > 0);

    let mut offered = Offered {
        limit_fen,
        rate_ppm,
        answer_working_days: terms.answer_working_days,
        applied: Vec::new(),
        sets: Vec::new(),
    };
    for (at, (adjustment, effect)) in effects.iter().enumerate() {
        let counts = |of: Option<usize>| of == Some(at);
        let applied = AppliedAdjustment {
            adjustment_id: adjustment.adjustment_id.clone(),
            name_zh: adjustment.name_zh.clone(),
            rate_cut_ppm: if counts(rate) { effect.rate_cut_ppm } else { 0 },
            limit_raise_fen: if counts(limit) { effect.limit_raise_fen } else { 0 },
            answer_working_days: if counts(days) { effect.answer_working_days } else { 0 },
        };
        if !(counts(rate) || counts(limit) || counts(days)) {
            continue;
        }
        offered.rate_ppm = offered.rate_ppm.saturating_sub(applied.rate_cut_ppm);
        offered.limit_fen = offered.limit_fen.saturating_add(applied.limit_raise_fen);
        if applied.answer_working_days > 0 {
            offered.answer_working_days = applied.answer_working_days;
        }
        if counts(rate) || counts(limit) {
            offered.sets.push(adjustment.enterprise_tag.clone());
        }
        offered.applied.push(applied);
    }
    offered
}

/// What one adjustment would do to a limit and a rate.
#[derive(Clone, Copy)]
struct Effect {
    rate_cut_ppm: i64,
    limit_raise_fen: i64,
    /// 0 for none.
    answer_working_days: i32,
}

impl Effect {
    fn of(
        adjustment: &Adjustment,
        bounds: &AdjustmentBounds,
        terms: &CreditTerms,
        limit_fen: i64,
        rate_ppm: i64,
    ) -> Self {
        let limit_raise_fen = match adjustment.limit {
            None => 0,
            Some(Limit::LimitFactorPpm(factor)) => raised(limit_fen, factor.min(bounds.max_limit_factor_ppm)),
            Some(Limit::LimitExtraFen(extra)) => extra.min(bounds.max_limit_extra_fen),
        };
        let fastest = bounds.min_answer_working_days;
        let days = match adjustment.answer_working_days {
            asked @ 1.. if fastest > 0 => asked.max(fastest),
            _ => 0,
        };
        Self {
            rate_cut_ppm: adjustment.rate_cut_ppm.min(bounds.max_rate_cut_ppm).min(rate_ppm).max(0),
            // What does not fit into 64 bits raises as far as they reach.
            limit_raise_fen: limit_raise_fen.clamp(0, i64::MAX.saturating_sub(limit_fen)),
            answer_working_days: if days < terms.answer_working_days { days } else { 0 },
        }
    }
}

/// What a factor adds to a limit; the raised limit is rounded down to the fen.
fn raised(limit_fen: i64, factor_ppm: i64) -> i64 {
    let limit = i128::from(limit_fen);
    let product = limit.saturating_mul(factor_ppm.into()).div_euclid(WHOLE_PPM);
    i64::try_from(product.saturating_sub(limit)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: AdjustmentBounds = AdjustmentBounds {
        max_rate_cut_ppm: 5_000,
        max_limit_factor_ppm: 1_300_000,
        max_limit_extra_fen: 300,
        min_answer_working_days: 2,
    };

    fn terms(bounds: Option<AdjustmentBounds>) -> CreditTerms {
        CreditTerms { answer_working_days: 5, adjustment_bounds: bounds, ..CreditTerms::default() }
    }

    fn adjustment(id: &str, cut: i64, limit: Option<Limit>, days: i32) -> Adjustment {
        Adjustment {
            adjustment_id: id.to_owned(),
            rate_cut_ppm: cut,
            limit,
            answer_working_days: days,
            ..Adjustment::default()
        }
    }

    fn figures(adjustments: &[Adjustment], terms: &CreditTerms, limit: i64, rate: i64) -> (i64, i64, i32, Vec<String>) {
        let found = apply(&adjustments.iter().collect::<Vec<_>>(), terms, limit, rate);
        let ids = found.applied.into_iter().map(|applied| applied.adjustment_id).collect();
        (found.limit_fen, found.rate_ppm, found.answer_working_days, ids)
    }

    fn ids(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn of_each_kind_the_best_counts_and_they_do_not_add_up() {
        let all = [
            adjustment("a", 1_000, Some(Limit::LimitFactorPpm(1_100_000)), 4),
            adjustment("b", 2_000, Some(Limit::LimitExtraFen(50)), 0),
            adjustment("c", 2_000, None, 3),
            adjustment("d", 500, None, 0),
        ];
        assert_eq!(figures(&all, &terms(Some(BOUNDS)), 1_000, 40_000), (1_100, 38_000, 3, ids(&["a", "b", "c"])));
    }

    #[test]
    fn the_sets_that_are_told_are_those_that_changed_limit_or_rate() {
        let tagged = |tag: &str, adjustment: Adjustment| Adjustment { enterprise_tag: tag.to_owned(), ..adjustment };
        let all = [
            tagged("is_high_tech", adjustment("a", 1_000, None, 0)),
            tagged("is_specialised", adjustment("b", 500, Some(Limit::LimitExtraFen(50)), 0)),
            tagged("is_dishonest", adjustment("c", 500, None, 3)),
        ];
        let found = apply(&all.each_ref(), &terms(Some(BOUNDS)), 1_000, 40_000);
        assert_eq!((found.applied.len(), found.sets), (3, ids(&["is_high_tech", "is_specialised"])));
    }

    #[test]
    fn nothing_goes_beyond_the_bounds_of_the_version() {
        let wild = [adjustment("a", 90_000, Some(Limit::LimitExtraFen(i64::MAX)), 1)];
        assert_eq!(figures(&wild, &terms(Some(BOUNDS)), 1_000, 40_000), (1_300, 35_000, 2, ids(&["a"])));
        assert_eq!(figures(&wild, &terms(None), 1_000, 40_000), (1_000, 40_000, 5, ids(&[])));
        let factor = [adjustment("a", 0, Some(Limit::LimitFactorPpm(i64::MAX)), 0)];
        assert_eq!(figures(&factor, &terms(Some(BOUNDS)), 1_001, 0), (1_301, 0, 5, ids(&["a"])));
        assert_eq!(figures(&factor, &terms(Some(BOUNDS)), i64::MAX, 0).0, i64::MAX);
        assert_eq!(figures(&wild, &terms(Some(BOUNDS)), 1_000, 3_000).1, 0, "no rate is below zero");
    }

    #[test]
    fn who_does_not_belong_gets_the_products_own_terms() {
        let flag =
            |flag| zhirong_proto::profile::v1::FeatureValue { kind: Some(Kind::Flag(flag)), ..Default::default() };
        let mut profile = Profile::default();
        let wish = CalculateRequest::default();
        assert!(!belongs(&profile, &wish, "is_specialised"));
        profile.features.insert("is_specialised".to_owned(), flag(false));
        assert!(!belongs(&profile, &wish, "is_specialised"));
        profile.features.insert("is_specialised".to_owned(), flag(true));
        assert!(belongs(&profile, &wish, "is_specialised"));
        let supposed = CalculateRequest { what_if: [("is_specialised".to_owned(), flag(false))].into(), ..wish };
        assert!(!belongs(&profile, &supposed, "is_specialised"));
    }
}
