//! Formulas as short runs of steps that lie one after another in memory: the products that take an enterprise are spread over
//! the catalog, and following a tree from node to node would wait for memory at each.

use zhirong_kernel::rule::Operation;

use crate::{
    columns::Column,
    expression::{Expression, Values, math},
};

/// Values that a formula may hold at once; one that needs more stays a tree.
const DEPTH: usize = 6;

/// A step.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Puts a column's value on top.
    Column(Column),
    /// Puts a number on top.
    Number(i64),
    /// Changes the top by a number.
    By(Operation, i64),
    /// Takes two off and puts what they make on top.
    Both(Operation),
    /// Puts the value of a tree on top.
    Tree(usize),
    /// Puts a column's value, changed by two numbers, on top: `min(patents * 500, 2000)`.
    Changed(Changed),
    /// Puts what two of these make, changed by a number, on top: `max(lpr + 9000 - min(patents * 500, 2000), 24000)`.
    Pair(Changed, Operation, Changed, Change),
}

/// A change by a number.
type Change = (Operation, i64);
/// Leaves a number as it is.
const NONE: Change = (Operation::Add, 0);

/// A column's value, changed by two numbers one after the other.
#[derive(Debug, Clone, Copy)]
struct Changed {
    column: Column,
    first: Change,
    second: Change,
}

impl Changed {
    #[inline]
    fn value(&self, row: &impl Values) -> Option<i64> {
        let first = math(self.first.0, row.value(self.column), self.first.1)?;
        math(self.second.0, first, self.second.1)
    }
}

/// Where a formula's steps are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

/// The formulas of many products.
#[derive(Debug, Default)]
pub(crate) struct Code {
    steps: Vec<Step>,
    trees: Vec<Expression>,
}

impl Code {
    /// Adds a formula.
    pub fn add(&mut self, formula: &Expression) -> Span {
        let start = self.steps.len();
        if self.write(formula, 0).is_none() {
            self.steps.truncate(start);
            self.tree(formula);
        }
        let steps = self.steps.split_off(start);
        self.steps.extend(joined(&steps));
        Span { start, end: self.steps.len() }
    }

    fn tree(&mut self, formula: &Expression) {
        self.steps.push(Step::Tree(self.trees.len()));
        self.trees.push(formula.clone());
    }

    /// Writes the steps that put a value on top of as many as there are already; nothing when they are too many.
    fn write(&mut self, formula: &Expression, below: usize) -> Option<()> {
        if below >= DEPTH {
            return None;
        }
        match formula {
            Expression::Column(column) => self.steps.push(Step::Column(*column)),
            Expression::Constant(number) => self.steps.push(Step::Number(*number)),
            Expression::MathBy(operation, a, number) => {
                self.write(a, below)?;
                self.steps.push(Step::By(*operation, *number));
            }
            Expression::Math(operation, a, b) => {
                self.write(a, below)?;
                self.write(b, below.saturating_add(1))?;
                self.steps.push(Step::Both(*operation));
            }
            other => self.tree(other),
        }
        Some(())
    }

    /// The value of a formula, as its tree has it.
    pub fn value(&self, span: Span, row: &impl Values) -> Option<i64> {
        let steps = self.steps.get(span.start..span.end)?;
        // Most formulas are a single step.
        match steps {
            [Step::Changed(changed)] => return changed.value(row),
            [Step::Pair(a, operation, b, (then, number))] => {
                return math(*then, math(*operation, a.value(row)?, b.value(row)?)?, *number);
            }
            _ => {}
        }
        let mut held = [0_i64; DEPTH];
        let mut top = 0_usize;
        for step in steps {
            let next = match *step {
                Step::Changed(changed) => changed.value(row)?,
                Step::Pair(a, operation, b, (then, number)) => {
                    math(then, math(operation, a.value(row)?, b.value(row)?)?, number)?
                }
                Step::Column(column) => row.value(column),
                Step::Number(number) => number,
                Step::Tree(place) => self.trees.get(place)?.value(row)?,
                Step::By(operation, number) => {
                    top = top.checked_sub(1)?;
                    math(operation, *held.get(top)?, number)?
                }
                Step::Both(operation) => {
                    top = top.checked_sub(2)?;
                    math(operation, *held.get(top)?, *held.get(top.saturating_add(1))?)?
                }
            };
            *held.get_mut(top)? = next;
            top = top.saturating_add(1);
        }
        held.first().copied()
    }
}

/// The same in fewer steps, where steps are of the kinds that formulas mostly have.
fn joined(steps: &[Step]) -> Vec<Step> {
    let mut fewer: Vec<Step> = Vec::new();
    for step in steps {
        let last = fewer.last_mut();
        match (*step, last) {
            (Step::Column(column), _) => fewer.push(Step::Changed(Changed { column, first: NONE, second: NONE })),
            (Step::By(operation, number), Some(Step::Changed(changed))) if changed.first == NONE => {
                changed.first = (operation, number);
            }
            (Step::By(operation, number), Some(Step::Changed(changed))) if changed.second == NONE => {
                changed.second = (operation, number);
            }
            (Step::By(operation, number), Some(Step::Pair(.., then))) if *then == NONE => *then = (operation, number),
            (Step::Both(operation), _) => match fewer.as_slice() {
                [.., Step::Changed(a), Step::Changed(b)] => {
                    let pair = Step::Pair(*a, operation, *b, NONE);
                    fewer.truncate(fewer.len().saturating_sub(2));
                    fewer.push(pair);
                }
                _ => fewer.push(*step),
            },
            (other, _) => fewer.push(other),
        }
    }
    fewer
}
