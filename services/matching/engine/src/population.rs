//! Every enterprise in columns: one product against all of them, or all products. Enterprises stand in blocks of 64, so that
//! each test of a rule gives the answers of a block as one word.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use zhirong_kernel::{feature::FeatureType, feature::Features, rule::Inputs};

use crate::{
    columns::{COLUMNS, Column, Row, Symbols},
    expression::{Expression, Values},
    product::Product,
    ranges::{Ranges, Sorted},
};

/// Enterprises in a block.
pub(crate) const LANES: usize = 64;

/// An enterprise's USCC.
pub type Id = [u8; 18];

/// An enterprise that a product takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub id: Id,
    /// Version of its profile.
    pub version: i64,
    /// Place of the product in the list that was asked for.
    pub product: usize,
    /// Limit, fen.
    pub limit_fen: i64,
    /// Yearly rate, ppm.
    pub rate_ppm: i64,
}

/// All enterprises.
pub struct Population {
    symbols: Arc<Symbols>,
    pub(crate) blocks: Vec<Block>,
    places: HashMap<Id, usize>,
    /// Places that were left.
    free: Vec<usize>,
}

pub(crate) struct Block {
    pub ids: [Id; LANES],
    pub versions: [i64; LANES],
    /// Who is there.
    pub live: u64,
    /// By column.
    pub columns: Vec<Cells>,
}

/// One column of a block.
#[derive(Clone)]
pub(crate) struct Cells {
    pub values: [i64; LANES],
    pub known: u64,
}

impl Population {
    /// Nobody yet. The symbols are those of the products.
    #[must_use]
    pub fn new(symbols: Arc<Symbols>) -> Self {
        Self { symbols, blocks: Vec::new(), places: HashMap::new(), free: Vec::new() }
    }

    /// Enterprises there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let cells = self.blocks.iter().map(|block| size_of_val(block.columns.as_slice())).sum::<usize>();
        let index = self.places.capacity().saturating_mul(size_of::<(Id, usize)>().saturating_add(1));
        cells.saturating_add(size_of_val(self.blocks.as_slice())).saturating_add(index)
    }

    /// Who says yes to a flag; nobody when there is no such feature.
    #[must_use]
    pub fn flagged(&self, feature: &str) -> HashSet<Id> {
        let Some(column) = COLUMNS.of(feature).filter(|column| COLUMNS.kind(*column) == FeatureType::Bool) else {
            return HashSet::new();
        };
        let mut found = HashSet::new();
        for block in &self.blocks {
            let Some(cells) = block.columns.get(column) else { continue };
            let lanes = block.ids.iter().zip(cells.values).zip(0_u32..);
            found.extend(lanes.filter_map(|((id, value), lane)| {
                let there = (block.live & cells.known).checked_shr(lane).unwrap_or(0) & 1 == 1;
                (there && value != 0).then_some(*id)
            }));
        }
        found
    }

    /// Keeps an enterprise's profile unless a newer one is there.
    pub fn put(&mut self, id: Id, version: i64, features: &Features) {
        let row = Row::kept(&self.symbols, features);
        let place = match self.places.get(&id) {
            Some(place) => *place,
            None => {
                let place = self.free.pop().unwrap_or_else(|| self.end());
                self.places.insert(id, place);
                place
            }
        };
        let Some(block) = self.blocks.get_mut(place / LANES) else { return };
        let (lane, bit) = (place % LANES, 1_u64 << (place % LANES));
        if block.live & bit != 0 && block.versions.get(lane).is_some_and(|kept| *kept >= version) {
            return;
        }
        block.live |= bit;
        if let (Some(kept), Some(of)) = (block.ids.get_mut(lane), block.versions.get_mut(lane)) {
            (*kept, *of) = (id, version);
        }
        for (cells, column) in block.columns.iter_mut().zip(0..) {
            if let Some(value) = cells.values.get_mut(lane) {
                *value = row.value(column);
            }
            if row.knows(column) { cells.known |= bit } else { cells.known &= !bit }
        }
    }

    /// Forgets an enterprise.
    pub fn remove(&mut self, id: &Id) {
        if let Some(place) = self.places.remove(id) {
            if let Some(block) = self.blocks.get_mut(place / LANES) {
                block.live &= !(1_u64 << (place % LANES));
            }
            self.free.push(place);
        }
    }

    /// The first place of a new block; its other places become free.
    fn end(&mut self) -> usize {
        let first = self.blocks.len().saturating_mul(LANES);
        let empty = Cells { values: [0; LANES], known: 0 };
        self.blocks.push(Block {
            ids: [[0; 18]; LANES],
            versions: [0; LANES],
            live: 0,
            columns: vec![empty; COLUMNS.features()],
        });
        self.free.extend((first.saturating_add(1)..first.saturating_add(LANES)).rev());
        first
    }

    /// Every enterprise that one of some products takes.
    pub fn each(&self, products: &[Arc<Product>], inputs: Inputs, show: impl FnMut(Candidate)) {
        self.each_of(0..self.blocks(), products, inputs, show);
    }

    /// How many blocks there are; parts of them can be looked at by several threads.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The sum of every value that some products look at: what reading their columns once costs, for measuring.
    #[must_use]
    pub fn read(&self, products: &[Arc<Product>]) -> i64 {
        let touched: BTreeSet<Column> = products.iter().flat_map(|product| product.needs()).collect();
        let cells = self.blocks.iter().flat_map(|block| touched.iter().filter_map(|column| block.columns.get(*column)));
        cells.fold(0, |sum, cells| cells.values.iter().fold(sum, |sum, value| sum.wrapping_add(*value)))
    }

    /// As [`Population::each`], in some of the blocks.
    pub fn each_of(
        &self,
        blocks: std::ops::Range<usize>,
        products: &[Arc<Product>],
        inputs: Inputs,
        mut show: impl FnMut(Candidate),
    ) {
        let sweep = Sweep::new(products);
        let inputs = [inputs.requested_fen, inputs.term_months, inputs.lpr_1y_ppm];
        let mut answers = vec![0; sweep.tests.len()];
        for block in self.blocks.get(blocks).unwrap_or_default() {
            for (answer, test) in answers.iter_mut().zip(&sweep.tests) {
                *answer = block.answer(test, &inputs);
            }
            for (swept, place) in sweep.products.iter().zip(0..) {
                let mut common = block.live;
                for test in &swept.tests {
                    common &= answers.get(*test).copied().unwrap_or(0);
                }
                for column in &swept.needs {
                    common &= block.columns.get(*column).map_or(0, |cells| cells.known);
                }
                while common != 0 {
                    let lane =
                        Lane { block, lane: usize::try_from(common.trailing_zeros()).unwrap_or(0), inputs: &inputs };
                    common &= common.wrapping_sub(1);
                    if let Some((limit_fen, rate_ppm)) = swept.priced(&lane) {
                        let (Some(id), Some(version)) = (block.ids.get(lane.lane), block.versions.get(lane.lane))
                        else {
                            continue;
                        };
                        show(Candidate { id: *id, version: *version, product: place, limit_fen, rate_ppm });
                    }
                }
            }
        }
    }
}

