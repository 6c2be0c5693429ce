//! All against all: every enterprise against every product. Enterprises are taken many at a time, so that a product's formulas
//! are computed for all that it takes in one go.

use std::ops::Range;

use crate::{
    batch::Run,
    bits::listed,
    chain::Chain,
    coded::Coded,
    columns::Column,
    engine::{Engine, Found, Placed},
    population::{Block, Candidate, LANES, Population},
    thresholds::{BLOCK, Bits, WORDS},
};

/// Blocks of enterprises that are taken at a time: as many enterprises as keep what is written of them near the processor.
const TOGETHER: usize = 32;
/// How many enterprises of 64 a product takes, mostly.
const SOME: usize = 4;

impl Population {
    /// Every enterprise in some of the blocks that one of an engine's products takes, in no order that means anything.
    pub fn each_coded(&self, blocks: Range<usize>, engine: &Engine, coded: &Coded, mut show: impl FnMut(Candidate)) {
        let width = coded.joints().len().saturating_mul(LANES);
        let codes = coded.codes(blocks.start);
        let blocks = self.blocks.get(blocks).unwrap_or_default();
        let mut group = Group::new(engine, coded);
        for (blocks, codes) in blocks.chunks(TOGETHER).zip(codes.chunks(width.saturating_mul(TOGETHER).max(1))) {
            group.sweep(blocks, codes, &mut show);
        }
    }
}

/// What is needed for some blocks of enterprises at a time.
struct Group<'a> {
    engine: &'a Engine,
    coded: &'a Coded,
    /// Columns that chains start with, and their values for each enterprise of the group.
    starts: Vec<Start>,
    /// By block of enterprises, then by product of a block: who is taken.
    taken: Vec<[u64; BLOCK]>,
    /// Places in the group of those that a product takes.
    places: Vec<u32>,
    /// By product, in order: limit and rate, where both are chains and nothing else has to be looked at.
    chained: Vec<Option<(Chained, Chained)>>,
    limits: Vec<i64>,
    rates: Vec<i64>,
}

struct Start {
    column: Column,
    values: Vec<i64>,
    /// The least and the largest of them.
    bounds: (i64, i64),
}

/// A chain for many enterprises: where it starts, and its steps.
struct Chained {
    start: usize,
    run: Run,
}

impl<'a> Group<'a> {
    fn new(engine: &'a Engine, coded: &'a Coded) -> Self {
        let placed = || (0..engine.valid().len()).flat_map(|block| engine.placed(block));
        let mut columns: Vec<Column> =
            placed().filter_map(Placed::chains).flat_map(|(limit, rate)| [limit.column(), rate.column()]).collect();
        columns.sort_unstable();
        columns.dedup();
        let chained =
            |chain: &Chain| Some(Chained { start: columns.binary_search(&chain.column()).ok()?, run: chain.run()? });
        let usual = coded.inputs.last() == Some(&engine.lpr_1y_ppm());
        let chained = placed().map(|placed| {
            let (limit, rate) = placed.chains().filter(|_| usual)?;
            Some((chained(limit)?, chained(rate)?))
        });
        let chained = chained.collect();
        let start = |column| Start { column, values: vec![0; TOGETHER * LANES], bounds: (0, 0) };
        let starts = columns.into_iter().map(start).collect();
        Self {
            engine,
            coded,
            starts,
            chained,
            taken: vec![[0; BLOCK]; TOGETHER],
            places: vec![0; TOGETHER * LANES + SOME],
            limits: Vec::with_capacity(TOGETHER * LANES),
            rates: Vec::with_capacity(TOGETHER * LANES),
        }
    }

    fn sweep(&mut self, blocks: &[Block], codes: &[u16], show: &mut impl FnMut(Candidate)) {
        for start in &mut self.starts {
            for (block, values) in blocks.iter().zip(start.values.chunks_mut(LANES)) {
                match block.columns.get(start.column) {
                    Some(cells) => values.copy_from_slice(&cells.values),
                    None => values.fill(self.coded.input(start.column)),
                }
            }
            let values = start.values.iter();
            start.bounds = values.fold((0, 0), |(least, most), value| (least.min(*value), most.max(*value)));
        }
        for products in 0..self.engine.valid().len() {
            self.take(products, blocks, codes);
            self.price(products, blocks, show);
        }
    }

    /// Finds who is taken by each product of a block. What a word of bits costs is saved where a block has fewer products.
    fn take(&mut self, products: usize, blocks: &[Block], codes: &[u16]) {
        match self.engine.placed(products).len().div_ceil(64) {
            1 => self.take_words::<1>(products, blocks, codes),
            2 => self.take_words::<2>(products, blocks, codes),
            3 => self.take_words::<3>(products, blocks, codes),
            4 => self.take_words::<4>(products, blocks, codes),
            5 => self.take_words::<5>(products, blocks, codes),
            6 => self.take_words::<6>(products, blocks, codes),
            7 => self.take_words::<7>(products, blocks, codes),
            _ => self.take_words::<WORDS>(products, blocks, codes),
        }
    }

