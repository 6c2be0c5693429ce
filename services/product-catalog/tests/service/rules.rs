//! Rules as people write them: typed rows, and CEL that is refused with its place.

use std::time::{Duration, Instant};

use tonic::transport::Channel;
use zhirong_proto::catalog::v1::{
    CompileRuleRequest, CompileRuleResponse, Condition, FeatureType, ListFeaturesRequest, ProductSpec, RowJoin,
    RuleKind, RuleOperator, RuleRow, RuleRows, compile_rule_request::Rule, product_spec::Terms,
    rule_service_client::RuleServiceClient,
};

use crate::support::{BANK, World, bank, credit, draft, refusal, spec, staff};

fn rules(world: &World) -> RuleServiceClient<Channel> {
    RuleServiceClient::new(world.channel.clone()).max_encoding_message_size(8 << 20)
}

async fn compile(world: &World, kind: RuleKind, text: &str) -> CompileRuleResponse {
    let request = CompileRuleRequest { kind: kind.into(), rule: Some(Rule::Text(text.to_owned())) };
    rules(world).compile_rule(staff("li", request)).await.unwrap().into_inner()
}

fn row(feature: &str, operator: RuleOperator, values: &[&str]) -> RuleRow {
    RuleRow {
        feature: feature.to_owned(),
        operator: operator.into(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
        ..RuleRow::default()
    }
}

fn with_rows(rows: Vec<RuleRow>) -> ProductSpec {
    let mut terms = credit();
    terms.conditions = vec![Condition { rows, row_join: RowJoin::Any.into(), ..Condition::default() }];
    ProductSpec { terms: Some(Terms::Credit(terms)), ..spec("行式贷") }
}

#[tokio::test]
async fn a_rule_that_is_wrong_is_an_answer_with_line_column_and_sentence() {
    let world = World::empty().await;
    let condition = RuleKind::Condition;
    let formula = RuleKind::Formula;
    for (kind, text, place, word) in [
        (condition, "patent_count > 0 &&\n no_such > 1", (2, 2), "no feature `no_such`"),
        (condition, "patent_count > 'x'", (1, 16), "a number is needed"),
        (condition, "patent_count", (1, 1), "a yes or no is needed"),
        (formula, "is_high_tech", (1, 1), "a number is needed"),
        (formula, "net_profit_fen / employee_count", (1, 18), "may be zero"),
        (formula, "patent_count * 1.5", (1, 16), "integers without suffix"),
        (condition, "industry_code.matches('(a+)+$')", (1, 22), "no function `matches`"),
        (formula, "9223372036854775807 + 1", (1, 21), "overflows"),
        (formula, "9223372036854775808", (1, 1), ""),
        (formula, "double('NaN')", (1, 7), "no function `double`"),
    ] {
        let answer = compile(&world, kind, text).await;
        let mistake = &answer.mistakes[0];
        assert!(mistake.message.contains(word), "{text}: {mistake:?}");
        assert!(!mistake.message_zh.is_empty());
        assert_eq!((mistake.line, mistake.column, mistake.row), (place.0, place.1, 0), "{text}: {mistake:?}");
        assert!(answer.features.is_empty());
    }
    world.stop().await;
}

#[tokio::test]
async fn huge_deep_and_exponential_rules_are_refused_soon() {
    let world = World::empty().await;
    let doubled =
        (0..40).fold("patent_count".to_owned(), |text, _| format!("({text}+{text})").chars().take(900_000).collect());
    let huge = format!("patent_count > 0 {}", "|| patent_count > 0 ".repeat(50_000));
    for text in [
        huge,
        " ".repeat(1 << 20),
        format!("{}patent_count{} > 0", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{}is_high_tech", "!".repeat(8_000)),
        format!("{}patent_count > 0", "-".repeat(8_000)),
        format!("{}1{}", "[".repeat(4_000), "]".repeat(4_000)),
        doubled,
        format!("{}1 > 0", "is_high_tech ? 1 : ".repeat(400)),
        "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))".to_owned(),
    ] {
        let began = Instant::now();
        let answer = compile(&world, RuleKind::Condition, &text).await;
        let shown: String = text.chars().take(40).collect();
        assert_eq!(answer.mistakes.len(), 1, "{shown}");
        assert!(answer.mistakes[0].message.len() < 400 && answer.expression.len() <= 8192, "{shown}");
        // What it takes is milliseconds; the rest is for a busy machine.
        assert!(began.elapsed() < Duration::from_secs(20), "{shown}");
    }
    assert!(compile(&world, RuleKind::Condition, "is_high_tech").await.mistakes.is_empty(), "it goes on");
    world.stop().await;
}

#[tokio::test]
async fn rows_compile_to_cel_and_are_kept_beside_it() {
    let world = World::with_banks().await;
    let rows = vec![
        RuleRow {
            advice_zh: "扩大经营".to_owned(), ..row("annual_revenue_fen", RuleOperator::AtLeast, &["500万元"])
        },
        row("industry_code", RuleOperator::In, &["C35", "C39"]),
    ];
    let asked = RuleRows { rows: rows.clone(), join: RowJoin::Any.into() };
    let request = CompileRuleRequest { kind: RuleKind::Unspecified.into(), rule: Some(Rule::Rows(asked)) };
    let answer = rules(&world).compile_rule(bank(BANK, request)).await.unwrap().into_inner();
    let expression = "annual_revenue_fen >= 500000000 || industry_code in ['C35', 'C39']";
    assert_eq!((answer.expression.as_str(), answer.mistakes.len()), (expression, 0));
    assert_eq!(answer.label_zh, "年营业收入不低于500万元，或行业代码属于C35、C39");
    let names: Vec<&str> = answer.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["annual_revenue_fen", "industry_code"]);

    let drafted = world.draft("", with_rows(rows.clone())).await;
    let Some(Terms::Credit(terms)) = drafted.spec.clone().unwrap().terms else { panic!() };
    let kept = &terms.conditions[0];
    assert_eq!((kept.expression.as_str(), &kept.rows), (expression, &rows));
    assert_eq!((kept.label_zh.as_str(), kept.advice_zh.as_str()), (answer.label_zh.as_str(), "扩大经营"));
    let again = world.draft(&drafted.product_id, drafted.spec.clone().unwrap()).await;
    assert_eq!(again.spec, drafted.spec, "what was stored may be handed in again");
    world.publish(&again).await;
    world.stop().await;
}

#[tokio::test]
async fn every_mistake_in_rows_is_named_with_its_row() {
    let world = World::with_banks().await;
    let rows = vec![
        row("no_such", RuleOperator::Equal, &["1"]),
        row("patent_count", RuleOperator::AtLeast, &["一"]),
        row("is_high_tech", RuleOperator::Greater, &["1"]),
    ];
    let refused = refusal(world.products().draft_product(staff("zhao", draft("", with_rows(rows.clone())))).await);
    assert_eq!(refused.reason, "RULE_INVALID");
    let path = "spec.credit.conditions[0].rows";
    assert_eq!(
        refused.field_names(),
        [format!("{path}[0].feature"), format!("{path}[1].values[0]"), format!("{path}[2].operator")]
    );
    let request = CompileRuleRequest {
        kind: RuleKind::Condition.into(),
        rule: Some(Rule::Rows(RuleRows { rows, join: RowJoin::All.into() })),
    };
    let answer = rules(&world).compile_rule(staff("li", request.clone())).await.unwrap().into_inner();
    assert_eq!(answer.mistakes.iter().map(|mistake| mistake.row).collect::<Vec<_>>(), [1, 2, 3]);
    let formula = CompileRuleRequest { kind: RuleKind::Formula.into(), ..request };
    assert_eq!(refusal(rules(&world).compile_rule(staff("li", formula)).await).field_names(), ["kind"]);
    assert_eq!(world.count("SELECT count(*) FROM product").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn features_are_listed_with_type_unit_label_and_category() {
    let world = World::empty().await;
    let mut request = ListFeaturesRequest { page_size: 30, ..ListFeaturesRequest::default() };
    let mut all = Vec::new();
    loop {
        let answer = rules(&world).list_features(staff("li", request.clone())).await.unwrap().into_inner();
        all.extend(answer.features);
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
    }
    assert!(all.len() > 60 && all.is_sorted_by(|a, b| a.name < b.name));
    let revenue = all.iter().find(|feature| feature.name == "annual_revenue_fen").unwrap();
    assert_eq!((revenue.r#type(), revenue.unit.as_str()), (FeatureType::Int, "fen"));
    assert_eq!((revenue.label_zh.as_str(), revenue.category.as_str()), ("年营业收入", "annual_report"));
    let inputs = ListFeaturesRequest { category: "input".to_owned(), ..ListFeaturesRequest::default() };
    let inputs = rules(&world).list_features(staff("li", inputs)).await.unwrap().into_inner().features;
    let names: Vec<&str> = inputs.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["lpr_1y_ppm", "requested_fen", "term_months"]);
    world.stop().await;
}
