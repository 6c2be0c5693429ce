//! What matching tells of orders: the consent that an order gives, and each profile that an order handed over or no longer did.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    InstitutionId, Uscc,
    clock::{Clock, start_of_business_date},
};
use zhirong_proto::{
    Fact as _,
    matching::v1::{
        Consent, DataScope, Disclosure, DisclosureRefused, OrderExpired, OrderPlaced, OrderRejected, OrderWithdrawn,
        ProfileDisclosed,
    },
    profile::v1::{self as pb, AuditEntry, AuditKind},
};
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use super::{audit, consents::tell, keys::SigningKeys, scope::canonical, store, time};
use crate::error::Error;

/// Orders, and what they hand over.
pub const ORDERS: Subscription = Subscription {
    durable: "profile-orders",
    stream: streams::MATCHING,
    subjects: &[
        "zr.matching.v1.order.placed.>",
        "zr.matching.v1.order.rejected.>",
        "zr.matching.v1.order.withdrawn.>",
        "zr.matching.v1.order.expired.>",
        "zr.matching.v1.disclosure.>",
    ],
};

/// Keeps the consents of orders and puts what they hand over on the trail.
pub struct OrderHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Signs the trail.
    pub signing: Arc<SigningKeys>,
}

impl Handler for OrderHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        // One by one, the event before may have locked the trail already, for which releases wait with their locks in hand: what
        // is in use comes again instead of being waited for.
        store::wait_little(conn, true).await?;
        let now = self.now();
        let Some(told) = read(delivery)? else { return Ok(()) };
        let entries = keep(conn, vec![told], now).await?;
        store::wait_little(conn, false).await?;
        audit::append_all(conn, &self.signing, entries, now).await.map_err(Rejection::retry)
    }

    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        let now = self.now();
        let mut told = Vec::with_capacity(deliveries.len());
        let outcomes = deliveries.iter().map(|delivery| read(delivery).map(|read| told.extend(read))).collect();
        let entries = keep(conn, told, now).await?;
        audit::append_all(conn, &self.signing, entries, now).await.map_err(Rejection::retry)?;
        Ok(outcomes)
    }
}

