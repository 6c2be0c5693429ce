//! One profile against every product. For each column, the values between two thresholds mean the same for every product: one
//! bit a product says whether it takes them. The products that take a profile are what all its columns' bits have in common.
//! Products stand in order of the least rate they can come to, so that looking for the best can stop early.

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc};

use crate::{
    code::{Code, Span},
    columns::{COLUMNS, Column, Row},
    expression::{Expression, Values},
    product::{HIGHEST_RATE_PPM, Product},
    ranges::{Ranges, Sorted},
};

/// Words of bits in a block.
const WORDS: usize = 8;
/// Products in a block: few enough that the best are found in the first, many enough that a column's bits fill a cache line.
const BLOCK: usize = WORDS * 64;

type Bits = [u64; WORDS];

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
    /// What the bits do not say, of those products where they do not say all.
    rests: Vec<Vec<Expression>>,
    thresholds: Vec<Thresholds>,
    /// For each block: the products there are.
    valid: Vec<Bits>,
}

/// What is looked at of a product once the bits take an enterprise; together in one line of the cache, because it is looked at
/// often.
struct Placed {
    best: i64,
    score_ppm: i64,
    min_amount_fen: i64,
    max_amount_fen: i64,
    limit: Span,
    rate: Span,
    place: u32,
    /// Where what the bits do not say stands; nothing when they say all.
    rest: Option<NonZeroU32>,
}

/// The thresholds of one column, and what each value between them means.
struct Thresholds {
    column: Column,
    /// In order; values below the first are the first interval, from the first on the second, and so on.
    cuts: Vec<i64>,
    /// By block, then by interval: the products that take it. The last interval of a block is for a value that is not known.
    bits: Vec<Bits>,
}

impl Thresholds {
    fn intervals(&self) -> usize {
        self.cuts.len().saturating_add(2)
    }

