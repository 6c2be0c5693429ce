//! Everything the calculator computes from, in memory: one consistent version of the catalog. Readers take it without waiting;
//! a change replaces it as a whole.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::civil::Date;
use opentelemetry::{global, metrics::Gauge};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use zhirong_engine::{Engine, Symbols, Weights as EngineWeights};
use zhirong_kernel::{
    calendar::Calendar,
    clock::{Clock, business_date},
    lpr::{LprHistory, Tenor},
    rate::Ppm,
};
use zhirong_proto::{
    catalog::v1::{Adjustment, Product},
    subsidy::v1::Policy,
};

use crate::{
    error::Error,
    product::CompiledProduct,
    reference::{self, Unusable},
    store::catalog::{self, Entry, Loaded},
    subsidy::Condition,
};

/// Looks for changes that another replica has taken in; a small query, so that every replica answers from a change within
/// 50 ms of its fact.
const POLL: Duration = Duration::from_millis(25);

static CALENDAR_LEFT: LazyLock<Gauge<i64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .i64_gauge("calendar.left")
        .with_unit("d")
        .with_description("Days from today for which the working days are known; orders that reach beyond are refused")
        .build()
});

static LPR_MISSING: LazyLock<Gauge<i64>> = LazyLock::new(|| {
    global::meter("zhirong")
        .i64_gauge("lpr.year_end_missing")
        .with_description("1 while the LPR in force at the end of last year is not known, which subsidies wait for")
        .build()
});

/// One version of the catalog.
#[derive(Default)]
pub struct Catalog {
    /// Its version.
    pub version: i64,
    /// Published credit products by id.
    pub products: HashMap<String, Arc<CompiledProduct>>,
    /// Chinese names of institutions by id.
    pub institutions: HashMap<String, String>,
    /// Mean ratings of products, ppm, by id.
    pub scores: HashMap<String, i64>,
    /// Better terms for some, by product; each list in order of id.
    pub adjustments: HashMap<String, Vec<Adjustment>>,
    /// Subsidy policies in force or to come, in order of id.
    pub policies: Vec<Policy>,
    /// Who policies are for, by policy; none for those that are for anybody.
    pub conditions: HashMap<String, Arc<Condition>>,
    /// Policies, and years whose budgets have money left.
    pub funded: HashSet<(String, i16)>,
    /// The products in order of id, as the engine has them.
    pub listed: Vec<Arc<CompiledProduct>>,
    /// Matches a profile with all of them.
    pub engine: Engine,
    /// Texts of rules and profiles; the same for every version.
    pub symbols: Arc<Symbols>,
    lpr: Option<LprHistory>,
    calendar: Option<Calendar>,
}

impl Catalog {
    /// The catalog of some entries; products that another one has at the same version are not compiled again.
    fn of(loaded: Loaded, known: &Self) -> Self {
        let symbols = Arc::clone(&known.symbols);
        let mut catalog = Self { version: loaded.version, symbols, ..Self::default() };
        for entry in loaded.entries {
            match entry {
                Entry::Institution(id, name) => {
                    catalog.institutions.insert(id, name);
                }
                Entry::Product(product) => match known.products.get(&product.product_id) {
                    Some(compiled) if compiled.product == *product => {
                        catalog.products.insert(product.product_id.clone(), Arc::clone(compiled));
                    }
                    _ => compile(&mut catalog.products, *product, &catalog.symbols),
                },
                Entry::Lpr(table) => catalog.lpr = usable(reference::lpr(&table)),
                Entry::Calendar(notice) => catalog.calendar = usable(reference::calendar(&notice)),
                Entry::Score(product_id, level_ppm) => {
                    catalog.scores.insert(product_id, level_ppm);
                }
                Entry::Policy(policy) => catalog.policies.push(*policy),
                Entry::Funded(policy_id, year) => {
                    catalog.funded.insert((policy_id, year));
                }
                Entry::Adjustment(adjustment) => {
                    catalog.adjustments.entry(adjustment.product_id.clone()).or_default().push(*adjustment);
                }
            }
        }
        for policy in &catalog.policies {
            let who = policy.spec.as_ref().map(|spec| spec.who.as_str()).unwrap_or_default();
            let compiled = match known.conditions.get(&policy.policy_id).filter(|known| known.text == who) {
                Some(known) => Some(Arc::clone(known)),
                None if who.is_empty() => None,
                None => Condition::compile(who).map(Arc::new),
            };
            catalog.conditions.extend(compiled.map(|condition| (policy.policy_id.clone(), condition)));
        }
        catalog.policies.sort_by(|a, b| a.policy_id.cmp(&b.policy_id));
        for of_product in catalog.adjustments.values_mut() {
            of_product.sort_by(|a, b| a.adjustment_id.cmp(&b.adjustment_id));
        }
        catalog.listed = catalog.products.values().map(Arc::clone).collect();
        catalog.listed.sort_by(|a, b| a.product.product_id.cmp(&b.product.product_id));
        catalog.engine = engine(&catalog.listed, catalog.lpr.as_ref());
        catalog
    }

