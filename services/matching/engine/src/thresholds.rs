//! Which products a value leaves: for each column, the values between two thresholds mean the same for every product, and one bit
//! a product says whether it takes them.

use std::collections::BTreeSet;

use crate::{
    columns::{COLUMNS, Column},
    ranges::Ranges,
};

/// Words of bits in a block.
pub(crate) const WORDS: usize = 8;
/// Products in a block: few enough that the best are found in the first, many enough that a column's bits fill a cache line.
pub(crate) const BLOCK: usize = WORDS * 64;

/// A bit for each product of a block.
pub(crate) type Bits = [u64; WORDS];

/// The thresholds of one column, and what each value between them means.
pub(crate) struct Thresholds {
    pub column: Column,
    /// In order; values below the first are the first interval, from the first on the second, and so on.
    pub cuts: Vec<i64>,
    /// By block, then by interval: the products that take it. The last interval of a block is for a value that is not known.
    pub bits: Vec<Bits>,
}

impl Thresholds {
    /// Intervals there are, the one of a value that is not known among them.
    pub fn intervals(&self) -> usize {
        self.cuts.len().saturating_add(2)
    }

    /// The bits of a block, by interval.
    pub fn of_block(&self, block: usize) -> &[Bits] {
        let intervals = self.intervals();
        let first = block.saturating_mul(intervals);
        self.bits.get(first..first.saturating_add(intervals)).unwrap_or_default()
    }

    /// Where a value stands among the cuts; nothing stands for a value that is not known.
    pub fn interval(&self, value: Option<i64>) -> usize {
        match value {
            Some(value) => self.cuts.partition_point(|cut| *cut <= value),
            None => self.cuts.len().saturating_add(1),
        }
    }
}

/// What a product needs of the columns.
pub(crate) struct Needs {
    pub columns: BTreeSet<Column>,
    pub ranges: Vec<Ranges>,
}

/// The thresholds of products in their order.
pub(crate) fn thresholds(order: &[Needs]) -> Vec<Thresholds> {
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
    let row = (position / BLOCK).saturating_mul(intervals).saturating_add(interval);
    if let Some(word) = bits.get_mut(row).and_then(|bits| bits.get_mut(position % BLOCK / 64)) {
        *word &= !(1 << (position % 64));
    }
}
