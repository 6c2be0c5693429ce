//! The calculator: who may ask for whom, and what comes back.

use tonic::Code;
use zhirong_proto::{
    matching::v1::{CalculateRequest, CalculateResponse, CalculateView, Offer, offer::Outcome},
    profile::v1::feature_value::Kind,
};
use zhirong_testkit::{Deliveries, eventually};

use crate::support::{
    BANK, LIMIT_FEN, OTHER_BANK, PATIENCE, World, as_bank, as_enterprise, as_staff, new_id, profile, published, reason,
    refusal, uscc, wish,
};

#[tokio::test]
async fn every_product_is_computed_and_ranked() {
    let world = World::with_reference(1).await;
    let (rich, poor) = (uscc(1), uscc(2));
    let mut products = [new_id(), new_id()];
    let facts = [
        published(&products[0], BANK, 1),
        published(&products[1], OTHER_BANK, 1),
        profile(&rich, 1, 5),
        profile(&poor, 3, 0),
    ];
    world.deliver(Deliveries::new(facts)).await;
    products.sort();
    let calculate = async |who, request: CalculateRequest| -> CalculateResponse {
        eventually(PATIENCE, "both products are computed", || async {
            let answer = world.calculator().calculate(as_enterprise(who, request.clone())).await?.into_inner();
            Ok((answer.computed_count == 2).then_some(answer))
        })
        .await
        .unwrap()
    };
    let answer = calculate(&rich, CalculateRequest { requested_fen: 12_000_000, ..wish() }).await;
    assert_eq!((answer.eligible_count, answer.profile_version), (2, 1));
    let ranked: Vec<_> = answer.offers.iter().map(|offer| (offer.rank, &offer.product_id)).collect();
    assert_eq!(ranked, [(1, &products[0]), (2, &products[1])]);
    for offer in &answer.offers {
        let Some(Outcome::Eligible(eligible)) = &offer.outcome else { panic!("{offer:?}") };
        assert_eq!((eligible.limit_fen, eligible.rate_ppm, eligible.max_term_months), (LIMIT_FEN, 35_000, 36));
        // 120 000 CNY at 3.5 % for 30 days of 360
        assert_eq!(eligible.first_month_interest_fen, 35_000);
    }
    let one = calculate(&rich, CalculateRequest { limit: 1, ..wish() }).await;
    assert_eq!((one.offers.len(), one.eligible_count), (1, 2));

    let refused = |offer: &Offer| match &offer.outcome {
        Some(Outcome::Refused(refused)) => refused.failed.iter().map(|failed| failed.label_zh.clone()).collect(),
        _ => Vec::new(),
    };
    let answer = calculate(&poor, wish()).await;
    assert_eq!((answer.eligible_count, answer.profile_version), (0, 3));
    assert_eq!(answer.offers.iter().map(refused).collect::<Vec<_>>(), [["有专利"], ["有专利"]]);
    let Some(Outcome::Refused(refused)) = &answer.offers[0].outcome else { panic!("{answer:?}") };
    let needed = &refused.failed[0].needed[0];
    assert_eq!((needed.operator.as_str(), needed.text_zh.as_str()), (">=", "有效专利数不低于1"));
    let change = refused.smallest_change.as_ref().unwrap();
    assert_eq!(change.text_zh, "有效专利数由0增至1即可（再增加1）");
    assert_eq!(change.to.as_ref().unwrap().kind, Some(Kind::Integer(1)));
    let only = CalculateRequest { view: CalculateView::Eligible.into(), ..wish() };
    assert!(calculate(&poor, only).await.offers.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn an_enterprise_asks_for_itself_and_staff_for_anybody() {
    let (world, _, enterprise) = World::ready().await;
    let named = |id: &str| CalculateRequest { enterprise_id: id.to_owned(), ..wish() };
    let mut calculator = world.calculator();
    calculator.calculate(as_enterprise(&enterprise, named(enterprise.as_str()))).await.unwrap();
    calculator.calculate(as_staff(named(enterprise.as_str()))).await.unwrap();
    let missing = (Code::NotFound, "PROFILE_NOT_FOUND".to_owned());
    let anothers = as_enterprise(&uscc(2), named(enterprise.as_str()));
    assert_eq!(reason(calculator.calculate(anothers).await), missing);
    assert_eq!(reason(calculator.calculate(as_staff(named(uscc(2).as_str()))).await), missing);
    assert_eq!(reason(calculator.calculate(as_staff(named("1"))).await).1, "USCC_INVALID");
    assert_eq!(reason(calculator.calculate(as_bank(BANK, wish())).await).1, "ROLE_NOT_ALLOWED");
    let senseless = CalculateRequest { requested_fen: -1, term_months: 361, limit: -1, ..wish() };
    let refused = refusal(calculator.calculate(as_enterprise(&enterprise, senseless)).await);
    assert_eq!(refused.fields, ["requested_fen", "term_months", "limit"]);
    world.stop().await;
}
