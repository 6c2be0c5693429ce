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
    Pair(Pair),
}

/// A change by a number.
type Change = (Operation, i64);
/// Leaves a number as it is.
const NONE: Change = (Operation::Add, 0);

/// A column's value, changed by two numbers one after the other. Packed, because the formulas of those that take an enterprise
/// come from memory one by one.
#[derive(Debug, Clone, Copy)]
struct Changed {
    numbers: [i64; 2],
    column: u16,
    operations: [Operation; 2],
}

impl Changed {
    /// A column's value as it is; nothing for a column that there can't be.
    fn of(column: Column) -> Option<Self> {
        let column = u16::try_from(column).ok()?;
        Some(Self { numbers: [NONE.1, NONE.1], column, operations: [NONE.0, NONE.0] })
    }

    fn first(&self) -> Change {
        (self.operations[0], self.numbers[0])
    }

    fn second(&self) -> Change {
        (self.operations[1], self.numbers[1])
    }

    #[inline]
    fn value(&self, row: &impl Values) -> Option<i64> {
        let first = math(self.operations[0], row.value(usize::from(self.column)), self.numbers[0])?;
        math(self.operations[1], first, self.numbers[1])
    }
}

/// What two changed values make, changed by a number.
#[derive(Debug, Clone, Copy)]
struct Pair {
    a: Changed,
    b: Changed,
    number: i64,
    both: Operation,
    then: Operation,
}

impl Pair {
    #[inline]
    fn value(&self, row: &impl Values) -> Option<i64> {
        math(self.then, math(self.both, self.a.value(row)?, self.b.value(row)?)?, self.number)
    }
}

/// Where a formula's steps are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    end: u32,
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
        let place = |steps: usize| u32::try_from(steps).unwrap_or(u32::MAX);
        Span { start: place(start), end: place(self.steps.len()) }
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
        let steps = self.steps.get(usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?)?;
        // Most formulas are a single step.
        match steps {
            [Step::Changed(changed)] => return changed.value(row),
            [Step::Pair(pair)] => return pair.value(row),
            _ => {}
        }
        let mut held = [0_i64; DEPTH];
        let mut top = 0_usize;
        for step in steps {
            let next = match *step {
                Step::Changed(changed) => changed.value(row)?,
                Step::Pair(pair) => pair.value(row)?,
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
            (Step::Column(column), _) => fewer.push(Changed::of(column).map_or(*step, Step::Changed)),
            (Step::By(operation, number), Some(Step::Changed(changed))) if changed.first() == NONE => {
                (changed.operations[0], changed.numbers[0]) = (operation, number);
            }
            (Step::By(operation, number), Some(Step::Changed(changed))) if changed.second() == NONE => {
                (changed.operations[1], changed.numbers[1]) = (operation, number);
            }
            (Step::By(operation, number), Some(Step::Pair(pair))) if (pair.then, pair.number) == NONE => {
                (pair.then, pair.number) = (operation, number);
            }
            (Step::Both(operation), _) => match fewer.as_slice() {
                [.., Step::Changed(a), Step::Changed(b)] => {
                    let pair = Pair { a: *a, b: *b, number: NONE.1, both: operation, then: NONE.0 };
                    fewer.truncate(fewer.len().saturating_sub(2));
                    fewer.push(Step::Pair(pair));
                }
                _ => fewer.push(*step),
            },
            (other, _) => fewer.push(other),
        }
    }
    fewer
}
