//! Asks the profile service, right before a profile or a name leaves, what of consents, objections and erasures has not been heard
//! of yet. Events bring the same, a moment later or, while the broker is down, much later.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use opentelemetry::{global, metrics::Counter};
use serde::Deserialize;
use tonic::Status;
use zhirong_proto::profile::v1::{
    CheckDisclosuresRequest, CheckDisclosuresResponse, Consent, HeardConsent,
    disclosure_check_service_client::DisclosureCheckServiceClient,
};
use zhirong_runtime::{
    Error,
    peer::{Peer, peer},
    problem::Problem,
};

use crate::consent::{Dispute, Held};

/// How long an answer stands for what leaves by it.
const STANDS: SignedDuration = SignedDuration::from_millis(20);

/// Most consents, and most enterprises, that the profile service is asked for at once.
const AT_ONCE: usize = 1_000;
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

static UNCONFIRMED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .u64_counter("disclosures.unconfirmed")
        .with_description("Times that the profile service did not say how consents stand")
        .build()
});

/// Settings; `defaults.toml` explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the profile service listens for gRPC.
    pub profile: String,
    /// Longest wait for one answer, in milliseconds.
    pub timeout_ms: u64,
    /// How long it is asked again from the first failure on, in milliseconds.
    pub patience_ms: u64,
}

/// What was not heard of yet.
#[derive(Debug, Default)]
pub struct Unheard {
    /// Consents that have changed, by id.
    pub consents: HashMap<String, Newer>,
    /// Every open dispute of those asked for, by enterprise, in a fixed order.
    pub disputes: BTreeMap<String, Vec<Dispute>>,
    /// When those asked for had their past erased.
    pub erased: HashMap<String, Timestamp>,
}

/// A consent that has changed.
#[derive(Debug)]
pub struct Newer {
    /// Its version.
    pub version: i64,
    /// As it stands.
    pub held: Held,
}

/// Nobody says how consents stand: nothing may leave by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the profile service does not say how consents stand; try again in a moment")]
pub struct Unconfirmed;

impl From<Unconfirmed> for Problem {
    fn from(error: Unconfirmed) -> Self {
        Self::unavailable("CONSENT_UNCONFIRMED", error.to_string()).zh("暂时无法核验企业授权，请稍后重试")
    }
}

/// Whether an answer stands no longer, so that a slow reader has the rest by a newer one. By a clock that was set back none does.
#[must_use]
pub fn is_stale(answered_at: Timestamp, now: Timestamp) -> bool {
    !(SignedDuration::ZERO..=STANDS).contains(&now.duration_since(answered_at))
}

/// The profile service, for asking.
#[derive(Clone)]
pub struct Checks {
    client: DisclosureCheckServiceClient<Peer>,
    patience: Duration,
    /// Since when it does not answer.
    lost: Arc<Mutex<Option<Instant>>>,
}

impl Checks {
    /// By settings.
    ///
    /// # Errors
    /// When they hold no address.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let timeout = Duration::from_millis(settings.timeout_ms.max(1));
        let peer = peer("checks.profile", &settings.profile, timeout)?;
        Ok(Self {
            client: DisclosureCheckServiceClient::new(peer),
            patience: Duration::from_millis(settings.patience_ms),
            lost: Arc::default(),
        })
    }

    /// What was not heard of these consents and enterprises.
    ///
    /// # Errors
    /// When the profile service does not answer.
    pub async fn ask(&self, consents: &[HeardConsent], enterprises: &[String]) -> Result<Unheard, Unconfirmed> {
        let mut unheard = Unheard::default();
        let most = consents.len().max(enterprises.len());
        for from in (0..most).step_by(AT_ONCE) {
            let answer = self.call(CheckDisclosuresRequest {
                consents: part(consents, from).to_vec(),
                enterprise_ids: part(enterprises, from).to_vec(),
            });
            unheard.add(answer.await?);
        }
        Ok(unheard)
    }

    /// Asks until there is an answer, or none for as long as there is patience for.
    async fn call(&self, request: CheckDisclosuresRequest) -> Result<CheckDisclosuresResponse, Unconfirmed> {
        loop {
            match self.client.clone().check_disclosures(request.clone()).await {
                Ok(answer) => {
                    self.found();
                    return Ok(answer.into_inner());
                }
                Err(status) if self.missing_for(&status) >= self.patience => return Err(Unconfirmed),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn found(&self) {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = lost {
            tracing::info!(seconds = since.elapsed().as_secs(), "the profile service says again how consents stand");
        }
    }

    /// How long there has been no answer, this time included.
    fn missing_for(&self, status: &Status) -> Duration {
        UNCONFIRMED.add(1, &[]);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert_with(|| {
            tracing::warn!(code = ?status.code(), error = status.message(), "the profile service does not say how consents stand; what they allow is withheld if that goes on");
            Instant::now()
        })
        .elapsed()
    }
}

impl Unheard {
    fn add(&mut self, answer: CheckDisclosuresResponse) {
        self.consents.extend(answer.newer.into_iter().map(|consent: Consent| {
            let held = Held::registered(&consent).unwrap_or_else(Held::ended);
            let newer = Newer { version: consent.version, held };
            (consent.consent_id, newer)
        }));
        for raised in answer.disputes {
            if let Some(record) = raised.record {
                let dispute = Dispute { record, computed_values: raised.computed_values };
                self.disputes.entry(raised.enterprise_id).or_default().push(dispute);
            }
        }
        self.erased.extend(answer.erasures.into_iter().filter_map(|erased| {
            let at = erased.erased_at?;
            Some((erased.enterprise_id, Timestamp::new(at.seconds, at.nanos).ok()?))
        }));
    }
}

/// What is asked for at once from a place on.
fn part<T>(all: &[T], from: usize) -> &[T] {
    let rest = all.get(from..).unwrap_or_default();
    rest.get(..AT_ONCE).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_for_a_moment_and_by_a_clock_that_was_set_back_not_at_all() {
        let at = Timestamp::UNIX_EPOCH;
        let after = |millis| at + SignedDuration::from_millis(millis);
        assert!(!is_stale(at, at) && !is_stale(at, after(20)));
        assert!(is_stale(at, after(21)) && is_stale(at, after(-1)));
    }

    #[test]
    fn what_is_asked_for_at_once_is_a_part_of_all() {
        let all: Vec<usize> = (0..2 * AT_ONCE + 1).collect();
        let parts: Vec<usize> = (0..=2).flat_map(|number| part(&all, number * AT_ONCE).to_vec()).collect();
        assert_eq!(parts, all);
        assert!(part(&all, 3 * AT_ONCE).is_empty());
    }

    #[test]
    fn a_setting_that_is_no_address_is_named() {
        let settings = Settings { profile: "not an address".to_owned(), timeout_ms: 1, patience_ms: 1 };
        let fault = Checks::new(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(fault.starts_with("checks.profile: `not an address`"), "{fault}");
    }
}
