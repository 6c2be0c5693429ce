//! The engine against CEL's own interpreter: random products, random profiles, values at the edges, things not known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
};

use cel::{Context, Program, Value};
use proptest::prelude::*;
use zhirong_engine::{Engine, Population, Product, Reason, Row, Symbols, Terms, Verdict, Weights, smallest_change};
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue, Features},
    rule::{Expected, INPUTS, Inputs, Rule},
};

const NUMBERS: [&str; 4] = ["patent_count", "annual_revenue_fen", "overdue_count_24m", "age_days"];
const FLAGS: [&str; 2] = ["is_high_tech", "is_dishonest"];
const TEXTS: [&str; 2] = ["industry_code", "enterprise_class"];
const WORDS: [&str; 4] = ["micro", "C35", "", "示例"];

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => -3_i64..12,
        2 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX, 3_037_000_500, 4_294_967_296]),
        1 => any::<i64>(),
    ]
}

fn literal(number: i64) -> String {
    // CEL has no negative literals but this one's edge can be written.
    if number < 0 { format!("({number})") } else { number.to_string() }
}

fn int() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => prop::sample::select(NUMBERS.to_vec()).prop_map(ToOwned::to_owned),
        1 => prop::sample::select(INPUTS.to_vec()).prop_map(ToOwned::to_owned),
        2 => number().prop_map(literal),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            4 => (inner.clone(), prop::sample::select(vec!["+", "-", "*"]), inner.clone())
                .prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            2 => (inner.clone(), prop::sample::select(vec!["/", "%"]), inner.clone())
                .prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({b} != 0 ? {a} / {b} : {a})")),
            2 => (prop::sample::select(vec!["min", "max"]), inner.clone(), inner.clone())
                .prop_map(|(name, a, b)| format!("{name}({a}, {b})")),
            1 => inner.clone().prop_map(|a| format!("(-({a}))")),
            1 => (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} > 2 ? {b} : {c})")),
        ]
    })
}

