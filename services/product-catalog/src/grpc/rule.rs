//! Help for who writes rules. Nothing is stored.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status};
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureType as Kind},
    rule::{Expected, INPUTS, Rule},
};
use zhirong_proto::catalog::v1::{
    CompileRuleRequest, CompileRuleResponse, Feature, FeatureType, ListFeaturesRequest, ListFeaturesResponse, RuleKind,
    RuleMistake, compile_rule_request, rule_service_server::RuleService,
};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Catalog, cut};
use crate::rows::{self, Name};

#[tonic::async_trait]
impl RuleService for Catalog {
    async fn compile_rule(
        &self,
        request: Request<CompileRuleRequest>,
    ) -> Result<Response<CompileRuleResponse>, Status> {
        Caller::from_request(&request)?;
        let request = request.into_inner();
        // Parsing has a thread of its own with a large stack; this one waits for it and must not hold up the others.
        let answer = tokio::task::spawn_blocking(move || compile(&request)).await.map_err(Problem::internal)??;
        Ok(Response::new(answer))
    }

    async fn list_features(
        &self,
        request: Request<ListFeaturesRequest>,
    ) -> Result<Response<ListFeaturesResponse>, Status> {
        Caller::from_request(&request)?;
        Ok(Response::new(list(&request.into_inner())?))
    }
}

fn compile(request: &CompileRuleRequest) -> Result<CompileRuleResponse, Problem> {
    match &request.rule {
        Some(compile_rule_request::Rule::Text(text)) => {
            let expected = match request.kind() {
                RuleKind::Formula => Expected::Int,
                RuleKind::Condition | RuleKind::Unspecified => Expected::Bool,
            };
            Ok(compile_text(text, expected))
        }
        Some(compile_rule_request::Rule::Rows(given)) if request.kind() != RuleKind::Formula => {
            Ok(match rows::compile(&given.rows, given.join()) {
                Ok(compiled) => {
                    let answer = compile_text(&compiled.expression, Expected::Bool);
                    CompileRuleResponse { label_zh: compiled.label_zh, ..answer }
                }
                Err(mistakes) => {
                    CompileRuleResponse { mistakes: mistakes.into_iter().map(of_row).collect(), ..Default::default() }
                }
            })
        }
        Some(compile_rule_request::Rule::Rows(_)) => Err(Problem::invalid("FIELDS_INVALID", "rows give no formula")
            .field("kind", "must be a condition for rows")
            .zh("行式规则只能用作条件")),
        None => Err(Problem::invalid("FIELDS_INVALID", "there is no rule to compile")
            .field("rule", "either `text` or `rows` must be set")
            .zh("请填写规则")),
    }
}

fn compile_text(text: &str, expected: Expected) -> CompileRuleResponse {
    match Rule::compile_to_save(text, FeatureDictionary::standard(), expected) {
        Ok(rule) => CompileRuleResponse {
            expression: text.to_owned(),
            features: looked_at(&rule, text),
            ..CompileRuleResponse::default()
        },
        Err(error) => CompileRuleResponse {
            // A rule of a megabyte is not sent back.
            expression: text.chars().take(zhirong_kernel::rule::LONGEST).collect(),
            mistakes: vec![RuleMistake {
                line: i32::try_from(error.line).unwrap_or(i32::MAX),
                column: i32::try_from(error.column).unwrap_or(i32::MAX),
                row: 0,
                message: error.message,
                message_zh: error.message_zh,
            }],
            ..CompileRuleResponse::default()
        },
    }
}

/// The features and inputs that a rule looks at.
fn looked_at(rule: &Rule, text: &str) -> Vec<Feature> {
    let words: BTreeSet<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    rows::names()
        .into_iter()
        .filter(|name| {
            rule.features().contains(&name.name)
                || (INPUTS.contains(&name.name.as_str()) && words.contains(name.name.as_str()))
        })
        .map(feature)
        .collect()
}

fn of_row(mistake: rows::Mistake) -> RuleMistake {
    let row = mistake.row.and_then(|row| i32::try_from(row.saturating_add(1)).ok()).unwrap_or(0);
    let message =
        if mistake.field.is_empty() { mistake.message } else { format!("{}: {}", mistake.field, mistake.message) };
    RuleMistake { line: 0, column: 0, row, message, message_zh: mistake.message_zh }
}

fn list(request: &ListFeaturesRequest) -> Result<ListFeaturesResponse, Problem> {
    let page = page::parse::<String>(request.page_size, &request.page_token)?;
    let most = usize::try_from(page.size.saturating_add(1)).unwrap_or(usize::MAX);
    let mut names: Vec<Name> = rows::names()
        .into_iter()
        .filter(|name| request.category.is_empty() || name.category == request.category)
        .filter(|name| page.after.as_ref().is_none_or(|after| name.name > *after))
        .take(most)
        .collect();
    let more = cut(&mut names, page.size);
    let next_page_token = match names.last() {
        Some(last) if more => page::encode(&last.name)?,
        _ => String::new(),
    };
    Ok(ListFeaturesResponse { features: names.into_iter().map(feature).collect(), next_page_token })
}

fn feature(name: Name) -> Feature {
    let kind = match name.kind {
        Kind::Int => FeatureType::Int,
        Kind::Bool => FeatureType::Bool,
        Kind::Text => FeatureType::Text,
    };
    Feature { name: name.name, r#type: kind.into(), unit: name.unit, label_zh: name.label_zh, category: name.category }
}
