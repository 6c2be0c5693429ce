//! Numbers that are others in every run.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use uuid::Uuid;

/// Names the numbers of a run, for those that are others in every run.
const VARIABLE: &str = "ZHIRONG_TEST_SEED";

/// Another seed in every run, or the one that is asked for. It is printed, so that a run can be repeated.
///
/// # Errors
/// When what is asked for is no number.
pub fn seed() -> Result<u64> {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    let asked = std::env::var(VARIABLE).ok();
    let seed = match asked {
        Some(text) => text.parse().context(VARIABLE)?,
        None => Uuid::now_v7().as_u64_pair().1,
    };
    writeln!(std::io::stdout(), "to repeat this run: {VARIABLE}={seed}")?;
    Ok(seed)
}
