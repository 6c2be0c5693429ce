//! Orders with the consents that they give and what they hand over, candidates that are named, and institutions: the same end.

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use zhirong_kernel::clock::{Clock as _, SystemClock};
use zhirong_proto::{
    catalog::v1::{Institution, InstitutionKind, InstitutionRegistered},
    matching::v1::{
        CandidatesNamed, Disclosure, DisclosureRefused, NamedCandidate, Order, OrderExpired, OrderRejected,
        OrderWithdrawn,
    },
    profile::v1::{AuditEntry, EraseEnterpriseRequest, erasure_service_client::ErasureServiceClient},
};
use zhirong_runtime::streams;
use zhirong_testkit::{
    Aside, Event, ManualClock, State, TestDatabase, any_order_ends_the_same, blanked, eventually, heard,
};

use super::kept::COMPUTED;
use crate::{
    orders::{BANK, disclosure, made, order, placed},
    world::{PATIENCE, World, as_enterprise, enterprise, id},
};

/// Enterprises of which three versions of a profile are known; the past of the last one was erased.
const KNOWN: u32 = 4;

/// What depends on the way, and what this history has nothing of.
const ASIDES: [Aside; 21] = [
    Aside::columns("audit_entry", &["sequence", "hash", "signature"], "the chain is in the order of arrival"),
    Aside::within("audit_entry", "content", entry, "names its place in the chain"),
    Aside::columns("audit_head", &["hash"], "over the chain, in the order of arrival"),
    Aside::table("audit_checkpoint", "made by the clock"),
    Aside::untouched("record", "nothing is observed"),
    Aside::untouched("reload", "nothing is observed"),
    Aside::untouched("reload_member", "nothing is observed"),
    Aside::untouched("category", "nothing is observed"),
    Aside::untouched("objection", "nobody disputes anything"),
    Aside::untouched("loan_step", "nobody borrows"),
    Aside::untouched("erased_loan", "nobody borrows"),
    Aside::untouched("enterprise_rating", "nobody borrows"),
    Aside::untouched("quality_standing", "nobody borrows"),
    Aside::untouched("quality_change", "nobody borrows"),
    Aside::untouched("tier_standing", "too little is known of anybody"),
    Aside::untouched("tier_change", "too little is known of anybody"),
    Aside::untouched("release", "only who asks is released anything"),
    Aside::untouched("enterprise_code", "only who asks has one"),
    Aside::untouched("legal_representative", "only who says has one"),
    Aside::untouched("delivery_end", "no delivery ends"),
    Aside::table("scorecard", "of the beginning"),
];

fn entry(content: &[u8]) -> Result<Vec<u8>> {
    blanked(content, |entry: &mut AuditEntry| entry.sequence = 0)
}

async fn beginning(clock: Arc<ManualClock>) -> TestDatabase {
    let world = World::bare_by(clock).await;
    for number in 1..=KNOWN {
        for patents in [3, 9, 12] {
            world.known(&enterprise(number), patents).await;
        }
    }
    let request = EraseEnterpriseRequest { request_id: id(), enterprise_id: String::new() };
    let mut client = ErasureServiceClient::new(world.channel.clone());
    client.erase_enterprise(as_enterprise(&enterprise(KNOWN), request)).await.unwrap();
    settled(&world).await.unwrap();
    world.stop().await
}

/// Orders of the known and of one that is not, institutions, and namings, in the order in which they happened.
fn history(now: Timestamp) -> Vec<Event> {
    let mut all: Vec<Event> =
        (1..=4).flat_map(|version| ["a", "b", "c"].map(|name| registered(name, version))).collect();
    all.extend((1..=KNOWN + 1).flat_map(|number| orders(number, now)));
    all.extend((1..=3).flat_map(|length| [named(1..length + 1), named(2..length + 2)]));
    all
}

fn registered(name: &str, version: i64) -> Event {
    let institution_id = format!("sample-{name}-bank");
    let (kind, name_zh) = (InstitutionKind::Bank.into(), format!("示例银行{name}之{version}"));
    let institution = Institution { institution_id: institution_id.clone(), name_zh, kind, version };
    Event::of(&institution_id, &InstitutionRegistered { institution: Some(institution) })
}

