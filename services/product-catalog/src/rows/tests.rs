use proptest::prelude::*;

use super::*;

fn row(feature: &str, operator: RuleOperator, values: &[&str]) -> RuleRow {
    RuleRow {
        feature: feature.to_owned(),
        operator: operator.into(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
        ..RuleRow::default()
    }
}

fn cel(rows: &[RuleRow], join: RowJoin) -> (String, String) {
    let compiled = compile(rows, join).unwrap();
    (compiled.expression, compiled.label_zh)
}

#[test]
fn every_operator_compiles_to_cel_and_to_a_sentence() {
    use RuleOperator as Op;
    for (row, expression, sentence) in [
        (row("annual_revenue_fen", Op::AtLeast, &["500万元"]), "annual_revenue_fen >= 500000000", "不低于500万元"),
        (row("annual_revenue_fen", Op::AtMost, &["1.5亿元"]), "annual_revenue_fen <= 15000000000", "不超过1.5亿元"),
        (row("lpr_1y_ppm", Op::Less, &["3.45%"]), "lpr_1y_ppm < 34500", "一年期LPR低于3.45%"),
        (row("patent_count", Op::Greater, &["2件"]), "patent_count > 2", "超过2"),
        (row("patent_count", Op::Equal, &["-3"]), "patent_count == -3", "为-3"),
        (row("industry_code", Op::NotEqual, &["C35"]), "industry_code != 'C35'", "不为C35"),
        (row("industry_code", Op::In, &["C35", "C39"]), "industry_code in ['C35', 'C39']", "属于C35、C39"),
        (row("industry_code", Op::NotIn, &["H61"]), "!(industry_code in ['H61'])", "不属于H61"),
        (row("is_high_tech", Op::IsTrue, &[]), "is_high_tech", "：是"),
        (row("is_dishonest", Op::IsFalse, &[]), "!is_dishonest", "：否"),
        (row("term_months", Op::AtMost, &["3年"]), "term_months <= 36", "申请期限不超过36个月"),
    ] {
        let (found, label) = cel(&[row], RowJoin::Unspecified);
        assert_eq!(found, expression);
        assert!(label.ends_with(sentence), "{label}");
    }
}

#[test]
fn rows_join_with_and_or_or_and_reasons_replace_sentences() {
    let reason = RuleRow {
        reason_zh: "企业须有专利".to_owned(),
        advice_zh: "申请专利".to_owned(),
        ..row("patent_count", RuleOperator::AtLeast, &["1"])
    };
    let rows = [reason, row("is_high_tech", RuleOperator::IsTrue, &[])];
    let all = compile(&rows, RowJoin::All).unwrap();
    assert_eq!(all.expression, "patent_count >= 1 && is_high_tech");
    assert!(all.label_zh.starts_with("企业须有专利，且"), "{}", all.label_zh);
    assert_eq!(all.advice_zh, "申请专利");
    assert_eq!(cel(&rows, RowJoin::Any).0, "patent_count >= 1 || is_high_tech");
}

#[test]
fn every_mistake_is_named_with_its_row_and_field() {
    use RuleOperator as Op;
    let long = "x".repeat(65);
    let rows = [
        row("no_such_feature", Op::Equal, &["1"]),
        row("patent_count", Op::Unspecified, &["1"]),
        row("is_high_tech", Op::AtLeast, &["1"]),
        row("industry_code", Op::Less, &["C35"]),
        row("patent_count", Op::Equal, &[]),
        row("patent_count", Op::In, &["1", "x", "1.5", "9223372036854775808", "3%"]),
        row("industry_code", Op::In, &["C'35", "C\\", " C", "", &long]),
        row("is_high_tech", Op::IsTrue, &["1"]),
    ];
    let found: Vec<(usize, String)> =
        compile(&rows, RowJoin::All).unwrap_err().into_iter().map(|found| (found.row.unwrap(), found.field)).collect();
    let expected = [
        (0, "feature"),
        (1, "operator"),
        (2, "operator"),
        (3, "operator"),
        (4, "values"),
        (5, "values[1]"),
        (5, "values[2]"),
        (5, "values[3]"),
        (5, "values[4]"),
        (6, "values[0]"),
        (6, "values[1]"),
        (6, "values[2]"),
        (6, "values[3]"),
        (6, "values[4]"),
        (7, "values"),
    ];
    assert_eq!(found, expected.map(|(row, field)| (row, field.to_owned())));
    assert!(compile(&[], RowJoin::All).is_err());
    assert!(compile(&vec![row("is_high_tech", Op::IsTrue, &[]); 17], RowJoin::All).is_err());
    assert!(compile(&vec![row("is_high_tech", Op::IsTrue, &[]); 16], RowJoin::All).is_ok());
}

#[test]
fn numbers_are_exact_to_the_last_fen_and_to_the_edge_of_64_bits() {
    for (text, unit, value) in [
        ("0.01元", "fen", 1),
        ("92233720368547758.07元", "fen", i64::MAX),
        ("-92233720368547758.08元", "fen", i64::MIN),
        ("9223372036854775807", "fen", i64::MAX),
        ("0.0001%", "ppm", 1),
        ("35BP", "ppm", 3500),
    ] {
        assert_eq!(number::parse(text, unit), Ok(value), "{text}");
    }
    for (text, unit) in [
        ("0.001元", "fen"),
        ("92233720368547758.08元", "fen"),
        ("1e9", "fen"),
        ("NaN", "ppm"),
        ("1.", "fen"),
        (".5", "fen"),
        ("--1", "fen"),
        ("1-1", "fen"),
        ("", "fen"),
        ("元", "fen"),
        ("1天", "fen"),
        ("0.00001%", "ppm"),
        ("99999999999999999999", "count"),
    ] {
        assert!(number::parse(text, unit).is_err(), "{text}");
    }
}

#[test]
fn a_condition_in_a_product_is_completed_and_may_come_again() {
    use zhirong_proto::catalog::v1::CreditTerms;
    let condition =
        Condition { rows: vec![row("patent_count", RuleOperator::AtLeast, &["1"])], ..Condition::default() };
    let terms = CreditTerms { conditions: vec![condition], ..CreditTerms::default() };
    let mut spec = ProductSpec { terms: Some(Terms::Credit(terms)), ..ProductSpec::default() };
    assert_eq!(complete(&mut spec), (vec![], vec![]));
    let once = spec.clone();
    assert_eq!(complete(&mut spec), (vec![], vec![]));
    assert_eq!(once, spec, "what is stored may be handed in again");
    let Some(Terms::Credit(terms)) = &mut spec.terms else { panic!() };
    assert_eq!(terms.conditions[0].expression, "patent_count >= 1");
    terms.conditions[0].expression = "patent_count >= 2".to_owned();
    let (found, broken) = complete(&mut spec);
    assert_eq!((found[0].field.as_str(), broken), ("spec.credit.conditions[0].expression", vec![0]));
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(number in any::<i64>(), unit in prop::sample::select(vec!["fen", "ppm", "days", "months", "mu"])) {
        prop_assert_eq!(number::parse(&number::show(number, unit), unit), Ok(number));
    }

    #[test]
    fn any_text_is_compiled_or_refused(text in ".{0,70}") {
        if let Ok(compiled) = compile(&[row("industry_code", RuleOperator::Equal, &[&text])], RowJoin::All) {
            prop_assert_eq!(compiled.expression, format!("industry_code == '{text}'"));
        }
    }
}
