//! Rate coupons (利率优惠券): individual businesses hold them, use them on an order, and save 25 million CNY of cost.

use anyhow::Result;
use tonic_types::StatusExt as _;
use zhirong_proto::{
    matching::v1::{
        CalculateRequest, PlaceOrderRequest, calculator_service_client::CalculatorServiceClient, offer::Outcome,
        order_service_client::OrderServiceClient,
    },
    subsidy::v1::{
        Coupon, CouponState, IssueCouponsRequest, ListCouponsRequest, RateCoupon,
        coupon_service_client::CouponServiceClient, issue_coupons_request::Group, policy_spec::Benefit,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    finance::{
        Wanted, budget, enterprises, grants_of, lend, new_id, policy, policy_spec, principal_for, product, year_of,
    },
    liandu,
};

/// The district's own figure.
const SAVED_FEN: i64 = 2_500_000_000;
/// Each borrows some 5 million CNY, as individual businesses do.
const BUSINESSES: usize = 500;
/// One percentage point.
const CUT_PPM: i64 = 10_000;
const RATE_PPM: i64 = 60_000;

async fn coupons(district: &District, uscc: &zhirong_kernel::uscc::Uscc) -> Result<Vec<Coupon>> {
    let mut client = CouponServiceClient::new(district.as_enterprise(uscc).await?);
    Ok(client.list_coupons(ListCouponsRequest::default()).await?.into_inner().coupons)
}

#[tokio::test(flavor = "multi_thread")]
async fn story_jiangshan_j4_rate_coupons() -> Result<()> {
    let district = District::start().await?;
    let product = product(&district, "普惠再贷款优惠贷", &["relending_story"], RATE_PPM).await?;
    let benefit = Benefit::RateCoupon(RateCoupon { rate_cut_ppm: CUT_PPM });
    let policy = policy(&district, policy_spec("示例利率优惠券", "relending_story", benefit), SAVED_FEN).await?;
    // Larger than an individual business: the general sample policy pays nothing beside it.
    let businesses = enterprises(&district, "330881", "medium", BUSINESSES + 1).await?;

    // Issued to a group that a condition tells, once.
    let issue = |who: &str| IssueCouponsRequest {
        request_id: new_id(),
        policy_id: policy.policy_id.clone(),
        group: Some(Group::Who(who.to_owned())),
        valid_until: liandu::today().to_string(),
    };
    let mut staff = CouponServiceClient::new(district.as_staff().await?);
    eventually("everybody is known", || {
        let (mut staff, request) = (staff.clone(), issue("enterprise_class == 'medium' && is_in_operation"));
        async move {
            let answer = staff.issue_coupons(request).await?.into_inner();
            Ok((answer.issued + answer.had_one == i64::try_from(BUSINESSES + 1)?).then_some(()))
        }
    })
    .await?;
    let again = staff.issue_coupons(issue("enterprise_class == 'medium'")).await?.into_inner();
    assert_eq!((again.issued, again.had_one), (0, i64::try_from(BUSINESSES + 1)?));

    // The calculator shows the rate with the coupon.
    let calculator = CalculatorServiceClient::new(district.as_enterprise(&businesses[0]).await?);
    let request = CalculateRequest { requested_fen: 100_000_000, term_months: 12, ..CalculateRequest::default() };
    let terms = eventually("the calculator knows the coupon", || {
        let (mut calculator, request, product) = (calculator.clone(), request.clone(), product.clone());
        async move {
            let answer = calculator.calculate(request).await?.into_inner();
            let offer = answer.offers.into_iter().find(|offer| offer.product_id == product);
            let Some(Outcome::Eligible(terms)) = offer.and_then(|offer| offer.outcome) else { return Ok(None) };
            Ok(terms.coupon.is_some().then_some(terms))
        }
    })
    .await?;
    let told = terms.coupon.as_ref().unwrap();
    assert_eq!((told.rate_cut_ppm, told.saved_fen), (CUT_PPM, year_of(100_000_000, CUT_PPM)));
    assert_eq!(terms.net_cost_fen, terms.total_interest_fen - told.saved_fen);

    let mut left = SAVED_FEN;
    let mut wanted = Vec::new();
    for (number, uscc) in businesses.iter().take(BUSINESSES).enumerate() {
        let average = SAVED_FEN / i64::try_from(BUSINESSES)?;
        let saved =
            if number + 1 == BUSINESSES { left } else { average + i64::try_from(number % 9)? * 100_001 - 400_004 };
        left -= saved;
        let own = coupons(&district, uscc).await?;
        assert_eq!((own.len(), own[0].state()), (1, CouponState::Held));
        let loan = Wanted::new(uscc, principal_for(saved, CUT_PPM), RATE_PPM);
        wanted.push(Wanted { coupon_id: own[0].coupon_id.clone(), ..loan });
    }
    let loans = lend(&district, &product, &wanted).await?;
    let grants = grants_of(&district, &policy, BUSINESSES).await?;
    assert_eq!(grants.iter().map(|grant| grant.planned_fen).sum::<i64>(), SAVED_FEN);
    assert!(grants.iter().all(|grant| grant.explanation_zh.contains("使用利率优惠券")));
    assert_eq!(budget(&district, &policy).await?.available_fen, 0);

    // Used once, and nobody uses another's.
    let used = coupons(&district, &businesses[0]).await?;
    assert_eq!((used[0].state(), &used[0].loan_id), (CouponState::Redeemed, &loans[0].loan_id));
    let other = coupons(&district, &businesses[BUSINESSES]).await?;
    for (uscc, coupon) in [(&businesses[0], &used[0]), (&businesses[1], &other[0])] {
        let order = PlaceOrderRequest {
            request_id: new_id(),
            product_id: product.clone(),
            amount_fen: 1_000_000,
            term_months: 12,
            purpose_zh: "购买原材料".to_owned(),
            consent: liandu::consent(),
            coupon_id: coupon.coupon_id.clone(),
        };
        let client = OrderServiceClient::new(district.as_enterprise(uscc).await?);
        eventually("the coupon is refused", || {
            let (mut client, order) = (client.clone(), PlaceOrderRequest { request_id: new_id(), ..order.clone() });
            async move {
                let refused = client.place_order(order).await.err();
                let details = refused.map(|refused| refused.get_error_details());
                Ok(details
                    .and_then(|details| details.error_info().cloned())
                    .filter(|info| info.reason == "COUPON_NOT_USABLE"))
            }
        })
        .await?;
    }
    district.stop().await
}