    /// The one-year LPR to price with: the latest that the district has loaded. Banks price on the latest published rate, so
    /// that days past the table's end use its last row.
    ///
    /// # Errors
    /// [`Error::LprUnknown`] when there is no table, or the day lies before it.
    pub fn one_year_lpr(&self, day: Date) -> Result<Ppm, Error> {
        let history = self.lpr.as_ref().ok_or_else(|| Error::LprUnknown("no table is published".to_owned()))?;
        Ok(history.latest_known(day)?.one_year)
    }

    /// The LPR in force at the end of a year, by which subsidies are reckoned; nothing when it is not known.
    #[must_use]
    pub fn year_end_lpr(&self, year: i16, tenor: Tenor) -> Option<Ppm> {
        self.lpr.as_ref()?.at_end_of(year, tenor).ok()
    }

    /// The last day of some working days from a day.
    ///
    /// # Errors
    /// [`Error::CalendarUnknown`] when there is no calendar for the years concerned.
    pub fn working_days_after(&self, day: Date, count: u32) -> Result<Date, Error> {
        let calendar =
            self.calendar.as_ref().ok_or_else(|| Error::CalendarUnknown("no calendar is published".to_owned()))?;
        Ok(calendar.add_working_days(day, count)?)
    }

    /// Measures how far the reference data reach, so that they are renewed before somebody needs them in vain.
    fn measure(&self, today: Date) {
        let through = self.calendar.as_ref().and_then(|calendar| calendar.known_through(today));
        CALENDAR_LEFT.record(through.map_or(0, |last| i64::from((last - today).get_days())), &[]);
        let last_year = today.year().saturating_sub(1);
        LPR_MISSING.record(i64::from(self.year_end_lpr(last_year, Tenor::OneYear).is_none()), &[]);
    }

    /// The Chinese name of an institution, or its id while its registration is still on its way.
    #[must_use]
    pub fn institution_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.institutions.get(id).map_or(id, String::as_str)
    }
}

/// Keeps the newest version of the catalog.
#[derive(Clone)]
pub struct Snapshots {
    current: Arc<ArcSwap<Catalog>>,
    pool: PgPool,
    // One refresh at a time; the second would only repeat the first.
    refreshing: Arc<Mutex<()>>,
}

impl Snapshots {
    /// Nothing yet; [`Snapshots::refresh`] fills it.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(Catalog::default())),
            pool,
            refreshing: Arc::new(Mutex::new(())),
        }
    }

    /// The newest version.
    #[must_use]
    pub fn current(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Texts of rules and profiles.
    #[must_use]
    pub fn symbols(&self) -> Arc<Symbols> {
        Arc::clone(&self.current.load().symbols)
    }

    /// Loads the newest version if it is not the current one. Products that have not changed are not compiled again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self) -> Result<(), Error> {
        let _one = self.refreshing.lock().await;
        let before = self.current();
        // One snapshot of the database, so that products, reference data and version belong together.
        let mut tx = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        if catalog::version(&mut tx).await? == before.version {
            return Ok(());
        }
        let loaded = catalog::load(&mut tx).await?;
        tx.commit().await?;
        self.current.store(Arc::new(Catalog::of(loaded, &before)));
        Ok(())
    }

    /// The catalog as it was at a version.
    ///
    /// # Errors
    /// [`Error::VersionNotFound`] when there was no such version.
    pub async fn at(&self, version: i64) -> Result<Arc<Catalog>, Error> {
        let current = self.current();
        if current.version == version {
            return Ok(current);
        }
        let mut conn = self.pool.acquire().await?;
        let loaded = catalog::load_at(&mut conn, version).await?;
        Ok(Arc::new(Catalog::of(loaded, &current)))
    }

    /// Follows changes until shutdown.
    pub async fn follow(self, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.refresh().await {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "the catalog could not be refreshed");
            }
            self.current().measure(business_date(clock.now()));
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

/// Unusable data are refused when they come in; what an older version of this service let in must not stop the rest.
fn usable<T>(data: Result<T, Unusable>) -> Option<T> {
    data.inspect_err(|error| tracing::error!(%error, "reference data can't be used and are left out")).ok()
}

/// Made for the LPR that most questions are asked with, the latest. The ranking weighs ratings itself, so that nothing has to be
/// said of them here.
fn engine(listed: &[Arc<CompiledProduct>], lpr: Option<&LprHistory>) -> Engine {
    let weights = EngineWeights { level_worth_ppm: 0, unrated_level_ppm: 0 };
    let latest = lpr.and_then(|history| history.latest_known(history.known_through()).ok());
    let lpr_1y_ppm = latest.map_or(0, |change| change.one_year.get());
    Engine::new(listed.iter().map(|product| Arc::clone(&product.engine)).collect(), weights, lpr_1y_ppm)
}

fn compile(products: &mut HashMap<String, Arc<CompiledProduct>>, product: Product, symbols: &Symbols) {
    let id = product.product_id.clone();
    match CompiledProduct::compile(product, symbols) {
        Ok(Some(compiled)) => {
            products.insert(id, Arc::new(compiled));
        }
        Ok(None) => {}
        // The catalog has compiled it; a newer catalog may know features that this version does not.
        Err(error) => tracing::error!(product_id = %id, %error, "a product does not compile and is left out"),
    }
}