fn condition() -> impl Strategy<Value = String> {
    let word = || prop::sample::select(WORDS.to_vec());
    let text = prop::sample::select(TEXTS.to_vec());
    let sign = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        3 => (prop::sample::select(NUMBERS.to_vec()), sign.clone(), number())
            .prop_map(|(name, sign, number)| format!("{name} {sign} {}", literal(number))),
        1 => (prop::sample::select(NUMBERS.to_vec()), sign.clone(), number())
            .prop_map(|(name, sign, number)| format!("{} {sign} {name}", literal(number))),
        2 => prop::sample::select(FLAGS.to_vec()).prop_map(ToOwned::to_owned),
        2 => (text.clone(), prop::sample::select(vec!["==", "!="]), word())
            .prop_map(|(name, sign, word)| format!("{name} {sign} '{word}'")),
        2 => (text, prop::collection::vec(word(), 0..4)).prop_map(|(name, words)| {
            let words: Vec<String> = words.into_iter().map(|word| format!("'{word}'")).collect();
            format!("{name} in [{}]", words.join(", "))
        }),
        1 => (prop::sample::select(NUMBERS.to_vec()), prop::collection::vec(number(), 1..4)).prop_map(|(name, numbers)| {
            let numbers: Vec<String> = numbers.into_iter().map(literal).collect();
            format!("{name} in [{}]", numbers.join(", "))
        }),
        2 => (int(), sign, int()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        1 => Just("industry_code == enterprise_class".to_owned()),
        1 => Just("true in [is_high_tech, is_dishonest]".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 2, |inner| {
        prop_oneof![
            3 => (inner.clone(), prop::sample::select(vec!["&&", "||"]), inner.clone())
                .prop_map(|(a, sign, b)| format!("({a}) {sign} ({b})")),
            1 => inner.clone().prop_map(|a| format!("!({a})")),
            1 => (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("(({a}) ? ({b}) : ({c}))")),
        ]
    })
}

fn features() -> impl Strategy<Value = Features> {
    let value = |name: &str| match FeatureDictionary::standard().get(name).unwrap().kind {
        zhirong_kernel::feature::FeatureType::Int => number().prop_map(FeatureValue::Int).boxed(),
        zhirong_kernel::feature::FeatureType::Bool => any::<bool>().prop_map(FeatureValue::Bool).boxed(),
        zhirong_kernel::feature::FeatureType::Text => prop_oneof![
            prop::sample::select(WORDS.to_vec()).prop_map(ToOwned::to_owned),
            "[a-z]{1,2}".prop_map(|text| text),
        ]
        .prop_map(FeatureValue::Text)
        .boxed(),
    };
    let cell = |name: &'static str| {
        let wrong = prop_oneof![Just(FeatureValue::Int(1)), Just(FeatureValue::Text("C35".to_owned()))];
        prop_oneof![12 => value(name).prop_map(Some), 2 => Just(None), 1 => wrong.prop_map(Some)]
            .prop_map(move |value| (name, value))
    };
    let cells: Vec<_> = NUMBERS.into_iter().chain(FLAGS).chain(TEXTS).map(cell).collect();
    cells.prop_map(|cells| cells.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn inputs() -> impl Strategy<Value = Inputs> {
    (number(), 1_i64..60, 20_000_i64..40_000).prop_map(|(requested_fen, term_months, lpr_1y_ppm)| Inputs {
        requested_fen,
        term_months,
        lpr_1y_ppm,
    })
}

/// A product as texts.
#[derive(Debug, Clone)]
struct Sample {
    conditions: Vec<String>,
    limit: String,
    rate: String,
    bounds: (i64, i64),
    score_ppm: i64,
}

fn sample() -> impl Strategy<Value = Sample> {
    let rate = prop_oneof![
        3 => (0_i64..9_000, 0_i64..300, 0_i64..4_000, 20_000_i64..30_000).prop_map(|(add, each, cap, floor)| {
            format!("max(lpr_1y_ppm + {add} - min(patent_count * {each}, {cap}), {floor})")
        }),
        1 => int(),
    ];
    let limit = prop_oneof![2 => Just("min(patent_count * 100, 700)".to_owned()), 1 => int()];
    (
        prop::collection::vec(condition(), 0..4),
        limit,
        rate,
        0_i64..300,
        300_i64..1_000,
        prop::sample::select(vec![0, 3_500_000, 5_000_000]),
    )
        .prop_map(|(conditions, limit, rate, least, most, score_ppm)| Sample {
            conditions,
            limit,
            rate,
            bounds: (least, most),
            score_ppm,
        })
}

/// The rules, unless the kernel refuses one of them.
fn compiled(sample: &Sample) -> Option<(Vec<Rule>, Rule, Rule)> {
    let compile = |text: &str, expected| Rule::compile(text, FeatureDictionary::standard(), expected).ok();
    let conditions = sample.conditions.iter().map(|text| compile(text, Expected::Bool)).collect::<Option<_>>()?;
    Some((conditions, compile(&sample.limit, Expected::Int)?, compile(&sample.rate, Expected::Int)?))
}

fn product(symbols: &Symbols, sample: &Sample) -> Option<Product> {
    let (conditions, limit, rate) = compiled(sample)?;
    let conditions: Vec<&Rule> = conditions.iter().collect();
    let terms = Terms {
        conditions: &conditions,
        limit: &limit,
        rate: &rate,
        min_amount_fen: sample.bounds.0,
        max_amount_fen: sample.bounds.1,
        score_ppm: sample.score_ppm,
    };
    Product::compile(symbols, terms)
}

enum Said {
    Value(Value),
    Missing(BTreeSet<String>),
    Failed,
}

/// A product as the interpreter has it.
struct Programs {
    conditions: Vec<Program>,
    limit: Program,
    rate: Program,
}

impl Programs {
    /// The parser recurses, and takes more than a hundred KiB a bracket in a debug build: it has a stack of its own here.
    fn of(sample: &Sample) -> Self {
        let compile = |text: &String| Program::compile(text).unwrap();
        let all = || Self {
            conditions: sample.conditions.iter().map(compile).collect(),
            limit: compile(&sample.limit),
            rate: compile(&sample.rate),
        };
        thread::scope(|scope| {
            thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, all).unwrap().join().unwrap()
        })
    }
}

/// What CEL's interpreter says of a rule.
fn interpreted(program: &Program, features: &Features, inputs: Inputs) -> Said {
    let mut context = Context::default();
    context.add_function("min", |a: i64, b: i64| a.min(b)).unwrap();
    context.add_function("max", |a: i64, b: i64| a.max(b)).unwrap();
    for (name, value) in INPUTS.into_iter().zip([inputs.requested_fen, inputs.term_months, inputs.lpr_1y_ppm]) {
        context.add_variable_from_value(name, value);
    }
    for (name, value) in features {
        match value {
            FeatureValue::Int(number) => context.add_variable_from_value(name.as_str(), *number),
            FeatureValue::Bool(flag) => context.add_variable_from_value(name.as_str(), *flag),
            FeatureValue::Text(text) => context.add_variable_from_value(name.as_str(), text.as_str()),
        }
    }
    let references = program.references();
    let used: Vec<&str> = references.variables().into_iter().filter(|name| !INPUTS.contains(name)).collect();
    let mut missing = BTreeSet::new();
    for name in used {
        match features.get(name) {
            None => {
                missing.insert(name.to_owned());
            }
            Some(value) if value.kind() != FeatureDictionary::standard().get(name).unwrap().kind => {
                return Said::Failed;
            }
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        return Said::Missing(missing);
    }
    program.execute(&context).map_or(Said::Failed, Said::Value)
}

/// The verdict by the interpreter alone.
fn expected(sample: &Sample, programs: &Programs, features: &Features, inputs: Inputs) -> Verdict {
    let (mut refused, mut missing) = (Vec::new(), BTreeSet::new());
    for (program, place) in programs.conditions.iter().zip(0..) {
        match interpreted(program, features, inputs) {
            Said::Value(Value::Bool(true)) => {}
            Said::Value(Value::Bool(false)) => refused.push(Reason::Condition(place)),
            Said::Value(other) => panic!("{other:?}"),
            Said::Failed => refused.push(Reason::Unusable),
            Said::Missing(names) => missing.extend(names),
        }
    }
    if !refused.is_empty() {
        return Verdict::Refused(refused);
    }
    let (limit, rate) = (interpreted(&programs.limit, features, inputs), interpreted(&programs.rate, features, inputs));
    for said in [&limit, &rate] {
        if let Said::Missing(names) = said {
            missing.extend(names.iter().cloned());
        }
    }
    if !missing.is_empty() {
        return Verdict::Unknown(missing);
    }
    match (limit, rate) {
        (Said::Value(Value::Int(limit)), Said::Value(Value::Int(rate_ppm))) if (0..=360_000).contains(&rate_ppm) => {
            let limit_fen = limit.min(sample.bounds.1);
            if limit_fen < sample.bounds.0 {
                Verdict::Refused(vec![Reason::BelowMinimum])
            } else {
                Verdict::Eligible { limit_fen, rate_ppm }
            }
        }
        _ => Verdict::Refused(vec![Reason::Unusable]),
    }
}

const WEIGHTS: Weights = Weights { level_worth_ppm: 200, unrated_level_ppm: 3_000_000 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    /// 400 × 6 products × 9 profiles are more than twenty thousand verdicts in every run; each is computed in four ways.
    #[test]
    fn every_way_of_matching_agrees_with_the_interpreter(
        samples in prop::collection::vec(sample(), 1..12),
        profiles in prop::collection::vec(features(), 1..18),
        inputs in inputs(),
    ) {
        let symbols = Arc::new(Symbols::default());
        let (samples, products): (Vec<_>, Vec<_>) = samples
            .into_iter()
            .filter_map(|sample| Some((sample.clone(), Arc::new(product(&symbols, &sample)?))))
            .unzip();
        let programs: Vec<_> = samples.iter().map(Programs::of).collect();
        let engine = Engine::new(products.clone(), WEIGHTS, inputs.lpr_1y_ppm);
        let elsewhere = Engine::new(products.clone(), WEIGHTS, inputs.lpr_1y_ppm + 1);
        let mut population = Population::new(Arc::clone(&symbols));
        let mut taken = BTreeMap::new();
        for (profile, number) in profiles.iter().zip(0_u8..) {
            let row = Row::new(&symbols, profile, inputs);
            let mut eligible = Vec::new();
            for (sample, place) in samples.iter().zip(0..) {
                let verdict = expected(sample, &programs[place], profile, inputs);
                prop_assert_eq!(products[place].verdict(&row), verdict.clone(), "{:?} on {:?}", sample, profile);
                if let Verdict::Eligible { limit_fen, rate_ppm } = verdict {
                    eligible.push((place, limit_fen, rate_ppm));
                }
            }
            for engine in [&engine, &elsewhere] {
                let mut all: Vec<_> =
                    engine.all(&row).iter().map(|found| (found.product, found.limit_fen, found.rate_ppm)).collect();
                all.sort_unstable();
                prop_assert_eq!(&all, &eligible);
            }

            let mut ranked = eligible.clone();
            ranked.sort_by_key(|(place, limit_fen, rate_ppm)| {
                let score = samples[*place].score_ppm;
                (WEIGHTS.points(*rate_ppm, score), -score, -limit_fen, *place)
            });
            ranked.truncate(3);
            for engine in [&engine, &elsewhere] {
                let best: Vec<_> =
                    engine.best(&row, 3).iter().map(|found| (found.product, found.limit_fen, found.rate_ppm)).collect();
                prop_assert_eq!(&best, &ranked);
            }
            population.put([number; 18], 1, profile);
            taken.insert([number; 18], eligible);
        }
        let mut swept: BTreeMap<[u8; 18], Vec<_>> = taken.keys().map(|id| (*id, Vec::new())).collect();
        population.each(&products, inputs, |found| {
            swept.get_mut(&found.id).unwrap().push((found.product, found.limit_fen, found.rate_ppm));
        });
        for engine in [&engine, &elsewhere] {
            let mut coded: BTreeMap<[u8; 18], Vec<_>> = taken.keys().map(|id| (*id, Vec::new())).collect();
            let codes = population.coded(engine, inputs).unwrap();
            population.each_coded(0..codes.len(), engine, &codes, |found| {
                coded.get_mut(&found.id).unwrap().push((found.product, found.limit_fen, found.rate_ppm));
            });
            coded.values_mut().for_each(|found| found.sort_unstable());
            prop_assert_eq!(&coded, &taken);
        }
        swept.values_mut().for_each(|found| found.sort_unstable());
        prop_assert_eq!(swept, taken);
    }

    /// What is told as the smallest change does make the product take the enterprise.
    #[test]
    fn the_smallest_change_does(sample in sample(), profile in features(), inputs in inputs()) {
        let symbols = Symbols::default();
        let Some(product) = product(&symbols, &sample) else { return Ok(()) };
        let Some(change) = smallest_change(&product, &symbols, &Row::new(&symbols, &profile, inputs)) else { return Ok(()) };
        let programs = Programs::of(&sample);
        prop_assert!(matches!(expected(&sample, &programs, &profile, inputs), Verdict::Refused(_)));
        let mut changed = profile;
        prop_assert_ne!(changed.insert(change.feature.clone(), change.to.clone()), Some(change.to));
        let verdict = expected(&sample, &programs, &changed, inputs);
        prop_assert!(matches!(verdict, Verdict::Eligible { .. }), "{:?}", verdict);
    }
}
