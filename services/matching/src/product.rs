//! A credit product made ready for computing: every rule compiled once.

use std::sync::Arc;

use zhirong_engine::{Symbols, Terms as EngineTerms};
use zhirong_kernel::{
    feature::FeatureDictionary,
    rule::{Expected, Rule, RuleError},
};
use zhirong_proto::{
    catalog::v1::{CreditTerms, Product, product_spec::Terms},
    profile::v1::{Profile, Scope},
};

use crate::{adjust::Offered, consent::needed};

/// A condition that an enterprise must meet.
#[derive(Debug)]
pub struct Condition {
    /// The rule.
    pub rule: Rule,
    /// What it asks, in Chinese.
    pub label_zh: String,
    /// What the enterprise can do about it, in Chinese.
    pub advice_zh: String,
}

/// A published credit product, compiled.
#[derive(Debug)]
pub struct CompiledProduct {
    /// The product as published.
    pub product: Product,
    /// Its credit terms.
    pub terms: CreditTerms,
    /// Who offers it.
    pub institution_id: String,
    /// Its Chinese name.
    pub name_zh: String,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// Features that the limit looks at.
    pub limit_features: Vec<String>,
    /// Features that any of its rules looks at.
    pub features: Vec<&'static str>,
    /// What the engine makes of it.
    pub engine: Arc<zhirong_engine::Product>,
}

impl CompiledProduct {
    /// What an order needs to be seen of a profile: what limit and rate follow from.
    #[must_use]
    pub fn needed(&self, offered: &Offered, profile: &Profile) -> Scope {
        let sets = offered.sets.iter().map(String::as_str);
        needed(self.features.iter().copied().chain(sets), profile)
    }

    /// Compiles a product; nothing for a service, which is not computed. The symbols are those of the profiles.
    ///
    /// # Errors
    /// When a rule does not compile. The catalog has compiled it before, so this is a difference between versions.
    pub fn compile(product: Product, symbols: &Symbols) -> Result<Option<Self>, RuleError> {
        let Some(spec) = product.spec.clone() else {
            return Ok(None);
        };
        let Some(Terms::Credit(terms)) = spec.terms else {
            return Ok(None);
        };
        let compile = |text: &str, expected| Rule::compile(text, FeatureDictionary::standard(), expected);
        let conditions = terms
            .conditions
            .iter()
            .map(|condition| {
                Ok(Condition {
                    rule: compile(&condition.expression, Expected::Bool)?,
                    label_zh: condition.label_zh.clone(),
                    advice_zh: condition.advice_zh.clone(),
                })
            })
            .collect::<Result<Vec<_>, RuleError>>()?;
        let limit = compile(&terms.limit_formula, Expected::Int)?;
        let rate = compile(&terms.rate_formula, Expected::Int)?;
        let rules: Vec<&Rule> = conditions.iter().map(|condition: &Condition| &condition.rule).collect();
        let engine = zhirong_engine::Product::compile(
            symbols,
            EngineTerms {
                conditions: &rules,
                limit: &limit,
                rate: &rate,
                min_amount_fen: terms.min_amount_fen,
                max_amount_fen: terms.max_amount_fen,
                // The ranking weighs ratings itself, beside subsidies and coupons.
                score_ppm: 0,
            },
        );
        let engine = Arc::new(engine.ok_or_else(|| RuleError {
            line: 1,
            column: 1,
            message: "a rule looks at a feature that is not known".to_owned(),
            message_zh: "规则用到了未知的特征".to_owned(),
        })?);
        Ok(Some(Self {
            conditions,
            limit_features: limit.features().to_vec(),
            features: engine.features(),
            engine,
            institution_id: spec.institution_id,
            name_zh: spec.name_zh,
            terms,
            product,
        }))
    }
}
