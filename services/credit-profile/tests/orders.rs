//! What orders hand over: their consents are kept like any other, and each hand-over and refusal is on the trail once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod trusted;

use credit_profile::trust::audit::{chained, content_hash};
use prost::Message as _;
use trusted::{PATIENCE, World, as_bank, as_enterprise, as_staff, enterprise, id, reason};
use zhirong_kernel::{
    Uscc,
    clock::{Clock as _, SystemClock, business_date},
};
use zhirong_proto::{
    matching::v1::{
        CandidatesNamed, Consent, DataScope, Disclosure, DisclosureRefused, NamedCandidate, Order, OrderPlaced,
        OrderWithdrawn, ProfileDisclosed,
    },
    profile::v1::{
        AuditKind, ConsentState, GetProfileRequest, GetReleaseRequest, ListConsentsRequest, ListDisclosuresRequest,
        Purpose, Scope, audit_service_client::AuditServiceClient, consent_service_client::ConsentServiceClient,
        profile_service_client::ProfileServiceClient, release_service_client::ReleaseServiceClient,
    },
};
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event, eventually};

const BANK: &str = "sample-one-bank";

#[tokio::test]
async fn orders_in_any_order_and_twice_make_consents_and_entries_once() {
    for seed in 1..=3 {
        let world = World::start().await;
        let uscc = enterprise(1);
        let order = |order_id: &str| Order {
            order_id: order_id.to_owned(),
            enterprise_id: uscc.to_string(),
            institution_id: BANK.to_owned(),
            placed_at: Some(prost_types::Timestamp { seconds: SystemClock.now().as_second(), nanos: 0 }),
            consent: Some(Consent {
                scopes: vec![DataScope::Features.into()],
                text_version: "2026-01".to_owned(),
                granted_at: Some(prost_types::Timestamp { seconds: SystemClock.now().as_second(), nanos: 0 }),
                consent_id: order_id.to_owned(),
                expires_on: business_date(SystemClock.now()).tomorrow().unwrap().to_string(),
            }),
            ..Order::default()
        };
        let (open, withdrawn) = (id(), id());
        let disclosure = Disclosure {
            disclosure_id: id(),
            order_id: open.clone(),
            enterprise_id: uscc.to_string(),
            institution_id: BANK.to_owned(),
            consent_id: open.clone(),
            profile_version: 3,
            scope: Some(Scope { all_categories: true, ..Scope::default() }),
            feature_names: vec!["patent_count".to_owned()],
            content_sha256: vec![7; 32],
            at: None,
        };
        let refused = Disclosure { disclosure_id: id(), ..disclosure.clone() };
        let (made, reason) = (disclosure.clone(), "CONSENT_REVOKED".to_owned());
        let events = [
            Event::of(&open, &OrderPlaced { order: Some(order(&open)) }),
            Event::of(&withdrawn, &OrderPlaced { order: Some(order(&withdrawn)) }),
            Event::of(&withdrawn, &OrderWithdrawn { order: Some(order(&withdrawn)) }),
            // The same facts under other ids of events, as after a broker was filled again.
            Event::of(&open, &ProfileDisclosed { disclosure: Some(made.clone()) }),
            Event::of(&open, &ProfileDisclosed { disclosure: Some(made) }),
            Event::of(&open, &DisclosureRefused { disclosure: Some(refused), reason }),
        ];
        let deliveries = Deliveries::new(events).twice().shuffled(seed);
        let jetstream = world.broker.jetstream().await.unwrap();
        streams::ensure(&jetstream, streams::MATCHING, 1).await.unwrap();
        deliveries.publish(&jetstream).await.unwrap();
        eventually(PATIENCE, "each fact was dealt with", || async {
            let seen = world.rows::<i64>("SELECT count(*) FROM runtime.inbox WHERE consumer = 'profile-orders'").await;
            Ok((seen == [6]).then_some(()))
        })
        .await
        .unwrap();

        let consents = ConsentServiceClient::new(world.channel.clone())
            .list_consents(as_enterprise(&uscc, ListConsentsRequest::default()))
            .await
            .unwrap()
            .into_inner()
            .consents;
        let mut states: Vec<_> = consents.iter().map(|consent| (consent.consent_id.clone(), consent.state())).collect();
        states.sort();
        let mut expected = [(open, ConsentState::Granted), (withdrawn, ConsentState::Revoked)];
        expected.sort();
        assert_eq!(states, expected, "seed {seed}");
        for consent in &consents {
            assert_eq!((consent.institution_id.as_str(), consent.purpose()), (BANK, Purpose::LoanApplication));
            assert_eq!(consent.scope, Some(Scope { all_categories: true, ..Scope::default() }));
        }

        let mut trail = world.trail().await;
        trail.sort_by_key(|entry| entry.kind);
        let kinds: Vec<_> = trail.iter().map(|entry| (entry.kind(), entry.reason.as_str())).collect();
        assert_eq!(kinds, [(AuditKind::Released, ""), (AuditKind::Refused, "CONSENT_REVOKED")], "seed {seed}");
        assert_eq!(trail[0].order_id, disclosure.order_id);
        assert_eq!(trail[0].feature_names, disclosure.feature_names);
        assert_eq!(trail[0].content_sha256, disclosure.content_sha256);
        assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await, [0]);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_handed_over_is_rebuilt_to_the_last_bit() {
    let world = World::start().await;
    let (uscc, order_id) = (enterprise(2), id());
    world.known(&uscc, 3).await;
    let request = GetProfileRequest { enterprise_id: uscc.to_string() };
    let known = ProfileServiceClient::new(world.channel.clone()).get_profile(as_staff(request)).await.unwrap();
    let mut given = known.into_inner().profile.unwrap();
    given.features.remove("credit_score");
    given.score = None;
    let bytes = given.encode_to_vec();
    let told = |content_sha256: Vec<u8>| Disclosure {
        disclosure_id: id(),
        order_id: order_id.clone(),
        enterprise_id: uscc.to_string(),
        institution_id: BANK.to_owned(),
        consent_id: order_id.clone(),
        profile_version: given.version,
        scope: Some(Scope { all_categories: true, ..Scope::default() }),
        feature_names: given.features.keys().cloned().collect(),
        content_sha256,
        at: Some(prost_types::Timestamp { seconds: SystemClock.now().as_second(), nanos: 1000 }),
    };
    let (made, forged) = (told(content_hash(&bytes)), told(vec![7; 32]));
    // Before it was heard of the data have changed already.
    world.known(&uscc, 9).await;
    let jetstream = world.broker.jetstream().await.unwrap();
    streams::ensure(&jetstream, streams::MATCHING, 1).await.unwrap();
    let events = [&made, &forged]
        .map(|disclosure| Event::of(&order_id, &ProfileDisclosed { disclosure: Some(disclosure.clone()) }));
    Deliveries::new(events).twice().shuffled(1).publish(&jetstream).await.unwrap();
    eventually(PATIENCE, "both are on the trail", || async { Ok((world.trail().await.len() == 2).then_some(())) })
        .await
        .unwrap();
    world.known(&uscc, 12).await;

    let client = || ReleaseServiceClient::new(world.channel.clone());
    let request = || GetReleaseRequest { release_id: made.disclosure_id.clone() };
    for request in [as_staff(request()), as_bank(BANK, request()), as_enterprise(&uscc, request())] {
        let answer = client().get_release(request).await.unwrap().into_inner();
        assert_eq!((&answer.order_id, &answer.content_sha256), (&order_id, &made.content_sha256));
        let release = answer.release.unwrap();
        assert_eq!(release.profile.unwrap().encode_to_vec(), bytes);
        assert_eq!((release.released_at, release.scope), (made.at, made.scope.clone()));
    }
    for foreign in [as_bank("sample-two-bank", request()), as_enterprise(&enterprise(3), request())] {
        assert_eq!(reason(&client().get_release(foreign).await.unwrap_err()), "RELEASE_NOT_FOUND");
    }
    // What does not match the trail is not given out as if it did.
    let request = GetReleaseRequest { release_id: forged.disclosure_id.clone() };
    assert_eq!(client().get_release(as_staff(request)).await.unwrap_err().code(), tonic::Code::Internal);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_named_as_a_candidate_finds_it_on_the_trail_once() {
    let world = World::start().await;
    let enterprises: Vec<Uscc> = (1..=500).map(enterprise).collect();
    let named = |numbers: std::ops::Range<usize>| CandidatesNamed {
        naming_id: id(),
        institution_id: BANK.to_owned(),
        product_id: "019a0000-0000-7000-8000-000000000001".to_owned(),
        at: None,
        candidates: enterprises[numbers]
            .iter()
            .map(|uscc| NamedCandidate { enterprise_id: uscc.to_string(), profile_version: 4, consent_id: id() })
            .collect(),
    };
    let (many, few) = (named(0..500), named(1..3));
    // Twice under other ids of events, and one that names nobody.
    let nobody = CandidatesNamed { candidates: Vec::new(), ..few.clone() };
    let events = [&many, &few, &many, &nobody].map(|fact| Event::of(&fact.product_id, fact));
    let jetstream = world.broker.jetstream().await.unwrap();
    streams::ensure(&jetstream, streams::MATCHING, 1).await.unwrap();
    Deliveries::new(events).twice().shuffled(2).publish(&jetstream).await.unwrap();
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
    assert_eq!(seen(&enterprises[2]).await.len(), 2);

    let links: Vec<(i64, Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT sequence, content, hash FROM audit_entry ORDER BY sequence")
            .fetch_all(&world.database.pool().await.unwrap())
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
