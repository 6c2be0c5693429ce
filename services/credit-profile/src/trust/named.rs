//! What matching tells of candidates: which enterprises it named to an institution, each of them an entry on the trail.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{InstitutionId, Uscc, clock::Clock};
use zhirong_proto::{
    matching::v1::{CandidatesNamed, NamedCandidate},
    profile::v1::{AuditEntry, AuditKind, Purpose, Scope},
};
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use super::{audit, keys::SigningKeys, store};

/// Candidates named.
pub const NAMED: Subscription = Subscription {
    durable: "profile-candidates",
    stream: streams::MATCHING,
    subjects: &["zr.matching.v1.candidates.named.>"],
};
/// As many as one fact may name.
const MOST: usize = 500;

/// Puts candidates on the trail.
pub struct NamedHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Signs the trail.
    pub signing: Arc<SigningKeys>,
}

impl Handler for NamedHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let fact: CandidatesNamed = delivery.decode()?;
        let id = Uuid::try_parse(&fact.naming_id).map_err(|_| Rejection::poison("`naming_id` is not a UUID"))?;
        let entries = entries(fact)?;
        // Once, however often it is told.
        if !store::note_named(conn, id).await? {
            return Ok(());
        }
        let now = self.clock.now();
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        audit::append_all(conn, &self.signing, entries, now).await.map_err(Rejection::retry)
    }
}

/// One entry an enterprise.
fn entries(fact: CandidatesNamed) -> Result<Vec<AuditEntry>, Rejection> {
    fact.institution_id.parse::<InstitutionId>().map_err(Rejection::poison)?;
    if !(1..=MOST).contains(&fact.candidates.len()) {
        return Err(Rejection::poison(format!("`candidates` must be 1 to {MOST}")));
    }
    let entry = |named: NamedCandidate| {
        named.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
        Ok(AuditEntry {
            kind: AuditKind::Named.into(),
            enterprise_id: named.enterprise_id,
            institution_id: fact.institution_id.clone(),
            caller: "service:matching".to_owned(),
            purpose: Purpose::Preapproval.into(),
            // Limit and rate are derived from it.
            scope: Some(Scope { score: true, ..Scope::default() }),
            consent_id: named.consent_id,
            profile_version: named.profile_version,
            product_id: fact.product_id.clone(),
            limit_fen: named.limit_fen,
            rate_ppm: named.rate_ppm,
            catalog_version: fact.catalog_version,
            disputed: named.disputed,
            named_at: fact.at,
            ..AuditEntry::default()
        })
    };
    fact.candidates.into_iter().map(entry).collect()
}
