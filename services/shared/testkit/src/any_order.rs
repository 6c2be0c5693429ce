//! One history, told in many ways.

use anyhow::{Context as _, Result};

use crate::{Deliveries, Event, State, seed};

/// Orders that come in every run, beside one that is another in every run.
const SEEDS: [u64; 4] = [1, 2, 3, 4];
/// Each of so many is told again under another id.
const RETOLD: usize = 3;

/// Tells a history once in its order, and then in others, everything twice and some of it more often, each time to a service of its
/// own: `tell` starts it, tells it, and gives its state when all is taken. The state must be the same, byte for byte.
///
/// # Errors
/// When it is not, with the seed of the order; or when telling fails.
pub async fn any_order_ends_the_same(history: &[Event], tell: impl AsyncFn(Deliveries) -> Result<State>) -> Result<()> {
    let told = Deliveries::new(history.to_vec());
    let straight = tell(told.clone()).await.context("told in order")?;
    for seed in SEEDS.into_iter().chain([seed()?]) {
        let shuffled = told.clone().retold(RETOLD).twice().shuffled(seed);
        let other = tell(shuffled).await.with_context(|| format!("told in the order of seed {seed}"))?;
        straight.ensure_same(&other).with_context(|| format!("the order of seed {seed} ends otherwise"))?;
    }
    Ok(())
}
