//! What the tests of consent, release and trail need.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Status};
use zhirong_kernel::{
    Uscc,
    clock::{Clock, SystemClock, business_date},
};
use zhirong_proto::catalog::v1::{Institution, InstitutionRegistered};
use zhirong_proto::profile::v1::{
    AuditEntry, AuditRecord, Consent, FeatureValue, GetReleaseRequest, GetReleaseResponse, GrantConsentRequest,
    ListAuditRecordsRequest, NarrowConsentRequest, Profile, Purpose, Release, ReleaseProfileRequest,
    RevokeConsentRequest, Scope, Score, audit_service_client::AuditServiceClient,
    consent_service_client::ConsentServiceClient, feature_value::Kind, release_service_client::ReleaseServiceClient,
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::world::{PATIENCE, World, as_bank, as_enterprise, as_staff, id};

/// Institutions that the catalog has.
pub const BANKS: [&str; 3] = ["bank-a", "bank-b", "sample-one-bank"];

impl World {
    /// A running service that knows these institutions.
    pub async fn trusted() -> Self {
        Self::trusted_by(Arc::new(SystemClock)).await
    }

    /// The same on a clock of the test's own.
    pub async fn trusted_by(clock: Arc<dyn Clock>) -> Self {
        let world = Self::bare_by(clock).await;
        world.registered(&BANKS).await;
        world
    }

    /// The catalog registers institutions, and the service has heard of them.
    pub async fn registered(&self, institutions: &[&str]) {
        let events = institutions.iter().map(|id| {
            let institution = Institution { institution_id: (*id).to_owned(), version: 1, ..Institution::default() };
            Event::of(id, &InstitutionRegistered { institution: Some(institution) })
        });
        Deliveries::new(events).publish(&self.events).await.unwrap();
        eventually(PATIENCE, "the institutions are known", || async {
            let known = self.rows::<String>("SELECT institution_id FROM institution").await;
            Ok(institutions.iter().all(|id| known.iter().any(|known| known == id)).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Makes an enterprise known with this many patents, some tax and a score; each time with the next version.
    pub async fn known(&self, uscc: &Uscc, patents: i64) {
        let value = |category: &str, number: i64| FeatureValue {
            kind: Some(Kind::Integer(number)),
            categories: vec![category.to_owned()],
            ..FeatureValue::default()
        };
        let pool = self.database.pool().await.unwrap();
        let before: Option<i64> = sqlx::query_scalar("SELECT version FROM profile WHERE enterprise_id = $1")
            .bind(uscc.as_str())
            .fetch_optional(&pool)
            .await
            .unwrap();
        let profile = Profile {
            enterprise_id: uscc.to_string(),
            name: "示例企业".to_owned(),
            version: before.unwrap_or_default() + 1,
            features: [
                ("patent_count", value("patent", patents)),
                ("tax_paid_fen", value("tax", 100)),
                ("credit_score", value("profile", 700)),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            score: Some(Score { points: 700, grade: "A".to_owned(), ..Score::default() }),
            computed_at: None,
        };
        // Of a day to come, so that it is not computed again from records that are not there.
        let day = business_date(SystemClock.now()).tomorrow().unwrap().to_string();
        sqlx::query(
            "INSERT INTO profile (enterprise_id, version, content, computed_on, stale) VALUES ($1, $2, $3, $4::date, false)
             ON CONFLICT (enterprise_id) DO UPDATE SET version = excluded.version, content = excluded.content",
        )
        .bind(uscc.as_str())
        .bind(profile.version)
        .bind(profile.encode_to_vec())
        .bind(day)
        .execute(&pool)
        .await
        .unwrap();
    }

    pub async fn grant(&self, uscc: &Uscc, bank: &str, purpose: Purpose, scope: Scope, seconds: i64) -> Consent {
        ConsentServiceClient::new(self.channel.clone())
            .grant_consent(as_enterprise(uscc, grant_request(bank, purpose, scope, seconds)))
            .await
            .unwrap()
            .into_inner()
            .consent
            .unwrap()
    }

    pub async fn release(
        &self,
        uscc: &Uscc,
        bank: &str,
        purpose: Purpose,
        scope: Option<Scope>,
    ) -> Result<Release, Status> {
        let request = ReleaseProfileRequest { enterprise_id: uscc.to_string(), purpose: purpose.into(), scope };
        let answer =
            ReleaseServiceClient::new(self.channel.clone()).release_profile(as_bank(bank, request)).await?.into_inner();
        Ok(answer.release.unwrap())
    }

    /// A past release, read again.
    pub async fn get(&self, request: Request<GetReleaseRequest>) -> Result<GetReleaseResponse, Status> {
        Ok(ReleaseServiceClient::new(self.channel.clone()).get_release(request).await?.into_inner())
    }

    /// Takes a consent back.
    pub async fn revoke(&self, uscc: &Uscc, consent_id: &str) {
        let request = RevokeConsentRequest { request_id: id(), consent_id: consent_id.to_owned() };
        ConsentServiceClient::new(self.channel.clone()).revoke_consent(as_enterprise(uscc, request)).await.unwrap();
    }

    /// Narrows a consent; `expires_at` in seconds since 1970.
    pub async fn narrow(&self, uscc: &Uscc, consent_id: &str, scope: Option<Scope>, expires_at: Option<i64>) {
        let request = NarrowConsentRequest {
            request_id: id(),
            consent_id: consent_id.to_owned(),
            scope,
            expires_at: expires_at.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        };
        ConsentServiceClient::new(self.channel.clone()).narrow_consent(as_enterprise(uscc, request)).await.unwrap();
    }

    /// Checks every link and gives what the entries say.
    pub async fn chain(&self) -> Vec<AuditEntry> {
        let mut hash = vec![0; 32];
        for record in self.records().await {
            hash = credit_profile::trust::audit::chained(&hash, &record.content);
            assert_eq!(record.hash, hash);
        }
        self.trail().await
    }

    pub async fn records(&self) -> Vec<AuditRecord> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListAuditRecordsRequest { page_size: 3, page_token };
            let page = AuditServiceClient::new(self.channel.clone())
                .list_audit_records(as_staff(request))
                .await
                .unwrap()
                .into_inner();
            all.extend(page.records);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    pub async fn trail(&self) -> Vec<AuditEntry> {
        self.records().await.iter().map(|record| AuditEntry::decode(record.content.as_slice()).unwrap()).collect()
    }
}

pub fn grant_request(bank: &str, purpose: Purpose, scope: Scope, seconds: i64) -> GrantConsentRequest {
    let now = SystemClock.now();
    GrantConsentRequest {
        request_id: id(),
        institution_id: bank.to_owned(),
        purpose: purpose.into(),
        scope: Some(scope),
        expires_at: Some(prost_types::Timestamp { seconds: now.as_second() + seconds, nanos: 0 }),
    }
}

/// These categories.
pub fn named(categories: &[&str]) -> Scope {
    Scope { categories: categories.iter().map(|name| (*name).to_owned()).collect(), ..Scope::default() }
}

/// Everything that is part of a profile.
pub fn whole() -> Scope {
    Scope { score: true, all_categories: true, ..Scope::default() }
}
