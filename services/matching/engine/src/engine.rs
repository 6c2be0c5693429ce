//! One profile against every product. For each column, the values between two thresholds mean the same for every product: one
//! bit a product says whether it takes them. The products that take a profile are what all its columns' bits have in common.
//! Products stand in order of the least rate they can come to, so that looking for the best can stop early.

use std::{num::NonZeroU32, sync::Arc};

use crate::{
    bits::{listed, places},
    chain::Chain,
    code::{Code, Span},
    columns::{COLUMNS, Column, Row},
    expression::{Expression, Values},
    product::{HIGHEST_RATE_PPM, Product},
    ranges::Sorted,
    thresholds::{BLOCK, Bits, Needs, Thresholds, thresholds},
};

/// What ratings weigh against rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weights {
    /// What a whole level of the mean rating is worth, ppm of yearly rate.
    pub level_worth_ppm: i64,
    /// What a product that nobody has rated is taken to have, ppm of a level.
    pub unrated_level_ppm: i64,
}

impl Weights {
    /// The rate less what the rating is worth, in millionths of a ppm: the lower, the better the place.
    #[must_use]
    pub fn points(self, rate_ppm: i64, score_ppm: i64) -> i64 {
        let level = if score_ppm > 0 { score_ppm } else { self.unrated_level_ppm };
        rate_ppm.saturating_mul(1_000_000).saturating_sub(self.level_worth_ppm.saturating_mul(level))
    }
}

/// A product that takes an enterprise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its place in the list that the engine was made of.
    pub product: usize,
    /// Limit, fen.
    pub limit_fen: i64,
    /// Yearly rate, ppm.
    pub rate_ppm: i64,
}

/// All products of a catalog, ready to be matched.
#[derive(Default)]
pub struct Engine {
    products: Vec<Arc<Product>>,
    weights: Weights,
    lpr_1y_ppm: i64,
    /// Products in order of the points they can come to at best, with those points and their place in the list.
    order: Vec<Placed>,
    code: Code,
    /// The formulas of those in order, for any LPR.
    spans: Vec<Spans>,
    /// What the bits do not say, of those products where they do not say all.
    rests: Vec<Vec<Expression>>,
    thresholds: Vec<Thresholds>,
    /// For each block: the products there are.
    valid: Vec<Bits>,
}

/// What is looked at of a product once the bits take an enterprise; together in one line of the cache, because it is looked at
/// often.
pub(crate) struct Placed {
    best: i64,
    score_ppm: i64,
    min_amount_fen: i64,
    max_amount_fen: i64,
    limit: Formula,
    rate: Formula,
    place: u32,
    /// Where what the bits do not say stands; nothing when they say all.
    rest: Option<NonZeroU32>,
}

/// A formula where the LPR is the one that the engine was made for.
#[derive(Clone, Copy)]
enum Formula {
    Chain(Chain),
    Code(Span),
}

/// Where a product's formulas are in the code.
struct Spans {
    limit: Span,
    rate: Span,
}

impl Placed {
    /// Limit and rate as chains, where both are and nothing else has to be looked at.
    pub fn chains(&self) -> Option<(&Chain, &Chain)> {
        match (&self.limit, &self.rate, self.rest) {
            (Formula::Chain(limit), Formula::Chain(rate), None) => Some((limit, rate)),
            _ => None,
        }
    }

    /// What limit and rate come to within the product's bounds, if they are within them.
    #[inline]
    pub fn bounded(&self, limit_fen: i64, rate_ppm: i64) -> Option<Found> {
        let limit_fen = limit_fen.min(self.max_amount_fen);
        let within = limit_fen >= self.min_amount_fen && (0..=HIGHEST_RATE_PPM).contains(&rate_ppm);
        within.then_some(Found { product: usize::try_from(self.place).unwrap_or(usize::MAX), limit_fen, rate_ppm })
    }
}

