//! Rules and formulas in CEL (Common Expression Language, cel.dev), checked before they are kept: every name is declared, every
//! type fits, so that what can still fail when a rule runs is an overflow or a division by zero.
//!
//! Numbers are integers only: fen, ppm, days, counts.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    thread,
};

use cel::{Context, Env, Program, Value};

use crate::feature::{FeatureDictionary, FeatureName, FeatureType, FeatureValue, Features};

mod check;
mod guard;
mod limits;
#[cfg(test)]
mod tests;
mod tree;

pub use limits::LONGEST;
pub use tree::{Comparison, Operation, Tree};

/// Stack for the parser, which takes tens of kilobytes a level in a debug build: the worst that the limits let through fits in
/// 16 MiB. Untouched pages cost nothing.
const PARSER_STACK: usize = 64 << 20;

/// The longest message handed on from the parser, which may quote the whole rule.
const LONGEST_MESSAGE: usize = 300;

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
    /// The same in Chinese.
    pub message_zh: String,
}

impl RuleError {
    /// An error at a byte of the text, in English and Chinese; columns count characters.
    fn at(text: &str, byte: usize, message: impl Into<String>, message_zh: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        Self {
            line: before.matches('\n').count().saturating_add(1),
            column: before.get(line_start..).unwrap_or_default().chars().count().saturating_add(1),
            message: message.into(),
            message_zh: message_zh.into(),
        }
    }
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
        missing: Vec<FeatureName>,
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
    tree: Tree,
    /// In order of name; `kinds` has their types in the same order.
    features: Vec<FeatureName>,
    kinds: Vec<FeatureType>,
}

impl Rule {
    /// Compiles a rule. Takes about a millisecond and a thread of its own for its stack: keep the rule and evaluate it often.
    ///
    /// # Errors
    /// [`RuleError`] with the position: too long or too deep, not CEL, an unknown name or function, a type that does not fit, a
    /// decimal number, or not the kind of value expected.
    pub fn compile(text: &str, dictionary: &FeatureDictionary, expected: Expected) -> Result<Self, RuleError> {
        limits::check(text)?;
        let no_thread = |error: std::io::Error| {
            RuleError::at(text, 0, format!("no thread to compile the rule: {error}"), "系统繁忙，暂时无法编译规则")
        };
        thread::scope(|scope| {
            thread::Builder::new()
                .name("rule-compiler".to_owned())
                .stack_size(PARSER_STACK)
                .spawn_scoped(scope, || parse_and_check(text, dictionary, expected))
                .map_err(no_thread)?
                .join()
                // The parser reports errors properly, but it is not ours: a panic in it must not end the service.
                .unwrap_or_else(|_| {
                    let why = "this is not an expression the compiler understands";
                    Err(RuleError::at(text, 0, why, "编译器无法理解该表达式"))
                })
        })
    }

    /// The features it looks at, in order of name.
    #[must_use]
    pub fn features(&self) -> &[FeatureName] {
        &self.features
    }

    /// The rule as a tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What it says of a profile.
    #[must_use]
    pub fn evaluate(&self, context: &RuleContext) -> Outcome {
        let mut missing = Vec::new();
        for (name, declared) in self.features.iter().zip(&self.kinds) {
            match context.known.get(name) {
                None => missing.push(name.clone()),
                Some(found) if found == declared => {}
                // CEL calls a number and a text unequal without a word, so that a wrong profile would be judged, not noticed.
                Some(found) => {
                    return Outcome::Failed(EvalError(format!(
                        "`{name}` is {} but must be {}",
                        type_word(*found),
                        type_word(*declared)
                    )));
                }
            }
        }
        if !missing.is_empty() {
            return Outcome::Unknown { missing };
        }
        // Arithmetic is checked by the interpreter; should it panic all the same, one rule fails and not the service.
        let value = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context.variables)));
        match value {
            Ok(Ok(Value::Int(number))) => Outcome::Value(FeatureValue::Int(number)),
            Ok(Ok(Value::Bool(flag))) => Outcome::Value(FeatureValue::Bool(flag)),
            Ok(Ok(other)) => Outcome::Failed(EvalError(format!("it gives {other:?}"))),
            Ok(Err(error)) => Outcome::Failed(EvalError(error.to_string())),
            Err(_) => Outcome::Failed(EvalError("the interpreter failed".to_owned())),
        }
    }
}

fn parse_and_check(text: &str, dictionary: &FeatureDictionary, expected: Expected) -> Result<Rule, RuleError> {
    let program = Program::compile(text).map_err(|errors| match errors.errors.first() {
        Some(error) => RuleError {
            line: usize::try_from(error.pos.0).unwrap_or(1).max(1),
            column: usize::try_from(error.pos.1).unwrap_or(1).max(1),
            message: error.msg.chars().take(LONGEST_MESSAGE).collect(),
            message_zh: "此处不符合表达式（CEL）语法".to_owned(),
        },
        None => RuleError::at(text, 0, "this is not an expression", "这不是表达式"),
    })?;
    let (features, kinds) = check::check(&program, text, dictionary, expected)?.into_iter().unzip();
    let tree = tree::tree(program.expression()).ok_or_else(|| {
        let why = "this is not an expression the compiler understands";
        RuleError::at(text, 0, why, "编译器无法理解该表达式")
    })?;
    Ok(Rule { program, tree, features, kinds })
}

/// CEL's standard functions, built once: they are the same for every profile.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// One profile made ready for many rules.
pub struct RuleContext {
    variables: Context<'static, 'static>,
    known: BTreeMap<FeatureName, FeatureType>,
}

impl RuleContext {
    /// Makes a profile and the inputs ready.
    #[must_use]
    pub fn new(features: &Features, inputs: Inputs) -> Self {
        let mut variables = Context::with_env(Arc::clone(&STANDARD));
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
        for (name, value) in INPUTS.into_iter().zip([inputs.requested_fen, inputs.term_months, inputs.lpr_1y_ppm]) {
            variables.add_variable_from_value(name, value);
        }
        // CEL has no such functions of its own, so adding them can't fail; a test would show it.
        let _ = variables.add_function("min", |a: i64, b: i64| a.min(b));
        let _ = variables.add_function("max", |a: i64, b: i64| a.max(b));
        Self { variables, known: features.iter().map(|(name, value)| (name.clone(), value.kind())).collect() }
    }
}

/// The name of a type for people who write rules, in Chinese.
fn type_word_zh(kind: FeatureType) -> &'static str {
    match kind {
        FeatureType::Int => "数值",
        FeatureType::Bool => "是或否",
        FeatureType::Text => "文本",
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
