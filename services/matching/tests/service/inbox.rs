//! Inboxes: no position is missing, none comes twice, and a reader that comes back goes on where it was.

use futures::future::join_all;
use prost::Message as _;
use tonic::{Code, Streaming};
use zhirong_proto::{
    matching::v1::{
        Consent, DataScope, DisclosureRefused, InboxEntry, ListInboxRequest, OrderState, PlaceOrderRequest,
        ProfileDisclosed, StreamInboxRequest, StreamInboxResponse,
    },
    profile::v1::{
        self as registry, ConsentGranted, ConsentNarrowed, ConsentRevoked, ConsentState, DisputedRecord, FeatureValue,
        ObjectionDecided, ObjectionRaised, ProfileUpdated,
    },
};
use zhirong_testkit::{Deliveries, Event};

use crate::support::{
    BANK, OTHER_BANK, World, acceptance, approval, as_bank, as_enterprise, at, new_id, order, profile, profile_of,
    published, reason, refusal, rejection, uscc, withdrawal,
};

async fn open(world: &World, replica: usize, after_position: i64) -> Streaming<StreamInboxResponse> {
    let request = as_bank(BANK, StreamInboxRequest { after_position });
    world.banks_at(replica).stream_inbox(request).await.unwrap().into_inner()
}

async fn read(stream: &mut Streaming<StreamInboxResponse>, count: usize) -> Vec<InboxEntry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        entries.push(stream.message().await.unwrap().unwrap().entry.unwrap());
    }
    entries
}

fn positions(entries: &[InboxEntry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position).collect()
}

#[tokio::test]
async fn positions_have_no_gap_and_every_reader_sees_them_in_order() {
    const ORDERS: usize = 30;
    let world = World::with_reference(2).await;
    let products = [(new_id(), BANK), (new_id(), OTHER_BANK)];
    let mut facts: Vec<_> = products.iter().map(|(product, bank)| published(product, bank, 1)).collect();
    facts.extend((0..ORDERS).map(|number| profile(&uscc(number), 1, 5)));
    world.deliver(Deliveries::new(facts)).await;
    let (mut here, mut there) = (open(&world, 0, 0).await, open(&world, 1, 0).await);

    // Placed on both replicas, half of them accepted at once, two banks in between each other.
    let placements = (0..ORDERS).map(|number| {
        let (product, bank) = &products[number % 2];
        let (mut orders, mut banks) = (world.orders_at(number % 3 % 2), world.banks_at(number % 2));
        async move {
            let request = as_enterprise(&uscc(number), order(product, 10_000_000));
            let placed = orders.place_order(request).await.unwrap().into_inner().order.unwrap();
            banks.accept_order(as_bank(bank, acceptance(&placed))).await.unwrap();
        }
    });
    let (_, seen_here, seen_there) =
        tokio::join!(join_all(placements), read(&mut here, ORDERS), read(&mut there, ORDERS));
    let expected: Vec<i64> = (1..).take(ORDERS).collect();
    assert_eq!(positions(&seen_here), expected);
    assert_eq!(seen_here, seen_there);
    assert_eq!(seen_here, world.inbox(BANK).await);
    assert_eq!(positions(&world.inbox(OTHER_BANK).await), expected, "each bank has positions of its own");

    drop(here);
    let last = i64::try_from(ORDERS).unwrap();
    let mut resumed = open(&world, 0, last - 3).await;
    assert_eq!(positions(&read(&mut resumed, 3).await), [last - 2, last - 1, last]);
    let new = as_enterprise(&uscc(0), order(&products[0].0, 10_000_000));
    world.orders_at(1).place_order(new).await.unwrap();
    assert_eq!(positions(&read(&mut resumed, 1).await), [last + 1], "written by the other replica");
    world.stop().await;
}