impl Engine {
    /// Makes products ready. The one-year LPR and the weights are those that the best are looked for with.
    #[must_use]
    pub fn new(products: Vec<Arc<Product>>, weights: Weights, lpr_1y_ppm: i64) -> Self {
        let lpr = COLUMNS.of_input(2);
        let bounds = |column: Column| if column == lpr { (lpr_1y_ppm, lpr_1y_ppm) } else { (i64::MIN, i64::MAX) };
        let best = |product: &Product| {
            let least_rate = product.rate.test.bounds(&bounds).0.clamp(0, HIGHEST_RATE_PPM);
            weights.points(least_rate, product.score_ppm)
        };
        let mut sorted: Vec<(i64, usize, &Arc<Product>)> =
            products.iter().enumerate().map(|(place, product)| (best(product), place, product)).collect();
        sorted.sort_by_key(|(best, place, _)| (*best, *place));
        let mut code = Code::default();
        // The first is nobody's, so that a place in it is never zero.
        let mut rests: Vec<Vec<Expression>> = vec![Vec::new()];
        let mut spans = Vec::with_capacity(sorted.len());
        let formula = |formula: &Expression, span| {
            Chain::of(formula, (lpr, lpr_1y_ppm)).map_or(Formula::Code(span), Formula::Chain)
        };
        let (order, needs): (Vec<Placed>, Vec<Needs>) = sorted
            .into_iter()
            .map(|(best, place, product)| {
                let sorted = Sorted::of(product.conditions.iter().map(|condition| &condition.test));
                let rest = if sorted.rest.is_empty() {
                    None
                } else {
                    rests.push(sorted.rest.iter().map(|test| (*test).clone()).collect());
                    u32::try_from(rests.len().saturating_sub(1)).ok().and_then(NonZeroU32::new)
                };
                let span = Spans { limit: code.add(&product.limit.test), rate: code.add(&product.rate.test) };
                let placed = Placed {
                    best,
                    place: u32::try_from(place).unwrap_or(u32::MAX),
                    score_ppm: product.score_ppm,
                    min_amount_fen: product.min_amount_fen,
                    max_amount_fen: product.max_amount_fen,
                    rate: formula(&product.rate.test, span.rate),
                    limit: formula(&product.limit.test, span.limit),
                    rest,
                };
                spans.push(span);
                (placed, Needs { columns: product.needs(), ranges: sorted.ranges })
            })
            .unzip();
        let thresholds = thresholds(&needs);
        let valid = (0..order.len().div_ceil(BLOCK)).map(|block| {
            let left = order.len().saturating_sub(block.saturating_mul(BLOCK));
            std::array::from_fn(|word| match left.saturating_sub(word.saturating_mul(64)) {
                bits @ 0..64 => (1 << bits) - 1,
                _ => u64::MAX,
            })
        });
        let valid = valid.collect();
        Self { products, weights, lpr_1y_ppm, order, code, spans, rests, thresholds, valid }
    }

    /// The products, in the order they were given.
    #[must_use]
    pub fn products(&self) -> &[Arc<Product>] {
        &self.products
    }

