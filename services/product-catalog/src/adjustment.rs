//! Better terms of a product for a set of enterprises (产品动态调整): within the bounds that the institution set on the product.

use jiff::{ToSpan as _, civil::Date};
use zhirong_kernel::feature::{FeatureDictionary, FeatureType};
use zhirong_proto::catalog::v1::{Adjustment, AdjustmentBounds, CreditTerms, adjustment::Limit};

use crate::validate::{Violation, text};

/// What is wrong with an adjustment of a product with these terms; `None` for terms of a service, which has none to adjust.
pub fn violations(adjustment: &Adjustment, terms: Option<&CreditTerms>, today: Date) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut check = |holds: bool, field: &str, description: String| {
        if !holds {
            found.push(Violation { field: format!("adjustment.{field}"), description, is_rule: false });
        }
    };
    let flag = FeatureDictionary::standard()
        .get(&adjustment.enterprise_tag)
        .is_some_and(|feature| feature.kind == FeatureType::Bool);
    check(flag, "enterprise_tag", "must be a feature of type bool, such as is_specialised".to_owned());
    check(text(&adjustment.name_zh, 1, 64), "name_zh", "must have 1 to 64 characters".to_owned());
    let (from, to) = (day(&adjustment.from), day(&adjustment.to));
    check(from.is_some(), "from", "must be a day, YYYY-MM-DD".to_owned());
    check(to.is_some(), "to", "must be a day, YYYY-MM-DD".to_owned());
    if let (Some(from), Some(to)) = (from, to) {
        check(
            to >= from && to <= from.saturating_add(3.years()),
            "to",
            "must be from `from` to 3 years after it".to_owned(),
        );
        check(to >= today, "to", format!("must not be before {today}"));
    }
    let Some(terms) = terms else {
        check(false, "product_id", "must be a credit product".to_owned());
        return found;
    };
    let bounds = terms.adjustment_bounds.unwrap_or_default();
    for (holds, field, description) in beyond(adjustment, &bounds, terms) {
        check(holds, field, description);
    }
    found
}

/// What an adjustment does, each beside whether the bounds allow it.
fn beyond(
    adjustment: &Adjustment,
    bounds: &AdjustmentBounds,
    terms: &CreditTerms,
) -> Vec<(bool, &'static str, String)> {
    let cut = bounds.max_rate_cut_ppm;
    let days = (bounds.min_answer_working_days, terms.answer_working_days);
    let mut checks = vec![
        (
            (0..=cut).contains(&adjustment.rate_cut_ppm),
            "rate_cut_ppm",
            format!("must be 0 to {cut}, the product's bound"),
        ),
        (
            adjustment.answer_working_days == 0
                || (days.0 > 0 && (days.0..days.1).contains(&adjustment.answer_working_days)),
            "answer_working_days",
            if days.0 == 0 {
                "must be 0: the product allows no fast lane".to_owned()
            } else {
                format!("must be 0, or {} to {}", days.0, days.1.saturating_sub(1))
            },
        ),
    ];
    let none = |bound: i64| if bound == 0 { "; the product allows none" } else { "" };
    match adjustment.limit {
        None => {}
        Some(Limit::LimitFactorPpm(factor)) => {
            let most = bounds.max_limit_factor_ppm;
            let holds = factor > 1_000_000 && factor <= most;
            checks.push((holds, "limit_factor_ppm", format!("must be 1000001 to {most}{}", none(most))));
        }
        Some(Limit::LimitExtraFen(extra)) => {
            let most = bounds.max_limit_extra_fen;
            let holds = extra > 0 && extra <= most;
            checks.push((holds, "limit_extra_fen", format!("must be 1 to {most}{}", none(most))));
        }
    }
    let does_nothing =
        adjustment.rate_cut_ppm == 0 && adjustment.limit.is_none() && adjustment.answer_working_days == 0;
    checks.push((!does_nothing, "rate_cut_ppm", "at least one of rate, limit and answer days must change".to_owned()));
    checks
}

fn day(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|day| day.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = jiff::civil::date(2026, 6, 1);

    fn terms() -> CreditTerms {
        CreditTerms {
            answer_working_days: 5,
            adjustment_bounds: Some(AdjustmentBounds {
                max_rate_cut_ppm: 5_000,
                max_limit_factor_ppm: 1_300_000,
                max_limit_extra_fen: 300_000_000,
                min_answer_working_days: 2,
            }),
            ..CreditTerms::default()
        }
    }

    fn good() -> Adjustment {
        Adjustment {
            enterprise_tag: "is_specialised".to_owned(),
            name_zh: "专精特新专享".to_owned(),
            rate_cut_ppm: 5_000,
            limit: Some(Limit::LimitExtraFen(300_000_000)),
            answer_working_days: 2,
            from: "2026-06-01".to_owned(),
            to: "2029-06-01".to_owned(),
            ..Adjustment::default()
        }
    }

    fn fields(change: impl FnOnce(&mut Adjustment)) -> Vec<String> {
        let mut adjustment = good();
        change(&mut adjustment);
        violations(&adjustment, Some(&terms()), TODAY).into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn what_reaches_the_bounds_is_good() {
        assert_eq!(fields(|_| {}), Vec::<String>::new());
        assert_eq!(fields(|a| a.limit = Some(Limit::LimitFactorPpm(1_300_000))), Vec::<String>::new());
    }

    #[test]
    fn what_goes_beyond_the_bounds_is_named() {
        type Change = fn(&mut Adjustment);
        let cases: [(Change, &str); 15] = [
            (|a| a.rate_cut_ppm = 5_001, "rate_cut_ppm"),
            (|a| a.rate_cut_ppm = -1, "rate_cut_ppm"),
            (|a| a.limit = Some(Limit::LimitExtraFen(300_000_001)), "limit_extra_fen"),
            (|a| a.limit = Some(Limit::LimitExtraFen(0)), "limit_extra_fen"),
            (|a| a.limit = Some(Limit::LimitFactorPpm(1_300_001)), "limit_factor_ppm"),
            (|a| a.limit = Some(Limit::LimitFactorPpm(1_000_000)), "limit_factor_ppm"),
            (|a| a.answer_working_days = 1, "answer_working_days"),
            (|a| a.answer_working_days = 5, "answer_working_days"),
            (|a| a.to = "2026-05-31".to_owned(), "to"),
            (|a| a.to = "2029-06-02".to_owned(), "to"),
            (|a| a.from = "2026-6-1".to_owned(), "from"),
            (|a| a.enterprise_tag = "patent_count".to_owned(), "enterprise_tag"),
            (|a| a.enterprise_tag = "no_such".to_owned(), "enterprise_tag"),
            (|a| a.name_zh.clear(), "name_zh"),
            (|a| (a.rate_cut_ppm, a.limit, a.answer_working_days) = (0, None, 0), "rate_cut_ppm"),
        ];
        for (change, field) in cases {
            let found = fields(change);
            assert!(found.contains(&format!("adjustment.{field}")), "{field}: {found:?}");
        }
    }

    #[test]
    fn a_product_without_bounds_allows_nothing() {
        let bare = CreditTerms { answer_working_days: 5, ..CreditTerms::default() };
        assert_eq!(violations(&good(), Some(&bare), TODAY).len(), 3);
        assert_eq!(violations(&good(), None, TODAY)[0].field, "adjustment.product_id");
    }
}
