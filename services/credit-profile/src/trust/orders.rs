//! What matching tells of orders: the consent that an order gives, and each profile that an order handed over or no longer did.

use std::sync::Arc;

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
        DataScope, Disclosure, DisclosureRefused, Order, OrderExpired, OrderPlaced, OrderRejected, OrderWithdrawn,
        ProfileDisclosed,
    },
    profile::v1::{self as pb, AuditEntry, AuditKind},
};
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use super::{audit, consents::tell, keys::SigningKeys, store, time};
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
        let now = self.clock.now();
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let (order, ended) = match delivery.ce_type.as_str() {
            OrderPlaced::TYPE => (delivery.decode::<OrderPlaced>()?.order, false),
            OrderRejected::TYPE => (delivery.decode::<OrderRejected>()?.order, true),
            OrderWithdrawn::TYPE => (delivery.decode::<OrderWithdrawn>()?.order, true),
            OrderExpired::TYPE => (delivery.decode::<OrderExpired>()?.order, true),
            ProfileDisclosed::TYPE => {
                let fact = delivery.decode::<ProfileDisclosed>()?;
                return self.record(conn, fact.disclosure, AuditKind::Released, String::new(), now).await;
            }
            DisclosureRefused::TYPE => {
                let fact = delivery.decode::<DisclosureRefused>()?;
                return self.record(conn, fact.disclosure, AuditKind::Refused, fact.reason, now).await;
            }
            other => return Err(Rejection::poison(format!("`{other}` is not a fact the profile knows"))),
        };
        let order = order.ok_or_else(|| missing("order"))?;
        keep(conn, &order, ended, now).await
    }
}

impl OrderHandler {
    /// Once, however often it is told.
    async fn record(
        &self,
        conn: &mut PgConnection,
        disclosure: Option<Disclosure>,
        kind: AuditKind,
        reason: String,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let told = disclosure.ok_or_else(|| missing("disclosure"))?;
        let id = uuid("disclosure_id", &told.disclosure_id)?;
        told.enterprise_id.parse::<Uscc>().map_err(Rejection::poison)?;
        let new = if kind == AuditKind::Released {
            if told.profile_version < 1 {
                return Err(missing("disclosure.profile_version"));
            }
            let at = told.at.as_ref().and_then(time).unwrap_or(now);
            store::note_handed(conn, id, &told, at).await?
        } else {
            store::note_withheld(conn, id).await?
        };
        if !new {
            return Ok(());
        }
        let entry = AuditEntry {
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
        };
        audit::append(conn, &self.signing, entry, now).await.map_err(Rejection::retry)
    }
}

/// Keeps the consent of an order; one of an order that has ended is taken back. Every fact carries the whole order, so that
/// whichever comes first makes the consent, and an end that came before the beginning stays the end.
async fn keep(conn: &mut PgConnection, order: &Order, ended: bool, now: Timestamp) -> Result<(), Rejection> {
    // An order without one hands nothing over.
    let Some(given) = &order.consent else { return Ok(()) };
    let id = uuid("order.order_id", &order.order_id)?;
    let enterprise: Uscc = order.enterprise_id.parse().map_err(Rejection::poison)?;
    let institution: InstitutionId = order.institution_id.parse().map_err(Rejection::poison)?;
    let has = |scope: DataScope| given.scopes.contains(&i32::from(scope));
    let scope =
        pb::Scope { score: has(DataScope::Score), all_categories: has(DataScope::Features), ..pb::Scope::default() };
    let last: Date = given.expires_on.parse().map_err(|_| missing("order.consent.expires_on"))?;
    let expires_at = last.tomorrow().ok().and_then(start_of_business_date);
    let new = store::NewConsent {
        id,
        enterprise_id: enterprise.as_str(),
        institution_id: institution.as_str(),
        purpose: pb::Purpose::LoanApplication,
        scope: &scope,
        expires_at: expires_at.ok_or_else(|| missing("order.consent.expires_on"))?,
    };
    let granted_at = given.granted_at.as_ref().and_then(time).unwrap_or(now);
    put(conn, &new, granted_at, ended, now).await.map_err(Rejection::retry)
}

async fn put(
    conn: &mut PgConnection,
    new: &store::NewConsent<'_>,
    granted_at: Timestamp,
    ended: bool,
    now: Timestamp,
) -> Result<(), Error> {
    if store::consent_for_update(conn, new.id, new.enterprise_id).await?.is_none() {
        let consent = store::add_consent(conn, new, granted_at).await?;
        tell(conn, &consent, &pb::ConsentGranted { consent: Some(consent.clone()) }, now).await?;
    }
    if !ended {
        return Ok(());
    }
    let Some(kept) = store::consent_for_update(conn, new.id, new.enterprise_id).await? else { return Ok(()) };
    if kept.state() == pb::ConsentState::Granted {
        let scope = kept.scope.clone().unwrap_or_default();
        let ends = kept.expires_at.as_ref().and_then(time).unwrap_or(new.expires_at);
        let consent = store::change_consent(conn, new.id, &scope, ends, true, now).await?;
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
