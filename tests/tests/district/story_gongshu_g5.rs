//! Policy, guarantee and bank in one product (专精特新贷): the class of the enterprise, a guarantee with subsidised fee, the loan, and
//! the interest subsidy, which add up.

use anyhow::Result;
use serde_json::json;
use zhirong_proto::{
    matching::v1::{
        ApproveLoanRequest, CalculateRequest, Guarantee, calculator_service_client::CalculatorServiceClient,
        offer::Outcome,
    },
    subsidy::v1::{
        FixedRate, Grant, GrantState, GuaranteeFeeShare, PolicySpec, TryPolicyRequest,
        policy_review_service_client::PolicyReviewServiceClient, policy_spec::Benefit,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    finance::{Wanted, enterprises, grants, grants_of, lend, pay_out, policy, policy_spec, product, year_of},
    liandu,
    quiet::quiet,
    records::{publish, record},
};

const GUARANTOR: &str = "sample-guarantor";

fn guaranteed(wanted: Wanted, fee_fen: i64) -> Wanted {
    let guarantee = Guarantee {
        guarantor_institution_id: GUARANTOR.to_owned(),
        contract_reference: "G5".to_owned(),
        fee_fen,
        ..Guarantee::default()
    };
    Wanted { approval: ApproveLoanRequest { guarantee: Some(guarantee), ..wanted.approval.clone() }, ..wanted }
}

#[tokio::test(flavor = "multi_thread")]
async fn story_gongshu_g5_policy_guarantee_bank() -> Result<()> {
    let district = District::start().await?;
    let product = product(&district, "普惠专精特新贷", &["specialised_story"], 40_000).await?;
    let specialised = |spec: PolicySpec| PolicySpec { who: "is_specialised".to_owned(), adds_up: true, ..spec };
    let interest = specialised(policy_spec(
        "示例专精特新贴息",
        "specialised_story",
        Benefit::FixedRate(FixedRate { rate_ppm: 15_000 }),
    ));
    let fee = specialised(policy_spec(
        "示例担保费补贴",
        "specialised_story",
        Benefit::GuaranteeFeeShare(GuaranteeFeeShare { share_ppm: 500_000 }),
    ));
    let interest_policy = policy(&district, interest.clone(), 100_000_000).await?;
    let fee_policy = policy(&district, PolicySpec { priority: 2, ..fee }, 2_500_000).await?;

    let borrowers = enterprises(&district, "330105", "medium", 3).await?;
    let class = |number: usize, is: bool| {
        let data = json!({ "is_specialised": is, "specialised_level": if is { "province" } else { "none" } });
        record(&borrowers[number], "specialised_enterprise", "2026-10-01", &data)
    };
    publish(&district, "classes", &[class(0, true), class(1, true), class(2, false)]).await?;
    // A loan is judged on what was known when it was ordered: the calculator has heard of the classes once it tells the subsidy.
    for uscc in &borrowers[..2] {
        let calculator = CalculatorServiceClient::new(district.as_enterprise(uscc).await?);
        let request = CalculateRequest { requested_fen: 300_000_000, term_months: 12, ..CalculateRequest::default() };
        eventually("the calculator tells the subsidy", || {
            let (mut calculator, request) = (calculator.clone(), request.clone());
            let (product, policy) = (&product, &interest_policy.policy_id);
            async move {
                let answer = calculator.calculate(request).await?.into_inner();
                let offer = answer.offers.into_iter().find(|offer| offer.product_id == *product);
                let Some(Outcome::Eligible(terms)) = offer.and_then(|offer| offer.outcome) else { return Ok(None) };
                Ok(terms.subsidy.is_some_and(|subsidy| subsidy.policy_id == *policy).then_some(()))
            }
        })
        .await?;
    }
    let wanted: Vec<Wanted> =
        borrowers.iter().map(|uscc| guaranteed(Wanted::new(uscc, 300_000_000, 40_000), 3_000_000)).collect();
    let loans = lend(&district, &product, &wanted).await?;
    let granted = grants_of(&district, &interest_policy, 2).await?;
    assert!(granted.iter().all(|grant| grant.planned_fen == year_of(300_000_000, 15_000)));
    let of_fee = grants_of(&district, &fee_policy, 2).await?;
    let state = |grants: &[Grant], number: usize| {
        grants.iter().find(|grant| grant.loan_id == loans[number].loan_id).map(Grant::state)
    };
    // Money for one fee and two thirds: one is reserved, the other waits; nobody is passed over for long.
    assert_eq!(of_fee.iter().filter(|grant| grant.state() == GrantState::Reserved).count(), 1);
    assert_eq!((state(&granted, 2), state(&of_fee, 2)), (None, None), "not of the class");
    assert!(granted.iter().all(|grant| grant.explanation_zh.contains("本笔贷款共符合2项政策")));

    // Paid out, the share of the fee is due at once; the interest subsidy waits for interest.
    pay_out(&district, &loans).await?;
    let due: Vec<Grant> = eventually("the fee is due", || async {
        let due: Vec<Grant> = grants(&district).await?.into_iter().filter(|grant| grant.payable_fen > 0).collect();
        Ok((!due.is_empty()).then_some(due))
    })
    .await?;
    assert_eq!((due.len(), due[0].payable_fen, &due[0].policy_id), (1, 1_500_000, &fee_policy.policy_id));

    // What twice the interest subsidy would have cost is known before anybody decides on it.
    let request = TryPolicyRequest {
        spec: Some(PolicySpec { benefit: Some(Benefit::FixedRate(FixedRate { rate_ppm: 30_000 })), ..interest }),
        from: liandu::today().yesterday()?.to_string(),
        to: liandu::today().tomorrow()?.to_string(),
        most_lines: 0,
    };
    quiet(&district).await?;
    let mut staff = PolicyReviewServiceClient::new(district.as_staff().await?);
    let tried = staff.try_policy(request).await?.into_inner();
    assert_eq!((tried.loans, tried.grants, tried.total_fen), (3, 2, 2 * year_of(300_000_000, 30_000)));
    assert!(tried.lines.iter().all(|line| line.enterprise_name.starts_with("示例企业")));
    district.stop().await
}
