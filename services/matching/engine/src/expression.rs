//! A rule over columns, and its value: exactly what CEL's interpreter gives, or nothing where that gives an error.

use std::collections::BTreeSet;

use zhirong_kernel::rule::{Comparison, Operation, Tree};

use crate::columns::{COLUMNS, Column, Row, Symbols};

/// Something that has a value in every column that is asked for.
pub(crate) trait Values {
    fn value(&self, column: Column) -> i64;
}

impl Values for Row {
    fn value(&self, column: Column) -> i64 {
        Row::value(self, column)
    }
}

/// A rule over columns. Conditions are 0 or 1, texts are symbols.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Expression {
    Constant(i64),
    Column(Column),
    Not(Box<Self>),
    Negate(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Choose(Box<Self>, Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    OneOf(Box<Self>, Vec<Self>),
    Math(Operation, Box<Self>, Box<Self>),
    /// With a number on the right, which most formulas have: one call less.
    MathBy(Operation, Box<Self>, i64),
    CompareWith(Comparison, Column, i64),
}

impl Expression {
    /// Puts columns and symbols in the place of names and texts. A name that the dictionary does not have can't come here: the
    /// kernel has checked the rule.
    pub fn of(tree: &Tree, symbols: &Symbols) -> Option<Self> {
        let boxed = |tree: &Tree| Self::of(tree, symbols).map(Box::new);
        Some(match tree {
            Tree::Int(number) => Self::Constant(*number),
            Tree::Bool(flag) => Self::Constant(i64::from(*flag)),
            Tree::Text(text) => Self::Constant(symbols.keep(text)),
            Tree::Feature(name) => Self::Column(COLUMNS.of(name)?),
            Tree::Input(place) => Self::Column(COLUMNS.of_input(*place)),
            Tree::Not(a) => Self::Not(boxed(a)?),
            Tree::Negate(a) => Self::Negate(boxed(a)?),
            Tree::And(a, b) => Self::And(boxed(a)?, boxed(b)?),
            Tree::Or(a, b) => Self::Or(boxed(a)?, boxed(b)?),
            Tree::Choose(a, b, c) => Self::Choose(boxed(a)?, boxed(b)?, boxed(c)?),
            Tree::Compare(comparison, a, b) => match (Self::of(a, symbols)?, Self::of(b, symbols)?) {
                (Self::Column(column), Self::Constant(number)) => Self::CompareWith(*comparison, column, number),
                (Self::Constant(number), Self::Column(column)) => {
                    Self::CompareWith(comparison.turned(), column, number)
                }
                (a, b) => Self::Compare(*comparison, Box::new(a), Box::new(b)),
            },
            Tree::OneOf(a, members) => {
                let members = members.iter().map(|member| Self::of(member, symbols)).collect::<Option<_>>()?;
                Self::OneOf(boxed(a)?, members)
            }
            Tree::Math(operation, a, b) => match Self::of(b, symbols)? {
                Self::Constant(number) => Self::MathBy(*operation, boxed(a)?, number),
                b => Self::Math(*operation, boxed(a)?, Box::new(b)),
            },
        })
    }

    /// The value; nothing where the interpreter fails: an overflow, a division by zero.
    pub fn value(&self, row: &impl Values) -> Option<i64> {
        Some(match self {
            Self::Constant(number) => *number,
            Self::Column(column) => row.value(*column),
            Self::CompareWith(comparison, column, number) => {
                i64::from(compare(*comparison, row.value(*column), *number))
            }
            Self::MathBy(operation, a, number) => math(*operation, a.value(row)?, *number)?,
            Self::Math(operation, a, b) => math(*operation, a.value(row)?, b.value(row)?)?,
            Self::Compare(comparison, a, b) => i64::from(compare(*comparison, a.value(row)?, b.value(row)?)),
            Self::Not(a) => a.value(row)? ^ 1,
            Self::Negate(a) => a.value(row)?.checked_neg()?,
            // The side that decides makes an error on the other one harmless, as CEL has it.
            Self::And(a, b) => match a.value(row) {
                Some(0) => 0,
                Some(_) => b.value(row)?,
                None => (b.value(row)? == 0).then_some(0)?,
            },
            Self::Or(a, b) => match a.value(row) {
                Some(0) => b.value(row)?,
                Some(_) => 1,
                None => (b.value(row)? == 1).then_some(1)?,
            },
            Self::Choose(condition, yes, no) => match condition.value(row)? {
                0 => no.value(row)?,
                _ => yes.value(row)?,
            },
            Self::OneOf(a, members) => {
                let sought = a.value(row)?;
                let mut found = false;
                for member in members {
                    found |= member.value(row)? == sought;
                }
                i64::from(found)
            }
        })
    }

    /// The columns it looks at, inputs among them.
    pub fn columns(&self) -> BTreeSet<Column> {
        let mut found = BTreeSet::new();
        self.visit(&mut |part| {
            if let Self::Column(column) | Self::CompareWith(_, column, _) = part {
                found.insert(*column);
            }
        });
        found
    }

    /// Every part, the whole first.
    pub fn visit<'a>(&'a self, look: &mut impl FnMut(&'a Self)) {
        look(self);
        match self {
            Self::Constant(_) | Self::Column(_) | Self::CompareWith(..) => {}
            Self::Not(a) | Self::Negate(a) | Self::MathBy(_, a, _) => a.visit(look),
            Self::And(a, b) | Self::Or(a, b) | Self::Compare(_, a, b) | Self::Math(_, a, b) => {
                a.visit(look);
                b.visit(look);
            }
            Self::Choose(a, b, c) => [a, b, c].into_iter().for_each(|part| part.visit(look)),
            Self::OneOf(a, members) => {
                a.visit(look);
                members.iter().for_each(|member| member.visit(look));
            }
        }
    }

    /// The least and the largest value it can have where it has one. `known` tells the bounds of a column.
    pub fn bounds(&self, known: &impl Fn(Column) -> (i64, i64)) -> (i64, i64) {
        let truth = (0, 1);
        match self {
            Self::Constant(number) => (*number, *number),
            Self::Column(column) => known(*column),
            Self::MathBy(operation, a, number) => spread(*operation, a.bounds(known), (*number, *number)),
            Self::Math(operation, a, b) => spread(*operation, a.bounds(known), b.bounds(known)),
            Self::Negate(a) => spread(Operation::Subtract, (0, 0), a.bounds(known)),
            Self::Choose(_, yes, no) => {
                let (yes, no) = (yes.bounds(known), no.bounds(known));
                (yes.0.min(no.0), yes.1.max(no.1))
            }
            _ => truth,
        }
    }
}

pub(crate) fn compare(comparison: Comparison, a: i64, b: i64) -> bool {
    match comparison {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
    }
}

#[inline]
pub(crate) fn math(operation: Operation, a: i64, b: i64) -> Option<i64> {
    match operation {
        Operation::Add => a.checked_add(b),
        Operation::Subtract => a.checked_sub(b),
        Operation::Multiply => a.checked_mul(b),
        Operation::Divide => a.checked_div(b),
        Operation::Remainder => a.checked_rem(b),
        Operation::Min => Some(a.min(b)),
        Operation::Max => Some(a.max(b)),
    }
}

/// Bounds of what two numbers within bounds make. What overflows has no value, so that bounds may stop at the edges.
fn spread(operation: Operation, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    match operation {
        Operation::Add => (a.0.saturating_add(b.0), a.1.saturating_add(b.1)),
        Operation::Subtract => (a.0.saturating_sub(b.1), a.1.saturating_sub(b.0)),
        Operation::Min => (a.0.min(b.0), a.1.min(b.1)),
        Operation::Max => (a.0.max(b.0), a.1.max(b.1)),
        Operation::Multiply => {
            let corners = [a.0, a.1].map(|a| [b.0, b.1].map(|b| a.saturating_mul(b)));
            let corners = corners.as_flattened();
            (corners.iter().copied().min().unwrap_or(i64::MIN), corners.iter().copied().max().unwrap_or(i64::MAX))
        }
        // The magnitude does not grow, whatever the divisor is.
        Operation::Divide | Operation::Remainder => {
            let most = a.0.saturating_abs().max(a.1.saturating_abs());
            (most.saturating_neg().min(a.0), most.max(a.1))
        }
    }
}