impl Block {
    /// Who is known to meet a test.
    fn answer(&self, test: &Ranges, inputs: &[i64; 3]) -> u64 {
        let Some(cells) = self.columns.get(test.column) else {
            let input = test.column.checked_sub(COLUMNS.features()).and_then(|place| inputs.get(place));
            return if input.is_some_and(|value| test.contains(*value)) { u64::MAX } else { 0 };
        };
        let mut within = 0;
        for (start, end) in &test.ranges {
            within |= match (*start, *end) {
                (i64::MIN, end) => word(&cells.values, |value| value <= end),
                (start, i64::MAX) => word(&cells.values, |value| value >= start),
                (start, end) => word(&cells.values, |value| (start..=end).contains(&value)),
            };
        }
        within & cells.known
    }
}

/// A bit for each value that meets a test.
fn word(values: &[i64; LANES], meets: impl Fn(i64) -> bool) -> u64 {
    values.iter().zip(0..).fold(0, |word, (value, bit)| word | (u64::from(meets(*value)) << bit))
}

/// One enterprise of a block.
pub(crate) struct Lane<'a> {
    pub block: &'a Block,
    pub lane: usize,
    pub inputs: &'a [i64; 3],
}

impl Values for Lane<'_> {
    fn value(&self, column: Column) -> i64 {
        let features = self.block.columns.len();
        match self.block.columns.get(column) {
            Some(cells) => cells.values.get(self.lane).copied().unwrap_or(0),
            None => self.inputs.get(column.saturating_sub(features)).copied().unwrap_or(0),
        }
    }
}

/// Products with every test that several of them ask listed once.
struct Sweep {
    tests: Vec<Ranges>,
    products: Vec<Swept>,
}

struct Swept {
    product: Arc<Product>,
    /// Places among the tests.
    tests: Vec<usize>,
    /// Columns that must be known beside those that are tested.
    needs: Vec<Column>,
    rest: Vec<Expression>,
}

impl Sweep {
    fn new(products: &[Arc<Product>]) -> Self {
        let (mut tests, mut places) = (Vec::new(), HashMap::new());
        let products = products
            .iter()
            .map(|product| {
                let sorted = Sorted::of(product.conditions.iter().map(|condition| &condition.test));
                let tested: Vec<Column> = sorted.ranges.iter().map(|ranges| ranges.column).collect();
                let rest = sorted.rest.into_iter().cloned().collect();
                let tests = sorted
                    .ranges
                    .into_iter()
                    .map(|ranges| {
                        *places.entry(ranges.clone()).or_insert_with(|| {
                            tests.push(ranges);
                            tests.len().saturating_sub(1)
                        })
                    })
                    .collect();
                let needs = product.needs().into_iter().filter(|column| !tested.contains(column)).collect();
                Swept { product: Arc::clone(product), tests, needs, rest }
            })
            .collect();
        Self { tests, products }
    }
}

impl Swept {
    fn priced(&self, lane: &Lane<'_>) -> Option<(i64, i64)> {
        if !self.rest.iter().all(|test| test.value(lane) == Some(1)) {
            return None;
        }
        self.product.priced(lane)
    }
}
