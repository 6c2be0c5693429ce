//! What enterprises decide holds before matching has heard of it.

use std::collections::BTreeSet;

use prost::Message as _;
use tonic::Code;
use zhirong_kernel::Uscc;
use zhirong_proto::{
    matching::v1::{
        Candidate, DisclosureRefused, InboxEntry, Order, ProfileDisclosed, ProfileWithheld, StreamCandidatesRequest,
        StreamInboxRequest, stream_candidates_response::Element,
    },
    profile::v1::{
        Consent, ConsentNarrowed, ConsentRevoked, ConsentState, DisputedRecord, EnterpriseErased, ObjectionRaised,
        Purpose, Scope,
    },
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::{
    support::{
        BANK, PATIENCE, STALE, World, acceptance, as_bank, as_enterprise, as_staff, at, new_id, profile, profile_of,
        published, reason, uscc, withdrawal,
    },
    targeting::{candidates, given, granted, revoked},
};

/// The consent of an order at its second version.
fn changed(order: &Order) -> Consent {
    Consent {
        consent_id: order.order_id.clone(),
        enterprise_id: order.enterprise_id.clone(),
        institution_id: BANK.to_owned(),
        purpose: Purpose::LoanApplication.into(),
        scope: Some(Scope { score: true, all_categories: true, ..Scope::default() }),
        expires_at: Some(prost_types::Timestamp {
            seconds: at(jiff::civil::date(2032, 1, 1), 0).as_second(),
            nanos: 0,
        }),
        state: ConsentState::Granted.into(),
        version: 2,
        ..Consent::default()
    }
}

fn taken_back(order: &Order) -> Event {
    let consent = Consent { state: ConsentState::Revoked.into(), ..changed(order) };
    Event::of(&order.order_id, &ConsentRevoked { consent: Some(consent) })
}

/// The one entry of the inbox, by the list and by the stream.
async fn entry(world: &World) -> InboxEntry {
    let listed = world.inbox(BANK).await.pop().unwrap();
    let request = as_bank(BANK, StreamInboxRequest { after_position: listed.position - 1 });
    let mut stream = world.banks().stream_inbox(request).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().entry.as_ref(), Some(&listed));
    listed
}

#[tokio::test]
async fn what_is_taken_back_is_gone_before_it_is_heard_of_and_told_once() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let shown = entry(&world).await;
    assert!(shown.profile.as_ref().is_some_and(|profile| !profile.features.is_empty()));
    assert_eq!(shown.profile_withheld(), ProfileWithheld::Unspecified);

    let scope = Some(Scope { score: true, ..Scope::default() });
    let narrowed = Some(Consent { scope: scope.clone(), ..changed(&order) });
    world.registry.knows(&Event::of(&order.order_id, &ConsentNarrowed { consent: narrowed }));
    assert!(entry(&world).await.profile.unwrap().features.is_empty(), "the score alone is left");
    let told: Vec<ProfileDisclosed> = world.announced().await;
    assert_eq!(told.len(), 2, "the part that is left is on its way to the trail");
    assert_eq!(told[1].disclosure.as_ref().unwrap().scope, scope);

    let back = Consent { state: ConsentState::Revoked.into(), version: 3, ..changed(&order) };
    let back = Event::of(&order.order_id, &ConsentRevoked { consent: Some(back) });
    world.registry.knows(&back);
    let withheld = entry(&world).await;
    assert_eq!((withheld.profile.is_none(), withheld.profile_withheld()), (true, ProfileWithheld::ConsentRevoked));
    world.deliver(Deliveries::new([back])).await;
    assert_eq!(entry(&world).await, withheld);
    let refused: Vec<DisclosureRefused> = world.announced().await;
    assert_eq!(refused.iter().map(|fact| fact.reason.as_str()).collect::<Vec<_>>(), ["CONSENT_REVOKED"]);
    world.stop().await;
}

#[tokio::test]
async fn disputes_and_erasures_count_before_they_are_heard_of() {
    let (world, product, enterprise) = World::ready().await;
    world.place(&enterprise, &product).await;
    let raised = ObjectionRaised {
        enterprise_id: enterprise.to_string(),
        record: Some(DisputedRecord {
            objection_id: new_id(),
            category: "tax".to_owned(),
            ..DisputedRecord::default()
        }),
        computed_values: vec!["credit_score".to_owned()],
        ..ObjectionRaised::default()
    };
    world.registry.knows(&Event::of("1", &raised));
    assert_eq!(entry(&world).await.disputed, [raised.record.clone().unwrap()]);

    let erased_at = at(crate::support::TODAY, 10);
    let erased = EnterpriseErased {
        enterprise_id: enterprise.to_string(),
        erased_at: Some(prost_types::Timestamp { seconds: erased_at.as_second(), nanos: 0 }),
        profile_version: 1,
        version: 1,
    };
    world.registry.knows(&Event::of(enterprise.as_str(), &erased));
    let gone = entry(&world).await;
    assert_eq!((gone.profile, gone.profile_erased_at), (None, erased.erased_at));
    assert!(world.announced::<DisclosureRefused>().await.is_empty(), "an erasure is on the trail by itself");
    // What is ordered later is ordered with what is known then.
    world.clock.set(erased_at + jiff::SignedDuration::from_secs(1));
    let later = world.place(&enterprise, &product).await;
    let entries = world.inbox(BANK).await;
    let shown = entries.iter().find(|entry| entry.order.as_ref().is_some_and(|of| of.order_id == later.order_id));
    assert!(shown.unwrap().profile.is_some());
    world.stop().await;
}

