//! What a product and reference data must be like. Every violation is reported, each with its field.

use std::collections::BTreeSet;

use zhirong_kernel::{
    feature::FeatureDictionary,
    id::InstitutionId,
    rule::{Expected, Rule},
};
use zhirong_proto::catalog::v1::{
    CreditTerms, GuaranteeForm, Institution, InstitutionKind, ProductSpec, RepaymentMethod, ServiceTerms,
    product_spec::Terms,
};

use crate::rows;

mod bounds;
mod reference;

pub use reference::{calendar, lpr_table};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `spec.credit.conditions[2].expression`.
    pub field: String,
    /// What it must be, or where a rule fails.
    pub description: String,
    /// Whether a rule does not compile.
    pub is_rule: bool,
}

/// Collects violations.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn check(&mut self, holds: bool, field: impl Into<String>, description: impl Into<String>) {
        if !holds {
            self.0.push(Violation { field: field.into(), description: description.into(), is_rule: false });
        }
    }

    fn rule(&mut self, text: &str, expected: Expected, field: String) {
        if let Err(error) = Rule::compile_to_save(text, FeatureDictionary::standard(), expected) {
            self.0.push(Violation { field, description: error.to_string(), is_rule: true });
        }
    }
}

/// What is wrong with an institution.
#[must_use]
pub fn institution(institution: &Institution) -> Vec<Violation> {
    let mut found = Findings::default();
    let id = institution.institution_id.parse::<InstitutionId>();
    found.check(id.is_ok(), "institution.institution_id", "must be 2 to 32 of a-z, 0-9 and -, beginning with a letter");
    found.check(text(&institution.name_zh, 1, 64), "institution.name_zh", "must have 1 to 64 characters");
    found.check(institution.kind() != InstitutionKind::Unspecified, "institution.kind", "must be a known kind");
    found.0
}

/// A product with the CEL of its rows, ready to be kept.
///
/// # Errors
/// Everything that is wrong with it.
pub fn completed(mut spec: ProductSpec) -> Result<ProductSpec, Vec<Violation>> {
    let (mut found, broken) = rows::complete(&mut spec);
    // Of a condition whose rows are wrong no more can be said.
    let of_broken = |field: &str| broken.iter().any(|at| field.starts_with(&format!("spec.credit.conditions[{at}].")));
    found.extend(product(&spec).into_iter().filter(|violation| !of_broken(&violation.field)));
    if found.is_empty() { Ok(spec) } else { Err(found) }
}

/// What is wrong with a product.
#[must_use]
pub fn product(spec: &ProductSpec) -> Vec<Violation> {
    let mut found = Findings::default();
    let id = spec.institution_id.parse::<InstitutionId>();
    found.check(id.is_ok(), "spec.institution_id", "must be an institution's id");
    found.check(text(&spec.name_zh, 1, 64), "spec.name_zh", "must have 1 to 64 characters");
    found.check(text(&spec.summary_zh, 0, 512), "spec.summary_zh", "must have at most 512 characters");
    found.check(spec.tags.len() <= 16, "spec.tags", "must be at most 16");
    let distinct: BTreeSet<&String> = spec.tags.iter().collect();
    found.check(distinct.len() == spec.tags.len(), "spec.tags", "must not repeat");
    for (index, tag) in spec.tags.iter().enumerate() {
        found.check(
            slug(tag),
            format!("spec.tags[{index}]"),
            "must be 2 to 32 of a-z, 0-9 and _, beginning with a letter",
        );
    }
    match &spec.terms {
        Some(Terms::Credit(terms)) => credit(terms, &mut found),
        Some(Terms::Service(terms)) => service(terms, &mut found),
        None => found.check(false, "spec.terms", "either `credit` or `service` must be set"),
    }
    found.0
}

