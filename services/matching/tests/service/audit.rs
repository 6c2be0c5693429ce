//! What if, and an answer of the past computed again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prost::Message as _;
use tonic::Code;
use zhirong_kernel::Uscc;
use zhirong_proto::{
    matching::v1::{
        CalculateRequest, CalculateResponse, Calculation, ListCalculationsRequest, RecalculateRequest, offer::Outcome,
    },
    profile::v1::{FeatureValue, feature_value::Kind},
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::support::{
    BANK, PATIENCE, TODAY, World, as_enterprise, as_staff, at, lpr, profile, published, reason, refusal, uscc, wish,
};

fn supposing(name: &str, kind: Kind) -> BTreeMap<String, FeatureValue> {
    BTreeMap::from([(name.to_owned(), FeatureValue { kind: Some(kind), ..FeatureValue::default() })])
}

fn limit_of(answer: &CalculateResponse) -> i64 {
    match &answer.offers[0].outcome {
        Some(Outcome::Eligible(eligible)) => eligible.limit_fen,
        other => panic!("{other:?}"),
    }
}

/// What an enterprise was answered by a time, newest first.
pub async fn calculations(world: &World, enterprise: &Uscc, by: Option<Timestamp>) -> Vec<Calculation> {
    let answered_by = by.map(|at| prost_types::Timestamp { seconds: at.as_second(), nanos: 0 });
    let request = ListCalculationsRequest { answered_by, ..ListCalculationsRequest::default() };
    let page = world.calculator().list_calculations(as_enterprise(enterprise, request)).await.unwrap().into_inner();
    assert_eq!(page.next_page_token, "");
    page.calculations
}

#[tokio::test]
async fn what_if_answers_for_other_values_and_stores_nothing() {
    let (world, _, enterprise) = World::ready().await;
    let mut calculator = world.calculator();
    let supposed = CalculateRequest { what_if: supposing("patent_count", Kind::Integer(7)), ..wish() };
    // What was delivered is kept before it is in memory.
    let answer = eventually(PATIENCE, "the product is offered", || async {
        let request = as_enterprise(&enterprise, supposed.clone());
        let answer = world.calculator().calculate(request).await?.into_inner();
        Ok((!answer.offers.is_empty()).then_some(answer))
    })
    .await
    .unwrap();
    assert_eq!(limit_of(&answer), 70_000_000);
    assert_eq!(world.count("SELECT count(*) FROM calculation").await, 0);
    assert!(calculations(&world, &enterprise, None).await.is_empty());
    let answer = calculator.calculate(as_enterprise(&enterprise, wish())).await.unwrap().into_inner();
    assert_eq!(limit_of(&answer), 50_000_000);
    assert_eq!(world.count("SELECT count(*) FROM calculation").await, 1);

    let wrong = CalculateRequest { what_if: supposing("patent_count", Kind::Flag(true)), ..wish() };
    let refused = refusal(calculator.calculate(as_enterprise(&enterprise, wrong)).await);
    assert_eq!((refused.code, refused.fields), (Code::InvalidArgument, vec!["what_if[patent_count]".to_owned()]));
    let unknown = CalculateRequest { what_if: supposing("no_such", Kind::Flag(true)), ..wish() };
    let refused = refusal(calculator.calculate(as_enterprise(&enterprise, unknown)).await);
    assert_eq!(refused.fields, ["what_if[no_such]"]);
    world.stop().await;
}

#[tokio::test]
async fn an_answer_is_computed_again_to_the_last_bit() {
    let (world, product, enterprise) = World::ready().await;
    let mut calculator = world.calculator();
    let first = calculator.calculate(as_enterprise(&enterprise, wish())).await.unwrap().into_inner();
    assert_eq!(first.computed_on, "2031-03-05");

    // Everything changes: the product, the LPR, the profile, and then the product is gone.
    let facts = [published(&product, BANK, 2), lpr(2, 40_000), profile(&enterprise, 2, 9)];
    world.deliver(Deliveries::new(facts)).await;
    let second = eventually(PATIENCE, "the change is seen", || async {
        let answer = world.calculator().calculate(as_enterprise(&enterprise, wish())).await?.into_inner();
        Ok((answer.offers[0].product_version == 2 && answer.profile_version == 2).then_some(answer))
    })
    .await
    .unwrap();
    assert_eq!(limit_of(&second), 90_000_000);
    let gone = zhirong_proto::catalog::v1::ProductRetired { product_id: product.clone(), sequence: 3 };
    world.deliver(Deliveries::new([Event::of(&product, &gone)])).await;

    // Without the answers at hand: what was asked is listed with all that each answer comes from.
    let listed = calculations(&world, &enterprise, None).await;
    let mut again = Vec::new();
    for calculation in &listed {
        let request = as_staff(calculation.question.clone().unwrap());
        let answer = calculator.recalculate(request).await.unwrap().into_inner();
        assert_eq!(answer.answer_sha256, calculation.answer_sha256);
        again.extend(answer.answer);
    }
    assert_eq!((again.first(), again.last()), (Some(&second), Some(&first)));
    let questions: BTreeSet<_> = listed.iter().map(|of| of.question.as_ref().unwrap().encode_to_vec()).collect();
    assert_eq!(questions.len(), listed.len(), "each question once, however often it is asked");
    let before = at(TODAY, 9);
    assert!(calculations(&world, &enterprise, Some(before)).await.is_empty(), "nothing was answered by then");
    assert!(calculations(&world, &uscc(9), None).await.is_empty());

    for answer in [first, second] {
        let request = RecalculateRequest {
            enterprise_id: enterprise.to_string(),
            wish: Some(wish()),
            catalog_version: answer.catalog_version,
            profile_version: answer.profile_version,
            computed_on: answer.computed_on.clone(),
            coupons_version: answer.coupons_version,
            level_worth_ppm: answer.level_worth_ppm,
            unrated_level_ppm: answer.unrated_level_ppm,
        };
        let again = calculator.recalculate(as_staff(request)).await.unwrap().into_inner().answer.unwrap();
        assert_eq!(again, answer);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_version_that_never_was_is_not_found() {
    let (world, _, enterprise) = World::ready().await;
    let request = |catalog_version, profile_version, who: &str| RecalculateRequest {
        enterprise_id: who.to_owned(),
        wish: None,
        catalog_version,
        profile_version,
        computed_on: "2031-03-05".to_owned(),
        coupons_version: 0,
        level_worth_ppm: 0,
        unrated_level_ppm: 3_000_000,
    };
    let missing = (Code::NotFound, "VERSION_NOT_FOUND".to_owned());
    let known = enterprise.as_str();
    for request in
        [request(9999, 1, known), request(-1, 1, known), request(1, 2, known), request(1, 1, uscc(7).as_str())]
    {
        assert_eq!(reason(world.calculator().recalculate(as_staff(request)).await), missing);
    }
    let no_date = RecalculateRequest { computed_on: "yesterday".to_owned(), ..request(1, 1, known) };
    assert_eq!(refusal(world.calculator().recalculate(as_staff(no_date)).await).fields, ["computed_on"]);
    world.stop().await;
}
