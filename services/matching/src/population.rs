//! Every enterprise's profile in memory, kept current: what one product means for all of them is asked here.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use zhirong_engine::{Candidate, Id, Population, Product, Symbols};
use zhirong_kernel::rule::Inputs;
use zhirong_proto::profile::v1::Profile;

use crate::{error::Error, store::population as store, wish::features};

/// Looks for profiles that any replica has taken in.
const POLL: Duration = Duration::from_millis(500);
/// Profiles loaded at once.
const PAGE: i64 = 1000;

/// Changes are read again for this long, should the database's clock be set back.
const OVERLAP: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// The profiles of every enterprise.
#[derive(Clone)]
pub struct Enterprises {
    population: Arc<RwLock<Population>>,
    pool: PgPool,
}

impl Enterprises {
    /// Nobody yet; [`Enterprises::follow`] fills it. The symbols are those of the catalog.
    #[must_use]
    pub fn new(pool: PgPool, symbols: Arc<Symbols>) -> Self {
        Self { population: Arc::new(RwLock::new(Population::new(symbols))), pool }
    }

    /// Enterprises there are, and those that a product takes.
    #[must_use]
    pub fn candidates(&self, product: &Arc<Product>, inputs: Inputs) -> (usize, Vec<Candidate>) {
        let population = self.population.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        population.each(std::slice::from_ref(product), inputs, |candidate| found.push(candidate));
        (population.len(), found)
    }

    /// Who belongs to each of some sets, by the flag of that name.
    #[must_use]
    pub fn members(&self, sets: &[String]) -> HashMap<String, HashSet<Id>> {
        let population = self.population.read().unwrap_or_else(PoisonError::into_inner);
        sets.iter().map(|set| (set.clone(), population.flagged(set))).collect()
    }

    /// Loads everybody, then follows changes until shutdown.
    pub async fn follow(self, shutdown: CancellationToken) {
        let mut since = None;
        while !shutdown.is_cancelled() {
            let done = match since {
                None => self.load(&shutdown).await,
                Some(at) => self.changes(at).await,
            };
            match done {
                Ok(at) => since = Some(at),
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "profiles could not be followed");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Loads everybody; gives from when on changes count.
    async fn load(&self, shutdown: &CancellationToken) -> Result<Timestamp, Error> {
        let mut conn = self.pool.acquire().await?;
        let since = earlier(store::unsettled_since(&mut conn).await?);
        let mut after = String::new();
        while !shutdown.is_cancelled() {
            let page = store::page(&mut conn, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.enterprise_id);
            self.keep(&page);
        }
        Ok(since)
    }

    /// Takes in what has changed; gives from when on the next changes count.
    async fn changes(&self, at: Timestamp) -> Result<Timestamp, Error> {
        let mut conn = self.pool.acquire().await?;
        let since = earlier(store::unsettled_since(&mut conn).await?);
        self.keep(&store::changed_since(&mut conn, at).await?);
        Ok(since)
    }

    fn keep(&self, profiles: &[Profile]) {
        let mut population = self.population.write().unwrap_or_else(PoisonError::into_inner);
        for profile in profiles {
            if let Ok(id) = Id::try_from(profile.enterprise_id.as_bytes()) {
                population.put(id, profile.version, &features(profile, &BTreeMap::new()));
            }
        }
    }
}

fn earlier(at: Timestamp) -> Timestamp {
    at.checked_sub(OVERLAP).unwrap_or(at)
}
