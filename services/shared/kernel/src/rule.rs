//! Rules and formulas in CEL (Common Expression Language, cel.dev), checked before they are kept: every name is declared, every
//! type fits, so that what can still fail when a rule runs is an overflow or a division by zero.
//!
//! Numbers are integers only: fen, ppm, days, counts.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use cel::{Context, Program, Value};

use crate::feature::{FeatureDictionary, FeatureType, FeatureValue, Features};

mod check;

/// Longest rule, in characters.
pub const LONGEST: usize = 8192;
/// Deepest nesting of brackets.
const DEEPEST: usize = 32;
/// Most operators; the interpreter walks an expression recursively, so that this bounds its stack.
const MOST_OPERATORS: usize = 512;

/// What formulas may use beside features.
pub const INPUTS: [&str; 3] = ["requested_fen", "term_months", "lpr_1y_ppm"];

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct RuleError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, as a sentence.
    pub message: String,
}

/// What a rule must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A condition.
    Bool,
    /// A formula.
    Int,
}

/// Why a rule that was accepted fails on a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule can't be computed: {0}")]
pub struct EvalError(String);

/// What a rule says of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The value.
    Value(FeatureValue),
    /// Features that it needs are not known.
    Unknown {
        /// Their names in order.
        missing: Vec<String>,
    },
    /// It can't be computed for this profile.
    Failed(EvalError),
}

/// The inputs that are no features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inputs {
    /// Amount wished for, fen.
    pub requested_fen: i64,
    /// Term wished for, months.
    pub term_months: i64,
    /// One-year LPR, ppm.
    pub lpr_1y_ppm: i64,
}

/// A checked and compiled rule.
#[derive(Debug)]
pub struct Rule {
    program: Program,
    features: Vec<String>,
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// [`RuleError`] with the position: too long or too deep, not CEL, an unknown name or function, a type that does not fit, a
    /// decimal number, or not the kind of value expected.
    pub fn compile(
        text: &str,
        dictionary: &FeatureDictionary,
        expected: Expected,
    ) -> Result<Self, RuleError> {
        within_limits(text)?;
        // The parser reports errors properly, but it is not ours: a panic in it must not end the service.
        let parsed = catch_unwind(AssertUnwindSafe(|| Program::compile(text)))
            .map_err(|_| at_start("this is not an expression the compiler understands"))?;
        let program = parsed.map_err(|errors| match errors.errors.first() {
            Some(error) => RuleError {
                line: usize::try_from(error.pos.0).unwrap_or(1).max(1),
                column: usize::try_from(error.pos.1).unwrap_or(1).max(1),
                message: error.msg.clone(),
            },
            None => at_start("this is not an expression"),
        })?;
        let used = check::check(&program, text, dictionary, expected)?;
        Ok(Self {
            program,
            features: used.into_iter().collect(),
        })
    }

    /// The features it looks at, in order of name.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// What it says of a profile.
    #[must_use]
    pub fn evaluate(&self, context: &RuleContext) -> Outcome {
        let missing: Vec<String> = self
            .features
            .iter()
            .filter(|name| !context.known.contains(*name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Outcome::Unknown { missing };
        }
        let value = catch_unwind(AssertUnwindSafe(|| {
            self.program.execute(&context.variables)
        }));
        match value {
            Ok(Ok(Value::Int(number))) => Outcome::Value(FeatureValue::Int(number)),
            Ok(Ok(Value::Bool(flag))) => Outcome::Value(FeatureValue::Bool(flag)),
            Ok(Ok(other)) => Outcome::Failed(EvalError(format!("it gives {other:?}"))),
            Ok(Err(error)) => Outcome::Failed(EvalError(error.to_string())),
            Err(_) => Outcome::Failed(EvalError("the interpreter failed".to_owned())),
        }
    }
}

/// One profile made ready for many rules.
pub struct RuleContext {
    variables: Context<'static, 'static>,
    known: BTreeSet<String>,
}

impl RuleContext {
    /// Makes a profile and the inputs ready.
    #[must_use]
    pub fn new(features: &Features, inputs: Inputs) -> Self {
        let mut variables = Context::default();
        for (name, value) in features {
            variables.add_variable_from_value(
                name.as_str(),
                match value {
                    FeatureValue::Int(number) => Value::from(*number),
                    FeatureValue::Bool(flag) => Value::from(*flag),
                    FeatureValue::Text(text) => Value::from(text.as_str()),
                },
            );
        }
        for (name, value) in
            INPUTS
                .into_iter()
                .zip([inputs.requested_fen, inputs.term_months, inputs.lpr_1y_ppm])
        {
            variables.add_variable_from_value(name, value);
        }
        // Declared by no standard; refused only if the standard environment already had them.
        let _ = variables.add_function("min", |a: i64, b: i64| a.min(b));
        let _ = variables.add_function("max", |a: i64, b: i64| a.max(b));
        Self {
            variables,
            known: features.keys().cloned().collect(),
        }
    }
}

fn within_limits(text: &str) -> Result<(), RuleError> {
    if text.trim().is_empty() {
        return Err(at_start("the rule is empty"));
    }
    if text.len() > LONGEST.saturating_mul(4) || text.chars().count() > LONGEST {
        return Err(at_start(&format!(
            "the rule is longer than {LONGEST} characters"
        )));
    }
    let (mut depth, mut operators, mut in_text) = (0_usize, 0_usize, None);
    for character in text.chars() {
        match (in_text, character) {
            (Some(quote), character) if character == quote => in_text = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => in_text = Some(character),
            (None, '(' | '[' | '{') => depth = depth.saturating_add(1),
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' | '&' | '|' | '?' | '.') => {
                operators = operators.saturating_add(1);
            }
            _ => {}
        }
        if depth > DEEPEST {
            return Err(at_start(&format!(
                "the rule nests brackets deeper than {DEEPEST}"
            )));
        }
        if operators > MOST_OPERATORS {
            return Err(at_start(&format!(
                "the rule has more than {MOST_OPERATORS} operators; split it into conditions"
            )));
        }
    }
    Ok(())
}

