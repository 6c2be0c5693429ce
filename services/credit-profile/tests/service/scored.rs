//! What the tests of scores and lists need: enterprises that are known well enough.

use std::sync::Arc;

use serde_json::{Value, json};
use zhirong_kernel::{
    clock::{Clock, SystemClock},
    feature::{FeatureDictionary, FeatureType},
    uscc::Uscc,
};
use zhirong_proto::{
    Fact,
    profile::v1::{Category, CategoryField, FieldType, Profile, feature_value::Kind},
};
use zhirong_testkit::{Event, eventually};

use crate::world::{PATIENCE, RECORD, World};

impl World {
    /// A running service that knows one category with these features as fields.
    pub async fn scored(features: &[&str]) -> Self {
        Self::scored_by(Arc::new(SystemClock), features).await
    }

    /// The same by another clock.
    pub async fn scored_by(clock: Arc<dyn Clock>, features: &[&str]) -> Self {
        let world = Self::bare_by(clock).await;
        world.put_category(annual_report(features)).await.unwrap();
        world
    }

    /// Publishes what is known of an enterprise as of a day of October 2026.
    pub async fn observe(&self, uscc: &Uscc, day: u32, data: &Value) {
        let record = json!({
            "source": "market-office", "category": "annual_report", "record_id": uscc.as_str(), "uscc": uscc.as_str(),
            "observed_at": format!("2026-10-{day:02}T00:00:00Z"), "data": data,
        });
        let event = Event::new("gov.data.v1.annual_report", RECORD, "application/json", record.to_string());
        self.publish(event.with("ce-source", "market-office")).await;
    }

    /// Publishes a fact of another service with an id of its own.
    pub async fn tell<F: Fact>(&self, id: &str, key: &str, fact: &F) {
        self.publish(Event::of(key, fact).with("ce-id", id)).await;
    }

    /// The profile once it is as expected.
    pub async fn profile_when(&self, uscc: &Uscc, what: &str, expected: impl Fn(&Profile) -> bool) -> Profile {
        eventually(PATIENCE, what, || async { Ok(self.profile(uscc).await.filter(|profile| expected(profile))) })
            .await
            .unwrap()
    }

    /// The events of an aggregate kind in the outbox: type and payload in order of aggregate and version.
    pub async fn told(&self, kind: &str) -> Vec<(String, Vec<u8>)> {
        let pool = self.database.pool().await.unwrap();
        sqlx::query_as(
            "SELECT event_type, payload FROM runtime.outbox WHERE aggregate_kind = $1
             ORDER BY aggregate_id, aggregate_version",
        )
        .bind(kind)
        .fetch_all(&pool)
        .await
        .unwrap()
    }

    /// Runs SQL on the service's own database, as nobody but a test does.
    pub async fn execute(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        let pool = self.database.pool().await.unwrap();
        Ok(sqlx::query(sql).execute(&pool).await?.rows_affected())
    }

    pub async fn dead_letters(&self) -> Vec<String> {
        let pool = self.database.pool().await.unwrap();
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT reason FROM runtime.dead_letter ORDER BY reason").fetch_all(&pool).await.unwrap();
        rows.into_iter().map(|(reason,)| reason).collect()
    }
}

fn annual_report(features: &[&str]) -> Category {
    // 1 is the year in the seeds' declaration, which takes the place of this one in some tests
    let field = |(number, name): (i32, &&str)| {
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
            number,
            ..CategoryField::default()
        }
    };
    Category {
        category: "annual_report".to_owned(),
        label_zh: "企业年报".to_owned(),
        department_zh: "市场监管部门".to_owned(),
        fields: (2..).zip(features).map(field).collect(),
        ..Category::default()
    }
}

pub fn integer(profile: &Profile, feature: &str) -> Option<i64> {
    match profile.features.get(feature)?.kind {
        Some(Kind::Integer(number)) => Some(number),
        _ => None,
    }
}

pub fn flag(profile: &Profile, feature: &str) -> Option<bool> {
    match profile.features.get(feature)?.kind {
        Some(Kind::Flag(flag)) => Some(flag),
        _ => None,
    }
}
