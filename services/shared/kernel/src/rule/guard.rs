//! What is refused when a rule is saved although it compiles: a division whose divisor may be zero, and arithmetic on constants
//! that always overflows. A rule that is in force already is not asked again: it goes on, and fails for one enterprise alone.
//!
//! Each expression has a range of values that it may take. A feature may be anything; a condition that guards a branch narrows
//! what it compares: in `n > 0 ? a / n : 0` the divisor is known to be positive.

use std::collections::BTreeMap;

use cel::{
    Program,
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
};

use super::{Expected, Rule, RuleError, check::error_at};
use crate::feature::FeatureDictionary;

mod range;
#[cfg(test)]
mod tests;

use range::Range;

impl Rule {
    /// Compiles a rule that is about to be saved: as [`Rule::compile`], and refuses also what would fail later.
    ///
    /// # Errors
    /// As [`Rule::compile`]; and a division that may be by zero without a guard, and arithmetic that always overflows.
    pub fn compile_to_save(text: &str, dictionary: &FeatureDictionary, expected: Expected) -> Result<Self, RuleError> {
        let rule = Self::compile(text, dictionary, expected)?;
        let mut guard = Guard { program: &rule.program, text, ranges: BTreeMap::new() };
        // Shallow enough for any stack: the type check has limited the depth of the tree.
        guard.range(rule.program.expression(), &Known::new())?;
        Ok(rule)
    }
}

/// What conditions say of expressions, by their text in one spelling.
type Known = BTreeMap<String, Range>;

struct Guard<'a> {
    program: &'a Program,
    text: &'a str,
    /// What was found for each expression, so that none is looked at twice.
    ranges: BTreeMap<u64, Range>,
}

impl Guard<'_> {
    /// The values that a number may take; anything for what is no number.
    fn range(&mut self, expression: &IdedExpr, known: &Known) -> Result<Range, RuleError> {
        let mut range = match &expression.expr {
            Expr::Literal(LiteralValue::Int(number)) => Range::exactly(*number.inner()),
            Expr::Call(call) => self.call(expression, call, known)?,
            Expr::List(list) => {
                for element in &list.elements {
                    self.range(element, known)?;
                }
                Range::ANY
            }
            _ => Range::ANY,
        };
        if !matches!(expression.expr, Expr::Literal(_))
            && let Some(narrower) = known.get(&spelling(expression))
        {
            range = range.and(*narrower);
        }
        self.ranges.insert(expression.id, range);
        Ok(range)
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr, known: &Known) -> Result<Range, RuleError> {
        let exact = match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.range(condition, known)?;
                let yes = self.range(yes, &self.narrowed(known, condition, true))?;
                let no = self.range(no, &self.narrowed(known, condition, false))?;
                return Ok(yes.or(no));
            }
            // The right side is only asked where the left one did not decide.
            (name @ (operators::LOGICAL_AND | operators::LOGICAL_OR), operands) => {
                let mut known = known.clone();
                for operand in operands {
                    self.range(operand, &known)?;
                    known = self.narrowed(&known, operand, name == operators::LOGICAL_AND);
                }
                return Ok(Range::ANY);
            }
            (operators::NEGATE, [operand]) => self.range(operand, known)?.negated(),
            (name, [left, right]) => {
                let (a, b) = (self.range(left, known)?, self.range(right, known)?);
                match name {
                    operators::ADD => a.plus(b),
                    operators::SUBSTRACT => a.minus(b),
                    operators::MULTIPLY => a.times(b),
                    operators::DIVIDE | operators::MODULO if b.may_be_zero() => return Err(self.by_zero(right)),
                    operators::DIVIDE => a.divided_by(b),
                    operators::MODULO => a.modulo(b),
                    "min" => a.min(b),
                    "max" => a.max(b),
                    _ => return Ok(Range::ANY),
                }
            }
            (_, operands) => {
                for operand in operands {
                    self.range(operand, known)?;
                }
                return Ok(Range::ANY);
            }
        };
        exact.within_int64().ok_or_else(|| {
            let why = "this always overflows: numbers go from -9223372036854775808 to 9223372036854775807";
            self.error(expression, why, "此处运算必然溢出：数值范围为 -9223372036854775808 至 9223372036854775807")
        })
    }

    fn by_zero(&self, divisor: &IdedExpr) -> RuleError {
        let divisor_text: String = spelling(divisor).chars().take(80).collect();
        self.error(
            divisor,
            format!(
                "the divisor `{divisor_text}` may be zero; write `max({divisor_text}, 1)` or guard it: `{divisor_text} > 0 ? … : …`"
            ),
            format!(
                "除数 `{divisor_text}` 可能为零；请写作 `max({divisor_text}, 1)`，或先判断：`{divisor_text} > 0 ? … : …`"
            ),
        )
    }

    /// What is known where a condition holds, or where it does not.
    fn narrowed(&self, known: &Known, condition: &IdedExpr, holds: bool) -> Known {
        let mut known = known.clone();
        self.narrow(&mut known, condition, holds);
        known
    }

    fn narrow(&self, known: &mut Known, condition: &IdedExpr, holds: bool) {
        let Expr::Call(call) = &condition.expr else { return };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, [operand]) => self.narrow(known, operand, !holds),
            // Of `a && b` that does not hold nothing is known of either side; so of `a || b` that holds.
            (operators::LOGICAL_AND, operands) if holds => {
                operands.iter().for_each(|operand| self.narrow(known, operand, true));
            }
            (operators::LOGICAL_OR, operands) if !holds => {
                operands.iter().for_each(|operand| self.narrow(known, operand, false));
            }
            (name, [left, right]) => {
                let Some(compares) = Compares::of(name, holds) else { return };
                let found = |side: &IdedExpr| self.ranges.get(&side.id).copied().unwrap_or(Range::ANY);
                let (a, b) = (found(left), found(right));
                learn(known, left, compares.left(b));
                learn(known, right, compares.mirrored().left(a));
            }
            _ => {}
        }
    }

    fn error(&self, expression: &IdedExpr, message: impl Into<String>, zh: impl Into<String>) -> RuleError {
        error_at(self.program, self.text, expression, message, zh)
    }
}

