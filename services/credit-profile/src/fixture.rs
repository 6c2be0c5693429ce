//! The credit profile's database without a service around it, so that a test decides what runs when.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::sync::Notify;
use zhirong_kernel::{
    clock::{Clock as _, ManualClock},
    feature::{FeatureDictionary, FeatureType},
    uscc::Uscc,
};
use zhirong_proto::profile::v1::{self as pb, Category, CategoryField, FieldType};
use zhirong_runtime::{
    database,
    inbox::{ContentType, Delivery, Headers},
    outbox::OutboxWake,
};
use zhirong_testkit::TestDatabase;

use crate::{
    backlog::Backlog,
    events::keep,
    recompute::Recompute,
    record::{Key, Reload, Version},
    reloads::Reloads,
    scorecard, store,
};

pub use zhirong_testkit::PATIENCE;

/// Noon of 10 March 2026 in Shanghai.
pub const NOW: &str = "2026-03-10T04:00:00Z";
/// The declaration of features that profiles are computed by.
pub const DECLARATION: i64 = 1;

pub struct Fixture {
    pub pool: PgPool,
    pub clock: Arc<ManualClock>,
    // dropped last
    _database: TestDatabase,
}

impl Fixture {
    /// A database with the first scorecard, which here scores whoever has one known characteristic.
    pub async fn new(categories: &[Category]) -> Self {
        let database = TestDatabase::empty().await.unwrap();
        let options: PgConnectOptions = database.url().parse().unwrap();
        database::migrate(&options, &crate::MIGRATIONS).await.unwrap();
        let pool = database.pool().await.unwrap();
        let now: Timestamp = NOW.parse().unwrap();
        let first = pb::Scorecard { minimum_known: 1, ..scorecard::first().unwrap() };
        let mut tx = pool.begin().await.unwrap();
        store::scorecards::begin(&mut tx, &first, now).await.unwrap();
        for category in categories {
            store::put_category(&mut tx, category).await.unwrap();
        }
        tx.commit().await.unwrap();
        Self { pool, clock: Arc::new(ManualClock::new(now)), _database: database }
    }

    pub fn recompute(&self) -> Recompute {
        Recompute {
            pool: self.pool.clone(),
            clock: Arc::<ManualClock>::clone(&self.clock),
            outbox: OutboxWake::default(),
            stale: Arc::new(Notify::new()),
            backlog: Arc::new(Backlog::default()),
            declaration: DECLARATION,
        }
    }

    pub fn reloads(&self, at_once: i64) -> Reloads {
        Reloads {
            pool: self.pool.clone(),
            clock: Arc::<ManualClock>::clone(&self.clock),
            stale: Arc::new(Notify::new()),
            at_once,
        }
    }

    /// Keeps records as whoever hears of them does.
    pub async fn put(&self, versions: &[Version]) -> Result<(), sqlx::Error> {
        self.hear(versions, &[]).await
    }

    /// Keeps records and ends of reloads as whoever hears of them does.
    pub async fn hear(&self, versions: &[Version], ends: &[Reload]) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        keep(&mut tx, versions, ends, self.clock.now()).await?;
        tx.commit().await
    }

    pub async fn rows<T>(&self, query: &'static str) -> Vec<T>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        sqlx::query_as(query).fetch_all(&self.pool).await.unwrap()
    }

    pub async fn execute(&self, statement: &'static str, about: &Uscc) {
        let done = sqlx::query(statement).bind(about.as_str()).execute(&self.pool).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{statement}");
    }

    /// Whether somebody waits for a lock.
    pub async fn somebody_waits(&self) -> bool {
        // other tests share the server
        let query = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.rows::<(i64,)>(query).await != [(0,)]
    }

    /// A connection beside the pool.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect_with(&self.pool.connect_options()).await.unwrap()
    }
}

/// A category whose fields are these features.
pub fn category(name: &str, features: &[&str]) -> Category {
    let field = |name: &&str| {
        let feature = FeatureDictionary::standard().get(name).unwrap();
        let kind = match feature.kind {
            FeatureType::Int => FieldType::Integer,
            FeatureType::Bool => FieldType::Boolean,
            FeatureType::Text => FieldType::Text,
        };
        CategoryField {
            name: (*name).to_owned(),
            label_zh: feature.label_zh.clone(),
            r#type: kind.into(),
            unit: feature.unit.clone(),
            feature: (*name).to_owned(),
            ..CategoryField::default()
        }
    };
    Category {
        category: name.to_owned(),
        label_zh: "类别".to_owned(),
        fields: features.iter().map(field).collect(),
        ..Category::default()
    }
}

pub fn enterprise(number: u32) -> Uscc {
    Uscc::with_check(&format!("91331102MA2Y{number:05}")).unwrap()
}

/// A record as of a day of March 2026.
pub fn version(uscc: &Uscc, category: &str, record_id: &str, day: i8, data: &Value) -> Version {
    let observed_at = jiff::civil::date(2026, 3, day).at(0, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    Version {
        key: Key { source: "office".to_owned(), category: category.to_owned(), record_id: record_id.to_owned() },
        uscc: uscc.clone(),
        observed_at: observed_at.timestamp(),
        revision: 0,
        withdrawn: false,
        data: data.to_string(),
        reload_id: None,
        tie_break: data.to_string(),
    }
}

/// An event of ours as it arrives.
pub fn delivery(ce_type: &str, payload: Vec<u8>) -> Delivery {
    Delivery {
        id: uuid::Uuid::now_v7().to_string(),
        ce_type: ce_type.to_owned(),
        source: "test".to_owned(),
        subject: String::new(),
        about: None,
        time: None,
        content_type: ContentType::Protobuf,
        payload: payload.into(),
        headers: Headers::default(),
        stream: "TEST".into(),
        stream_sequence: 1,
        attempt: 1,
    }
}
