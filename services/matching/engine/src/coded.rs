//! A population's values by their places among an engine's thresholds.

use zhirong_kernel::rule::Inputs;

use crate::{
    columns::{COLUMNS, Column},
    engine::Engine,
    expression::Values,
    population::{Block, LANES, Lane, Population},
    thresholds::{Bits, Thresholds},
};

/// Places that columns taken together may have: their bits stay in the nearest cache.
const MOST: usize = 512;

/// Every value of a population by its place among the thresholds of an engine. Columns with few thresholds are taken together.
pub struct Coded {
    /// By enterprise, then by joint.
    codes: Vec<u16>,
    joints: Vec<Joint>,
    pub(crate) inputs: [i64; 3],
}

/// Some columns whose places are one code.
pub(crate) struct Joint {
    /// Columns by their place among the engine's thresholds, with what one place of each is worth in the code.
    members: Vec<(usize, usize)>,
    codes: usize,
    /// By block of products, then by code: the products that take it.
    bits: Vec<Bits>,
}

impl Joint {
    /// The bits of a block of products, by code.
    pub fn of_block(&self, block: usize) -> &[Bits] {
        let first = block.saturating_mul(self.codes);
        self.bits.get(first..first.saturating_add(self.codes)).unwrap_or_default()
    }

    fn of(engine: &Engine, places: &[usize]) -> Self {
        let mut codes = 1_usize;
        let mut members = Vec::new();
        for place in places {
            members.push((*place, codes));
            codes = codes.saturating_mul(engine.thresholds().get(*place).map_or(1, Thresholds::intervals));
        }
        let mut bits = Vec::with_capacity(engine.valid().len().saturating_mul(codes));
        for block in 0..engine.valid().len() {
            bits.extend((0..codes).map(|code| {
                let mut common = [u64::MAX; _];
                for (place, worth) in &members {
                    let Some(thresholds) = engine.thresholds().get(*place) else { continue };
                    let interval = code.checked_div(*worth).unwrap_or(0) % thresholds.intervals();
                    let bits = thresholds.of_block(block).get(interval).copied().unwrap_or_default();
                    common.iter_mut().zip(bits).for_each(|(common, bits): (&mut u64, u64)| *common &= bits);
                }
                common
            }));
        }
        Self { members, codes, bits }
    }
}

impl Population {
    /// Where every value stands among an engine's thresholds; they hold until a profile or the catalog changes. Nothing when the
    /// engine has more thresholds in a column than codes can name.
    #[must_use]
    pub fn coded(&self, engine: &Engine, inputs: Inputs) -> Option<Coded> {
        let inputs = [inputs.requested_fen, inputs.term_months, inputs.lpr_1y_ppm];
        let joints: Vec<Joint> = joined(engine.thresholds()).iter().map(|places| Joint::of(engine, places)).collect();
        if joints.iter().any(|joint| u16::try_from(joint.codes).is_err()) {
            return None;
        }
        let mut codes = Vec::with_capacity(self.blocks.len().saturating_mul(LANES).saturating_mul(joints.len()));
        for block in &self.blocks {
            for lane in 0..LANES {
                codes.extend(joints.iter().map(|joint| joint.code(engine, &Lane { block, lane, inputs: &inputs })));
            }
        }
        Some(Coded { codes, joints, inputs })
    }
}

impl Joint {
    fn code(&self, engine: &Engine, lane: &Lane<'_>) -> u16 {
        let place = |(place, worth): &(usize, usize)| {
            let interval = engine.thresholds().get(*place).map_or(0, |thresholds| lane.interval(thresholds));
            interval.saturating_mul(*worth)
        };
        u16::try_from(self.members.iter().map(place).sum::<usize>()).unwrap_or(u16::MAX)
    }
}

impl Lane<'_> {
    fn interval(&self, thresholds: &Thresholds) -> usize {
        let cells = self.block.columns.get(thresholds.column);
        let known = cells.is_none_or(|cells| cells.known >> self.lane & 1 == 1);
        thresholds.interval(known.then(|| self.value(thresholds.column)))
    }
}

/// Columns, by their places, that are taken together.
fn joined(thresholds: &[Thresholds]) -> Vec<Vec<usize>> {
    let mut few: Vec<(usize, usize)> = thresholds.iter().map(Thresholds::intervals).zip(0..).collect();
    few.sort_unstable();
    let mut all: Vec<(usize, Vec<usize>)> = Vec::new();
    for (intervals, place) in few {
        match all.last_mut() {
            Some((codes, places)) if codes.saturating_mul(intervals) <= MOST => {
                *codes = codes.saturating_mul(intervals);
                places.push(place);
            }
            _ => all.push((intervals, vec![place])),
        }
    }
    all.into_iter().map(|(_, places)| places).collect()
}

impl Coded {
    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.codes.as_slice())
    }

    pub(crate) fn joints(&self) -> &[Joint] {
        &self.joints
    }

    /// The codes from a block of enterprises on.
    pub(crate) fn codes(&self, block: usize) -> &[u16] {
        self.codes.get(block.saturating_mul(self.joints.len()).saturating_mul(LANES)..).unwrap_or_default()
    }

    /// The value of an input.
    pub(crate) fn input(&self, column: Column) -> i64 {
        let place = column.checked_sub(COLUMNS.features());
        place.and_then(|place| self.inputs.get(place)).copied().unwrap_or(0)
    }

    /// Limit and rate of a product for one enterprise of some blocks, where it has them.
    pub(crate) fn value(&self, engine: &Engine, position: u32, blocks: &[Block], place: usize) -> Option<(i64, i64)> {
        let block = blocks.get(place / LANES)?;
        let row = Lane { block, lane: place % LANES, inputs: &self.inputs };
        let found =
            if engine.usual(&row) { engine.priced(position, &row) } else { engine.priced_anyhow(position, &row) };
        found.map(|found| (found.limit_fen, found.rate_ppm))
    }
}