fn credit(terms: &CreditTerms, found: &mut Findings) {
    found.check(terms.conditions.len() <= 32, "spec.credit.conditions", "must be at most 32");
    for (index, condition) in terms.conditions.iter().enumerate().take(32) {
        let path = format!("spec.credit.conditions[{index}]");
        found.rule(&condition.expression, Expected::Bool, format!("{path}.expression"));
        found.check(text(&condition.label_zh, 1, 200), format!("{path}.label_zh"), "must have 1 to 200 characters");
        found.check(
            text(&condition.advice_zh, 0, 200),
            format!("{path}.advice_zh"),
            "must have at most 200 characters",
        );
    }
    found.rule(&terms.limit_formula, Expected::Int, "spec.credit.limit_formula".to_owned());
    found.rule(&terms.rate_formula, Expected::Int, "spec.credit.rate_formula".to_owned());
    found.check(terms.min_amount_fen > 0, "spec.credit.min_amount_fen", "must be positive");
    let largest = terms.max_amount_fen >= terms.min_amount_fen;
    found.check(largest, "spec.credit.max_amount_fen", "must not be below min_amount_fen");
    let shortest = (1..=360).contains(&terms.min_term_months);
    found.check(shortest, "spec.credit.min_term_months", "must be 1 to 360");
    let longest = terms.max_term_months >= terms.min_term_months && terms.max_term_months <= 360;
    found.check(longest, "spec.credit.max_term_months", "must be from min_term_months to 360");
    let repayment = terms.repayment_method() != RepaymentMethod::Unspecified;
    found.check(repayment, "spec.credit.repayment_method", "must be a known method");
    let guarantee = terms.guarantee_form() != GuaranteeForm::Unspecified;
    found.check(guarantee, "spec.credit.guarantee_form", "must be a known form");
    let days = (1..=30).contains(&terms.answer_working_days);
    found.check(days, "spec.credit.answer_working_days", "must be 1 to 30");
    if let Some(bounds) = &terms.adjustment_bounds {
        bounds::check(bounds, terms.answer_working_days, found);
    }
}

fn service(terms: &ServiceTerms, found: &mut Findings) {
    let kind = slug(&terms.service_kind);
    found.check(kind, "spec.service.service_kind", "must be 2 to 32 of a-z, 0-9 and _, beginning with a letter");
    found.check(text(&terms.fee_zh, 0, 200), "spec.service.fee_zh", "must have at most 200 characters");
}

pub(crate) fn text(value: &str, shortest: usize, longest: usize) -> bool {
    let length = value.chars().take(longest.saturating_add(1)).count();
    (shortest..=longest).contains(&length) && !value.chars().any(char::is_control)
}

pub(crate) fn slug(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (2..=32).contains(&value.len())
        && value.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && value.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use zhirong_proto::catalog::v1::Condition;

    use super::*;

    fn good() -> ProductSpec {
        ProductSpec {
            institution_id: "sample-bank".to_owned(),
            name_zh: "示例贷".to_owned(),
            tags: vec!["micro".to_owned()],
            terms: Some(Terms::Credit(CreditTerms {
                conditions: vec![Condition {
                    expression: "patent_count > 0".to_owned(),
                    label_zh: "有专利".to_owned(),
                    ..Condition::default()
                }],
                limit_formula: "patent_count * 100".to_owned(),
                rate_formula: "lpr_1y_ppm + 500".to_owned(),
                min_amount_fen: 1,
                max_amount_fen: 100,
                min_term_months: 1,
                max_term_months: 12,
                repayment_method: RepaymentMethod::Bullet.into(),
                guarantee_form: GuaranteeForm::Credit.into(),
                answer_working_days: 3,
                ..CreditTerms::default()
            })),
            ..ProductSpec::default()
        }
    }

    fn broken(change: impl FnOnce(&mut CreditTerms)) -> Vec<String> {
        let mut spec = good();
        if let Some(Terms::Credit(terms)) = &mut spec.terms {
            change(terms);
        }
        product(&spec).into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_good_product_has_no_violation() {
        assert_eq!(product(&good()), []);
    }

    #[test]
    fn every_violation_is_reported_with_its_field() {
        let fields = broken(|terms| {
            terms.limit_formula = "no_such_feature".to_owned();
            terms.min_amount_fen = 0;
            terms.max_term_months = 0;
            terms.guarantee_form = 0;
            terms.answer_working_days = 31;
        });
        assert_eq!(
            fields,
            [
                "spec.credit.limit_formula",
                "spec.credit.min_amount_fen",
                "spec.credit.max_term_months",
                "spec.credit.guarantee_form",
                "spec.credit.answer_working_days",
            ]
        );
        assert_eq!(broken(|terms| terms.max_amount_fen = 0), ["spec.credit.max_amount_fen"]);
    }

    #[test]
    fn a_rule_that_does_not_compile_is_named_with_its_place() {
        let mut spec = good();
        if let Some(Terms::Credit(terms)) = &mut spec.terms {
            terms.conditions[0].expression = "patent_count > 'x'".to_owned();
        }
        let found = product(&spec);
        assert_eq!(found[0].field, "spec.credit.conditions[0].expression");
        assert!(found[0].is_rule && found[0].description.contains("line 1, column 16"), "{found:?}");
    }

    #[test]
    fn a_product_without_terms_or_with_bad_tags_is_refused() {
        let spec =
            ProductSpec { terms: None, tags: vec!["A".to_owned(), "ok_tag".to_owned(), "ok_tag".to_owned()], ..good() };
        let fields: Vec<String> = product(&spec).into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["spec.tags", "spec.tags[0]", "spec.terms"]);
    }
}