    fn take_words<const W: usize>(&mut self, products: usize, blocks: &[Block], codes: &[u16]) {
        let bits: Vec<&[Bits]> = self.coded.joints().iter().map(|joint| joint.of_block(products)).collect();
        let columns = self.coded.joints().len().max(1);
        let codes = codes.chunks(columns.saturating_mul(LANES));
        for ((block, codes), taken) in blocks.iter().zip(codes).zip(&mut self.taken) {
            // By word of the products' bits, then by enterprise.
            let mut words = [[0_u64; LANES]; W];
            for (lane, codes) in codes.chunks_exact(columns).enumerate() {
                let mut common = [u64::MAX; W];
                for (bits, code) in bits.iter().zip(codes) {
                    let Some(bits) = bits.get(usize::from(*code)).and_then(|bits| bits.first_chunk::<W>()) else {
                        continue;
                    };
                    for (common, bits) in common.iter_mut().zip(bits) {
                        *common &= bits;
                    }
                }
                for (word, common) in words.iter_mut().zip(common) {
                    if let Some(word) = word.get_mut(lane) {
                        *word = common;
                    }
                }
            }
            for (taken, word) in taken.chunks_mut(LANES).zip(&mut words) {
                transpose(word);
                for (taken, lanes) in taken.iter_mut().zip(word) {
                    *taken = *lanes & block.live;
                }
            }
        }
    }

    /// Computes limits and rates of those that each product of a block takes.
    fn price(&mut self, products: usize, blocks: &[Block], show: &mut impl FnMut(Candidate)) {
        let first = products.saturating_mul(BLOCK);
        let chained = self.chained.get(first..).unwrap_or_default();
        let taken = self.taken.get(..blocks.len()).unwrap_or_default();
        for (number, (placed, chained)) in self.engine.placed(products).iter().zip(chained).enumerate() {
            let places =
                listed::<SOME>(taken.iter().filter_map(|taken| taken.get(number).copied()), 0, &mut self.places);
            if places.is_empty() {
                continue;
            }
            let computed = chained.as_ref().is_some_and(|(limit, rate)| {
                limit.computed(&self.starts, places, &mut self.limits)
                    && rate.computed(&self.starts, places, &mut self.rates)
            });
            if !computed {
                let position = u32::try_from(first.saturating_add(number)).unwrap_or(u32::MAX);
                let values = places.iter().map(|place| self.coded.value(self.engine, position, blocks, index(*place)));
                (self.limits, self.rates) = values.map(|value| value.unwrap_or(NEITHER)).unzip();
            }
            for ((place, limit_fen), rate_ppm) in places.iter().zip(&self.limits).zip(&self.rates) {
                let found = placed.bounded(*limit_fen, *rate_ppm);
                if let Some(candidate) = found.and_then(|found| candidate(blocks, *place, found)) {
                    show(candidate);
                }
            }
        }
    }
}

/// A limit and a rate that are within nobody's bounds.
const NEITHER: (i64, i64) = (i64::MIN, -1);

impl Chained {
    /// Computes it for some enterprises of a group; says whether it could.
    fn computed(&self, starts: &[Start], places: &[u32], into: &mut Vec<i64>) -> bool {
        let Some(start) = starts.get(self.start) else { return false };
        into.clear();
        into.extend(places.iter().map(|place| start.values.get(index(*place)).copied().unwrap_or(0)));
        self.run.of_values(start.bounds, into)
    }
}

#[inline]
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[inline]
fn candidate(blocks: &[Block], place: u32, found: Found) -> Option<Candidate> {
    let (block, lane) = (blocks.get(index(place) / LANES)?, index(place) % LANES);
    let Found { product, limit_fen, rate_ppm } = found;
    Some(Candidate { id: *block.ids.get(lane)?, version: *block.versions.get(lane)?, product, limit_fen, rate_ppm })
}

/// Makes rows of columns: bit `a` of word `b` becomes bit `b` of word `a`. By halves, as in "Hacker's Delight" 7-3.
fn transpose(words: &mut [u64; LANES]) {
    exchange::<32>(words, 0x0000_0000_FFFF_FFFF);
    exchange::<16>(words, 0x0000_FFFF_0000_FFFF);
    exchange::<8>(words, 0x00FF_00FF_00FF_00FF);
    exchange::<4>(words, 0x0F0F_0F0F_0F0F_0F0F);
    exchange::<2>(words, 0x3333_3333_3333_3333);
    exchange::<1>(words, 0x5555_5555_5555_5555);
}

/// Exchanges the upper bits of each first half of words with the lower bits of the second; the mask says which are the lower.
#[inline]
fn exchange<const HALF: usize>(words: &mut [u64; LANES], lower: u64) {
    for pair in words.chunks_exact_mut(2 * HALF) {
        let (first, second) = pair.split_at_mut(HALF);
        for (a, b) in first.iter_mut().zip(second) {
            let changed = ((*a >> HALF) ^ *b) & lower;
            *b ^= changed;
            *a ^= changed << HALF;
        }
    }
}
