//! What orders hand over: their consents are kept like any other, and each hand-over and refusal is on the trail once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::trusted::{named, whole};
use crate::world::{PATIENCE, World, as_bank, as_enterprise, as_staff, enterprise, id, reason};
use credit_profile::trust::audit::{chained, content_hash};
use prost::Message as _;
use zhirong_kernel::{
    Uscc,
    clock::{Clock as _, SystemClock, business_date, start_of_business_date},
};
use zhirong_proto::{
    matching::v1::{
        CandidatesNamed, Consent, DataScope, Disclosure, DisclosureRefused, NamedCandidate, Order, OrderExpired,
        OrderPlaced, OrderRejected, OrderWithdrawn, ProfileDisclosed,
    },
    profile::v1::{
        AuditKind, ConsentState, DisputedRecord, GetProfileRequest, GetReleaseRequest, ListConsentsRequest,
        ListDisclosuresRequest, Purpose, Scope, audit_service_client::AuditServiceClient,
        consent_service_client::ConsentServiceClient, profile_service_client::ProfileServiceClient,
    },
};
use zhirong_testkit::{Deliveries, Event, ManualClock, eventually};

pub const BANK: &str = "sample-one-bank";

/// An order of the enterprise with a consent to features until tomorrow.
pub fn order(uscc: &Uscc, order_id: &str) -> Order {
    let today = business_date(SystemClock.now());
    // The same however often it is written down.
    let now = start_of_business_date(today).map(|at| prost_types::Timestamp { seconds: at.as_second(), nanos: 0 });
    Order {
        order_id: order_id.to_owned(),
        enterprise_id: uscc.to_string(),
        institution_id: BANK.to_owned(),
        placed_at: now,
        consent: Some(Consent {
            scopes: vec![DataScope::Features.into()],
            text_version: "2026-01".to_owned(),
            granted_at: now,
            consent_id: order_id.to_owned(),
            expires_on: today.tomorrow().unwrap().to_string(),
            ..Consent::default()
        }),
        ..Order::default()
    }
}

/// A hand-over of the third version of the profile.
pub fn disclosure(uscc: &Uscc, order_id: &str) -> Disclosure {
    Disclosure {
        disclosure_id: id(),
        order_id: order_id.to_owned(),
        enterprise_id: uscc.to_string(),
        institution_id: BANK.to_owned(),
        consent_id: order_id.to_owned(),
        profile_version: 3,
        scope: Some(Scope { all_categories: true, ..Scope::default() }),
        feature_names: vec!["patent_count".to_owned()],
        content_sha256: vec![7; 32],
        ..Disclosure::default()
    }
}

pub fn placed(order: Order) -> Event {
    Event::of(&order.order_id.clone(), &OrderPlaced { order: Some(order) })
}

pub fn made(disclosure: &Disclosure) -> Event {
    Event::of(&disclosure.order_id, &ProfileDisclosed { disclosure: Some(disclosure.clone()) })
}