fn at_start(message: &str) -> RuleError {
    RuleError {
        line: 1,
        column: 1,
        message: message.to_owned(),
    }
}

/// The name of a type for people who write rules.
fn type_word(kind: FeatureType) -> &'static str {
    match kind {
        FeatureType::Int => "a number",
        FeatureType::Bool => "a yes or no",
        FeatureType::Text => "a text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Inputs = Inputs {
        requested_fen: 100,
        term_months: 12,
        lpr_1y_ppm: 30_000,
    };

    fn features() -> Features {
        Features::from([
            ("patent_count".to_owned(), FeatureValue::Int(3)),
            ("is_high_tech".to_owned(), FeatureValue::Bool(true)),
            (
                "industry_code".to_owned(),
                FeatureValue::Text("C35".to_owned()),
            ),
            ("annual_revenue_fen".to_owned(), FeatureValue::Int(i64::MAX)),
        ])
    }

    fn run(text: &str, expected: Expected) -> Outcome {
        let rule = Rule::compile(text, FeatureDictionary::standard(), expected).unwrap();
        rule.evaluate(&RuleContext::new(&features(), INPUT))
    }

    fn refusal(text: &str) -> RuleError {
        Rule::compile(text, FeatureDictionary::standard(), Expected::Bool).unwrap_err()
    }

    #[test]
    fn computes_conditions_and_formulas() {
        let yes = Outcome::Value(FeatureValue::Bool(true));
        assert_eq!(
            run("patent_count >= 3 && is_high_tech", Expected::Bool),
            yes
        );
        assert_eq!(run("industry_code in ['C35', 'C39']", Expected::Bool), yes);
        assert_eq!(
            run(
                "max(lpr_1y_ppm - min(patent_count * 500, 2000), 20000)",
                Expected::Int
            ),
            Outcome::Value(FeatureValue::Int(28_500))
        );
        assert_eq!(
            run("is_high_tech ? 1 : -1", Expected::Int),
            Outcome::Value(FeatureValue::Int(1))
        );
    }

    #[test]
    fn what_is_missing_is_unknown_not_false() {
        assert_eq!(
            run("trademark_count > 0 || patent_count > 0", Expected::Bool),
            Outcome::Unknown {
                missing: vec!["trademark_count".to_owned()]
            }
        );
    }

    #[test]
    fn an_overflow_and_a_division_by_zero_fail_alone() {
        assert!(matches!(
            run("annual_revenue_fen * 2", Expected::Int),
            Outcome::Failed(_)
        ));
        assert!(matches!(
            run("1 / (patent_count - 3)", Expected::Int),
            Outcome::Failed(_)
        ));
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        let error = refusal("patent_count > 0 &&\n  no_such_thing > 1");
        assert_eq!((error.line, error.column), (2, 3), "{error}");
        assert!(error.message.contains("no_such_thing"));
        assert!(refusal("patent_count > 'many'").message.contains("a text"));
        assert!(refusal("patent_count + 1").message.contains("yes or no"));
        assert!(refusal("patent_count > 1.5").message.contains("integer"));
        assert!(
            refusal("industry_code.startsWith('C')")
                .message
                .contains("startsWith")
        );
        assert!(refusal("[1,2].all(x, x > 0)").message.contains("not"));
        assert!(refusal("is_high_tech && ").line == 1);
        assert!(refusal("  ").message.contains("empty"));
    }

    #[test]
    fn what_would_take_long_is_refused_at_once() {
        assert!(refusal(&"1".repeat(1_000_000)).message.contains("longer"));
        assert!(
            refusal(&format!("{}1{}", "(".repeat(4000), ")".repeat(4000)))
                .message
                .contains("deeper")
        );
        assert!(
            refusal(&format!("1{}> 0", "+1".repeat(2000)))
                .message
                .contains("operators")
        );
        assert!(refusal(&"!".repeat(2000)).message.contains("operators"));
    }
}
