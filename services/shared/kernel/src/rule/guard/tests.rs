use super::*;

fn save(text: &str, expected: Expected) -> Result<Rule, RuleError> {
    Rule::compile_to_save(text, FeatureDictionary::standard(), expected)
}

#[test]
fn a_divisor_that_may_be_zero_is_refused_with_its_place() {
    for (text, column) in [
        ("net_profit_fen / employee_count", 18),
        ("net_profit_fen % employee_count", 18),
        ("1 + net_profit_fen / (employee_count - 3)", 38),
        ("employee_count >= 0 ? net_profit_fen / employee_count : 0", 40),
        ("employee_count != 1 ? net_profit_fen / employee_count : 0", 40),
        ("employee_count != 0 ? 0 : net_profit_fen / employee_count", 44),
        ("employee_count > 0 || is_high_tech ? net_profit_fen / employee_count : 0", 55),
        ("patent_count > 0 ? net_profit_fen / employee_count : 0", 37),
        ("net_profit_fen / max(employee_count, 0)", 21),
        ("net_profit_fen / min(employee_count, 1)", 21),
        ("net_profit_fen / (employee_count * 2)", 34),
        ("net_profit_fen / 0", 18),
        ("net_profit_fen / (1 - 1)", 21),
        ("net_profit_fen / (max(employee_count, 1) / 2)", 42),
    ] {
        let error = save(text, Expected::Int).unwrap_err();
        assert!(error.message.contains("may be zero"), "{text}: {error}");
        assert!(error.message_zh.contains("可能为零"), "{text}: {}", error.message_zh);
        assert_eq!((error.line, error.column), (1, column), "{text}: {error}");
    }
    for text in ["employee_count > 0 || 1 / employee_count > 0", "1 / employee_count > 0 && employee_count > 0"] {
        assert!(save(text, Expected::Bool).is_err(), "{text}");
    }
}

#[test]
fn a_guarded_division_is_accepted() {
    for text in [
        "net_profit_fen / 12",
        "net_profit_fen / -1",
        "net_profit_fen / max(employee_count, 1)",
        "net_profit_fen / max(1, employee_count) % 7",
        "net_profit_fen / min(employee_count, -1)",
        "net_profit_fen / (max(employee_count, 0) + 1)",
        "net_profit_fen / (max(employee_count, 1) * 2)",
        "employee_count != 0 ? net_profit_fen / employee_count : 0",
        "0 != employee_count ? net_profit_fen / employee_count : 0",
        "employee_count == 0 ? 0 : net_profit_fen / employee_count",
        "employee_count > 0 ? net_profit_fen / employee_count : 0",
        "0 < employee_count ? net_profit_fen / employee_count : 0",
        "employee_count <= 0 ? 0 : net_profit_fen / employee_count",
        "!(employee_count <= 0) ? net_profit_fen / employee_count : 0",
        "employee_count >= patent_count && patent_count >= 1 ? net_profit_fen / patent_count : 0",
        "is_high_tech && employee_count > 5 ? net_profit_fen / (employee_count - 5) : 0",
        "is_high_tech || employee_count == 0 ? 0 : net_profit_fen / employee_count",
        "employee_count - 3 != 0 ? net_profit_fen / (employee_count - 3) : 0",
        "patent_count > 0 ? (employee_count > 0 ? 1 / employee_count / patent_count : 0) : 0",
        "net_profit_fen / (is_high_tech ? 2 : 3)",
        "net_profit_fen / (employee_count > 0 ? employee_count : 1)",
    ] {
        save(text, Expected::Int).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for text in [
        "employee_count != 0 && net_profit_fen / employee_count > 100",
        "employee_count == 0 || net_profit_fen / employee_count > 100",
        "employee_count > 0 && is_high_tech && net_profit_fen / employee_count > 100",
    ] {
        save(text, Expected::Bool).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_guarded_division_never_fails() {
    use crate::{
        feature::{FeatureValue, Features},
        rule::{Inputs, Outcome, RuleContext},
    };
    let rule = save("employee_count - 3 != 0 ? net_profit_fen / (employee_count - 3) : 0", Expected::Int).unwrap();
    for count in [-1, 0, 2, 3, 4] {
        let profile = Features::from([
            ("employee_count".to_owned(), FeatureValue::Int(count)),
            ("net_profit_fen".to_owned(), FeatureValue::Int(100)),
        ]);
        let inputs = Inputs { requested_fen: 0, term_months: 0, lpr_1y_ppm: 0 };
        let outcome = rule.evaluate(&RuleContext::new(&profile, inputs));
        assert!(matches!(outcome, Outcome::Value(_)), "{count}: {outcome:?}");
    }
}

#[test]
fn what_always_overflows_is_refused_with_its_place() {
    for (text, column) in [
        ("patent_count + (9223372036854775807 + 1)", 37),
        ("9223372036854775807 * 2", 21),
        ("-9223372036854775807 - 2", 22),
        ("max(patent_count, 1) * 0 + max(patent_count, 4611686018427387904) * 2", 67),
        ("-(-9223372036854775808)", 1),
        ("-9223372036854775808 / -1", 22),
    ] {
        let error = save(text, Expected::Int).unwrap_err();
        assert!(error.message.contains("overflows"), "{text}: {error}");
        assert!(error.message_zh.contains("溢出"), "{text}");
        assert_eq!((error.line, error.column), (1, column), "{text}: {error}");
    }
    for text in ["9223372036854775807 - 1", "patent_count * 9223372036854775807", "-9223372036854775808 + 1"] {
        save(text, Expected::Int).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn nested_choices_take_no_time() {
    // Each condition is looked at once, however deep: tripling with every level would take hours.
    let mut text = "patent_count".to_owned();
    for _ in 0..11 {
        text = format!("({text} > 0 ? 1 : 2)");
    }
    let began = std::time::Instant::now();
    save(&text, Expected::Int).unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_rule_in_force_is_not_asked_again() {
    let text = "net_profit_fen / employee_count";
    assert!(Rule::compile(text, FeatureDictionary::standard(), Expected::Int).is_ok());
    assert!(save(text, Expected::Int).is_err());
}
