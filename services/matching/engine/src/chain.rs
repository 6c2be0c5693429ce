//! Formulas of one column, such as `min(revenue / 5, 3000000)`: a value and what is done to it, one step after the other. Most
//! formulas of banks are of this kind once the LPR is known, and they are computed for every product that takes an enterprise.

use zhirong_kernel::rule::Operation;

use crate::{
    batch::{Divisor, Run, Step},
    columns::Column,
    expression::{Expression, Values, math},
};

/// Steps of a chain.
const STEPS: usize = 4;

/// What is done to a value with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The value with the number.
    By(Operation),
    /// The number less the value.
    From,
    /// The number whatever the value is.
    Be,
    /// Nothing, and nothing after it.
    End,
}

/// A column's value, changed by up to four numbers. Small, because the formulas of those that take an enterprise come from memory
/// one by one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    numbers: [i64; STEPS],
    column: u16,
    changes: [Change; STEPS],
}

/// What becomes of a formula when the LPR is known.
enum Part {
    Number(i64),
    Chain(Chain),
}

impl Chain {
    /// The chain of a formula where one column has always the same value; nothing when the formula is of another kind.
    pub fn of(formula: &Expression, known: (Column, i64)) -> Option<Self> {
        match part(formula, known)? {
            Part::Chain(chain) => Some(chain),
            Part::Number(number) => Self::start(0)?.then(Change::Be, number),
        }
    }

    fn start(column: Column) -> Option<Self> {
        Some(Self { numbers: [0; STEPS], column: u16::try_from(column).ok()?, changes: [Change::End; STEPS] })
    }

    /// The same with a step more; nothing when there are too many.
    fn then(mut self, change: Change, number: i64) -> Option<Self> {
        let step = self.changes.iter().position(|change| *change == Change::End)?;
        *self.changes.get_mut(step)? = change;
        *self.numbers.get_mut(step)? = number;
        Some(self)
    }

    /// The column it starts with.
    pub fn column(&self) -> Column {
        usize::from(self.column)
    }

    /// The value for a row; nothing where the formula has none.
    #[inline]
    pub fn value(&self, row: &impl Values) -> Option<i64> {
        self.of_value(row.value(self.column()))
    }

    /// The value that another value leads to.
    #[inline]
    pub fn of_value(&self, mut value: i64) -> Option<i64> {
        for (change, number) in self.changes.iter().zip(self.numbers) {
            value = match change {
                Change::By(operation) => math(*operation, value, number)?,
                Change::From => number.checked_sub(value)?,
                Change::Be => number,
                Change::End => break,
            };
        }
        Some(value)
    }

    /// The same for many values at once; nothing when it divides by what is not positive.
    pub fn run(&self) -> Option<Run> {
        let steps = self.changes.iter().zip(self.numbers).filter(|(change, _)| **change != Change::End);
        let steps = steps.map(|(change, number)| {
            Some(match change {
                Change::By(Operation::Divide) => Step::Divide(Divisor::of(number)?),
                Change::By(Operation::Remainder) => Step::Remainder(Divisor::of(number)?),
                Change::By(Operation::Add) => Step::Add(number),
                Change::By(Operation::Subtract) => Step::Subtract(number),
                Change::By(Operation::Multiply) => Step::Multiply(number),
                Change::By(Operation::Min) => Step::Min(number),
                Change::By(Operation::Max) => Step::Max(number),
                Change::From => Step::From(number),
                Change::Be | Change::End => Step::Be(number),
            })
        });
        Some(Run(steps.collect::<Option<_>>()?))
    }
}

fn part(formula: &Expression, known: (Column, i64)) -> Option<Part> {
    Some(match formula {
        Expression::Constant(number) => Part::Number(*number),
        Expression::Column(column) if *column == known.0 => Part::Number(known.1),
        Expression::Column(column) => Part::Chain(Chain::start(*column)?),
        Expression::MathBy(operation, a, number) => changed(part(a, known)?, *operation, *number)?,
        Expression::Math(operation, a, b) => match (part(a, known)?, part(b, known)?) {
            (a, Part::Number(number)) => changed(a, *operation, number)?,
            (Part::Number(number), Part::Chain(chain)) => Part::Chain(match operation {
                Operation::Subtract => chain.then(Change::From, number)?,
                Operation::Add | Operation::Multiply | Operation::Min | Operation::Max => {
                    chain.then(Change::By(*operation), number)?
                }
                Operation::Divide | Operation::Remainder => return None,
            }),
            (Part::Chain(_), Part::Chain(_)) => return None,
        },
        _ => return None,
    })
}

fn changed(part: Part, operation: Operation, number: i64) -> Option<Part> {
    Some(match part {
        Part::Number(first) => Part::Number(math(operation, first, number)?),
        Part::Chain(chain) => Part::Chain(chain.then(Change::By(operation), number)?),
    })
}