#[tokio::test]
async fn pages_give_the_same_as_the_stream() {
    let (world, product, enterprise) = World::ready().await;
    for _ in 0..7 {
        world.place(&enterprise, &product).await;
    }
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListInboxRequest { page_size: 3, page_token };
        let page = world.banks().list_inbox(as_bank(BANK, request)).await.unwrap().into_inner();
        paged.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(positions(&paged), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(paged, read(&mut open(&world, 0, 0).await, 7).await);
    let negative = as_bank(BANK, StreamInboxRequest { after_position: -1 });
    assert_eq!(refusal(world.banks().stream_inbox(negative).await).code, Code::InvalidArgument);
    world.stop().await;
}

#[tokio::test]
async fn a_bank_sees_what_the_enterprise_agreed_to_while_it_holds() {
    let (world, product, enterprise) = World::ready().await;
    for scopes in [vec![DataScope::Score], vec![DataScope::Features], vec![DataScope::Score, DataScope::Features]] {
        let scopes = scopes.into_iter().map(i32::from).collect();
        let wanted = order(&product, 10_000_000);
        let consent = wanted.consent.map(|consent| Consent { scopes, expires_on: "2031-03-06".to_owned(), ..consent });
        let request = PlaceOrderRequest { consent, ..order(&product, 10_000_000) };
        world.orders().place_order(as_enterprise(&enterprise, request)).await.unwrap();
    }
    let seen = async || {
        let entries = world.inbox(BANK).await;
        let parts = |entry: &InboxEntry| {
            entry
                .profile
                .as_ref()
                .map(|profile| (profile.score.is_some(), profile.features.contains_key("patent_count")))
        };
        entries.iter().map(parts).collect::<Vec<_>>()
    };
    let agreed = [Some((true, false)), Some((false, true)), Some((true, true))];
    assert_eq!(seen().await, agreed);
    world.clock.set(at(jiff::civil::date(2031, 3, 6), 23));
    assert_eq!(seen().await, agreed);
    world.clock.set(at(jiff::civil::date(2031, 3, 7), 0));
    assert_eq!(seen().await, [None, None, None]);
    world.stop().await;
}

#[tokio::test]
async fn a_consent_taken_back_keeps_the_profile_of_an_open_order_from_the_bank() {
    let (world, product, enterprise) = World::ready().await;
    let (open, other) = (world.place(&enterprise, &product).await, world.place(&enterprise, &product).await);
    let told: Vec<_> = world.announced::<ProfileDisclosed>().await.into_iter().filter_map(|f| f.disclosure).collect();
    assert_eq!(told.iter().map(|told| &told.order_id).collect::<Vec<_>>(), [&open.order_id, &other.order_id]);
    assert_eq!((told[0].consent_id.as_str(), told[0].profile_version), (open.order_id.as_str(), 1));
    assert!(told[0].feature_names.contains(&"patent_count".to_owned()) && told[0].content_sha256.len() == 32);

    let consent = |version: i64, score: bool, state: ConsentState| registry::Consent {
        consent_id: open.order_id.clone(),
        enterprise_id: enterprise.to_string(),
        institution_id: BANK.to_owned(),
        scope: Some(registry::Scope { score, all_categories: true, ..registry::Scope::default() }),
        expires_at: Some(prost_types::Timestamp {
            seconds: at(jiff::civil::date(2032, 1, 1), 0).as_second(),
            nanos: 0,
        }),
        state: state.into(),
        version,
        ..registry::Consent::default()
    };
    let granted = ConsentGranted { consent: Some(consent(1, true, ConsentState::Granted)) };
    let narrowed = ConsentNarrowed { consent: Some(consent(2, false, ConsentState::Granted)) };
    let revoked = ConsentRevoked { consent: Some(consent(3, false, ConsentState::Revoked)) };
    let (granted, narrowed) = (Event::of(&open.order_id, &granted), Event::of(&open.order_id, &narrowed));
    let seen = async || {
        let of_open = |entry: &InboxEntry| entry.order.as_ref().unwrap().order_id == open.order_id;
        world.inbox(BANK).await.into_iter().find(of_open).unwrap().profile
    };
    world.deliver(Deliveries::new([narrowed.clone(), granted.clone()])).await;
    let profile = seen().await.unwrap();
    assert!(profile.score.is_none() && profile.features.contains_key("patent_count"), "narrowed, not granted again");
    // What is really shown is told the first time that it is.
    assert_eq!(seen().await.as_ref(), Some(&profile));
    let shown: Vec<_> = world.announced::<ProfileDisclosed>().await.into_iter().filter_map(|f| f.disclosure).collect();
    assert_eq!(shown[..2], told[..]);
    assert_eq!(shown.len(), 3, "once however often it is read");
    assert_eq!((&shown[2].order_id, shown[2].profile_version), (&open.order_id, 1));
    assert_eq!(shown[2].scope, Some(registry::Scope { all_categories: true, ..registry::Scope::default() }));
    let hash = ring::digest::digest(&ring::digest::SHA256, &profile.encode_to_vec());
    assert_eq!(shown[2].content_sha256, hash.as_ref());

    let revoked = Event::of(&open.order_id, &revoked);
    world.deliver(Deliveries::new([revoked, narrowed, granted]).twice().shuffled(7)).await;
    for _ in 0..2 {
        assert_eq!(seen().await, None);
        assert_eq!(read(&mut self::open(&world, 0, 0).await, 2).await, world.inbox(BANK).await);
    }
    assert_eq!(world.inbox(BANK).await.iter().filter(|entry| entry.profile.is_some()).count(), 1, "the other order's");
    let refused = world.announced::<DisclosureRefused>().await;
    assert_eq!(refused.len(), 1, "told once however often it is read");
    assert_eq!(refused[0].reason, "CONSENT_REVOKED");
    assert_eq!(refused[0].disclosure.as_ref().unwrap().order_id, open.order_id);
    world.stop().await;
}

#[tokio::test]
async fn an_inbox_says_what_is_disputed_until_it_is_decided() {
    let (world, product, enterprise) = World::ready().await;
    let mut profile = profile_of(&enterprise, 2, 5);
    let score = FeatureValue { categories: vec!["profile".to_owned()], ..FeatureValue::default() };
    profile.features.insert("credit_score".to_owned(), score);
    let known = Event::of(enterprise.as_str(), &ProfileUpdated { profile: Some(profile) });
    let raised = |id: &str, category: &str| {
        let record =
            DisputedRecord { objection_id: id.to_owned(), category: category.to_owned(), ..DisputedRecord::default() };
        let fact = ObjectionRaised {
            enterprise_id: enterprise.to_string(),
            record: Some(record),
            computed_values: vec!["credit_score".to_owned(), "listing_tier".to_owned()],
            ..ObjectionRaised::default()
        };
        Event::of(id, &fact)
    };
    let decided = |id: &str| {
        let (objection_id, enterprise_id) = (id.to_owned(), enterprise.to_string());
        Event::of(id, &ObjectionDecided { objection_id, enterprise_id, ..ObjectionDecided::default() })
    };
    let (open, closed) = (new_id(), new_id());
    // The second is over, whichever is heard of first.
    let facts = [known, raised(&open, "patent"), raised(&closed, "tax"), decided(&closed)];
    world.deliver(Deliveries::new(facts).twice().shuffled(3)).await;
    for scopes in [vec![DataScope::Score], vec![DataScope::Features], vec![DataScope::Score, DataScope::Features]] {
        let wanted = order(&product, 10_000_000);
        let scopes = scopes.into_iter().map(i32::from).collect();
        let consent = wanted.consent.clone().map(|consent| Consent { scopes, ..consent });
        let request = PlaceOrderRequest { consent, ..wanted };
        world.orders().place_order(as_enterprise(&enterprise, request)).await.unwrap();
    }
    let credit = || vec!["credit_score".to_owned()];
    let expected = [(0, credit()), (1, vec![]), (1, credit())];
    let told = |disputed: &[DisputedRecord], values: &[String]| (disputed.len(), values.to_vec());
    let seen = async || {
        let entries = world.inbox(BANK).await;
        entries.iter().map(|entry| told(&entry.disputed, &entry.disputed_values)).collect::<Vec<_>>()
    };
    assert_eq!(seen().await, expected);
    let disclosures = world.announced::<ProfileDisclosed>().await;
    let disclosures = disclosures.iter().filter_map(|fact| fact.disclosure.as_ref());
    let handed: Vec<_> = disclosures.map(|of| told(&of.disputed, &of.disputed_values)).collect();
    assert_eq!(handed, expected, "so that the hand-over is rebuilt with it");

    world.deliver(Deliveries::new([decided(&open), raised(&open, "patent")])).await;
    assert_eq!(seen().await, [(0, vec![]), (0, vec![]), (0, vec![])]);
    world.stop().await;
}

#[tokio::test]
async fn the_profile_of_an_order_that_ended_without_a_loan_is_kept_back() {
    let (world, product, enterprise) = World::ready().await;
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(world.place(&enterprise, &product).await);
    }
    world.orders().withdraw_order(as_enterprise(&enterprise, withdrawal(&orders[0]))).await.unwrap();
    world.banks().reject_order(as_bank(BANK, rejection(&orders[1]))).await.unwrap();
    world.approve(approval(&orders[2], "REF-1")).await;
    // Also at the positions at which the order was still open.
    for entry in world.inbox(BANK).await {
        let order = entry.order.unwrap();
        let open = [&orders[2], &orders[3]].iter().any(|open| open.order_id == order.order_id);
        assert_eq!(entry.profile.is_some(), open, "{} {:?}", entry.position, order.state());
    }
    assert_eq!(world.inbox(BANK).await[4].order.as_ref().unwrap().state(), OrderState::Withdrawn);
    world.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_the_service_stops() {
    let (world, product, enterprise) = World::ready().await;
    world.place(&enterprise, &product).await;
    let mut stream = open(&world, 0, 0).await;
    read(&mut stream, 1).await;
    world.ask_to_stop();
    let ended = reason(stream.message().await);
    assert_eq!(ended, (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_stream_with_much_to_tell_ends_too() {
    const ENTRIES: i64 = 20_000;
    let (world, product, enterprise) = World::ready().await;
    world.place(&enterprise, &product).await;
    sqlx::query(
        "INSERT INTO inbox_entry SELECT institution_id, place, order_id, content
         FROM inbox_entry, generate_series(2, $1) place",
    )
    .bind(ENTRIES)
    .execute(&world.pool)
    .await
    .unwrap();
    let mut stream = open(&world, 0, 0).await;
    read(&mut stream, 1).await;
    world.ask_to_stop();
    let mut last = 1;
    let ended = loop {
        match stream.message().await {
            Ok(answer) => last = answer.unwrap().entry.unwrap().position,
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(last < ENTRIES, "only what was on its way");
    world.stop().await;
}
