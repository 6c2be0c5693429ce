//! The smallest change of a value, in rules whose turning point is no number that stands in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use zhirong_engine::{Product, Row, SmallestChange, Symbols, Terms, Verdict, smallest_change};
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue, Features},
    rule::{Expected, Inputs, Rule},
};

const INPUTS: Inputs = Inputs { requested_fen: 0, term_months: 12, lpr_1y_ppm: 30_000 };

fn product(symbols: &Symbols, conditions: &[&str], limit: &str, min_amount_fen: i64) -> Product {
    let compile = |text: &str, expected| Rule::compile(text, FeatureDictionary::standard(), expected).unwrap();
    let conditions: Vec<Rule> = conditions.iter().map(|text| compile(text, Expected::Bool)).collect();
    let terms = Terms {
        conditions: &conditions.iter().collect::<Vec<_>>(),
        limit: &compile(limit, Expected::Int),
        rate: &compile("lpr_1y_ppm + 5000", Expected::Int),
        min_amount_fen,
        max_amount_fen: 1_000_000,
        score_ppm: 0,
    };
    Product::compile(symbols, terms).unwrap()
}

fn numbers(values: &[(&str, i64)]) -> Features {
    values.iter().map(|(name, value)| ((*name).to_owned(), FeatureValue::Int(*value))).collect()
}

fn told(conditions: &[&str], limit: &str, min_amount_fen: i64, features: &Features) -> Option<SmallestChange> {
    let symbols = Symbols::default();
    let product = product(&symbols, conditions, limit, min_amount_fen);
    smallest_change(&product, &symbols, &Row::new(&symbols, features, INPUTS))
}

fn to(feature: &str, value: FeatureValue) -> Option<SmallestChange> {
    Some(SmallestChange { feature: feature.to_owned(), to: value })
}

#[test]
fn a_ratio_tells_the_value_at_which_it_turns() {
    let debt_ratio = ["total_liabilities_fen * 100 <= total_assets_fen * 70"];
    // 100 of 800 is less than the 143 of 1000 that the assets would have to grow by.
    let features = numbers(&[("total_liabilities_fen", 800), ("total_assets_fen", 1_000)]);
    assert_eq!(told(&debt_ratio, "500", 1, &features), to("total_liabilities_fen", FeatureValue::Int(700)));
}

#[test]
fn a_limit_that_falls_with_a_value_tells_how_far_the_value_must_fall() {
    let limit = "min(annual_revenue_fen / 5, 1000) - loan_balance_fen";
    let features = numbers(&[("annual_revenue_fen", 10_000), ("loan_balance_fen", 950)]);
    assert_eq!(told(&[], limit, 100, &features), to("loan_balance_fen", FeatureValue::Int(900)));
}

#[test]
fn an_amount_is_not_told_to_become_negative() {
    let features = numbers(&[("loan_balance_fen", 950)]);
    assert_eq!(told(&[], "80 - loan_balance_fen", 100, &features), None);
    assert_eq!(told(&[], "100 - loan_balance_fen", 100, &features), to("loan_balance_fen", FeatureValue::Int(0)));
}

#[test]
fn a_text_in_a_limit_is_only_told_when_the_limit_names_it() {
    let text = |name: &str, text: &str| (name.to_owned(), FeatureValue::Text(text.to_owned()));
    let features = Features::from([text("credit_grade", "D"), text("customs_grade", "general")]);
    let told = |limit| told(&["customs_grade != 'dishonest'"], limit, 100, &features);
    assert_eq!(told("credit_grade == 'A' ? 500 : 50"), to("credit_grade", FeatureValue::Text("A".to_owned())));
    // Any other grade would do, and none is better than another; least of all the word of another feature.
    assert_eq!(told("credit_grade == 'D' ? 50 : 500"), None);
}

proptest! {
    /// No smaller change of either value does, and where one does, one is told.
    #[test]
    fn no_smaller_change_does(
        revenue in 0_i64..150, loans in 0_i64..150, share in 1_i64..6, cap in 1_i64..100, ratio in 20_i64..200, least in 0_i64..60,
    ) {
        let symbols = Symbols::default();
        let condition = format!("loan_balance_fen * 100 <= annual_revenue_fen * {ratio}");
        let limit = format!("min(annual_revenue_fen / {share}, {cap}) - loan_balance_fen / 2");
        let product = product(&symbols, &[&condition], &limit, least);
        let features = |revenue, loans| numbers(&[("annual_revenue_fen", revenue), ("loan_balance_fen", loans)]);
        let row = |revenue, loans| Row::new(&symbols, &features(revenue, loans), INPUTS);
        let takes = |revenue, loans| matches!(product.verdict(&row(revenue, loans)), Verdict::Eligible { .. });
        let told = smallest_change(&product, &symbols, &row(revenue, loans));
        if takes(revenue, loans) {
            prop_assert_eq!(told, None);
            return Ok(());
        }
        // Far enough: 150 of loans ask for a revenue of 750 at most, a limit of 60 for one of 675.
        let nearest = |own: i64, takes: &dyn Fn(i64) -> bool| {
            let all = (0..1_000).filter(|value| takes(*value));
            all.min_by_key(|value| (value - own).abs()).map(|value| ((value - own).abs() * 1_000_000 / own.max(1), value))
        };
        let by_revenue = nearest(revenue, &|value| takes(value, loans));
        let by_loans = nearest(loans, &|value| takes(revenue, value));
        let least = [by_revenue, by_loans].into_iter().flatten().map(|(share, _)| share).min();
        let share = told.map(|change| {
            let own = if change.feature == "loan_balance_fen" { loans } else { revenue };
            let FeatureValue::Int(to) = change.to else { panic!("{change:?}") };
            (to - own).abs() * 1_000_000 / own.max(1)
        });
        prop_assert_eq!(share, least);
    }
}
