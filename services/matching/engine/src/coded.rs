//! A population's values by their places among an engine's thresholds. Enterprises that are alike in what rules list, such as
//! industries, stand together: a product takes many neighbours or none.

use std::collections::BTreeSet;

use zhirong_kernel::{feature::FeatureType, rule::Inputs};

use crate::{
    columns::{COLUMNS, Column},
    engine::{Engine, Placed},
    expression::Values as _,
    joint::Joint,
    population::{LANES, Lane, Population},
    thresholds::Thresholds,
};

/// Every value of a population by its place among the thresholds of an engine. Columns with few thresholds are taken together.
pub struct Coded {
    /// By enterprise, then by joint.
    codes: Vec<u16>,
    /// Where each enterprise stands in the population.
    order: Vec<u32>,
    /// The columns that chains start with.
    starts: Vec<Start>,
    joints: Vec<Joint>,
    inputs: [i64; 3],
}

/// A column's values by enterprise.
pub(crate) struct Start {
    pub column: Column,
    pub values: Vec<i64>,
}

impl Population {
    /// Where every value stands among an engine's thresholds; they hold until a profile or the catalog changes. Nothing when the
    /// engine has more thresholds in a column than codes can name.
    #[must_use]
    pub fn coded(&self, engine: &Engine, inputs: Inputs) -> Option<Coded> {
        let inputs = [inputs.requested_fen, inputs.term_months, inputs.lpr_1y_ppm];
        let joints = Joint::all(engine)?;
        let texts = texts(engine);
        let (mut keyed, mut codes) = (Vec::with_capacity(self.len()), Vec::new());
        codes.reserve_exact(self.len().saturating_mul(joints.len()));
        let mut starts: Vec<Start> =
            starting(engine).map(|column| Start { column, values: Vec::with_capacity(self.len()) }).collect();
        for place in 0..u32::try_from(self.blocks.len().saturating_mul(LANES)).ok()? {
            let lane = self.lane(place, &inputs)?;
            if lane.block.live >> lane.lane & 1 == 0 {
                continue;
            }
            let key = texts.iter().fold(0_u32, |key, thresholds| {
                let interval = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                key.wrapping_mul(interval(thresholds.intervals())).wrapping_add(interval(lane.interval(thresholds)))
            });
            keyed.push((key, keyed.len(), place));
            codes.extend(joints.iter().map(|joint| joint.code(engine, &lane)));
            starts.iter_mut().for_each(|start| start.values.push(lane.value(start.column)));
        }
        keyed.sort_unstable();
        let width = joints.len();
        let row = |row: usize| codes.get(row.saturating_mul(width)..).unwrap_or_default().iter().take(width);
        let codes = keyed.iter().flat_map(|(_, of, _)| row(*of)).copied().collect();
        for start in &mut starts {
            let value = |of: &usize| start.values.get(*of).copied().unwrap_or(0);
            start.values = keyed.iter().map(|(_, of, _)| value(of)).collect();
        }
        let order = keyed.into_iter().map(|(.., place)| place).collect();
        Some(Coded { codes, order, starts, joints, inputs })
    }

    /// The enterprise at a place.
    pub(crate) fn lane<'a>(&'a self, place: u32, inputs: &'a [i64; 3]) -> Option<Lane<'a>> {
        let place = usize::try_from(place).ok()?;
        Some(Lane { block: self.blocks.get(place / LANES)?, lane: place % LANES, inputs })
    }
}

/// The thresholds of texts, those of most first.
fn texts(engine: &Engine) -> Vec<&Thresholds> {
    let mut texts: Vec<&Thresholds> = engine.thresholds().iter().collect();
    texts.retain(|thresholds| COLUMNS.kind(thresholds.column) == FeatureType::Text);
    texts.sort_by_key(|thresholds| std::cmp::Reverse(thresholds.intervals()));
    texts
}

/// The columns that an engine's chains start with.
fn starting(engine: &Engine) -> impl Iterator<Item = Column> {
    let placed = (0..engine.valid().len()).flat_map(|block| engine.placed(block));
    let chains = placed.filter_map(Placed::chains);
    let columns: BTreeSet<Column> = chains.flat_map(|(limit, rate)| [limit.column(), rate.column()]).collect();
    columns.into_iter()
}

impl Coded {
    /// Enterprises there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let starts = self.starts.iter().map(|start| size_of_val(start.values.as_slice())).sum::<usize>();
        let (codes, order) = (size_of_val(self.codes.as_slice()), size_of_val(self.order.as_slice()));
        codes.saturating_add(order).saturating_add(starts)
    }

    pub(crate) fn joints(&self) -> &[Joint] {
        &self.joints
    }

    pub(crate) fn starts(&self) -> &[Start] {
        &self.starts
    }

    pub(crate) fn inputs(&self) -> &[i64; 3] {
        &self.inputs
    }

    /// Where enterprises stand in the population.
    pub(crate) fn order(&self, part: std::ops::Range<usize>) -> &[u32] {
        self.order.get(part).unwrap_or_default()
    }

    /// The codes of enterprises.
    pub(crate) fn codes(&self, part: std::ops::Range<usize>) -> &[u16] {
        let width = self.joints.len();
        self.codes.get(part.start.saturating_mul(width)..part.end.saturating_mul(width)).unwrap_or_default()
    }
}