fn learn(known: &mut Known, expression: &IdedExpr, range: Range) {
    if !matches!(expression.expr, Expr::Literal(_)) {
        let entry = known.entry(spelling(expression)).or_insert(Range::ANY);
        *entry = entry.and(range);
    }
}

/// A comparison that is known to hold.
#[derive(Clone, Copy)]
enum Compares {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Compares {
    fn of(operator: &str, holds: bool) -> Option<Self> {
        let compares = match operator {
            operators::EQUALS => Self::Equal,
            operators::NOT_EQUALS => Self::Unequal,
            operators::LESS => Self::Less,
            operators::LESS_EQUALS => Self::AtMost,
            operators::GREATER => Self::Greater,
            operators::GREATER_EQUALS => Self::AtLeast,
            _ => return None,
        };
        Some(if holds { compares } else { compares.opposite() })
    }

    fn opposite(self) -> Self {
        match self {
            Self::Equal => Self::Unequal,
            Self::Unequal => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::Greater,
            Self::Greater => Self::AtMost,
            Self::AtLeast => Self::Less,
        }
    }

    /// The same seen from the right side.
    fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
            same => same,
        }
    }

    /// What the left side may be, beside a right side of this range.
    fn left(self, right: Range) -> Range {
        match self {
            Self::Equal => right,
            Self::Unequal => Range::other_than(right),
            Self::Less => Range::below(right, 1),
            Self::AtMost => Range::below(right, 0),
            Self::Greater => Range::above(right, 1),
            Self::AtLeast => Range::above(right, 0),
        }
    }
}

/// An expression in one spelling, so that the same one is known again.
fn spelling(expression: &IdedExpr) -> String {
    match &expression.expr {
        Expr::Literal(LiteralValue::Int(number)) => number.inner().to_string(),
        Expr::Literal(LiteralValue::Boolean(flag)) => flag.inner().to_string(),
        Expr::Literal(LiteralValue::String(text)) => format!("'{}'", text.inner()),
        Expr::Ident(name) => name.clone(),
        Expr::Call(call) => {
            let arguments: Vec<String> = call.args.iter().map(spelling).collect();
            match (sign(&call.func_name), arguments.as_slice()) {
                (Some(sign), [left, right]) => format!("({left} {sign} {right})"),
                _ => format!("{}({})", call.func_name, arguments.join(", ")),
            }
        }
        Expr::List(list) => {
            let elements: Vec<String> = list.elements.iter().map(spelling).collect();
            format!("[{}]", elements.join(", "))
        }
        // The type check lets nothing else through.
        _ => String::new(),
    }
}

/// How people write an operator.
fn sign(operator: &str) -> Option<&str> {
    match operator {
        operators::ADD => Some("+"),
        operators::SUBSTRACT => Some("-"),
        operators::MULTIPLY => Some("*"),
        operators::DIVIDE => Some("/"),
        operators::MODULO => Some("%"),
        _ => None,
    }
}
