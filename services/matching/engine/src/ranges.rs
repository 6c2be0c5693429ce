//! A condition on one column as the ranges of values that meet it.

use std::collections::BTreeSet;

use crate::{
    columns::Column,
    expression::{Expression, Values},
};

/// The values of one column that meet a condition: ranges in order, both ends included, none touching the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ranges {
    pub column: Column,
    pub ranges: Vec<(i64, i64)>,
}

/// A value that is tried in a column.
struct Tried(i64);

impl Values for Tried {
    fn value(&self, _: Column) -> i64 {
        self.0
    }
}

impl Ranges {
    /// The ranges of a condition; nothing when it looks at several columns, or calculates.
    pub fn of(test: &Expression) -> Option<Self> {
        let columns = test.columns();
        let (Some(column), 1) = (columns.first().copied(), columns.len()) else {
            return None;
        };
        let mut cuts = BTreeSet::from([i64::MIN]);
        let mut plain = true;
        let mut cut = |number: i64| {
            cuts.insert(number);
            cuts.extend(number.checked_add(1));
        };
        test.visit(&mut |part| match part {
            Expression::CompareWith(_, _, number) => cut(*number),
            Expression::OneOf(element, members) if matches!(**element, Expression::Column(_)) => {
                for member in members {
                    match member {
                        Expression::Constant(number) => cut(*number),
                        _ => plain = false,
                    }
                }
            }
            Expression::OneOf(..) => plain = false,
            // A flag stands for itself.
            Expression::Column(_) => [0, 1].into_iter().for_each(&mut cut),
            Expression::Math(..) | Expression::MathBy(..) | Expression::Negate(_) | Expression::Compare(..) => {
                plain = false;
            }
            _ => {}
        });
        if !plain {
            return None;
        }
        let starts: Vec<i64> = cuts.into_iter().collect();
        let ends = starts.iter().skip(1).map(|next| next.saturating_sub(1)).chain([i64::MAX]);
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for (start, end) in starts.iter().copied().zip(ends) {
            if test.value(&Tried(start))? != 1 {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.1.checked_add(1) == Some(start) => last.1 = end,
                _ => ranges.push((start, end)),
            }
        }
        Some(Self { column, ranges })
    }

    /// Whether a value meets the condition.
    pub fn contains(&self, value: i64) -> bool {
        self.ranges.iter().any(|(start, end)| (*start..=*end).contains(&value))
    }
}

/// A product's conditions made fit for counting: what single columns must be, and what has to be computed.
pub(crate) struct Sorted<'a> {
    pub ranges: Vec<Ranges>,
    pub rest: Vec<&'a Expression>,
}

impl<'a> Sorted<'a> {
    /// Takes conditions apart at every `&&`: a product needs all parts, and every column of all parts.
    pub fn of(tests: impl Iterator<Item = &'a Expression>) -> Self {
        let mut sorted = Self { ranges: Vec::new(), rest: Vec::new() };
        let mut open: Vec<&Expression> = tests.collect();
        while let Some(test) = open.pop() {
            match (Ranges::of(test), test) {
                (Some(ranges), _) => sorted.ranges.push(ranges),
                (None, Expression::And(a, b)) => open.extend([&**a, &**b]),
                (None, other) => sorted.rest.push(other),
            }
        }
        sorted
    }
}
