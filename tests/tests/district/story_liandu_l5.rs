//! Instant policy benefit (优惠政策即时享受): the government's interest subsidy at the moment of the loan, for 115 enterprises.

use anyhow::Result;
use serde_json::json;
use zhirong_proto::{
    matching::v1::{CalculateRequest, calculator_service_client::CalculatorServiceClient, offer::Outcome},
    subsidy::v1::{FixedRate, GrantState, policy_spec::Benefit},
};
use zhirong_tests::{
    district::{District, eventually},
    finance::{
        Wanted, budget, enterprises, grants_of, lend, pay_out, policy, policy_spec, principal_for, product, year_of,
    },
    liandu,
};

/// The district's own figures.
const ENTERPRISES: usize = 115;
const SUBSIDY_FEN: i64 = 389_000_000;
const RATE_PPM: i64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_l5_instant_policy_benefit() -> Result<()> {
    let district = District::start().await?;
    let product = product(&district, "普惠即享贷", &["instant_benefit"], 42_000).await?;
    let benefit = Benefit::FixedRate(FixedRate { rate_ppm: RATE_PPM });
    let policy = policy(&district, policy_spec("示例即时享受贴息", "instant_benefit", benefit), SUBSIDY_FEN).await?;
    // Medium enterprises: the general sample policy for small ones has nothing to do with it.
    let borrowers = enterprises(&district, "331102", "medium", ENTERPRISES).await?;

    // Before anybody orders, the calculator tells what a loan would cost in the end.
    let mut calculator = CalculatorServiceClient::new(district.as_enterprise(&borrowers[0]).await?);
    let request = CalculateRequest { requested_fen: 100_000_000, term_months: 12, ..CalculateRequest::default() };
    let told = eventually("the calculator tells the subsidy", || {
        let (mut calculator, request) = (calculator.clone(), request.clone());
        let product = product.clone();
        async move {
            let answer = calculator.calculate(request).await?.into_inner();
            let offer = answer.offers.into_iter().find(|offer| offer.product_id == product);
            let Some(Outcome::Eligible(terms)) = offer.and_then(|offer| offer.outcome) else { return Ok(None) };
            Ok(terms.subsidy.clone().filter(|subsidy| subsidy.budget_available).map(|subsidy| (terms, subsidy)))
        }
    })
    .await?;
    assert_eq!(told.1.expected_fen, year_of(100_000_000, RATE_PPM));
    assert_eq!(told.0.net_cost_fen, told.0.total_interest_fen - told.1.expected_fen);
    drop(calculator.calculate(request).await?);

    // Loans of many sizes, whose subsidies sum to what the district paid.
    let mut left = SUBSIDY_FEN;
    let wanted: Vec<Wanted> = borrowers
        .iter()
        .enumerate()
        .map(|(number, uscc)| {
            let average = SUBSIDY_FEN / i64::try_from(ENTERPRISES).unwrap();
            let share = if number + 1 == ENTERPRISES {
                left
            } else {
                average / 2 + average * i64::try_from(number % 11).unwrap() / 10
            };
            left -= share;
            Wanted::new(uscc, principal_for(share, RATE_PPM), 42_000)
        })
        .collect();
    let loans = lend(&district, &product, &wanted).await?;
    let grants = grants_of(&district, &policy, ENTERPRISES).await?;
    assert_eq!(grants.iter().map(|grant| grant.planned_fen).sum::<i64>(), SUBSIDY_FEN);
    assert!(
        grants.iter().all(|grant| grant.state() == GrantState::Reserved && grant.explanation_zh.contains("无需申请"))
    );
    for loan in &loans {
        let grant = grants.iter().find(|grant| grant.loan_id == loan.loan_id).unwrap();
        assert_eq!((grant.enterprise_id.as_str(), grant.principal_fen), (loan.enterprise_id.as_str(), loan.amount_fen));
    }
    let spent = budget(&district, &policy).await?;
    assert_eq!((spent.reserved_fen, spent.available_fen), (SUBSIDY_FEN, 0), "to the fen, and no budget is exceeded");

    // Paid out today, the grants stand on the real loans; what the leader sees is the same sum.
    pay_out(&district, &loans[..5]).await?;
    eventually("five grants are active", || async {
        let active = grants_of(&district, &policy, ENTERPRISES).await?;
        Ok((active.iter().filter(|grant| grant.state() == GrantState::Active).count() == 5).then_some(()))
    })
    .await?;
    let report = liandu::report(&district).await?;
    assert_eq!(
        (&report["subsidy_grants"], &report["subsidy_planned_fen"]),
        (&json!(ENTERPRISES), &json!(SUBSIDY_FEN)),
        "{report}"
    );
    district.stop().await
}
