//! Tells of each profile that an order makes readable for its institution, and of each that is withheld.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prost::Message as _;
use ring::digest::{SHA256, digest};
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::{
    matching::v1::{Disclosure, DisclosureRefused, InboxEntry, Order, ProfileDisclosed},
    profile::v1::{DisputedRecord, HeardConsent, Profile, Scope},
};
use zhirong_runtime::outbox::{self, Aggregate};

use crate::{
    checks::{Checks, Unconfirmed, Unheard},
    consent::{Ended, Held, disputed, part},
    error::Error,
    grpc::proto_time,
    order::is_closed,
    store::{
        disclosure as store, objection,
        order::{Entry, OrderRow},
    },
};

/// What reading an inbox gives to tell.
#[derive(Debug, Default)]
pub struct Read {
    /// Profiles withheld, by order, and why.
    refused: BTreeMap<(String, Ended), Disclosure>,
    /// Profiles of which another part was shown than the order said, by order.
    made: BTreeMap<String, Disclosure>,
}

impl Read {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.made.is_empty()
    }
}

/// What was not heard of yet of the profiles that these entries would show.
pub async fn unheard(checks: &Checks, entries: &[Entry], now: Timestamp) -> Result<Unheard, Unconfirmed> {
    let (mut consents, mut enterprises) = (BTreeMap::new(), BTreeSet::new());
    for entry in entries.iter().filter(|entry| entry.profile.is_some()) {
        let held = entry.consent.clone().or_else(|| entry.order.consent.as_ref().and_then(Held::ordered));
        if held.is_some_and(|held| held.check(now).is_ok()) {
            consents.insert(entry.order.order_id.clone(), entry.consent_version);
            enterprises.insert(entry.order.enterprise_id.clone());
        }
    }
    let heard = consents.into_iter().map(|(consent_id, version)| HeardConsent { consent_id, version });
    checks.ask(&Vec::from_iter(heard), &Vec::from_iter(enterprises)).await
}

/// Tells that a new order hands a profile over; in the transaction of the order.
pub async fn made(conn: &mut PgConnection, row: &OrderRow, now: Timestamp) -> Result<(), Error> {
    let Some(held) = row.order.consent.as_ref().and_then(Held::ordered) else { return Ok(()) };
    let enterprise = row.order.enterprise_id.as_str();
    let disputes = objection::open(conn, &[enterprise]).await?.remove(enterprise).unwrap_or_default();
    let shown = part(&row.profile, &held.scope);
    let disputed = disputed(&disputes, &held.scope, &shown);
    tell(conn, handed_over(&row.order, held.scope, &shown, disputed), now).await
}

fn handed_over(
    order: &Order,
    scope: Scope,
    shown: &Profile,
    (disputed, disputed_values): (Vec<DisputedRecord>, Vec<String>),
) -> Disclosure {
    Disclosure {
        feature_names: shown.features.keys().cloned().collect(),
        content_sha256: digest(&SHA256, &shown.encode_to_vec()).as_ref().to_vec(),
        disputed,
        disputed_values,
        ..disclosure(order, shown.version, scope)
    }
}

async fn tell(conn: &mut PgConnection, disclosure: Disclosure, now: Timestamp) -> Result<(), Error> {
    let (id, order_id) = (disclosure.disclosure_id.clone(), disclosure.order_id.clone());
    let fact = ProfileDisclosed { disclosure: Some(Disclosure { at: Some(proto_time(now)), ..disclosure }) };
    outbox::append(conn, aggregate(&id), &order_id, &fact, now).await?;
    Ok(())
}

