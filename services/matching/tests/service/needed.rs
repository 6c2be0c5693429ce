//! What one click consents to: exactly what the product needs of the profile.

use std::collections::BTreeMap;

use zhirong_kernel::Uscc;
use zhirong_proto::{
    catalog::v1::{Condition, ProductPublished, product_spec::Terms},
    matching::v1::{
        Consent, DataScope, Disclosure, Order, OrderPlaced, PlaceOrderRequest, ProfileDisclosed, offer::Outcome,
    },
    profile::v1::{
        self as registry, ConsentGranted, ConsentNarrowed, ConsentState, FeatureValue, ProfileUpdated, Scope,
        feature_value::Kind,
    },
};
use zhirong_testkit::{Deliveries, Event};

use crate::support::{BANK, World, as_enterprise, at, new_id, order, product, profile_of, refusal, uscc, wish};

/// A profile whose features say what they come from; two of them come of the score.
fn known(enterprise: &Uscc) -> Event {
    let mut profile = profile_of(enterprise, 1, 20);
    let value = |kind| FeatureValue { kind: Some(kind), ..FeatureValue::default() };
    profile.features.extend([
        ("trademark_count".to_owned(), value(Kind::Integer(3))),
        ("credit_score".to_owned(), value(Kind::Integer(700))),
        ("listing_tier".to_owned(), value(Kind::Text("growth".to_owned()))),
    ]);
    let from = BTreeMap::from([
        ("patent_count", "patent"),
        ("is_dishonest", "dishonest_debtor"),
        ("enterprise_class", "business_registration"),
        ("trademark_count", "trademark"),
        ("credit_score", "profile"),
        ("listing_tier", "profile"),
    ]);
    for (name, value) in &mut profile.features {
        value.categories = vec![from[name.as_str()].to_owned()];
    }
    Event::of(enterprise.as_str(), &ProfileUpdated { profile: Some(profile) })
}

/// A product of the bank with these rules.
fn published(id: &str, sequence: i32, condition: &str, limit: &str) -> Event {
    let mut product = product(id, BANK, sequence);
    if let Some(Terms::Credit(terms)) = product.spec.as_mut().and_then(|spec| spec.terms.as_mut()) {
        let expression = condition.to_owned();
        terms.conditions = vec![Condition { expression, label_zh: "准入".to_owned(), ..Condition::default() }];
        terms.limit_formula = limit.to_owned();
    }
    Event::of(id, &ProductPublished { product: Some(product), sequence: sequence.into() })
}

fn asking(product: &str, scopes: &[DataScope], categories: &[&str]) -> PlaceOrderRequest {
    let wanted = order(product, 10_000_000);
    let consent = wanted.consent.map(|consent| Consent {
        scopes: scopes.iter().copied().map(i32::from).collect(),
        categories: words(categories),
        ..consent
    });
    PlaceOrderRequest { consent, ..order(product, 10_000_000) }
}

async fn placed(world: &World, enterprise: &Uscc, request: PlaceOrderRequest) -> Order {
    world.orders().place_order(as_enterprise(enterprise, request)).await.unwrap().into_inner().order.unwrap()
}

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn scope(score: bool, categories: &[&str]) -> Scope {
    Scope { score, categories: words(categories), ..Scope::default() }
}

/// What the bank sees of an order: whether the score, and which features.
async fn seen(world: &World, order: &Order) -> (bool, Vec<String>) {
    let of_order = |entry: &zhirong_proto::matching::v1::InboxEntry| {
        entry.order.as_ref().is_some_and(|of| of.order_id == order.order_id)
    };
    let entry = world.inbox(BANK).await.into_iter().find(of_order).unwrap();
    assert_eq!(entry.order.as_ref(), Some(order));
    let profile = entry.profile.unwrap();
    (profile.score.is_some(), profile.features.into_keys().collect())
}

async fn told(world: &World) -> Vec<Disclosure> {
    world.announced::<ProfileDisclosed>().await.into_iter().filter_map(|fact| fact.disclosure).collect()
}

#[tokio::test]
async fn one_click_hands_over_exactly_what_the_product_needs() {
    let world = World::with_reference(1).await;
    let enterprise = uscc(1);
    let cases = [
        // Two categories, of a condition and of the limit.
        ("!is_dishonest", "patent_count * 10000000", scope(false, &["dishonest_debtor", "patent"])),
        ("credit_score >= 600", "100000000", scope(true, &[])),
        // A computed value is seen with the score.
        ("listing_tier == 'growth'", "patent_count * 10000000", scope(true, &["patent"])),
        // Of the profile it looks at nothing, but a consent covers something.
        ("requested_fen >= 0", "100000000", scope(true, &[])),
    ];
    let expected: [(bool, &[&str]); 4] = [
        (false, &["is_dishonest", "patent_count"]),
        (true, &["credit_score", "listing_tier"]),
        (true, &["credit_score", "listing_tier", "patent_count"]),
        (true, &["credit_score", "listing_tier"]),
    ];
    let products = cases.each_ref().map(|_| new_id());
    let facts = products.iter().zip(&cases).map(|(id, (condition, limit, _))| published(id, 1, condition, limit));
    world.deliver(Deliveries::new(facts.chain([known(&enterprise)]))).await;
    let mut orders = Vec::new();
    for ((product, (.., needed)), shown) in products.iter().zip(&cases).zip(expected) {
        let order = placed(&world, &enterprise, asking(product, &[DataScope::Needed], &[])).await;
        let consent = order.consent.clone().unwrap();
        let mut kept = Vec::new();
        kept.extend(needed.score.then_some(i32::from(DataScope::Score)));
        kept.extend((!needed.categories.is_empty()).then_some(i32::from(DataScope::Categories)));
        assert_eq!((consent.scopes, &consent.categories), (kept, &needed.categories), "in words");
        assert_eq!(seen(&world, &order).await, (shown.0, words(shown.1)));
        orders.push(order);
    }
    // The placed orders have made the calculator's catalog the newest.
    let offers = world.calculator().calculate(as_enterprise(&enterprise, wish())).await.unwrap().into_inner().offers;
    for (product, (.., needed)) in products.iter().zip(&cases) {
        let offer = offers.iter().find(|offer| offer.product_id == *product).unwrap();
        let Some(Outcome::Eligible(eligible)) = &offer.outcome else { panic!("{offer:?}") };
        assert_eq!(eligible.needed.as_ref(), Some(needed), "said before the order");
    }
    let facts = world.announced::<OrderPlaced>().await;
    assert_eq!(facts.into_iter().filter_map(|fact| fact.order).collect::<Vec<_>>(), orders);
    let made = told(&world).await;
    let scopes: Vec<_> = made.iter().map(|told| told.scope.clone().unwrap()).collect();
    assert_eq!(scopes, cases.map(|(.., needed)| needed));
    assert_eq!(made[0].feature_names, expected[0].1);
    world.stop().await;
}

