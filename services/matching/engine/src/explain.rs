//! What an enterprise lacks: the values that a failed condition asks for, and the smallest change of a single value that would
//! make a product take it.

use std::collections::BTreeSet;

use zhirong_kernel::{
    feature::{FeatureType, FeatureValue},
    rule::{Comparison, Rule, Tree},
};

use crate::{
    columns::{COLUMNS, Column, Row, Symbols},
    expression::Expression,
    product::{Product, Reason, Verdict},
};

/// A value that a condition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The feature.
    pub feature: String,
    /// How it is compared: the sign of a [`Comparison`], `in` or `not in`.
    pub operator: &'static str,
    /// With what; several for `in` and `not in`.
    pub values: Vec<FeatureValue>,
}

/// The values that a condition which does not hold asks for. When there are several, any one of them does; none when the
/// condition is no plain comparison, or asks for several at once.
#[must_use]
pub fn needed(rule: &Rule, symbols: &Symbols, row: &Row) -> Vec<Needed> {
    wanted(rule.tree(), true, &|tree| {
        Expression::of(tree, symbols).and_then(|test| test.value(row)).is_some_and(|value| value == 1)
    })
    .unwrap_or_default()
}

/// What makes a condition come out as wished, where it does not: alternatives, of which each does alone.
fn wanted(tree: &Tree, wish: bool, holds: &impl Fn(&Tree) -> bool) -> Option<Vec<Needed>> {
    if holds(tree) == wish {
        return Some(Vec::new());
    }
    match (tree, wish) {
        (Tree::Not(a), wish) => wanted(a, !wish, holds),
        // All parts must come right: told only when a single one is wrong.
        (Tree::And(a, b), true) | (Tree::Or(a, b), false) => match (holds(a) == wish, holds(b) == wish) {
            (true, false) => wanted(b, wish, holds),
            (false, true) => wanted(a, wish, holds),
            _ => None,
        },
        (Tree::And(a, b), false) | (Tree::Or(a, b), true) => {
            let mut either = wanted(a, wish, holds)?;
            either.extend(wanted(b, wish, holds)?);
            Some(either)
        }
        (Tree::Feature(feature), wish) => {
            let values = vec![FeatureValue::Bool(wish)];
            Some(vec![Needed { feature: feature.clone(), operator: Comparison::Equal.sign(), values }])
        }
        (Tree::Compare(comparison, a, b), wish) => {
            let (feature, comparison, value) = match (&**a, &**b) {
                (Tree::Feature(feature), other) => (feature, *comparison, literal(other)?),
                (other, Tree::Feature(feature)) => (feature, comparison.turned(), literal(other)?),
                _ => return None,
            };
            let comparison = if wish { comparison } else { comparison.opposite() };
            Some(vec![Needed { feature: feature.clone(), operator: comparison.sign(), values: vec![value] }])
        }
        (Tree::OneOf(element, members), wish) => {
            let Tree::Feature(feature) = &**element else { return None };
            let values = members.iter().map(literal).collect::<Option<_>>()?;
            Some(vec![Needed { feature: feature.clone(), operator: if wish { "in" } else { "not in" }, values }])
        }
        _ => None,
    }
}

fn literal(tree: &Tree) -> Option<FeatureValue> {
    match tree {
        Tree::Int(number) => Some(FeatureValue::Int(*number)),
        Tree::Bool(flag) => Some(FeatureValue::Bool(*flag)),
        Tree::Text(text) => Some(FeatureValue::Text(text.clone())),
        _ => None,
    }
}

/// A change of one value that makes a product take an enterprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallestChange {
    /// The feature.
    pub feature: String,
    /// The value nearest to the enterprise's own that would do.
    pub to: FeatureValue,
}

/// The smallest change of a single value that would make a product take an enterprise that it refuses; nothing where no single
/// change does. Of several features the one whose value changes least in proportion is told, and the first by name at a tie.
#[must_use]
pub fn smallest_change(product: &Product, symbols: &Symbols, row: &Row) -> Option<SmallestChange> {
    let Verdict::Refused(reasons) = product.verdict(row) else { return None };
    // Only a column that everything which fails looks at can put all of it right.
    let mut columns: Option<BTreeSet<Column>> = None;
    for reason in reasons {
        let needs = match reason {
            Reason::Condition(place) => &product.conditions.get(place)?.needs,
            Reason::BelowMinimum => &product.limit.needs,
            Reason::Unusable => return None,
        };
        columns = Some(match columns {
            None => needs.iter().copied().collect(),
            Some(columns) => needs.iter().copied().filter(|column| columns.contains(column)).collect(),
        });
    }
    let columns = columns.unwrap_or_default().into_iter().filter(|column| row.knows(*column));
    let changes = columns.filter_map(|column| {
        let to = nearest(product, row, column)?;
        let from = row.value(column);
        Some((share(from, to), column, to))
    });
    let (_, column, to) = changes.min_by_key(|(share, column, _)| (*share, *column))?;
    let to = match COLUMNS.kind(column) {
        FeatureType::Int => FeatureValue::Int(to),
        FeatureType::Bool => FeatureValue::Bool(to == 1),
        FeatureType::Text => FeatureValue::Text(symbols.text(to)?),
    };
    Some(SmallestChange { feature: COLUMNS.name(column).to_owned(), to })
}

