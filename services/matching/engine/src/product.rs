//! A product over columns.

use std::collections::BTreeSet;

use zhirong_kernel::rule::{Rule, Tree};

use crate::{
    columns::{COLUMNS, Column, Row, Symbols},
    expression::{Expression, Values},
};

/// Rates above this are a mistake in a formula.
pub const HIGHEST_RATE_PPM: i64 = 360_000;

/// What the engine needs of a product.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What must hold.
    pub conditions: &'a [&'a Rule],
    /// Limit in fen.
    pub limit: &'a Rule,
    /// Yearly rate in ppm.
    pub rate: &'a Rule,
    /// Smallest amount lent, fen; a limit below it is a refusal.
    pub min_amount_fen: i64,
    /// Largest amount lent, fen; a limit above it is cut.
    pub max_amount_fen: i64,
    /// Mean rating, ppm of a level; 0 when nobody has rated.
    pub score_ppm: i64,
}

/// Why a product refuses an enterprise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The condition at this place does not hold.
    Condition(usize),
    /// A rule can't be computed for this profile.
    Unusable,
    /// The limit is below the smallest amount lent.
    BelowMinimum,
}

/// What a product means for an enterprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may have it.
    Eligible {
        /// Limit, fen.
        limit_fen: i64,
        /// Yearly rate, ppm.
        rate_ppm: i64,
    },
    /// In the product's order.
    Refused(Vec<Reason>),
    /// No condition fails, but these features are not known.
    Unknown(BTreeSet<String>),
}

/// One condition.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub test: Expression,
    /// Columns that must be known.
    pub needs: Vec<Column>,
}

/// A product over columns.
#[derive(Debug, Clone)]
pub struct Product {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) limit: Condition,
    pub(crate) rate: Condition,
    pub(crate) min_amount_fen: i64,
    pub(crate) max_amount_fen: i64,
    pub(crate) score_ppm: i64,
}

impl Product {
    /// Compiles a product; nothing when a rule looks at a feature that this version does not have.
    #[must_use]
    pub fn compile(symbols: &Symbols, terms: Terms<'_>) -> Option<Self> {
        let condition = |tree: &Tree| {
            let test = Expression::of(tree, symbols)?;
            let needs = test.columns().into_iter().filter(|column| *column < COLUMNS.features()).collect();
            Some(Condition { test, needs })
        };
        Some(Self {
            conditions: terms.conditions.iter().map(|rule| condition(rule.tree())).collect::<Option<_>>()?,
            limit: condition(terms.limit.tree())?,
            rate: condition(terms.rate.tree())?,
            min_amount_fen: terms.min_amount_fen,
            max_amount_fen: terms.max_amount_fen,
            score_ppm: terms.score_ppm,
        })
    }

    /// Names of the features that its conditions, its limit and its rate look at, in order of the dictionary.
    #[must_use]
    pub fn features(&self) -> Vec<&'static str> {
        self.needs().into_iter().map(|column| COLUMNS.name(column)).collect()
    }

    /// What it means for an enterprise. A condition that certainly fails outweighs what is not known; a rule that can't be
    /// computed refuses the product rather than guess.
    #[must_use]
    pub fn verdict(&self, row: &Row) -> Verdict {
        let (mut refused, mut missing) = (Vec::new(), BTreeSet::new());
        for (condition, place) in self.conditions.iter().zip(0..) {
            match condition.answer(row) {
                Answer::Value(1) => {}
                Answer::Value(_) => refused.push(Reason::Condition(place)),
                Answer::Unusable => refused.push(Reason::Unusable),
                Answer::Missing(columns) => missing.extend(columns),
            }
        }
        if !refused.is_empty() {
            return Verdict::Refused(refused);
        }
        let (limit, rate) = (self.limit.answer(row), self.rate.answer(row));
        for answer in [&limit, &rate] {
            if let Answer::Missing(columns) = answer {
                missing.extend(columns);
            }
        }
        if !missing.is_empty() {
            return Verdict::Unknown(missing.into_iter().map(|column| COLUMNS.name(column).to_owned()).collect());
        }
        let (Answer::Value(limit), Answer::Value(rate_ppm)) = (limit, rate) else {
            return Verdict::Refused(vec![Reason::Unusable]);
        };
        match self.bounded(limit, rate_ppm) {
            Ok((limit_fen, rate_ppm)) => Verdict::Eligible { limit_fen, rate_ppm },
            Err(reason) => Verdict::Refused(vec![reason]),
        }
    }

    /// Limit and rate within the product's bounds.
    fn bounded(&self, limit: i64, rate_ppm: i64) -> Result<(i64, i64), Reason> {
        if !(0..=HIGHEST_RATE_PPM).contains(&rate_ppm) {
            return Err(Reason::Unusable);
        }
        let limit_fen = limit.min(self.max_amount_fen);
        if limit_fen < self.min_amount_fen { Err(Reason::BelowMinimum) } else { Ok((limit_fen, rate_ppm)) }
    }

    /// Limit and rate where everything is known and every condition holds.
    pub(crate) fn priced(&self, row: &impl Values) -> Option<(i64, i64)> {
        self.bounded(self.limit.test.value(row)?, self.rate.test.value(row)?).ok()
    }

    /// Every feature it looks at.
    pub(crate) fn needs(&self) -> BTreeSet<Column> {
        let all = self.conditions.iter().chain([&self.limit, &self.rate]);
        all.flat_map(|condition| condition.needs.iter().copied()).collect()
    }
}

/// What a rule says of a row.
enum Answer {
    Value(i64),
    Missing(Vec<Column>),
    Unusable,
}

impl Condition {
    fn answer(&self, row: &Row) -> Answer {
        // CEL calls a number and a text unequal without a word: a wrong profile is noticed, not judged.
        if self.needs.iter().any(|column| row.wrong.contains(column)) {
            return Answer::Unusable;
        }
        let missing: Vec<Column> = self.needs.iter().copied().filter(|column| !row.knows(*column)).collect();
        if !missing.is_empty() {
            return Answer::Missing(missing);
        }
        self.test.value(row).map_or(Answer::Unusable, Answer::Value)
    }
}