#[tokio::test]
async fn the_version_that_is_offered_when_the_order_is_placed_says_what_is_needed() {
    let world = World::with_reference(1).await;
    let (enterprise, id) = (uscc(1), new_id());
    world.deliver(Deliveries::new([known(&enterprise), published(&id, 1, "!is_dishonest", "100000000")])).await;
    let first = asking(&id, &[DataScope::Needed], &[]);
    let order = placed(&world, &enterprise, first.clone()).await;
    world.deliver(Deliveries::new([published(&id, 2, "trademark_count >= 1", "100000000")])).await;
    let second = placed(&world, &enterprise, asking(&id, &[DataScope::Needed], &[])).await;
    assert_eq!(second.consent.as_ref().unwrap().categories, ["trademark"]);
    assert_eq!(seen(&world, &second).await, (false, words(&["trademark_count"])));
    assert_eq!(placed(&world, &enterprise, first).await, order, "a repeated request gets the first answer");
    assert_eq!(seen(&world, &order).await, (false, words(&["is_dishonest"])));

    // What is agreed to by name stays what it is, more or less than needed; and what is asked for beside it.
    for (scopes, categories, shown) in [
        (
            &[DataScope::Categories][..],
            &["patent", "dishonest_debtor", "patent"][..],
            (false, &["is_dishonest", "patent_count"][..]),
        ),
        (
            &[DataScope::Categories, DataScope::Score],
            &["patent"],
            (true, &["credit_score", "listing_tier", "patent_count"]),
        ),
        (&[DataScope::Needed, DataScope::Categories], &["patent"], (false, &["patent_count", "trademark_count"])),
        (&[DataScope::Needed, DataScope::Score], &[], (true, &["credit_score", "listing_tier", "trademark_count"])),
    ] {
        let order = placed(&world, &enterprise, asking(&id, scopes, categories)).await;
        assert_eq!(seen(&world, &order).await, (shown.0, words(shown.1)), "{scopes:?} {categories:?}");
    }
    let whole = placed(&world, &enterprise, asking(&id, &[DataScope::Needed, DataScope::Features], &[])).await;
    assert_eq!(seen(&world, &whole).await.1.len(), 4, "every feature but those of the score");
    for (scopes, categories) in [
        (&[DataScope::Categories][..], &[][..]),
        (&[DataScope::Needed], &["patent"]),
        (&[DataScope::Features, DataScope::Categories], &["patent"]),
        (&[DataScope::Categories], &["profile"]),
    ] {
        let request = as_enterprise(&enterprise, asking(&id, scopes, categories));
        assert_eq!(refusal(world.orders().place_order(request).await).fields, ["consent.categories"]);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_consent_to_categories_is_told_again_only_when_it_is_narrowed() {
    let world = World::with_reference(1).await;
    let (enterprise, id) = (uscc(1), new_id());
    let rules = published(&id, 1, "!is_dishonest", "patent_count * 10000000");
    world.deliver(Deliveries::new([known(&enterprise), rules])).await;
    let order = placed(&world, &enterprise, asking(&id, &[DataScope::Needed], &[])).await;
    let consent = |version, categories: &[&str]| registry::Consent {
        consent_id: order.order_id.clone(),
        enterprise_id: enterprise.to_string(),
        institution_id: BANK.to_owned(),
        scope: Some(scope(false, categories)),
        expires_at: Some(prost_types::Timestamp {
            seconds: at(jiff::civil::date(2032, 1, 1), 0).as_second(),
            nanos: 0,
        }),
        state: ConsentState::Granted.into(),
        version,
        ..registry::Consent::default()
    };
    let granted = ConsentGranted { consent: Some(consent(1, &["dishonest_debtor", "patent"])) };
    world.deliver(Deliveries::new([Event::of(&order.order_id, &granted)])).await;
    assert_eq!(seen(&world, &order).await, (false, words(&["is_dishonest", "patent_count"])));
    assert_eq!(told(&world).await.len(), 1, "as it was told with the order");
    let narrowed = ConsentNarrowed { consent: Some(consent(2, &["patent"])) };
    world.deliver(Deliveries::new([Event::of(&order.order_id, &narrowed)])).await;
    for _ in 0..2 {
        assert_eq!(seen(&world, &order).await, (false, words(&["patent_count"])));
    }
    let told = told(&world).await;
    assert_eq!(told.len(), 2, "once however often it is read");
    assert_eq!(
        (told[1].scope.clone(), &told[1].feature_names),
        (Some(scope(false, &["patent"])), &words(&["patent_count"]))
    );
    world.stop().await;
}