/// Orders of an enterprise, each with another end, and two of them after its erasure, if there was one.
fn orders(number: u32, now: Timestamp) -> Vec<Event> {
    let uscc = enterprise(number);
    let new = |later: bool| {
        let known = order(&uscc, &id());
        let after = Some(prost_types::Timestamp { seconds: now.as_second() + 60, nanos: 0 });
        Order { placed_at: if later { after } else { known.placed_at }, ..known }
    };
    let [open, withdrawn, rejected, expired] = [new(false), new(false), new(true), new(true)];
    let shown = |of: &Order, profile_version| Disclosure { profile_version, ..disclosure(&uscc, &of.order_id) };
    let refused = |of: &Order, reason: &str| {
        let disclosure = Some(shown(of, 3));
        Event::of(&of.order_id, &DisclosureRefused { disclosure, reason: reason.to_owned() })
    };
    let mut all: Vec<Event> = [&open, &withdrawn, &rejected, &expired].map(|of| placed(of.clone())).into();
    if number <= KNOWN {
        all.extend([made(&shown(&open, 1)), made(&shown(&open, 3)), made(&shown(&withdrawn, 2))]);
    }
    all.extend([
        refused(&open, "CONSENT_REVOKED"),
        Event::of(&withdrawn.order_id, &OrderWithdrawn { order: Some(withdrawn.clone()) }),
        refused(&withdrawn, "ORDER_ENDED"),
        Event::of(&rejected.order_id, &OrderRejected { order: Some(rejected.clone()) }),
        Event::of(&expired.order_id, &OrderExpired { order: Some(expired.clone()) }),
    ]);
    all
}

fn named(numbers: std::ops::Range<u32>) -> Event {
    let candidate = |number| NamedCandidate {
        enterprise_id: enterprise(number).to_string(),
        profile_version: 2,
        consent_id: id(),
        limit_fen: i64::from(number) * 10_000_000,
        rate_ppm: 35_000,
        disputed: number % 2 == 0,
    };
    let fact = CandidatesNamed {
        naming_id: id(),
        institution_id: BANK.to_owned(),
        product_id: id(),
        at: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
        catalog_version: 7,
        candidates: numbers.map(candidate).collect(),
    };
    Event::of(&fact.product_id, &fact)
}

/// Until every fact was taken and every profile computed.
async fn settled(world: &World) -> Result<()> {
    eventually(PATIENCE, "all is taken and computed", || async {
        for (stream, durable) in [
            (streams::MATCHING, "profile-orders"),
            (streams::MATCHING, "profile-loans"),
            (streams::MATCHING, "profile-candidates"),
            (streams::CATALOG, "profile-institutions"),
        ] {
            if !heard(&world.events, stream, durable).await? {
                return Ok(None);
            }
        }
        Ok(world.computed().await.then_some(()))
    })
    .await
}

/// What is kept, and what was told of consents: each of their versions, whichever fact it came of.
async fn state(world: &World) -> Result<State> {
    let told = world
        .rows::<String>(
            "SELECT concat_ws(' ', aggregate_id, aggregate_version, event_type, encode(payload, 'hex'))
             FROM runtime.outbox WHERE aggregate_kind = 'consent'",
        )
        .await;
    Ok(State::of(&world.pool().await, &[&COMPUTED[..], &ASIDES].concat()).await?.with("told of consents", told))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_orders_candidates_and_institutions_ends_the_same() {
    // It stands still, so that all is told at one time.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let left = beginning(Arc::clone(&clock)).await;
    any_order_ends_the_same(&history(clock.now()), async |deliveries| {
        let world = World::after(&left, Arc::<ManualClock>::clone(&clock)).await;
        deliveries.publish(&world.events).await?;
        settled(&world).await?;
        let end = state(&world).await?;
        world.stop().await;
        Ok(end)
    })
    .await
    .unwrap();
}
