use proptest::prelude::*;

use super::*;

const INPUT: Inputs = Inputs { requested_fen: 100, term_months: 12, lpr_1y_ppm: 30_000 };

fn features() -> Features {
    Features::from([
        ("patent_count".to_owned(), FeatureValue::Int(3)),
        ("is_high_tech".to_owned(), FeatureValue::Bool(true)),
        ("industry_code".to_owned(), FeatureValue::Text("C35".to_owned())),
        ("annual_revenue_fen".to_owned(), FeatureValue::Int(i64::MAX)),
    ])
}

fn compile(text: &str, expected: Expected) -> Result<Rule, RuleError> {
    Rule::compile(text, FeatureDictionary::standard(), expected)
}

fn run(text: &str, expected: Expected) -> Outcome {
    compile(text, expected).unwrap().evaluate(&RuleContext::new(&features(), INPUT))
}

fn refusal(text: &str) -> RuleError {
    compile(text, Expected::Bool).unwrap_err()
}

fn number(value: i64) -> Outcome {
    Outcome::Value(FeatureValue::Int(value))
}

#[test]
fn computes_conditions_and_formulas() {
    let yes = Outcome::Value(FeatureValue::Bool(true));
    assert_eq!(run("patent_count >= 3 && is_high_tech", Expected::Bool), yes);
    assert_eq!(run("industry_code in ['C35', 'C39']", Expected::Bool), yes);
    assert_eq!(run("// the district's rule\nis_high_tech", Expected::Bool), yes);
    assert_eq!(run("requested_fen == 100 && term_months == 12", Expected::Bool), yes);
    let formula = "max(lpr_1y_ppm - min(patent_count * 500, 2000), 20000)";
    assert_eq!(run(formula, Expected::Int), number(28_500));
    assert_eq!(run("is_high_tech ? 1 : -1", Expected::Int), number(1));
}

#[test]
fn tells_the_features_it_looks_at() {
    let rule =
        compile("trademark_count > 0 || patent_count > 0 && patent_count < term_months", Expected::Bool).unwrap();
    assert_eq!(rule.features(), ["patent_count", "trademark_count"]);
}

#[test]
fn what_is_missing_is_unknown_not_false() {
    // Also where the other side would decide.
    assert_eq!(
        run("patent_count > 0 || trademark_count > talent_count", Expected::Bool),
        Outcome::Unknown { missing: vec!["talent_count".to_owned(), "trademark_count".to_owned()] }
    );
}

#[test]
fn an_input_is_never_taken_from_the_profile() {
    let profile = Features::from([("lpr_1y_ppm".to_owned(), FeatureValue::Int(1))]);
    let rule = compile("lpr_1y_ppm", Expected::Int).unwrap();
    assert_eq!(rule.evaluate(&RuleContext::new(&profile, INPUT)), number(30_000));
}

#[test]
fn a_value_of_another_type_fails_instead_of_being_unequal() {
    let profile = Features::from([("patent_count".to_owned(), FeatureValue::Text("3".to_owned()))]);
    let rule = compile("patent_count == 3", Expected::Bool).unwrap();
    assert!(matches!(rule.evaluate(&RuleContext::new(&profile, INPUT)), Outcome::Failed(_)));
}

#[test]
fn an_overflow_and_a_division_by_zero_fail_alone() {
    for text in [
        "annual_revenue_fen * 2",
        "annual_revenue_fen + 1",
        "-annual_revenue_fen - 2",
        "1 / (patent_count - 3)",
        "1 % (patent_count - 3)",
        "-9223372036854775808 / (patent_count - 4)",
        "-9223372036854775808 % (patent_count - 4)",
        "-(-9223372036854775808 * 1)",
    ] {
        assert!(matches!(run(text, Expected::Int), Outcome::Failed(_)), "{text}");
    }
}