impl OrderHandler {
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// What an event tells, when nothing is wrong with it.
enum Told {
    /// An order gave a consent, or has ended.
    Order(Box<Given>),
    /// A profile was handed over, or no longer was.
    Disclosure(Box<Shown>),
}

/// The consent of an order.
struct Given {
    id: Uuid,
    enterprise: Uscc,
    institution: InstitutionId,
    scope: pb::Scope,
    granted_at: Option<Timestamp>,
    expires_at: Timestamp,
    ended: bool,
}

/// A hand-over or a refusal.
struct Shown {
    id: Uuid,
    kind: AuditKind,
    disclosure: Disclosure,
    reason: String,
}

/// Reads an event; nothing from an order without a consent, which hands nothing over.
fn read(delivery: &Delivery) -> Result<Option<Told>, Rejection> {
    let (order, ended) = match delivery.ce_type.as_str() {
        OrderPlaced::TYPE => (delivery.decode::<OrderPlaced>()?.order, false),
        OrderRejected::TYPE => (delivery.decode::<OrderRejected>()?.order, true),
        OrderWithdrawn::TYPE => (delivery.decode::<OrderWithdrawn>()?.order, true),
        OrderExpired::TYPE => (delivery.decode::<OrderExpired>()?.order, true),
        ProfileDisclosed::TYPE => {
            let fact = delivery.decode::<ProfileDisclosed>()?;
            return shown(AuditKind::Released, fact.disclosure, String::new()).map(Some);
        }
        DisclosureRefused::TYPE => {
            let fact = delivery.decode::<DisclosureRefused>()?;
            return shown(AuditKind::Refused, fact.disclosure, fact.reason).map(Some);
        }
        other => return Err(Rejection::poison(format!("`{other}` is not a fact the profile knows"))),
    };
    let order = order.ok_or_else(|| missing("order"))?;
    let Some(consent) = &order.consent else { return Ok(None) };
    let scope = canonical(&scope(consent)).map_err(|why| Rejection::poison(format!("`order.consent` {why}")))?;
    let last: Date = consent.expires_on.parse().map_err(|_| missing("order.consent.expires_on"))?;
    let expires_at = last.tomorrow().ok().and_then(start_of_business_date);
    Ok(Some(Told::Order(Box::new(Given {
        id: uuid("order.order_id", &order.order_id)?,
        enterprise: order.enterprise_id.parse().map_err(Rejection::poison)?,
        institution: order.institution_id.parse().map_err(Rejection::poison)?,
        scope,
        granted_at: consent.granted_at.as_ref().and_then(time),
        expires_at: expires_at.ok_or_else(|| missing("order.consent.expires_on"))?,
        ended,
    }))))
}

/// What the consent of an order covers, in the words of any other.
fn scope(consent: &Consent) -> pb::Scope {
    let has = |scope: DataScope| consent.scopes.contains(&i32::from(scope));
    pb::Scope {
        score: has(DataScope::Score),
        all_categories: has(DataScope::Features),
        categories: if has(DataScope::Categories) { consent.categories.clone() } else { Vec::new() },
        ..pb::Scope::default()
    }
}

fn shown(kind: AuditKind, disclosure: Option<Disclosure>, reason: String) -> Result<Told, Rejection> {
    let disclosure = disclosure.ok_or_else(|| missing("disclosure"))?;
    let id = uuid("disclosure_id", &disclosure.disclosure_id)?;
    disclosure.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
    if kind == AuditKind::Released && disclosure.profile_version < 1 {
        return Err(missing("disclosure.profile_version"));
    }
    Ok(Told::Disclosure(Box::new(Shown { id, kind, disclosure, reason })))
}

/// Keeps what was told, in the order in which everybody locks: consents, profiles; gives what is to go on the trail, which is
/// last.
async fn keep(conn: &mut PgConnection, told: Vec<Told>, now: Timestamp) -> Result<Vec<AuditEntry>, Rejection> {
    // Every fact carries the whole order, so that whichever comes first makes the consent, and an end that came before the
    // beginning stays the end.
    let mut consents: BTreeMap<Uuid, Box<Given>> = BTreeMap::new();
    let mut disclosures = Vec::new();
    for told in told {
        match told {
            Told::Order(given) => {
                let ended = given.ended;
                consents.entry(given.id).or_insert(given).ended |= ended;
            }
            Told::Disclosure(shown) => disclosures.push(shown),
        }
    }
    for given in consents.values() {
        put(conn, given, now).await.map_err(Rejection::retry)?;
    }
    disclosures.sort_by(|a, b| version_of(&a.disclosure).cmp(&version_of(&b.disclosure)));
    let enterprises: Vec<&str> = disclosures.iter().map(|shown| shown.disclosure.enterprise_id.as_str()).collect();
    store::keep_profiles(conn, &enterprises).await?;
    let mut entries = Vec::new();
    for shown in disclosures {
        if note(conn, &shown, now).await? {
            entries.push(entry(*shown));
        }
    }
    Ok(entries)
}

fn version_of(disclosure: &Disclosure) -> (&str, i64) {
    (&disclosure.enterprise_id, disclosure.profile_version)
}

/// Notes a hand-over or a refusal; says whether it is new. Once, however often it is told.
async fn note(conn: &mut PgConnection, shown: &Shown, now: Timestamp) -> Result<bool, sqlx::Error> {
    if shown.kind != AuditKind::Released {
        return store::note_withheld(conn, shown.id).await;
    }
    let at = shown.disclosure.at.as_ref().and_then(time).unwrap_or(now);
    store::note_handed(conn, shown.id, &shown.disclosure, at).await
}

fn entry(shown: Shown) -> AuditEntry {
    let Shown { kind, disclosure: told, reason, .. } = shown;
    AuditEntry {
        kind: kind.into(),
        enterprise_id: told.enterprise_id,
        institution_id: told.institution_id,
        caller: "service:matching".to_owned(),
        purpose: pb::Purpose::LoanApplication.into(),
        scope: told.scope,
        consent_id: told.consent_id,
        release_id: if kind == AuditKind::Released { told.disclosure_id } else { String::new() },
        profile_version: told.profile_version,
        content_sha256: told.content_sha256,
        reason,
        order_id: told.order_id,
        feature_names: told.feature_names,
        ..AuditEntry::default()
    }
}

/// Keeps the consent of an order; one of an order that has ended is taken back.
async fn put(conn: &mut PgConnection, given: &Given, now: Timestamp) -> Result<(), Error> {
    let enterprise_id = given.enterprise.as_str();
    let kept = match store::consent_for_update(conn, given.id, enterprise_id).await? {
        Some(kept) => kept,
        None => {
            let new = store::NewConsent {
                id: given.id,
                enterprise_id,
                institution_id: given.institution.as_str(),
                purpose: pb::Purpose::LoanApplication,
                scope: &given.scope,
                expires_at: given.expires_at,
            };
            let consent = store::add_consent(conn, &new, given.granted_at.unwrap_or(now)).await?;
            tell(conn, &consent, &pb::ConsentGranted { consent: Some(consent.clone()) }, now).await?;
            consent
        }
    };
    if given.ended && kept.state() == pb::ConsentState::Granted {
        let scope = kept.scope.clone().unwrap_or_default();
        let ends = kept.expires_at.as_ref().and_then(time).unwrap_or(given.expires_at);
        let consent = store::change_consent(conn, given.id, &scope, ends, true, now).await?;
        tell(conn, &consent, &pb::ConsentRevoked { consent: Some(consent.clone()) }, now).await?;
    }
    Ok(())
}

fn missing(field: &str) -> Rejection {
    Rejection::poison(format!("`{field}` is missing or malformed"))
}

fn uuid(field: &str, text: &str) -> Result<Uuid, Rejection> {
    Uuid::try_parse(text).map_err(|_| missing(field))
}