    /// Where a value stands among the cuts; nothing stands for a value that is not known.
    fn interval(&self, value: Option<i64>) -> usize {
        match value {
            Some(value) => self.cuts.partition_point(|cut| *cut <= value),
            None => self.cuts.len().saturating_add(1),
        }
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
                let placed = Placed {
                    best,
                    place: u32::try_from(place).unwrap_or(u32::MAX),
                    score_ppm: product.score_ppm,
                    min_amount_fen: product.min_amount_fen,
                    max_amount_fen: product.max_amount_fen,
                    rate: code.add(&product.rate.test),
                    limit: code.add(&product.limit.test),
                    rest,
                };
                (placed, Needs { columns: product.needs(), ranges: sorted.ranges })
            })
            .unzip();
        let thresholds = thresholds(&needs);
        let blocks = order.len().div_ceil(BLOCK);
        let mut valid = vec![Bits::default(); blocks];
        for position in 0..order.len() {
            set(&mut valid, position, true);
        }
        Self { products, weights, lpr_1y_ppm, order, code, rests, thresholds, valid }
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
        let places = self.places(row);
        for block in 0..self.valid.len() {
            self.each(block, &places, |placed| {
                found.extend(self.priced(placed, row));
                true
            });
        }
        found
    }

    /// The best products for an enterprise: by rate less what the rating is worth, then the rating, then the limit, then the
    /// place in the list. Terms that depend on the enterprise's subsidies and coupons are no part of it.
    #[must_use]
    pub fn best(&self, row: &Row, count: usize) -> Vec<Found> {
        let mut best: Vec<(Rank, Found)> = Vec::with_capacity(count.saturating_add(1).min(64));
        if count == 0 {
            return Vec::new();
        }
        if row.value(COLUMNS.of_input(2)) != self.lpr_1y_ppm {
            // The order of products holds for another LPR.
            for found in self.all(row) {
                let score_ppm = self.products.get(found.product).map_or(0, |product| product.score_ppm);
                keep(&mut best, count, self.rank(&found, score_ppm), found);
            }
            return best.into_iter().map(|(_, found)| found).collect();
        }
        let places = self.places(row);
        for block in 0..self.valid.len() {
            let going = self.each(block, &places, |placed| {
                let worst = best.last().filter(|_| best.len() == count).map_or(i64::MAX, |(worst, _)| worst.points);
                if placed.best > worst {
                    return false;
                }
                // The rate alone tells most of those that are not among the best.
                let rate_ppm = self.code.value(placed.rate, row);
                if rate_ppm.is_some_and(|rate_ppm| self.weights.points(rate_ppm, placed.score_ppm) > worst) {
                    return true;
                }
                if let Some(found) = self.priced(placed, row) {
                    keep(&mut best, count, self.rank(&found, placed.score_ppm), found);
                }
                true
            });
            if !going {
                break;
            }
        }
        best.into_iter().map(|(_, found)| found).collect()
    }

    /// Limit and rate of a product whose bits take a row.
    fn priced(&self, placed: &Placed, row: &impl Values) -> Option<Found> {
        if placed.rest.is_some_and(|rest| !self.takes(rest, row)) {
            return None;
        }
        let rate_ppm = self.code.value(placed.rate, row).filter(|rate| (0..=HIGHEST_RATE_PPM).contains(rate))?;
        let limit_fen = self.code.value(placed.limit, row)?.min(placed.max_amount_fen);
        (limit_fen >= placed.min_amount_fen).then_some(Found {
            product: usize::try_from(placed.place).unwrap_or(usize::MAX),
            limit_fen,
            rate_ppm,
        })
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
    fn places(&self, row: &Row) -> Vec<(&[Bits], usize)> {
        self.thresholds
            .iter()
            .map(|thresholds| {
                let value = row.knows(thresholds.column).then(|| row.value(thresholds.column));
                let bits = thresholds.bits.get(thresholds.interval(value)..).unwrap_or_default();
                (bits, thresholds.intervals())
            })
            .collect()
    }

    /// The columns that thresholds are of.
    pub(crate) fn columns(&self) -> impl Iterator<Item = Column> {
        self.thresholds.iter().map(|thresholds| thresholds.column)
    }

    /// Where a value stands among the thresholds at a place; nothing when there are more intervals than a code can name.
    pub(crate) fn code(&self, place: usize, value: Option<i64>) -> Option<u16> {
        u16::try_from(self.thresholds.get(place)?.interval(value)).ok()
    }

    /// Every product that takes who has these codes, one for each column of [`Engine::columns`].
    pub(crate) fn each_of_coded(&self, codes: &[u16], row: &impl Values, mut show: impl FnMut(Found)) {
        for (block, valid) in self.valid.iter().enumerate() {
            let mut common = *valid;
            for (thresholds, code) in self.thresholds.iter().zip(codes) {
                let place = block.saturating_mul(thresholds.intervals()).saturating_add(usize::from(*code));
                let Some(bits) = thresholds.bits.get(place) else { return };
                for (common, bits) in common.iter_mut().zip(bits) {
                    *common &= bits;
                }
            }
            self.each_bit(block, &common, |placed| {
                if let Some(found) = self.priced(placed, row) {
                    show(found);
                }
                true
            });
        }
    }

    /// Shows every product of a block whose bits take the row, in order, while it says so; says whether it still does.
    fn each(&self, block: usize, places: &[(&[Bits], usize)], show: impl FnMut(&Placed) -> bool) -> bool {
        let mut common = self.valid.get(block).copied().unwrap_or_default();
        for (bits, intervals) in places {
            let bits = bits.get(block.saturating_mul(*intervals)).copied().unwrap_or_default();
            for (common, bits) in common.iter_mut().zip(bits) {
                *common &= bits;
            }
        }
        self.each_bit(block, &common, show)
    }

    fn each_bit(&self, block: usize, common: &Bits, mut show: impl FnMut(&Placed) -> bool) -> bool {
        let mut first = block.saturating_mul(BLOCK);
        for word in common {
            let mut word = *word;
            while word != 0 {
                let bit = usize::try_from(word.trailing_zeros()).unwrap_or(0);
                word &= word.wrapping_sub(1);
                let Some(placed) = self.order.get(first.saturating_add(bit)) else {
                    return false;
                };
                if !show(placed) {
                    return false;
                }
            }
            first = first.saturating_add(64);
        }
        true
    }
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

/// What a product needs of the columns.
struct Needs {
    columns: BTreeSet<Column>,
    ranges: Vec<Ranges>,
}

fn thresholds(order: &[Needs]) -> Vec<Thresholds> {
    let blocks = order.len().div_ceil(BLOCK);
    let mut all = Vec::new();
    for column in 0..COLUMNS.count() {
        let mut cuts: Vec<i64> = Vec::new();
        for ranges in order.iter().flat_map(|needs| &needs.ranges).filter(|ranges| ranges.column == column) {
            for (start, end) in &ranges.ranges {
                cuts.extend((*start != i64::MIN).then_some(*start));
                cuts.extend(end.checked_add(1));
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        let needing = order.iter().enumerate().filter(|(_, needs)| needs.columns.contains(&column));
        let needing: Vec<usize> = needing.map(|(position, _)| position).collect();
        if cuts.is_empty() && needing.is_empty() {
            continue;
        }
        let mut thresholds = Thresholds { column, cuts, bits: Vec::new() };
        let intervals = thresholds.intervals();
        thresholds.bits = vec![[u64::MAX; WORDS]; blocks.saturating_mul(intervals)];
        let starts: Vec<i64> = std::iter::once(i64::MIN).chain(thresholds.cuts.iter().copied()).collect();
        for (position, needs) in order.iter().enumerate() {
            for ranges in needs.ranges.iter().filter(|ranges| ranges.column == column) {
                for (interval, start) in starts.iter().enumerate() {
                    if !ranges.contains(*start) {
                        clear(&mut thresholds.bits, intervals, interval, position);
                    }
                }
            }
        }
        for position in needing {
            clear(&mut thresholds.bits, intervals, intervals.saturating_sub(1), position);
        }
        all.push(thresholds);
    }
    all
}

/// Takes the bit of a product out of an interval.
fn clear(bits: &mut [Bits], intervals: usize, interval: usize, position: usize) {
    let block = position / BLOCK;
    let row = block.saturating_mul(intervals).saturating_add(interval);
    if let Some(bits) = bits.get_mut(row) {
        set(std::slice::from_mut(bits), position % BLOCK, false);
    }
}

fn set(bits: &mut [Bits], position: usize, to: bool) {
    let word = bits.get_mut(position / BLOCK).and_then(|bits| bits.get_mut(position % BLOCK / 64));
    if let Some(word) = word {
        let bit = 1_u64 << (position % 64);
        if to { *word |= bit } else { *word &= !bit }
    }
}
