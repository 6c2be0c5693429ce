//! All against all: every enterprise against every product. Enterprises are taken many at a time, so that a product's formulas
//! are computed for all that it takes in one go.

use std::ops::Range;

use crate::{
    batch::Run,
    bits::listed,
    chain::Chain,
    coded::Coded,
    engine::{Engine, Found},
    population::{Candidate, LANES, Population},
    thresholds::{BLOCK, Bits, WORDS},
};

/// Enterprises that are taken at a time: as many as keep what is written of them near the processor.
const TOGETHER: usize = 32 * LANES;
/// Words from one row of who is taken to the next: not a power of two, so that a column of them does not fall into the same few
/// lines of the cache.
const APART: usize = BLOCK + 8;
/// How many enterprises of 64 a product takes, mostly.
const SOME: usize = 12;

impl Population {
    /// Every enterprise in a part of the coded that one of an engine's products takes, in no order that means anything.
    pub fn each_coded(&self, part: Range<usize>, engine: &Engine, coded: &Coded, mut show: impl FnMut(Candidate)) {
        let mut group = Group::new(self, engine, coded);
        let end = part.end.min(coded.len());
        for start in part.step_by(TOGETHER) {
            group.sweep(start..start.saturating_add(TOGETHER).min(end), &mut show);
        }
    }
}

/// What is needed for some enterprises at a time.
struct Group<'a> {
    population: &'a Population,
    engine: &'a Engine,
    coded: &'a Coded,
    /// The least and the largest value of each start.
    bounds: Vec<(i64, i64)>,
    /// By 64 enterprises, then by product of a block: who is taken.
    taken: Vec<[u64; APART]>,
    /// Places in the group of those that a product takes.
    places: Vec<u32>,
    /// By product, in order: limit and rate, where both are chains and nothing else has to be looked at.
    chained: Vec<Option<(Chained, Chained)>>,
    limits: Vec<i64>,
    rates: Vec<i64>,
}

/// A chain for many enterprises: where it starts, and its steps.
struct Chained {
    start: usize,
    run: Run,
}

impl<'a> Group<'a> {
    fn new(population: &'a Population, engine: &'a Engine, coded: &'a Coded) -> Self {
        let usual = coded.inputs().last() == Some(&engine.lpr_1y_ppm());
        let chained = |chain: &Chain| {
            let start = coded.starts().iter().position(|start| start.column == chain.column())?;
            Some(Chained { start, run: chain.run()? })
        };
        let placed = (0..engine.valid().len()).flat_map(|block| engine.placed(block));
        let chained = placed.map(|placed| {
            let (limit, rate) = placed.chains().filter(|_| usual)?;
            Some((chained(limit)?, chained(rate)?))
        });
        Self {
            population,
            engine,
            coded,
            bounds: Vec::new(),
            chained: chained.collect(),
            taken: vec![[0; APART]; TOGETHER / LANES],
            places: vec![0; TOGETHER + SOME],
            limits: Vec::with_capacity(TOGETHER),
            rates: Vec::with_capacity(TOGETHER),
        }
    }

    fn sweep(&mut self, part: Range<usize>, show: &mut impl FnMut(Candidate)) {
        let codes = self.coded.codes(part.clone());
        let values: Vec<&[i64]> =
            self.coded.starts().iter().map(|start| start.values.get(part.clone()).unwrap_or_default()).collect();
        let bounds = values.iter().map(|values| {
            let (least, most) = (values.iter().min(), values.iter().max());
            (least.copied().unwrap_or(0), most.copied().unwrap_or(0))
        });
        self.bounds = bounds.collect();
        let order = self.coded.order(part);
        for products in 0..self.engine.valid().len() {
            self.take(products, codes);
            self.price(products, order, &values, show);
        }
    }

    /// Finds who is taken by each product of a block. What a word of bits costs is saved where a block has fewer products.
    fn take(&mut self, products: usize, codes: &[u16]) {
        match self.engine.placed(products).len().div_ceil(64) {
            1 => self.take_words::<1>(products, codes),
            2 => self.take_words::<2>(products, codes),
            3 => self.take_words::<3>(products, codes),
            4 => self.take_words::<4>(products, codes),
            5 => self.take_words::<5>(products, codes),
            6 => self.take_words::<6>(products, codes),
            7 => self.take_words::<7>(products, codes),
            _ => self.take_words::<WORDS>(products, codes),
        }
    }

    fn take_words<const W: usize>(&mut self, products: usize, codes: &[u16]) {
        let bits: Vec<&[Bits]> = self.coded.joints().iter().map(|joint| joint.of_block(products)).collect();
        let columns = self.coded.joints().len().max(1);
        for (codes, taken) in codes.chunks(columns.saturating_mul(LANES)).zip(&mut self.taken) {
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
                taken.copy_from_slice(word);
            }
        }
    }

    /// Computes limits and rates of those that each product of a block takes.
    fn price(&mut self, products: usize, order: &[u32], values: &[&[i64]], show: &mut impl FnMut(Candidate)) {
        let first = products.saturating_mul(BLOCK);
        let chained = self.chained.get(first..).unwrap_or_default();
        let taken = self.taken.get(..order.len().div_ceil(LANES)).unwrap_or_default();
        for (number, (placed, chained)) in self.engine.placed(products).iter().zip(chained).enumerate() {
            let words = taken.iter().filter_map(|taken| taken.get(number).copied());
            let places = listed::<SOME>(words, 0, &mut self.places);
            if places.is_empty() {
                continue;
            }
            let computed = chained.as_ref().is_some_and(|(limit, rate)| {
                limit.computed(values, &self.bounds, places, &mut self.limits)
                    && rate.computed(values, &self.bounds, places, &mut self.rates)
            });
            if !computed {
                let position = u32::try_from(first.saturating_add(number)).unwrap_or(u32::MAX);
                let one = |place: &u32| {
                    let lane = self.population.lane(*order.get(index(*place))?, self.coded.inputs())?;
                    let found = self.engine.priced_for_any_lpr(position, &lane)?;
                    Some((found.limit_fen, found.rate_ppm))
                };
                (self.limits, self.rates) = places.iter().map(|place| one(place).unwrap_or(NEITHER)).unzip();
            }
            for ((place, limit_fen), rate_ppm) in places.iter().zip(&self.limits).zip(&self.rates) {
                if let Some(found) = placed.bounded(*limit_fen, *rate_ppm)
                    && let Some(place) = order.get(index(*place))
                    && let Some(candidate) = candidate(self.population, *place, found)
                {
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
    fn computed(&self, values: &[&[i64]], bounds: &[(i64, i64)], places: &[u32], into: &mut Vec<i64>) -> bool {
        let (Some(values), Some(bounds)) = (values.get(self.start), bounds.get(self.start)) else { return false };
        into.clear();
        into.extend(places.iter().map(|place| values.get(index(*place)).copied().unwrap_or(0)));
        self.run.of_values(*bounds, into)
    }
}

#[inline]
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[inline]
fn candidate(population: &Population, place: u32, found: Found) -> Option<Candidate> {
    let (block, lane) = (population.blocks.get(index(place) / LANES)?, index(place) % LANES);
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
