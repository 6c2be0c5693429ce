//! What orders hand over: their consents are kept like any other, and each hand-over and refusal is on the trail once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod trusted;

use trusted::{PATIENCE, World, as_enterprise, enterprise, id};
use zhirong_kernel::clock::{Clock as _, SystemClock, business_date};
use zhirong_proto::{
    matching::v1::{
        Consent, DataScope, Disclosure, DisclosureRefused, Order, OrderPlaced, OrderWithdrawn, ProfileDisclosed,
    },
    profile::v1::{
        AuditKind, ConsentState, ListConsentsRequest, Purpose, Scope, consent_service_client::ConsentServiceClient,
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
