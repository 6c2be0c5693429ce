//! Work on all rows of a table, a few at a time while everything else goes on, over and over: pass after pass in the order of the rows.

use std::{error::Error, time::Duration};

use tokio_util::sync::CancellationToken;

/// Between two passes: other replicas may still write as a release or a setting before had it.
const PAUSE: Duration = Duration::from_secs(60);
/// After an error.
const RETRY: Duration = Duration::from_secs(5);

/// What is done to each row that is not as it should be.
pub trait Pass: Send + Sync {
    /// Why a batch fails.
    type Error: Error + 'static;

    /// What can't be done when a batch fails, for the log.
    const FAILED: &'static str;

    /// Works on some of the rows after this one in their order; gives the last of them, or none when there are no more. So a row that
    /// can't be worked on is tried once a pass and keeps none behind it waiting.
    fn batch(&self, after: &str) -> impl Future<Output = Result<Option<String>, Self::Error>> + Send;
}

/// Makes passes until shutdown.
pub async fn run<P: Pass>(pass: P, shutdown: CancellationToken) {
    let mut after = String::new();
    while !shutdown.is_cancelled() {
        let pause = match pass.batch(&after).await {
            Ok(Some(last)) => {
                after = last;
                continue;
            }
            Ok(None) => {
                after.clear();
                PAUSE
            }
            Err(error) => {
                tracing::error!(%error, source = ?error.source(), "{}; trying again", P::FAILED);
                RETRY
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
