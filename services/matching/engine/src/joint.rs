//! Columns with few thresholds taken together: what their values leave of the products is looked up once for all of them.

use crate::{
    engine::Engine,
    expression::Values as _,
    population::Lane,
    thresholds::{Bits, Thresholds},
};

/// Places that columns taken together may have: their bits stay in the nearest cache.
const MOST: usize = 512;

/// Some columns whose places are one code.
pub(crate) struct Joint {
    /// Columns by their place among the engine's thresholds, with what one place of each is worth in the code.
    members: Vec<(usize, usize)>,
    codes: usize,
    /// By block of products, then by code: the products that take it.
    bits: Vec<Bits>,
}

impl Joint {
    /// All columns of an engine; nothing when one has more thresholds than codes can name.
    pub fn all(engine: &Engine) -> Option<Vec<Self>> {
        let joints: Vec<Self> = joined(engine.thresholds()).iter().map(|places| Self::of(engine, places)).collect();
        joints.iter().all(|joint| u16::try_from(joint.codes).is_ok()).then_some(joints)
    }

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

    /// The code of an enterprise.
    pub fn code(&self, engine: &Engine, lane: &Lane<'_>) -> u16 {
        let place = |(place, worth): &(usize, usize)| {
            let interval = engine.thresholds().get(*place).map_or(0, |thresholds| lane.interval(thresholds));
            interval.saturating_mul(*worth)
        };
        u16::try_from(self.members.iter().map(place).sum::<usize>()).unwrap_or(u16::MAX)
    }
}

impl Lane<'_> {
    /// Where the enterprise's value stands among some thresholds.
    pub fn interval(&self, thresholds: &Thresholds) -> usize {
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
    if all.is_empty() {
        // Products that look at nothing take everybody, who all have the one code that there is.
        all.push((1, Vec::new()));
    }
    all.into_iter().map(|(_, places)| places).collect()
}