#[test]
fn mistakes_are_refused_with_their_place() {
    let error = refusal("patent_count > 0 &&\n  no_such_thing > 1");
    assert_eq!((error.line, error.column), (2, 3), "{error}");
    assert!(error.message.contains("no_such_thing"));
    assert!(refusal("patent_count > 'many'").message.contains("a text"));
    assert!(refusal("patent_count + 1").message.contains("yes or no"));
    assert!(refusal("patent_count > 1.5").message.contains("integer"));
    assert!(refusal("patent_count > 1u").message.contains("integer"));
    assert!(refusal("industry_code.startsWith('C')").message.contains("startsWith"));
    assert!(refusal("size(industry_code) > 1").message.contains("size"));
    assert!(refusal("[1,2].all(x, x > 0)").message.contains("not"));
    assert!(refusal("is_high_tech ? 1 : 'a' == 'a'").message.contains("needed"));
    assert!(refusal("is_high_tech && ").line == 1);
    assert!(refusal("  ").message.contains("empty"));
}

#[test]
fn columns_count_characters() {
    let error = refusal("industry_code == '制造' && no_such_thing");
    assert_eq!((error.line, error.column), (1, 26), "{error}");
    let error = refusal("industry_code == '制造' && # ");
    assert_eq!((error.line, error.column), (1, 26), "{error}");
    let error = refusal("industry_code == '制造' &&\n patent_count ＞ 1");
    assert_eq!((error.line, error.column), (2, 15), "{error}");
    assert!(error.message.contains('＞'));
}

#[test]
fn what_would_take_long_is_refused_at_once() {
    let brackets =
        |open: &str, close: &str, count: usize| format!("{}1{} > 0", open.repeat(count), close.repeat(count));
    assert!(refusal(&"1".repeat(1_000_000)).message.contains("longer"));
    assert!(refusal(&brackets("(", ")", 4000)).message.contains("deeper"));
    assert!(refusal(&format!("1{} > 0", "+1".repeat(2000))).message.contains("operators"));
    assert!(refusal(&"!".repeat(2000)).message.contains("operators"));
    assert!(refusal(&format!("1{}", " in 1".repeat(600))).message.contains("operators"));
    assert!(refusal(&format!("1{}", " in1".repeat(600)).replace("in1", "1in")).message.contains("operators"));
    assert!(refusal(&format!("1{}", "[1]".repeat(600))).message.contains("operators"));
    assert!(refusal(&format!("true{}", "?true:true".repeat(40))).message.contains("choices"));
    assert!(refusal(&format!("1{} > 0", "+1".repeat(200))).message.contains("deeper"));
}

#[test]
fn brackets_can_not_be_hidden_from_the_count() {
    // Each of these once made the scanner take code for text; a stack overflow ended the process.
    let deep = format!("{}true{}", "(".repeat(600), ")".repeat(600));
    for hidden in [
        format!("industry_code == '\\'' && {deep} && '\\'' == ''"),
        format!("// it's\n{deep}"),
        format!("'''a'b''' == '' || {deep}"),
        format!("' {deep}"),
        format!("'\n {deep}'"),
        format!("`//` || {deep}"),
        format!("r'\\' == '' || {deep}"),
    ] {
        refusal(&hidden);
    }
}

/// Texts as deep as the limits let through, in every way of nesting, run on half a worker's stack: the test ends with the
/// process when one of them overflows it.
#[test]
fn what_is_accepted_runs_on_a_small_stack() {
    let nested = |open: &str, close: &str, count: usize| format!("{}1{} > 0", open.repeat(count), close.repeat(count));
    let texts = [
        nested("(", ")", 32),
        nested("[", "]", 32),
        nested("{1:", "}", 32),
        nested("min(1,", ")", 32),
        nested("min(1,", ")", 21),
        nested("(- -", ")", 32),
        nested("(1+(", "))", 16),
        nested("(true?1:", ")", 21),
        nested("(1+1*", ")", 10),
        format!("1{} > 0", "+1".repeat(21)),
        format!("1{} > 0", "+1".repeat(510)),
        format!("1{} > 0", "*1+1".repeat(250)),
        nested("(", &format!("{})", "+1".repeat(14)), 32),
        nested("(", &format!("{})", "*1+1".repeat(7)), 32),
        format!("true{}", " in [true]".repeat(22)),
        format!("true{}", " in [true]".repeat(255)),
        format!("1{}", " in 1".repeat(511)),
        format!("1{}", "<1".repeat(511)),
        format!("1{}", "[1]".repeat(511)),
        format!("a{}", ".a".repeat(511)),
        format!("true{}", "&&true".repeat(255)),
        format!("true{}", "||!true&&true".repeat(100)),
        format!("{}true", "!".repeat(512)),
        format!("{}1 > 0", "- ".repeat(510)),
        format!("{}1 > 0", "-(".repeat(32)),
        format!("{}true{}", "true?".repeat(32), ":true".repeat(32)),
        format!("{}true{}", "(true?".repeat(21), ":true)".repeat(21)),
        format!("true{}", "?true:true".repeat(21)),
        format!("true{}", "?true:true".repeat(32)),
        format!("1 in [{}1]", "1,".repeat(4000)),
        "(".repeat(32),
        "[{(".repeat(10),
    ];
    let ran = thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || {
            let context = RuleContext::new(&features(), INPUT);
            let accepted = texts.iter().filter_map(|text| compile(text, Expected::Bool).ok());
            accepted.filter(|rule| matches!(rule.evaluate(&context), Outcome::Value(_))).count()
        })
        .unwrap()
        .join()
        .unwrap();
    assert!(ran >= 10, "only {ran} of the deep rules ran");
}