    /// Bytes that the thresholds take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |thresholds: &Thresholds| {
            size_of_val(thresholds.bits.as_slice()).saturating_add(size_of_val(thresholds.cuts.as_slice()))
        };
        self.thresholds.iter().map(of).sum()
    }

    /// Every product that takes an enterprise, in no order that means anything.
    #[must_use]
    pub fn all(&self, row: &Row) -> Vec<Found> {
        let mut found = Vec::with_capacity(self.order.len() / 16);
        let intervals = self.intervals(row);
        let usual = self.usual(row);
        let mut room = [0; BLOCK + FEW];
        for block in 0..self.valid.len() {
            for position in listed::<FEW>(self.common(block, &intervals), start(block), &mut room) {
                found.extend(if usual { self.priced(*position, row) } else { self.priced_for_any_lpr(*position, row) });
            }
        }
        found
    }

    /// The LPR that it was made for.
    pub(crate) fn lpr_1y_ppm(&self) -> i64 {
        self.lpr_1y_ppm
    }

    /// Whether the LPR is the one that the engine was made for.
    pub(crate) fn usual(&self, row: &impl Values) -> bool {
        row.value(COLUMNS.of_input(2)) == self.lpr_1y_ppm
    }

    /// The best products for an enterprise: by rate less what the rating is worth, then the rating, then the limit, then the
    /// place in the list. Terms that depend on the enterprise's subsidies and coupons are no part of it.
    #[must_use]
    pub fn best(&self, row: &Row, count: usize) -> Vec<Found> {
        let mut best: Vec<(Rank, Found)> = Vec::with_capacity(count.saturating_add(1).min(64));
        if count == 0 {
            return Vec::new();
        }
        if !self.usual(row) {
            // The order of products holds for another LPR.
            for found in self.all(row) {
                let score_ppm = self.products.get(found.product).map_or(0, |product| product.score_ppm);
                keep(&mut best, count, self.rank(&found, score_ppm), found);
            }
            return best.into_iter().map(|(_, found)| found).collect();
        }
        let intervals = self.intervals(row);
        'blocks: for block in 0..self.valid.len() {
            // One by one: mostly it ends in the first words.
            for position in places(self.common(block, &intervals), start(block)) {
                let Some(placed) = self.order.get(usize::try_from(position).unwrap_or(usize::MAX)) else {
                    break 'blocks;
                };
                let worst = best.last().filter(|_| best.len() == count).map_or(i64::MAX, |(worst, _)| worst.points);
                if placed.best > worst {
                    break 'blocks;
                }
                // The rate alone tells most of those that are not among the best.
                let rate_ppm = self.value(&placed.rate, row);
                if rate_ppm.is_none_or(|rate_ppm| self.weights.points(rate_ppm, placed.score_ppm) > worst) {
                    continue;
                }
                if let Some(found) = self.priced(position, row) {
                    keep(&mut best, count, self.rank(&found, placed.score_ppm), found);
                }
            }
        }
        best.into_iter().map(|(_, found)| found).collect()
    }

    #[inline]
    fn value(&self, formula: &Formula, row: &impl Values) -> Option<i64> {
        match formula {
            Formula::Chain(chain) => chain.value(row),
            Formula::Code(span) => self.code.value(*span, row),
        }
    }

    /// Limit and rate of a product whose bits take a row with the usual LPR.
    #[inline]
    pub(crate) fn priced(&self, position: u32, row: &impl Values) -> Option<Found> {
        let placed = self.order.get(usize::try_from(position).ok()?)?;
        if placed.rest.is_some_and(|rest| !self.takes(rest, row)) {
            return None;
        }
        placed.bounded(self.value(&placed.limit, row)?, self.value(&placed.rate, row)?)
    }

    /// As [`Engine::priced`], for any LPR.
    pub(crate) fn priced_for_any_lpr(&self, position: u32, row: &impl Values) -> Option<Found> {
        let position = usize::try_from(position).ok()?;
        let (placed, spans) = (self.order.get(position)?, self.spans.get(position)?);
        if placed.rest.is_some_and(|rest| !self.takes(rest, row)) {
            return None;
        }
        placed.bounded(self.code.value(spans.limit, row)?, self.code.value(spans.rate, row)?)
    }

    fn takes(&self, rest: NonZeroU32, row: &impl Values) -> bool {
        let tests = usize::try_from(rest.get()).ok().and_then(|place| self.rests.get(place));
        tests.is_some_and(|tests| tests.iter().all(|test| test.value(row) == Some(1)))
    }

    fn rank(&self, found: &Found, score_ppm: i64) -> Rank {
        Rank {
            points: self.weights.points(found.rate_ppm, score_ppm),
            score: score_ppm.saturating_neg(),
            limit: found.limit_fen.saturating_neg(),
            place: found.product,
        }
    }

    /// Where the row's values stand among the thresholds: for each column the bits of its interval in the first block, and how
    /// far it is from block to block.
    fn intervals(&self, row: &Row) -> Vec<(&[Bits], usize)> {
        self.thresholds
            .iter()
            .map(|thresholds| {
                let value = row.knows(thresholds.column).then(|| row.value(thresholds.column));
                let bits = thresholds.bits.get(thresholds.interval(value)..).unwrap_or_default();
                (bits, thresholds.intervals())
            })
            .collect()
    }

    /// The thresholds of every column that a product looks at.
    pub(crate) fn thresholds(&self) -> &[Thresholds] {
        &self.thresholds
    }

    /// For each block: the products there are.
    pub(crate) fn valid(&self) -> &[Bits] {
        &self.valid
    }

    /// The products of a block in their order.
    pub(crate) fn placed(&self, block: usize) -> &[Placed] {
        self.order.chunks(BLOCK).nth(block).unwrap_or_default()
    }

    /// The products of a block that take the intervals.
    #[inline]
    fn common(&self, block: usize, intervals: &[(&[Bits], usize)]) -> Bits {
        let mut common = self.valid.get(block).copied().unwrap_or_default();
        for (bits, step) in intervals {
            let bits = bits.get(block.saturating_mul(*step)).copied().unwrap_or_default();
            for (common, bits) in common.iter_mut().zip(bits) {
                *common &= bits;
            }
        }
        common
    }
}

/// How many products of 64 take an enterprise, mostly.
const FEW: usize = 2;

/// The first position of a block.
fn start(block: usize) -> u32 {
    u32::try_from(block.saturating_mul(BLOCK)).unwrap_or(u32::MAX)
}

/// The lower, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    points: i64,
    score: i64,
    limit: i64,
    place: usize,
}

fn keep(best: &mut Vec<(Rank, Found)>, count: usize, rank: Rank, found: Found) {
    if best.len() == count && best.last().is_some_and(|(worst, _)| rank > *worst) {
        return;
    }
    let place = best.partition_point(|(better, _)| *better < rank);
    best.insert(place, (rank, found));
    best.truncate(count);
}
