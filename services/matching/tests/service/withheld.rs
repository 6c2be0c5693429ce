//! What an inbox no longer shows: from the end of a consent on, whichever end it is, and told once.

use zhirong_proto::{
    matching::v1::{Consent, DisclosureRefused, InboxEntry, Order, PlaceOrderRequest, StreamInboxRequest},
    profile::v1::{self as registry, ConsentRevoked, ConsentState},
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::support::{
    BANK, PATIENCE, STALE, World, approval, as_bank, as_enterprise, at, order, rejection, withdrawal,
};

/// The order's consent was taken back.
fn taken_back(order: &Order) -> Event {
    let consent = registry::Consent {
        consent_id: order.order_id.clone(),
        enterprise_id: order.enterprise_id.clone(),
        institution_id: BANK.to_owned(),
        scope: Some(registry::Scope { score: true, all_categories: true, ..registry::Scope::default() }),
        expires_at: Some(prost_types::Timestamp {
            seconds: at(jiff::civil::date(2032, 1, 1), 0).as_second(),
            nanos: 0,
        }),
        state: ConsentState::Revoked.into(),
        version: 2,
        ..registry::Consent::default()
    };
    Event::of(&order.order_id, &ConsentRevoked { consent: Some(consent) })
}

/// Of which orders any entry shows a profile, by their places in the list; read twice.
async fn shown(world: &World, orders: &[Order]) -> Vec<usize> {
    let first = world.inbox(BANK).await;
    assert_eq!(world.inbox(BANK).await, first);
    let shown = |order: &Order| {
        first.iter().any(|entry| {
            entry.profile.is_some() && entry.order.as_ref().is_some_and(|of| of.order_id == order.order_id)
        })
    };
    orders.iter().zip(0..).filter(|(order, _)| shown(order)).map(|(_, place)| place).collect()
}

/// What was told as withheld: the places of orders in the list, and why; in order.
async fn told(world: &World, orders: &[Order]) -> Vec<(usize, String)> {
    let facts = world.announced::<DisclosureRefused>().await;
    let mut told: Vec<_> = facts
        .into_iter()
        .map(|fact| {
            let disclosure = fact.disclosure.unwrap();
            assert_eq!((disclosure.profile_version, disclosure.feature_names.len()), (1, 0));
            let place = orders.iter().position(|order| order.order_id == disclosure.order_id).unwrap();
            (place, fact.reason)
        })
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn every_end_of_a_consent_is_told_once_and_nothing_is_shown_after_it() {
    const REVOKED: usize = 0;
    const SHORT: usize = 1;
    const WITHDRAWN: usize = 2;
    const REJECTED: usize = 3;
    const LATE: usize = 4;
    const APPROVED: usize = 5;
    let (world, product, enterprise) = World::ready().await;
    let mut orders = Vec::new();
    for place in 0..6 {
        let wanted = order(&product, 10_000_000);
        let last = if place == SHORT { "2031-03-06" } else { "2031-12-31" };
        let consent = wanted.consent.clone().map(|consent| Consent { expires_on: last.to_owned(), ..consent });
        let request = as_enterprise(&enterprise, PlaceOrderRequest { consent, ..wanted });
        orders.push(world.orders().place_order(request).await.unwrap().into_inner().order.unwrap());
    }
    assert_eq!(shown(&world, &orders).await, [0, 1, 2, 3, 4, 5]);

    world.orders().withdraw_order(as_enterprise(&enterprise, withdrawal(&orders[WITHDRAWN]))).await.unwrap();
    world.banks().reject_order(as_bank(BANK, rejection(&orders[REJECTED]))).await.unwrap();
    world.approve(approval(&orders[APPROVED], "REF-1")).await;
    // A bank that follows its inbox reads that the orders have ended, of which nothing is withheld.
    let request = as_bank(BANK, StreamInboxRequest { after_position: 6 });
    let mut stream = world.banks().stream_inbox(request).await.unwrap().into_inner();
    for has_profile in [false, false, true] {
        let entry = stream.message().await.unwrap().unwrap().entry.unwrap();
        assert_eq!(entry.profile.is_some(), has_profile, "{:?}", entry.order);
    }
    assert!(told(&world, &orders).await.is_empty());
    let mut expected: Vec<(usize, String)> = Vec::new();
    let mut tells = async |ends: &[(usize, &str)], left: &[usize]| {
        assert_eq!(shown(&world, &orders).await, left);
        expected.extend(ends.iter().map(|(place, reason)| (*place, (*reason).to_owned())));
        expected.sort();
        assert_eq!(told(&world, &orders).await, expected);
    };
    // Back where they were open it is.
    tells(&[(WITHDRAWN, "ORDER_ENDED"), (REJECTED, "ORDER_ENDED")], &[REVOKED, SHORT, LATE, APPROVED]).await;
    world.deliver(Deliveries::new([taken_back(&orders[REVOKED])]).twice()).await;
    tells(&[(REVOKED, "CONSENT_REVOKED")], &[SHORT, LATE, APPROVED]).await;
    world.clock.set(at(jiff::civil::date(2031, 3, 7), 0));
    tells(&[(SHORT, "CONSENT_EXPIRED")], &[LATE, APPROVED]).await;
    // Nobody has answered the three that are left open.
    world.clock.set(at(jiff::civil::date(2031, 3, 13), 0));
    eventually(PATIENCE, "the orders have expired", || async {
        Ok((world.count("SELECT count(*) FROM orders WHERE state = 'expired'").await == 3).then_some(()))
    })
    .await
    .unwrap();
    tells(&[(REVOKED, "ORDER_ENDED"), (SHORT, "ORDER_ENDED"), (LATE, "ORDER_ENDED")], &[APPROVED]).await;
    world.deliver(Deliveries::new([taken_back(&orders[APPROVED])])).await;
    tells(&[(APPROVED, "CONSENT_REVOKED")], &[]).await;
    world.stop().await;
}

#[tokio::test]
async fn what_a_slow_reader_has_not_taken_yet_is_withheld_from_it_too() {
    const ENTRIES: i64 = 100;
    let (world, product, enterprise) = World::ready().await;
    // Entries of a thousand bytes, of which the server takes some thirty at a time to send.
    let request = PlaceOrderRequest { purpose_zh: "购".repeat(200), ..order(&product, 10_000_000) };
    let placed = world.orders().place_order(as_enterprise(&enterprise, request)).await.unwrap();
    let order = placed.into_inner().order.unwrap();
    sqlx::query(
        "INSERT INTO inbox_entry SELECT institution_id, place, order_id, content
         FROM inbox_entry, generate_series(2, $1) place",
    )
    .bind(ENTRIES)
    .execute(&world.pool)
    .await
    .unwrap();
    let request = as_bank(BANK, StreamInboxRequest { after_position: 0 });
    let mut stream = world.slow_banks().await.stream_inbox(request).await.unwrap().into_inner();
    let mut entries: Vec<InboxEntry> = vec![stream.message().await.unwrap().unwrap().entry.unwrap()];
    assert!(entries[0].profile.is_some());
    world.deliver(Deliveries::new([taken_back(&order)])).await;
    world.clock.advance(STALE);
    while entries.len() < 100 {
        entries.push(stream.message().await.unwrap().unwrap().entry.unwrap());
    }
    assert_eq!(entries.iter().map(|entry| entry.position).collect::<Vec<_>>(), (1..=ENTRIES).collect::<Vec<_>>());
    assert!(entries[99].profile.is_none(), "what was not on its way is read again");
    drop(stream);
    world.stop().await;
}