async fn seen(world: &World, count: i64) {
    eventually(PATIENCE, "each fact was dealt with", || async {
        let seen = world.rows::<i64>("SELECT count(*) FROM runtime.inbox WHERE consumer = 'profile-orders'").await;
        Ok((seen == [count]).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn orders_in_any_order_and_twice_end_their_consents_and_are_on_the_trail_once() {
    let uscc = enterprise(1);
    let [open, withdrawn, rejected, expired] = [id(), id(), id(), id()];
    // One of them agreed to what its product needs, as it was put into words.
    let needed = Scope { score: true, ..named(&["patent", "tax_payment"]) };
    let order = |uscc: &Uscc, id: &str| {
        let mut order = order(uscc, id);
        if let Some(consent) = order.consent.as_mut().filter(|_| id == open) {
            consent.scopes = vec![DataScope::Score.into(), DataScope::Categories.into()];
            consent.categories.clone_from(&needed.categories);
        }
        order
    };
    let told = Disclosure { scope: Some(needed.clone()), ..disclosure(&uscc, &open) };
    let refused = Disclosure { disclosure_id: id(), ..told.clone() };
    let reason = "CONSENT_REVOKED".to_owned();
    let ended = |id: &String| Some(order(&uscc, id));
    let mut events: Vec<Event> = [&open, &withdrawn, &rejected, &expired].map(|id| placed(order(&uscc, id))).into();
    events.extend([
        Event::of(&withdrawn, &OrderWithdrawn { order: ended(&withdrawn) }),
        Event::of(&rejected, &OrderRejected { order: ended(&rejected) }),
        Event::of(&expired, &OrderExpired { order: ended(&expired) }),
        // The same facts under other ids of events, as after a broker was filled again.
        made(&told),
        made(&told),
        Event::of(&open, &DisclosureRefused { disclosure: Some(refused), reason }),
    ]);
    let now = SystemClock.now();
    for seed in 1..=3 {
        let world = World::trusted_by(Arc::new(ManualClock::new(now))).await;
        Deliveries::new(events.clone()).twice().shuffled(seed).publish(&world.events).await.unwrap();
        seen(&world, 10).await;
        let consents = ConsentServiceClient::new(world.channel.clone())
            .list_consents(as_enterprise(&uscc, ListConsentsRequest::default()))
            .await
            .unwrap()
            .into_inner()
            .consents;
        assert_eq!(consents.len(), 4);
        for consent in &consents {
            let ended = consent.consent_id != open;
            assert_eq!(consent.state() == ConsentState::Revoked, ended, "seed {seed}");
            assert_eq!((consent.institution_id.as_str(), consent.purpose()), (BANK, Purpose::LoanApplication));
            let all = Scope { all_categories: true, ..Scope::default() };
            assert_eq!(consent.scope.as_ref(), Some(if ended { &all } else { &needed }));
        }
        let mut trail = world.trail().await;
        trail.sort_by_key(|entry| entry.kind);
        let kinds: Vec<_> = trail.iter().map(|entry| (entry.kind(), entry.reason.as_str())).collect();
        assert_eq!(kinds, [(AuditKind::Released, ""), (AuditKind::Refused, "CONSENT_REVOKED")], "seed {seed}");
        assert_eq!((&trail[0].order_id, &trail[0].feature_names), (&told.order_id, &told.feature_names));
        assert_eq!((&trail[0].content_sha256, &trail[0].scope), (&told.content_sha256, &told.scope));
        assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await, [0]);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_told_while_profiles_are_released_neither_stop_nor_are_stopped() {
    const ORDERS: usize = 40;
    let world = World::trusted().await;
    let uscc = enterprise(4);
    world.known(&uscc, 3).await;
    let orders: Vec<String> = (0..=ORDERS).map(|_| id()).collect();
    Deliveries::new(orders.iter().map(|id| placed(order(&uscc, id)))).publish(&world.events).await.unwrap();
    seen(&world, 41).await;
    // Of each order first what goes on the trail, then what changes a consent by which is released at that moment.
    let ended = orders.iter().skip(1).flat_map(|id| {
        let withdrawn = Event::of(id, &OrderWithdrawn { order: Some(order(&uscc, id)) });
        [made(&Disclosure { profile_version: 1, ..disclosure(&uscc, id) }), withdrawn]
    });
    let ended = Deliveries::new(ended);
    let all_seen = AtomicBool::new(false);
    let askers = (0..3).map(|_| async {
        let mut released = 0;
        while !all_seen.load(Ordering::Relaxed) {
            world.release(&uscc, BANK, Purpose::LoanApplication, None).await.unwrap();
            released += 1;
        }
        released
    });
    let orders = async {
        ended.publish(&world.events).await.unwrap();
        seen(&world, 41 + 80).await;
        all_seen.store(true, Ordering::Relaxed);
    };
    let (released, ()): (Vec<usize>, ()) = tokio::join!(futures::future::join_all(askers), orders);
    let trail = world.chain().await;
    let (of_orders, of_askers): (Vec<_>, Vec<_>) = trail.iter().partition(|entry| !entry.order_id.is_empty());
    assert_eq!((of_orders.len(), of_askers.len()), (ORDERS, released.iter().sum::<usize>()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_told_during_an_erasure_keeps_nothing_of_what_is_erased() {
    let world = World::trusted().await;
    let (uscc, order_id) = (enterprise(5), id());
    world.known(&uscc, 3).await;
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    let told = Disclosure { profile_version: 1, ..disclosure(&uscc, &order_id) };
    // As an erasure does, up to before its commit.
    let pool = world.pool().await;
    let mut erasure = pool.begin().await.unwrap();
    for statement in [
        "UPDATE profile SET stale = false WHERE enterprise_id = $1",
        "INSERT INTO erasure VALUES ($1, 1, now() + interval '1 minute', 1)",
        "UPDATE released_profile SET content = '' WHERE enterprise_id = $1",
    ] {
        sqlx::query(statement).bind(uscc.as_str()).execute(&mut *erasure).await.unwrap();
    }
    Deliveries::new([made(&told)]).publish(&world.events).await.unwrap();
    waits(&world, "the hand-over").await;
    erasure.commit().await.unwrap();
    seen(&world, 1).await;
    let request = GetReleaseRequest { release_id: told.disclosure_id };
    assert_eq!(reason(&world.get(as_staff(request)).await.unwrap_err()), "RELEASE_ERASED");

    // A release comes wholly before or after it as well.
    let mut erasure = pool.begin().await.unwrap();
    let lock = "UPDATE profile SET stale = false WHERE enterprise_id = $1";
    sqlx::query(lock).bind(uscc.as_str()).execute(&mut *erasure).await.unwrap();
    let release = world.release(&uscc, "bank-a", Purpose::LoanApplication, None);
    let (released, ()) = tokio::join!(release, async {
        waits(&world, "the release").await;
        erasure.commit().await.unwrap();
    });
    assert!(released.is_ok());
    world.stop().await;
}

/// Until somebody waits for the lock of a profile.
async fn waits(world: &World, who: &str) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FOR SHARE%'";
    eventually(PATIENCE, &format!("{who} waits for the erasure"), || async {
        Ok((world.rows::<i64>(waiting).await == [1]).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_handed_over_is_rebuilt_to_the_last_bit() {
    let world = World::trusted().await;
    let (uscc, order_id) = (enterprise(2), id());
    world.known(&uscc, 3).await;
    let request = GetProfileRequest { enterprise_id: uscc.to_string() };
    let known = ProfileServiceClient::new(world.channel.clone()).get_profile(as_staff(request)).await.unwrap();
    let mut given = known.into_inner().profile.unwrap();
    given.features.remove("credit_score");
    given.score = None;
    let bytes = given.encode_to_vec();
    let disputed = DisputedRecord { category: "patent".to_owned(), ..DisputedRecord::default() };
    let told = |content_sha256: Vec<u8>| Disclosure {
        profile_version: given.version,
        feature_names: given.features.keys().cloned().collect(),
        content_sha256,
        disputed: vec![disputed.clone()],
        disputed_values: vec!["listing_tier".to_owned()],
        ..disclosure(&uscc, &order_id)
    };
    let told = |content_sha256: Vec<u8>| Disclosure {
        at: Some(prost_types::Timestamp { seconds: SystemClock.now().as_second(), nanos: 1000 }),
        ..told(content_sha256)
    };
    let (made, forged) = (told(content_hash(&bytes)), told(vec![7; 32]));
    // Before it was heard of the data have changed already.
    world.known(&uscc, 9).await;
    let events = [self::made(&made), self::made(&forged), placed(order(&uscc, &order_id))];
    Deliveries::new(events).twice().shuffled(1).publish(&world.events).await.unwrap();
    seen(&world, 3).await;
    world.known(&uscc, 12).await;

    let request = || GetReleaseRequest { release_id: made.disclosure_id.clone() };
    for request in [as_staff(request()), as_bank(BANK, request()), as_enterprise(&uscc, request())] {
        let answer = world.get(request).await.unwrap();
        assert_eq!((&answer.order_id, &answer.content_sha256), (&order_id, &made.content_sha256));
        let release = answer.release.unwrap();
        assert_eq!(release.profile.unwrap().encode_to_vec(), bytes);
        assert_eq!((release.released_at, release.scope), (made.at, made.scope.clone()));
        assert_eq!((release.disputed, release.disputed_values), (made.disputed.clone(), made.disputed_values.clone()));
    }
    for foreign in [as_bank("sample-two-bank", request()), as_enterprise(&enterprise(3), request())] {
        assert_eq!(reason(&world.get(foreign).await.unwrap_err()), "RELEASE_NOT_FOUND");
    }
    // What does not match the trail is not given out as if it did.
    let request = GetReleaseRequest { release_id: forged.disclosure_id.clone() };
    assert_eq!(world.get(as_staff(request)).await.unwrap_err().code(), tonic::Code::Internal);

    // Narrowed, the bank has no longer what it had; then not even what is left.
    let ask = || GetReleaseRequest { release_id: made.disclosure_id.clone() };
    world.narrow(&uscc, &order_id, Some(named(&["patent", "tax"])), None).await;
    for _ in 0..2 {
        assert_eq!(reason(&world.get(as_bank(BANK, ask())).await.unwrap_err()), "CONSENT_REQUIRED");
        let entry = world.trail().await.pop().unwrap();
        assert_eq!((entry.kind(), &entry.order_id), (AuditKind::Refused, &order_id));
        assert!(world.get(as_staff(ask())).await.is_ok() && world.get(as_enterprise(&uscc, ask())).await.is_ok());
        world.revoke(&uscc, &order_id).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_named_as_a_candidate_finds_it_on_the_trail_once() {
    let world = World::trusted().await;
    let enterprises: Vec<Uscc> = (1..=500).map(enterprise).collect();
    let named = |numbers: std::ops::Range<usize>| CandidatesNamed {
        naming_id: id(),
        institution_id: BANK.to_owned(),
        product_id: "019a0000-0000-7000-8000-000000000001".to_owned(),
        at: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
        catalog_version: 7,
        candidates: enterprises[numbers]
            .iter()
            .map(|uscc| NamedCandidate {
                enterprise_id: uscc.to_string(),
                profile_version: 4,
                consent_id: id(),
                limit_fen: 50_000_000,
                rate_ppm: 35_000,
                disputed: true,
            })
            .collect(),
    };
    // The second is from before it was told what was shown.
    let (many, mut few) = (named(0..500), named(1..3));
    few.catalog_version = 0;
    for named in &mut few.candidates {
        (named.limit_fen, named.rate_ppm, named.disputed) = (0, 0, false);
    }
    // Twice under other ids of events, and one that names nobody.
    let nobody = CandidatesNamed { candidates: Vec::new(), ..few.clone() };
    let events = [&many, &few, &many, &nobody].map(|fact| Event::of(&fact.product_id, fact));
    Deliveries::new(events).twice().shuffled(2).publish(&world.events).await.unwrap();
    eventually(PATIENCE, "each fact was dealt with", || async {
        let seen = world.rows::<i64>("SELECT count(*) FROM runtime.inbox WHERE consumer = 'profile-candidates'").await;
        Ok((seen == [4]).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await, [1]);

    let seen = async |uscc: &Uscc| {
        let request = ListDisclosuresRequest::default();
        let mut client = AuditServiceClient::new(world.channel.clone());
        client.list_disclosures(as_enterprise(uscc, request)).await.unwrap().into_inner().entries
    };
    let mine = seen(&enterprises[0]).await;
    let [entry] = mine.as_slice() else { panic!("{mine:?}") };
    assert_eq!((entry.kind(), entry.purpose()), (AuditKind::Named, Purpose::Preapproval));
    assert_eq!((entry.institution_id.as_str(), &entry.product_id), (BANK, &many.product_id));
    assert_eq!((&entry.consent_id, entry.profile_version), (&many.candidates[0].consent_id, 4));
    assert_eq!((entry.limit_fen, entry.rate_ppm, entry.catalog_version), (50_000_000, 35_000, 7));
    assert_eq!((entry.disputed, entry.named_at), (true, many.at));
    let twice = seen(&enterprises[2]).await;
    let mut figures: Vec<_> = twice.iter().map(|of| (of.limit_fen, of.rate_ppm, of.catalog_version)).collect();
    figures.sort_unstable();
    assert_eq!(figures, [(0, 0, 0), (50_000_000, 35_000, 7)]);

    let links: Vec<(i64, Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT sequence, content, hash FROM audit_entry ORDER BY sequence")
            .fetch_all(&world.pool().await)
            .await
            .unwrap();
    assert_eq!(links.len(), 502);
    let mut before = vec![0; 32];
    for (expected, (sequence, content, hash)) in (1..).zip(links) {
        assert_eq!((sequence, chained(&before, &content)), (expected, hash.clone()));
        before = hash;
    }
    world.stop().await;
}
