//! All against all gives what one product after the other gives: with more enterprises and products than are taken at a time, after
//! some have left, whatever is not known, and where a formula has no value for some.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use zhirong_engine::{Candidate, Engine, Id, Population, Product, Symbols, Terms, Weights};
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue, Features},
    rule::{Expected, Inputs, Rule},
};

const INPUTS: Inputs = Inputs { requested_fen: 500_000, term_months: 12, lpr_1y_ppm: 30_000 };
const LIMITS: [&str; 4] = [
    "min(annual_revenue_fen / 7, 90000000)",
    "annual_revenue_fen * 4611686018427387904",
    "requested_fen + patent_count % 3",
    "min(annual_revenue_fen, tax_paid_12m_fen * 10)",
];
const RATES: [&str; 3] =
    ["max(lpr_1y_ppm + 900 - min(patent_count * 50, 700), 24000)", "lpr_1y_ppm", "60000 - lpr_1y_ppm"];

fn product(symbols: &Symbols, number: i64) -> Arc<Product> {
    let compile = |text: &str, expected| Rule::compile(text, FeatureDictionary::standard(), expected).unwrap();
    let conditions = [
        format!("annual_revenue_fen >= {}", number % 97 * 1_000_000),
        format!("industry_code in ['C{}', 'C{}', 'C3']", number % 11, number % 7),
        format!("overdue_count_24m <= {}", number % 4),
    ];
    let conditions = conditions.map(|text| compile(&text, Expected::Bool));
    let place = |many: usize| usize::try_from(number).unwrap() % many;
    let terms = Terms {
        conditions: &conditions.iter().collect::<Vec<_>>(),
        limit: &compile(LIMITS[place(LIMITS.len())], Expected::Int),
        rate: &compile(RATES[place(RATES.len())], Expected::Int),
        min_amount_fen: 100_000,
        max_amount_fen: 80_000_000,
        score_ppm: 0,
    };
    Arc::new(Product::compile(symbols, terms).unwrap())
}

fn profile(number: i64) -> Features {
    let mut features = Features::new();
    let mut put = |name: &str, value| features.insert(name.to_owned(), value);
    if number % 13 != 0 {
        put("annual_revenue_fen", FeatureValue::Int(number * 7_919 % 100_000_007 - 3_000));
    }
    put("industry_code", FeatureValue::Text(format!("C{}", number * 31 % 12)));
    put("overdue_count_24m", FeatureValue::Int(number % 5));
    put("tax_paid_12m_fen", FeatureValue::Int(number % 1_000 * 10_000));
    if number % 3 != 0 {
        put("patent_count", FeatureValue::Int(number % 20));
    }
    features
}

fn id(number: i64) -> Id {
    let mut id = [b'0'; 18];
    id[10..].copy_from_slice(&number.to_be_bytes());
    id
}

fn sorted(mut found: Vec<Candidate>) -> Vec<(Id, i64, usize, i64, i64)> {
    let key = |found: &Candidate| (found.id, found.version, found.product, found.limit_fen, found.rate_ppm);
    found.sort_by_key(key);
    found.iter().map(key).collect()
}

#[test]
fn all_against_all_is_one_after_the_other() {
    let symbols = Arc::new(Symbols::default());
    let products: Vec<_> = (0..600).map(|number| product(&symbols, number)).collect();
    let mut population = Population::new(Arc::clone(&symbols));
    for number in 0..5_000 {
        population.put(id(number), number % 4 + 1, &profile(number));
    }
    for number in (0..5_000).step_by(9) {
        population.remove(&id(number));
    }
    let mut expected = Vec::new();
    population.each(&products, INPUTS, |found| expected.push(found));
    let expected = sorted(expected);
    assert!(expected.len() > 30_000, "only {} pairs", expected.len());
    for lpr_1y_ppm in [INPUTS.lpr_1y_ppm, 0] {
        let engine = Engine::new(products.clone(), Weights::default(), lpr_1y_ppm);
        let coded = population.coded(&engine, INPUTS).unwrap();
        assert_eq!(coded.len(), population.len());
        let mut found = Vec::new();
        // Parts that end within a word, within a group and beyond all.
        for part in [0..1_000, 1_000..1_001, 1_001..4_100, 4_100..9_999] {
            population.each_coded(part, &engine, &coded, |candidate| found.push(candidate));
        }
        assert!(sorted(found) == expected, "made for an LPR of {lpr_1y_ppm} ppm");
    }
}

#[test]
fn products_that_look_at_nothing_take_everybody() {
    let symbols = Arc::new(Symbols::default());
    let compile = |text: &str| Rule::compile(text, FeatureDictionary::standard(), Expected::Int).unwrap();
    let terms = Terms {
        conditions: &[],
        limit: &compile("700000"),
        rate: &compile("lpr_1y_ppm + 100"),
        min_amount_fen: 1,
        max_amount_fen: 500_000,
        score_ppm: 0,
    };
    let products = vec![Arc::new(Product::compile(&symbols, terms).unwrap())];
    let mut population = Population::new(Arc::clone(&symbols));
    for number in 0..70 {
        population.put(id(number), 1, &profile(number));
    }
    let engine = Engine::new(products.clone(), Weights::default(), INPUTS.lpr_1y_ppm);
    let coded = population.coded(&engine, INPUTS).unwrap();
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    population.each_coded(0..coded.len(), &engine, &coded, |candidate| found.push(candidate));
    population.each(&products, INPUTS, |candidate| expected.push(candidate));
    assert_eq!(expected.len(), 70);
    assert_eq!(sorted(found), sorted(expected));
}
