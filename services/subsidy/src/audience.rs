//! Whom a policy is for.

use std::sync::Arc;

use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue, Features},
    rule::{Expected, Inputs, Outcome, Rule, RuleContext},
};

const LONGEST_CONDITION: usize = 2000;

/// A kind of pledged intellectual property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IpKind {
    /// 专利.
    Patent,
    /// 商标.
    Trademark,
    /// 著作权.
    Copyright,
}

impl IpKind {
    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Patent => "patent",
            Self::Trademark => "trademark",
            Self::Copyright => "copyright",
        }
    }

    /// Reads [`IpKind::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Patent, Self::Trademark, Self::Copyright].into_iter().find(|kind| kind.word() == word)
    }
}

/// Who may have it: a condition in CEL over the features of the enterprise.
#[derive(Debug, Clone)]
pub struct Who {
    text: String,
    rule: Arc<Rule>,
}

impl PartialEq for Who {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Who {}

impl Who {
    /// Compiles a condition.
    ///
    /// # Errors
    /// A sentence with line and column.
    pub fn compile(text: &str) -> Result<Self, String> {
        if text.chars().count() > LONGEST_CONDITION {
            return Err(format!("must have at most {LONGEST_CONDITION} characters"));
        }
        let rule = Rule::compile_to_save(text, FeatureDictionary::standard(), Expected::Bool)
            .map_err(|error| format!("line {}, column {}: {}", error.line, error.column, error.message))?;
        Ok(Self { text: text.to_owned(), rule: Arc::new(rule) })
    }

    /// The condition as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it looks at anything that is known of the enterprise.
    #[must_use]
    pub fn asks_features(&self) -> bool {
        !self.rule.features().is_empty()
    }

    /// Whether it looks at the LPR.
    #[must_use]
    pub fn asks_lpr(&self) -> bool {
        self.rule.tree().reads("lpr_1y_ppm")
    }

    /// Whether it is true. What is not known, or can't be computed, is not true.
    #[must_use]
    pub fn is_true(&self, context: &RuleContext) -> bool {
        self.rule.evaluate(context) == Outcome::Value(FeatureValue::Bool(true))
    }
}

/// An enterprise with its loan, as conditions look at it.
pub struct Audience<'a> {
    features: Option<&'a Features>,
    inputs: Inputs,
    // Made when the first condition asks.
    context: Option<RuleContext>,
}

impl<'a> Audience<'a> {
    /// What is known of the enterprise, if anything is, and what the loan brings.
    #[must_use]
    pub const fn new(features: Option<&'a Features>, inputs: Inputs) -> Self {
        Self { features, inputs, context: None }
    }

    /// Whether it is one of those whom a policy is for; none means anybody.
    pub fn admits(&mut self, who: Option<&Who>) -> bool {
        let Some(who) = who else { return true };
        let (nothing, inputs) = (Features::new(), self.inputs);
        let features = self.features.unwrap_or(&nothing);
        who.is_true(self.context.get_or_insert_with(|| RuleContext::new(features, inputs)))
    }
}