#[tokio::test]
async fn nothing_leaves_by_consents_that_nobody_confirms_and_orders_are_answered_all_the_same() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    world.registry.silent(true);
    let withheld = entry(&world).await;
    assert_eq!((withheld.profile.is_none(), withheld.profile_withheld()), (true, ProfileWithheld::ConsentUnconfirmed));
    assert_eq!(withheld.order.unwrap().order_id, order.order_id);
    let refused: Vec<DisclosureRefused> = world.announced().await;
    assert_eq!(refused.iter().map(|fact| fact.reason.as_str()).collect::<Vec<_>>(), ["CONSENT_UNCONFIRMED"]);
    world.banks().accept_order(as_bank(BANK, acceptance(&order))).await.unwrap();
    world.registry.silent(false);
    for entry in world.inbox(BANK).await {
        assert!(entry.profile.is_some(), "it is shown again: {entry:?}");
    }

    // Who has nothing to show has nothing to ask.
    world.orders().withdraw_order(as_enterprise(&enterprise, withdrawal(&order))).await.unwrap();
    let asked = world.registry.asked();
    assert!(world.inbox(BANK).await.iter().all(|entry| entry.profile.is_none()));
    assert_eq!(world.registry.asked(), asked);
    world.stop().await;
}

#[tokio::test]
async fn a_read_waits_for_an_answer_about_consents_while_there_is_patience() {
    let world = World::patient().await;
    let (product, enterprise) = (new_id(), uscc(1));
    world.deliver(Deliveries::new([published(&product, BANK, 1), profile(&enterprise, 1, 5)])).await;
    world.place(&enterprise, &product).await;
    world.registry.silent(true);
    let asked = world.registry.asked();
    let mut reading = tokio::spawn({
        let mut banks = world.banks();
        async move { banks.list_inbox(as_bank(BANK, Default::default())).await.unwrap().into_inner() }
    });
    eventually(PATIENCE, "it has been asked more than once", || async {
        Ok((world.registry.asked() > asked + 1).then_some(()))
    })
    .await
    .unwrap();
    assert!(!reading.is_finished());
    world.registry.silent(false);
    let page = (&mut reading).await.unwrap();
    assert!(page.entries[0].profile.is_some());
    world.stop().await;
}

#[tokio::test]
async fn nobody_is_named_by_a_consent_that_was_taken_back_or_can_not_be_confirmed() {
    let world = World::with_reference(1).await;
    let product = new_id();
    let request = || StreamCandidatesRequest { product_id: product.clone(), min_limit_fen: 0 };
    let consents = [1, 2, 3].map(|number| given(&uscc(number), BANK));
    let mut facts = vec![published(&product, BANK, 1)];
    facts.extend([1, 2, 3].map(|number| profile(&uscc(number), 1, 5)));
    facts.extend(consents.iter().map(granted));
    world.deliver(Deliveries::new(facts)).await;
    let named =
        async || -> anyhow::Result<Vec<Candidate>> { Ok(candidates(&world, as_bank(BANK, request())).await?.1) };
    eventually(PATIENCE, "all are named", || async { Ok((named().await?.len() == 3).then_some(())) }).await.unwrap();

    world.registry.knows(&revoked(&consents[0]));
    let without = Scope { all_categories: true, ..Scope::default() };
    let less = Consent { scope: Some(without), version: 2, ..consents[1].clone() };
    world.registry.knows(&Event::of(&less.consent_id, &ConsentNarrowed { consent: Some(less.clone()) }));
    let dispute = ObjectionRaised {
        enterprise_id: uscc(3).to_string(),
        record: Some(DisputedRecord { objection_id: new_id(), ..DisputedRecord::default() }),
        ..ObjectionRaised::default()
    };
    world.registry.knows(&Event::of("1", &dispute));
    let left = named().await.unwrap();
    let left: Vec<_> = left.iter().map(|named| (named.enterprise_id.clone(), named.disputed)).collect();
    assert_eq!(left, [(uscc(3).to_string(), true)]);

    world.registry.silent(true);
    let refused = world.targeting().stream_candidates(as_bank(BANK, request())).await;
    assert_eq!(reason(refused.map(drop)), (Code::Unavailable, "CONSENT_UNCONFIRMED".to_owned()));
    assert_eq!(candidates(&world, as_staff(request())).await.unwrap().1.len(), 3, "staff do not go by consents");
    world.stop().await;
}