#[test]
fn rules_and_profiles_may_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Rule>();
    shared::<RuleContext>();
}

/// A formula, its text and the value by ordinary checked arithmetic.
fn formula() -> impl Strategy<Value = (String, Option<i64>)> {
    let known = |name: &str, value: i64| Just((name.to_owned(), Some(value))).boxed();
    let leaf = prop_oneof![
        (0_i64..1_000_000_000_000).prop_map(|value| (value.to_string(), Some(value))),
        known("patent_count", 3),
        known("annual_revenue_fen", i64::MAX),
        known("lpr_1y_ppm", 30_000),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        (inner.clone(), 0_usize..8, inner).prop_map(|((left, a), operator, (right, b))| {
            let compute = |op: fn(i64, i64) -> Option<i64>| a.zip(b).and_then(|(a, b)| op(a, b));
            match operator {
                0 => (format!("({left} + {right})"), compute(i64::checked_add)),
                1 => (format!("({left} - {right})"), compute(i64::checked_sub)),
                2 => (format!("({left} * {right})"), compute(i64::checked_mul)),
                3 => (format!("({left} / {right})"), compute(i64::checked_div)),
                4 => (format!("({left} % {right})"), compute(i64::checked_rem)),
                5 => (format!("min({left}, {right})"), compute(|a, b| Some(a.min(b)))),
                6 => (format!("max({left}, {right})"), compute(|a, b| Some(a.max(b)))),
                _ => (format!("(-{left})"), a.and_then(i64::checked_neg)),
            }
        })
    })
}

/// What a clumsy or ill-meaning author may string together.
fn rubble() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "patent_count",
        "is_high_tech",
        "industry_code",
        "lpr_1y_ppm",
        "nope",
        "min",
        "1",
        "0",
        "9223372036854775807",
        "1.5",
        "true",
        "null",
        "'a'",
        "\"b\"",
        "'",
        "\"",
        "'''",
        "`",
        "\\",
        "//",
        "\n",
        " in ",
        " ",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        ":",
        "?",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "<",
        "<=",
        "==",
        "!=",
        "&&",
        "||",
        "中",
        "（",
        "has(",
        "max(",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn formulas_agree_with_checked_arithmetic((text, expected) in formula()) {
        match (run(&text, Expected::Int), expected) {
            (Outcome::Value(FeatureValue::Int(found)), Some(expected)) => prop_assert_eq!(found, expected, "{}", text),
            (Outcome::Failed(_), None) => {}
            (found, expected) => prop_assert!(false, "{text}: {found:?} for {expected:?}"),
        }
    }

    #[test]
    fn rubble_is_refused_or_computed(text in rubble()) {
        match compile(&text, Expected::Bool) {
            Err(error) => {
                prop_assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{error}");
                prop_assert!(error.column >= 1 && !error.message.is_empty());
            }
            Ok(rule) => {
                let outcome = rule.evaluate(&RuleContext::new(&features(), INPUT));
                prop_assert!(!matches!(outcome, Outcome::Value(FeatureValue::Int(_) | FeatureValue::Text(_))), "{outcome:?}");
            }
        }
    }
}
