//! A checked rule as a tree of its own, for engines that compute it in another way than the interpreter.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::INPUTS;
use crate::feature::FeatureName;

/// A checked rule. Types fit: the operands of [`Tree::And`] are conditions, those of [`Tree::Math`] are numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tree {
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// What is known of the enterprise.
    Feature(FeatureName),
    /// A place in [`INPUTS`].
    Input(usize),
    /// `!a`
    Not(Box<Self>),
    /// `-a`
    Negate(Box<Self>),
    /// `a && b`
    And(Box<Self>, Box<Self>),
    /// `a || b`
    Or(Box<Self>, Box<Self>),
    /// `a ? b : c`
    Choose(Box<Self>, Box<Self>, Box<Self>),
    /// `a >= b` and its like.
    Compare(Comparison, Box<Self>, Box<Self>),
    /// `a in [b, c]`
    OneOf(Box<Self>, Vec<Self>),
    /// `a + b` and its like.
    Math(Operation, Box<Self>, Box<Self>),
}

impl Tree {
    /// Whether it looks at one of [`INPUTS`].
    #[must_use]
    pub fn reads(&self, input: &str) -> bool {
        match self {
            Self::Input(place) => INPUTS.get(*place) == Some(&input),
            Self::Int(_) | Self::Bool(_) | Self::Text(_) | Self::Feature(_) => false,
            Self::Not(one) | Self::Negate(one) => one.reads(input),
            Self::And(one, other) | Self::Or(one, other) | Self::Compare(_, one, other) | Self::Math(_, one, other) => {
                one.reads(input) || other.reads(input)
            }
            Self::Choose(condition, one, other) => [condition, one, other].into_iter().any(|part| part.reads(input)),
            Self::OneOf(one, others) => one.reads(input) || others.iter().any(|other| other.reads(input)),
        }
    }
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// As rules write it.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// What holds when this does not.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }

    /// The same with the sides exchanged.
    #[must_use]
    pub const fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same @ (Self::Equal | Self::NotEqual) => same,
        }
    }
}

/// How two numbers make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `a + b`
    Add,
    /// `a - b`
    Subtract,
    /// `a * b`
    Multiply,
    /// `a / b`, towards zero.
    Divide,
    /// `a % b`
    Remainder,
    /// `min(a, b)`
    Min,
    /// `max(a, b)`
    Max,
}

/// The tree of an expression that the checker has let pass; nothing for what it never lets pass.
pub(super) fn tree(expression: &IdedExpr) -> Option<Tree> {
    Some(match &expression.expr {
        Expr::Literal(LiteralValue::Int(number)) => Tree::Int(*number.inner()),
        Expr::Literal(LiteralValue::Boolean(flag)) => Tree::Bool(*flag.inner()),
        Expr::Literal(LiteralValue::String(text)) => Tree::Text(text.inner().to_owned()),
        Expr::Ident(name) => match INPUTS.iter().position(|input| input == name) {
            Some(place) => Tree::Input(place),
            None => Tree::Feature(name.clone()),
        },
        Expr::Call(call) => of_call(call)?,
        _ => return None,
    })
}

fn of_call(call: &CallExpr) -> Option<Tree> {
    let boxed = |operand: &IdedExpr| tree(operand).map(Box::new);
    Some(match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_AND, [a, b]) => Tree::And(boxed(a)?, boxed(b)?),
        (operators::LOGICAL_OR, [a, b]) => Tree::Or(boxed(a)?, boxed(b)?),
        (operators::LOGICAL_NOT, [a]) => Tree::Not(boxed(a)?),
        (operators::NEGATE, [a]) => Tree::Negate(boxed(a)?),
        (operators::CONDITIONAL, [a, b, c]) => Tree::Choose(boxed(a)?, boxed(b)?, boxed(c)?),
        (operators::IN, [a, list]) => match &list.expr {
            Expr::List(members) => Tree::OneOf(boxed(a)?, members.elements.iter().map(tree).collect::<Option<_>>()?),
            _ => return None,
        },
        (name, [a, b]) => match (comparison(name), operation(name)) {
            (Some(comparison), _) => Tree::Compare(comparison, boxed(a)?, boxed(b)?),
            (None, Some(operation)) => Tree::Math(operation, boxed(a)?, boxed(b)?),
            (None, None) => return None,
        },
        _ => return None,
    })
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        operators::ADD => Operation::Add,
        operators::SUBSTRACT => Operation::Subtract,
        operators::MULTIPLY => Operation::Multiply,
        operators::DIVIDE => Operation::Divide,
        operators::MODULO => Operation::Remainder,
        "min" => Operation::Min,
        "max" => Operation::Max,
        _ => return None,
    })
}