/// More than is on its way to a reader at a time.
const MANY: usize = 6_000;

#[tokio::test]
async fn a_name_that_waits_for_a_slow_reader_stays_when_the_consent_is_taken_back() {
    let world = World::with_reference(1).await;
    let product = new_id();
    let request = || StreamCandidatesRequest { product_id: product.clone(), min_limit_fen: 0 };
    world.deliver(Deliveries::new([published(&product, BANK, 1)])).await;
    let enterprises: Vec<Uscc> = (0..MANY).map(uscc).collect();
    let consents: Vec<Consent> = enterprises.iter().map(|enterprise| given(enterprise, BANK)).collect();
    known_to_all(&world, &enterprises, &consents).await;
    eventually(PATIENCE, "everybody is in memory", || async {
        let (summary, _) = candidates(&world, as_staff(request())).await?;
        Ok((summary.eligible_enterprises == i64::try_from(MANY)?).then_some(()))
    })
    .await
    .unwrap();

    let slow = world.slow_targeting().await.stream_candidates(as_bank(BANK, request())).await;
    let mut stream = slow.unwrap().into_inner();
    let Some(Element::Summary(summary)) = stream.message().await.unwrap().unwrap().element else { panic!() };
    assert_eq!(summary.named_enterprises, i64::try_from(MANY).unwrap());
    // All have the same limit, so that they come in order of their ids.
    let last = consents.iter().max_by_key(|consent| &consent.enterprise_id).unwrap();
    world.registry.knows(&revoked(last));
    world.clock.advance(STALE);
    let mut named = BTreeSet::new();
    while let Some(next) = stream.message().await.unwrap() {
        let Some(Element::Candidate(candidate)) = next.element else { panic!("{next:?}") };
        named.insert(candidate.enterprise_id);
    }
    let all: BTreeSet<String> = enterprises.iter().map(ToString::to_string).collect();
    assert_eq!(all.difference(&named).collect::<Vec<_>>(), [&last.enterprise_id]);
    world.stop().await;
}

/// As if so many facts had been heard.
async fn known_to_all(world: &World, enterprises: &[Uscc], consents: &[Consent]) {
    let ids: Vec<&str> = enterprises.iter().map(Uscc::as_str).collect();
    let contents: Vec<Vec<u8>> =
        enterprises.iter().map(|enterprise| profile_of(enterprise, 1, 5).encode_to_vec()).collect();
    sqlx::query("INSERT INTO profile (enterprise_id, version, content) SELECT id, 1, content FROM unnest($1::text[], $2::bytea[]) AS p (id, content)")
        .bind(&ids)
        .bind(&contents)
        .execute(&world.pool)
        .await
        .unwrap();
    let consent_ids: Vec<&str> = consents.iter().map(|consent| consent.consent_id.as_str()).collect();
    sqlx::query(
        "INSERT INTO preapproval_consent (consent_id, version, enterprise_id, institution_id, score, expires_at, revoked)
         SELECT consent::uuid, 1, id, $3, true, '2031-12-31', false FROM unnest($1::text[], $2::text[]) AS c (consent, id)",
    )
    .bind(&consent_ids)
    .bind(&ids)
    .bind(BANK)
    .execute(&world.pool)
    .await
    .unwrap();
}

/// The rounds of the fault matrix: however reads and the revocation fall together, none that begins after it shows the profile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_races_no_read_that_begins_after_the_revocation_shows_a_profile() {
    let (world, product, enterprise) = World::ready().await;
    for round in 0..100 {
        let order = world.place(&enterprise, &product).await;
        let reading = tokio::spawn({
            let mut banks = world.banks();
            let after = order_position(&world).await - 1;
            async move {
                let request = as_bank(BANK, StreamInboxRequest { after_position: after });
                banks.stream_inbox(request).await.unwrap().into_inner().message().await.unwrap()
            }
        });
        if round % 2 == 0 {
            world.registry.next_question().await;
        }
        world.registry.knows(&taken_back(&order));
        assert!(entry(&world).await.profile.is_none(), "round {round}");
        reading.await.unwrap();
    }
    world.stop().await;
}

async fn order_position(world: &World) -> i64 {
    world.count("SELECT max(position) FROM inbox_entry").await
}
