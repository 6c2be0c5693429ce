//! Tells of each profile that an order makes readable for its institution, and of each that is withheld.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message as _;
use ring::digest::{SHA256, digest};
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::{
    matching::v1::{Disclosure, DisclosureRefused, InboxEntry, Order, ProfileDisclosed},
    profile::v1::{Profile, Scope},
};
use zhirong_runtime::outbox::{self, Aggregate};

use crate::{
    consent::{Ended, Held, part},
    error::Error,
    grpc::proto_time,
    store::{
        disclosure as store,
        order::{Entry, OrderRow},
    },
};

/// Profiles withheld, and why.
pub type Refused = BTreeMap<(String, Ended), Disclosure>;

/// Tells that a new order hands a profile over; in the transaction of the order.
pub async fn made(conn: &mut PgConnection, row: &OrderRow, now: Timestamp) -> Result<(), Error> {
    let Some(held) = row.order.consent.as_ref().and_then(Held::ordered) else { return Ok(()) };
    let released = part(&row.profile, &held.scope);
    let feature_names = released.features.keys().cloned().collect();
    let content_sha256 = digest(&SHA256, &released.encode_to_vec()).as_ref().to_vec();
    let version = released.version;
    let disclosure = Disclosure {
        feature_names,
        content_sha256,
        at: Some(proto_time(now)),
        ..disclosure(&row.order, version, held.scope)
    };
    let id = disclosure.disclosure_id.clone();
    let fact = ProfileDisclosed { disclosure: Some(disclosure) };
    outbox::append(conn, aggregate(&id), &row.order.order_id, &fact, now).await?;
    Ok(())
}

/// Leaves of the profiles what the enterprises have consented to, while the consents hold; gives also what is withheld.
pub fn release(entries: Vec<Entry>, now: Timestamp) -> (Vec<InboxEntry>, Refused) {
    let mut refused = Refused::new();
    let released = entries.into_iter().map(|entry| {
        let Entry { position, order, profile, erased_at, consent } = entry;
        let held = consent.or_else(|| order.consent.as_ref().and_then(Held::ordered));
        let profile: Option<Profile> = profile.zip(held).and_then(|(profile, held)| match held.check(now) {
            Ok(()) => Some(part(&profile, &held.scope)),
            Err(ended) => {
                refused
                    .entry((order.order_id.clone(), ended))
                    .or_insert_with(|| disclosure(&order, profile.version, held.scope));
                None
            }
        });
        InboxEntry { position, order: Some(order), profile, profile_erased_at: erased_at.map(proto_time) }
    });
    (released.collect(), refused)
}

/// Tells what was withheld, unless it was told before; says whether something was told.
pub async fn refused(conn: &mut PgConnection, refused: &Refused, now: Timestamp) -> Result<bool, Error> {
    let mut told = false;
    for ((order_id, ended), disclosure) in refused {
        let id: Uuid = order_id.parse().map_err(|_| Error::Stored("orders.content".to_owned()))?;
        if !store::refuse(conn, id, ended.reason()).await? {
            continue;
        }
        let disclosure = Disclosure { at: Some(proto_time(now)), ..disclosure.clone() };
        let aggregate_id = disclosure.disclosure_id.clone();
        let fact = DisclosureRefused { disclosure: Some(disclosure), reason: ended.reason().to_owned() };
        outbox::append(conn, aggregate(&aggregate_id), order_id, &fact, now).await?;
        told = true;
    }
    Ok(told)
}

/// Each is an aggregate of its own: nothing comes before or after it.
fn aggregate(id: &str) -> Aggregate<'_> {
    Aggregate { kind: "disclosure", id, version: 1 }
}

fn disclosure(order: &Order, profile_version: i64, scope: Scope) -> Disclosure {
    Disclosure {
        disclosure_id: Uuid::now_v7().to_string(),
        order_id: order.order_id.clone(),
        enterprise_id: order.enterprise_id.clone(),
        institution_id: order.institution_id.clone(),
        // A consent of an order has the order's id.
        consent_id: order.order_id.clone(),
        profile_version,
        scope: Some(scope),
        ..Disclosure::default()
    }
}
