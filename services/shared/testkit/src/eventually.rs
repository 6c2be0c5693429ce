//! Waiting on conditions.

use std::{future::Future, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep};

/// Longest wait for anything that a service does in the background.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `look` finds something, for at most `patience`. An error of `look` is no reason to give up, but the last one is told.
///
/// # Errors
/// When nothing was found in time; it names `what` was waited for.
pub async fn eventually<T, F>(patience: Duration, what: &str, look: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let found = look().await;
        if let Ok(Some(found)) = found {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return match found {
                Err(error) => Err(error).with_context(|| format!("waited {patience:?} in vain until {what}")),
                Ok(_) => bail!("waited {patience:?} in vain until {what}"),
            };
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn looks_again_after_errors_and_misses() {
        let looks = AtomicUsize::new(0);
        let found = eventually(Duration::from_secs(20), "the third look", || async {
            match looks.fetch_add(1, Ordering::SeqCst) {
                0 => bail!("not yet"),
                1 => Ok(None),
                _ => Ok(Some("found")),
            }
        });
        assert_eq!(found.await.unwrap(), "found");
    }

    #[tokio::test]
    async fn says_what_was_waited_for_and_what_went_wrong() {
        let nothing = eventually(Duration::ZERO, "the sun rises", || async { anyhow::Ok(None::<()>) }).await;
        assert!(nothing.unwrap_err().to_string().ends_with("in vain until the sun rises"));
        let broken = eventually::<(), _>(Duration::ZERO, "the sun rises", || async { bail!("it is cloudy") }).await;
        let told = format!("{:#}", broken.unwrap_err());
        assert!(told.contains("until the sun rises") && told.ends_with("it is cloudy"), "{told}");
    }
}