/// Leaves of the profiles what the enterprises have consented to, while the consents hold, and says what of it is disputed; gives
/// also what is to be told of it. The part that the order itself allowed was told with the order.
pub fn release(entries: Vec<Entry>, unheard: &Result<Unheard, Unconfirmed>, now: Timestamp) -> (Vec<InboxEntry>, Read) {
    let mut read = Read::default();
    let nothing = Unheard::default();
    let (known, confirmed) = match unheard {
        Ok(unheard) => (unheard, true),
        Err(Unconfirmed) => (&nothing, false),
    };
    let released = entries.into_iter().map(|entry| {
        let erased_at = erased_at(&entry, known);
        let Entry { position, order, profile, ended, consent, .. } = entry;
        let bare = InboxEntry { position, profile_erased_at: erased_at.map(proto_time), ..InboxEntry::default() };
        let ordered = order.consent.as_ref().and_then(Held::ordered);
        let newer = known.consents.get(&order.order_id).map(|newer| newer.held.clone());
        let Some(held) = newer.or(consent).or_else(|| ordered.clone()) else {
            return InboxEntry { order: Some(order), ..bare };
        };
        let why = match (erased_at, ended) {
            // That is on the trail by itself.
            (Some(_), _) => None,
            // What says that an order has ended never had a profile to show, so that nothing is withheld of it.
            (None, true) => Some(Ended::WithOrder).filter(|_| !is_closed(order.state())),
            (None, false) => held.check(now).err().or_else(|| (!confirmed).then_some(Ended::Unconfirmed)),
        };
        let Some(profile) = profile.filter(|_| why.is_none() && erased_at.is_none()) else {
            if let Some(why) = why {
                let version = order.quote.as_ref().map_or(0, |quote| quote.profile_version);
                let withheld = read.refused.entry((order.order_id.clone(), why));
                withheld.or_insert_with(|| disclosure(&order, version, held.scope));
            }
            let profile_withheld = why.map_or_else(Default::default, Ended::withheld).into();
            return InboxEntry { order: Some(order), profile_withheld, ..bare };
        };
        let shown = part(&profile, &held.scope);
        let open = known.disputes.get(&order.enterprise_id).map(Vec::as_slice).unwrap_or_default();
        let told = disputed(open, &held.scope, &shown);
        if ordered.is_none_or(|ordered| ordered.scope != held.scope) {
            let made = read.made.entry(order.order_id.clone());
            made.or_insert_with(|| handed_over(&order, held.scope, &shown, told.clone()));
        }
        let (disputed, disputed_values) = told;
        InboxEntry { order: Some(order), profile: Some(shown), disputed, disputed_values, ..bare }
    });
    (released.collect(), read)
}

/// When the profile behind an order was erased, be it not heard of yet.
fn erased_at(entry: &Entry, known: &Unheard) -> Option<Timestamp> {
    let placed_at = entry.order.placed_at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
    let unheard = known.erased.get(&entry.order.enterprise_id).copied();
    entry.erased_at.or_else(|| unheard.filter(|at| placed_at.is_none_or(|placed_at| placed_at <= *at)))
}

/// Tells what was withheld and what was shown, unless it was told before; says whether something was told.
pub async fn told(conn: &mut PgConnection, read: Read, now: Timestamp) -> Result<bool, Error> {
    let mut told = false;
    for ((order_id, ended), disclosure) in read.refused {
        if !store::refuse(conn, id(&order_id)?, ended.reason()).await? {
            continue;
        }
        let disclosure = Disclosure { at: Some(proto_time(now)), ..disclosure };
        let aggregate_id = disclosure.disclosure_id.clone();
        let fact = DisclosureRefused { disclosure: Some(disclosure), reason: ended.reason().to_owned() };
        outbox::append(conn, aggregate(&aggregate_id), &order_id, &fact, now).await?;
        told = true;
    }
    for (order_id, disclosure) in read.made {
        let scope = disclosure.scope.clone().unwrap_or_default();
        if store::show(conn, id(&order_id)?, &scope, disclosure.profile_version).await? {
            tell(conn, disclosure, now).await?;
            told = true;
        }
    }
    Ok(told)
}

fn id(order_id: &str) -> Result<Uuid, Error> {
    order_id.parse().map_err(|_| Error::Stored("orders.content".to_owned()))
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