/// A change in millionths of the value; a text or a flag changes as a whole.
fn share(from: i64, to: i64) -> i128 {
    let change = i128::from(to).saturating_sub(from.into()).saturating_abs();
    let size = i128::from(from).saturating_abs().max(1);
    change.saturating_mul(1_000_000).checked_div(size).unwrap_or(i128::MAX)
}

/// The value of a column nearest to the row's own with which the product takes the row.
fn nearest(product: &Product, row: &Row, column: Column) -> Option<i64> {
    let own = row.value(column);
    let mut tried = row.clone();
    let mut takes = |value: i64| {
        tried.set(column, value);
        matches!(product.verdict(&tried), Verdict::Eligible { .. })
    };
    let by_distance = |value: &i64| (i128::from(*value).saturating_sub(own.into()).saturating_abs(), *value);
    let mut candidates: Vec<i64> = candidates(product, row, column).into_iter().filter(|value| *value != own).collect();
    candidates.sort_by_key(by_distance);
    let found = candidates.into_iter().find(|value| takes(*value));
    if COLUMNS.kind(column) != FeatureType::Int || !is_calculated_with(product, column) {
        return found;
    }
    let (up, down) = (beyond(&mut takes, own, Direction::Up), beyond(&mut takes, own, Direction::Down));
    [found, up, down].into_iter().flatten().min_by_key(by_distance)
}

/// Whether the limit or a condition calculates with a column, so that what decides need not be a number that stands in a rule.
fn is_calculated_with(product: &Product, column: Column) -> bool {
    let mut found = product.limit.needs.contains(&column);
    for condition in product.conditions.iter().filter(|condition| condition.needs.contains(&column)) {
        condition.test.visit(&mut |part| {
            if matches!(part, Expression::Math(..) | Expression::MathBy(..) | Expression::Negate(_)) {
                found |= part.columns().contains(&column);
            }
        });
    }
    found
}

/// Where a condition on a column may change, or the limit: at what the column is compared with, and one beside it.
fn candidates(product: &Product, row: &Row, column: Column) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    let countable = COLUMNS.kind(column) == FeatureType::Int;
    let mut near = |value: i64| {
        found.insert(value);
        // Beside a text there is nothing.
        if countable {
            found.extend([value.checked_sub(1), value.checked_add(1)].into_iter().flatten());
        }
    };
    for condition in product.conditions.iter().chain([&product.limit]) {
        condition.test.visit(&mut |part| match part {
            Expression::CompareWith(_, compared, value) if *compared == column => near(*value),
            Expression::Compare(_, a, b) => {
                for (side, other) in [(a, b), (b, a)] {
                    if **side == Expression::Column(column) {
                        other.value(row).into_iter().for_each(&mut near);
                    }
                }
            }
            Expression::OneOf(element, members) if **element == Expression::Column(column) => {
                members.iter().filter_map(|member| member.value(row)).for_each(&mut near);
            }
            _ => {}
        });
    }
    match COLUMNS.kind(column) {
        FeatureType::Bool => BTreeSet::from([0, 1]),
        // Counts and amounts are not negative.
        FeatureType::Int if row.value(column) >= 0 => found.into_iter().filter(|value| *value >= 0).collect(),
        FeatureType::Int | FeatureType::Text => found,
    }
}

/// Which way a number is changed.
#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

/// A number further on that does, where a formula decides: found by doubling the step, then halved back to the nearest. Counts
/// and amounts do not become negative.
fn beyond(takes: &mut impl FnMut(i64) -> bool, own: i64, direction: Direction) -> Option<i64> {
    let further = |from: i64, step: i64| match direction {
        Direction::Up => from.checked_add(step),
        Direction::Down if own >= 0 => (from > 0).then(|| from.saturating_sub(step).max(0)),
        Direction::Down => from.checked_sub(step),
    };
    let (mut short, mut step) = (own, own.saturating_abs() / 8 + 1);
    let mut enough = loop {
        let next = further(short, step)?;
        if takes(next) {
            break next;
        }
        short = next;
        step = step.checked_mul(2)?;
    };
    while enough.abs_diff(short) > 1 {
        let middle = i64::midpoint(short, enough);
        if takes(middle) { enough = middle } else { short = middle }
    }
    Some(enough)
}
