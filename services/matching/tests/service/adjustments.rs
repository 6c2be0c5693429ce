//! Better terms for a set of enterprises, as the calculator and orders follow them.

use zhirong_proto::{
    catalog::v1::{
        Adjustment, AdjustmentBounds, AdjustmentState, Product, ProductAdjusted, ProductPublished, ProductResumed,
        ProductSuspended, adjustment::Limit, product_spec::Terms,
    },
    matching::v1::{
        AppliedAdjustment, CalculateResponse, Eligible, RecalculateRequest, StreamCandidatesRequest, offer::Outcome,
        stream_candidates_response::Element,
    },
    profile::v1::{FeatureValue, Profile, ProfileUpdated, feature_value::Kind},
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::support::{
    BANK, LIMIT_FEN, PATIENCE, World, as_enterprise, as_staff, new_id, order, product, profile_of, uscc, wish,
};

/// An enterprise that is specialised, or not.
fn enterprise(number: usize, is_specialised: bool) -> (zhirong_kernel::Uscc, Event) {
    let id = uscc(number);
    let mut profile: Profile = profile_of(&id, 1, 5);
    let flag = FeatureValue { kind: Some(Kind::Flag(is_specialised)), ..FeatureValue::default() };
    profile.features.insert("is_specialised".to_owned(), flag);
    let event = Event::of(id.as_str(), &ProfileUpdated { profile: Some(profile) });
    (id, event)
}

pub fn bounded(id: &str) -> Product {
    let mut product = product(id, BANK, 1);
    if let Some(Terms::Credit(terms)) = product.spec.as_mut().and_then(|spec| spec.terms.as_mut()) {
        terms.adjustment_bounds = Some(AdjustmentBounds {
            max_rate_cut_ppm: 5_000,
            max_limit_extra_fen: 300_000_000,
            min_answer_working_days: 2,
            ..AdjustmentBounds::default()
        });
    }
    product
}

pub fn adjusted(product_id: &str, id: &str, state: AdjustmentState, sequence: i64) -> Event {
    let adjustment = Adjustment {
        adjustment_id: id.to_owned(),
        product_id: product_id.to_owned(),
        enterprise_tag: "is_specialised".to_owned(),
        name_zh: "专精特新专享".to_owned(),
        rate_cut_ppm: 3_000,
        limit: Some(Limit::LimitExtraFen(300_000_000)),
        answer_working_days: 2,
        from: "2031-03-01".to_owned(),
        to: "2031-03-05".to_owned(),
        state: state.into(),
        ..Adjustment::default()
    };
    Event::of(product_id, &ProductAdjusted { adjustment: Some(adjustment), sequence })
}

/// The answer once the calculator computes from everything that has come in.
async fn answer(world: &World, enterprise: &zhirong_kernel::Uscc) -> CalculateResponse {
    let version = world.count("SELECT version FROM catalog_version").await;
    eventually(PATIENCE, "the newest catalog is computed", || async {
        let answer = world.calculator().calculate(as_enterprise(enterprise, wish())).await?.into_inner();
        Ok((answer.catalog_version == version).then_some(answer))
    })
    .await
    .unwrap()
}

fn only(answer: &CalculateResponse) -> Eligible {
    let Some(Outcome::Eligible(eligible)) = &answer.offers[0].outcome else { panic!("{answer:?}") };
    eligible.clone()
}

#[tokio::test]
async fn who_belongs_gets_better_terms_from_the_first_to_the_last_day() {
    let world = World::with_reference(1).await;
    let (id, adjustment) = (new_id(), new_id());
    let ((member, of_member), (other, of_other)) = (enterprise(1, true), enterprise(2, false));
    let published = ProductPublished { product: Some(bounded(&id)), sequence: 1 };
    world.deliver(Deliveries::new([of_member, of_other, Event::of(&id, &published)])).await;
    let plain = only(&answer(&world, &member).await);
    assert_eq!((plain.limit_fen, plain.answer_working_days, plain.adjustments.len()), (LIMIT_FEN, 5, 0));

    let approved = adjusted(&id, &adjustment, AdjustmentState::Approved, 2);
    world.deliver(Deliveries::new([approved]).twice()).await;
    let told = answer(&world, &member).await;
    let better = only(&told);
    assert_eq!(
        (better.limit_fen, better.rate_ppm, better.answer_working_days),
        (LIMIT_FEN + 300_000_000, plain.rate_ppm - 3_000, 2)
    );
    let applied = AppliedAdjustment {
        adjustment_id: adjustment.clone(),
        name_zh: "专精特新专享".to_owned(),
        rate_cut_ppm: 3_000,
        limit_raise_fen: 300_000_000,
        answer_working_days: 2,
    };
    assert_eq!(better.adjustments, [applied]);
    let needs = |of: &Eligible| of.needed.clone().unwrap().categories;
    assert_eq!(needs(&plain), ["dishonest_debtor", "patent"]);
    assert_eq!(
        needs(&better),
        ["dishonest_debtor", "patent", "specialised_enterprise"],
        "the terms follow from it too"
    );
    assert!(better.first_month_interest_fen > 0 && better.net_rate_ppm == better.rate_ppm, "costs follow the terms");
    assert_eq!(only(&answer(&world, &other).await), plain, "who does not belong gets what it got before");

    // So do the lists for who offers the product.
    let listed = async || {
        let request = StreamCandidatesRequest { product_id: id.clone(), min_limit_fen: 0 };
        let mut stream = world.targeting().stream_candidates(as_staff(request)).await?.into_inner();
        let mut found = Vec::new();
        while let Some(next) = stream.message().await? {
            if let Some(Element::Candidate(candidate)) = next.element {
                found.push((candidate.limit_fen, candidate.rate_ppm));
            }
        }
        Ok::<_, tonic::Status>(found)
    };
    let both = [(better.limit_fen, better.rate_ppm), (plain.limit_fen, plain.rate_ppm)];
    eventually(PATIENCE, "both are listed with their own terms", || async {
        Ok((listed().await? == both).then_some(()))
    })
    .await
    .unwrap();

    // The order follows: more than the product's own limit, and an answer within two working days.
    let placed = world.orders().place_order(as_enterprise(&member, order(&id, LIMIT_FEN + 1))).await.unwrap();
    let placed = placed.into_inner().order.unwrap();
    assert_eq!(placed.answer_due_on, "2031-03-07");
    assert_eq!(placed.quote.unwrap().rate_ppm, plain.rate_ppm - 3_000);
    assert!(world.orders().place_order(as_enterprise(&other, order(&id, LIMIT_FEN + 1))).await.is_err());

    // The day after its last it has no effect; the answer of before is computed again as it was.
    world.clock.set(crate::support::at(jiff::civil::date(2031, 3, 6), 10));
    assert_eq!(only(&answer(&world, &member).await).limit_fen, LIMIT_FEN);
    let again = RecalculateRequest {
        enterprise_id: member.to_string(),
        wish: Some(wish()),
        catalog_version: told.catalog_version,
        profile_version: told.profile_version,
        computed_on: told.computed_on.clone(),
        coupons_version: told.coupons_version,
        level_worth_ppm: told.level_worth_ppm,
        unrated_level_ppm: told.unrated_level_ppm,
    };
    let again = world.calculator().recalculate(as_staff(again)).await.unwrap().into_inner().answer.unwrap();
    assert_eq!(again, told);
    world.stop().await;
}

#[tokio::test]
async fn an_ended_adjustment_stays_ended_whatever_comes_late() {
    let world = World::with_reference(1).await;
    let (id, adjustment) = (new_id(), new_id());
    let (member, of_member) = enterprise(1, true);
    let published = ProductPublished { product: Some(bounded(&id)), sequence: 1 };
    let ended = adjusted(&id, &adjustment, AdjustmentState::Ended, 3);
    let approved = adjusted(&id, &adjustment, AdjustmentState::Approved, 2);
    world.deliver(Deliveries::new([of_member, Event::of(&id, &published), ended])).await;
    world.deliver(Deliveries::new([approved])).await;
    assert_eq!(only(&answer(&world, &member).await).limit_fen, LIMIT_FEN);
    assert_eq!(world.count("SELECT count(*) FROM runtime.dead_letter").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_suspended_product_is_not_offered_until_it_is_resumed() {
    let world = World::with_reference(1).await;
    let id = new_id();
    let (member, of_member) = enterprise(1, true);
    let product = bounded(&id);
    let published = ProductPublished { product: Some(product.clone()), sequence: 1 };
    world.deliver(Deliveries::new([of_member, Event::of(&id, &published)])).await;
    assert_eq!(answer(&world, &member).await.offers.len(), 1);
    let suspended =
        ProductSuspended { product_id: id.clone(), version: 1, reason: "额度用尽".to_owned(), sequence: 2 };
    world.deliver(Deliveries::new([Event::of(&id, &suspended)])).await;
    assert_eq!(answer(&world, &member).await.offers.len(), 0);
    let resumed = ProductResumed { product: Some(product), sequence: 3 };
    world.deliver(Deliveries::new([Event::of(&id, &resumed)])).await;
    assert_eq!(answer(&world, &member).await.offers.len(), 1);
    world.stop().await;
}
