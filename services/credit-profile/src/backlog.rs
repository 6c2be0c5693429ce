//! Whether many records are coming in: then they go first, and profiles are computed after them, each once.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// So many records at once are a backlog.
const MANY: usize = 100;
/// A backlog has ended when no such batch came for this long.
const PAUSE: Duration = Duration::from_millis(100);
/// Profiles wait no longer than this for one more round.
const PATIENCE: Duration = Duration::from_secs(2);

/// When the last large batch came in.
#[derive(Debug, Default)]
pub struct Backlog(Mutex<Option<Instant>>);

impl Backlog {
    /// A batch of so many records came in.
    pub fn note(&self, records: usize) {
        if records >= MANY {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// Returns when the backlog has ended or the profiles have waited long enough; at once when there is none.
    pub async fn over(&self) {
        let began = Instant::now();
        while self.lasts() && began.elapsed() < PATIENCE {
            sleep(PAUSE / 4).await;
        }
    }

    fn lasts(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|last| last.elapsed() < PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn profiles_wait_for_a_backlog_and_not_for_ever() {
        let backlog = Backlog::default();
        let waited = async || {
            let began = Instant::now();
            backlog.over().await;
            began.elapsed()
        };
        assert_eq!(waited().await, Duration::ZERO);
        backlog.note(MANY - 1);
        assert_eq!(waited().await, Duration::ZERO, "a few records are shown at once");
        backlog.note(MANY);
        assert_eq!(waited().await, PAUSE);
        let began = Instant::now();
        let busy = async {
            loop {
                backlog.note(MANY);
                sleep(PAUSE / 2).await;
            }
        };
        tokio::select! {
            biased; // it is busy first
            () = busy => {}
            () = backlog.over() => {}
        }
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
