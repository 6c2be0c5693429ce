//! What an offer costs in the end: the subsidy it would bring, while there is money.

use zhirong_proto::{
    catalog::v1::{LprChange, LprTable},
    matching::v1::{
        CalculateRequest, Eligible, PlaceOrderRequest, RecalculateRequest, WithdrawOrderRequest, offer::Outcome,
    },
    subsidy::v1::{
        Budget, BudgetAppropriated, BudgetExhausted, BudgetFreed, BudgetLow, BudgetSpent, Coupon, CouponIssued,
        CouponRedeemed, CouponState, DayCount, FixedRate, LprShare, Policy, PolicyPublished, PolicyRetired, PolicySpec,
        PolicyState, RateCoupon, ReferenceRate, policy_spec::Benefit,
    },
};
use zhirong_testkit::{Deliveries, Event, eventually};

use tonic_types::StatusExt as _;

use crate::support::{PATIENCE, World, approval, as_enterprise, as_staff, lpr_table, new_id, order, wish};

pub fn spec(benefit: Benefit, tag: &str) -> PolicySpec {
    PolicySpec {
        name_zh: "示例贴息".to_owned(),
        benefit: Some(benefit),
        required_product_tags: vec![tag.to_owned()],
        effective_from: "2031-01-01".to_owned(),
        effective_to: "2031-12-31".to_owned(),
        max_months: 12,
        cap_per_loan_fen: 20_000_000,
        principal_cap_fen: 1_000_000_000,
        day_count: DayCount::Actual360.into(),
        priority: 1,
        ..PolicySpec::default()
    }
}

pub fn policy(id: &str, version: i32, spec: PolicySpec) -> Event {
    let policy = Policy { policy_id: id.to_owned(), version, spec: Some(spec), state: PolicyState::Published.into() };
    Event::of(id, &PolicyPublished { policy: Some(policy) })
}

fn half_of(reference_rate: i32) -> Benefit {
    Benefit::LprShare(LprShare { share_ppm: 500_000, reference_rate })
}

pub fn budget(id: &str, available_fen: i64) -> Budget {
    Budget { policy_id: id.to_owned(), year: 2031, available_fen, ..Budget::default() }
}

pub fn appropriated(id: &str, version: i64) -> Event {
    Event::of(&format!("{id}-2031"), &BudgetAppropriated { budget: Some(budget(id, 1)), version })
}

pub fn exhausted(id: &str, version: i64) -> Event {
    Event::of(&format!("{id}-2031"), &BudgetExhausted { budget: Some(budget(id, 0)), version })
}

#[tokio::test]
async fn the_subsidy_that_gives_most_is_told_and_counted_while_there_is_money() {
    let (world, _, enterprise) = World::ready().await;
    let request = CalculateRequest { requested_fen: 10_000_000, term_months: 12, ..wish() };
    let answered = async |what: &str, holds: &dyn Fn(&Eligible) -> bool| {
        eventually(PATIENCE, what, || async {
            let answer = world.calculator().calculate(as_enterprise(&enterprise, request.clone())).await?.into_inner();
            // The product is dealt with a moment before it is in the snapshot.
            let outcome = answer.offers.first().and_then(|offer| offer.outcome.clone());
            let Some(Outcome::Eligible(terms)) = outcome else { return Ok(None) };
            Ok(holds(&terms).then_some((answer, terms)))
        })
        .await
        .unwrap()
    };
    let (_, bare) = answered("an answer", &|_| true).await;
    assert_eq!((bare.subsidy, bare.net_rate_ppm, bare.net_cost_fen), (None, 35_000, bare.total_interest_fen));

    // Half of the LPR of 3 % at the end of the year before, against 1 %; and one for products of another tag.
    let (share, fixed, other) = (new_id(), new_id(), new_id());
    let half = half_of(ReferenceRate::Unspecified.into());
    let one_percent = Benefit::FixedRate(FixedRate { rate_ppm: 10_000 });
    let three_percent = Benefit::FixedRate(FixedRate { rate_ppm: 30_000 });
    let facts = [
        policy(&share, 1, spec(half, "ip_pledge")),
        policy(&fixed, 1, spec(one_percent, "ip_pledge")),
        policy(&other, 1, spec(three_percent, "agriculture")),
        appropriated(&share, 1),
        appropriated(&other, 1),
    ];
    world.deliver(Deliveries::new(facts).twice().shuffled(5)).await;
    let counted = |terms: &Eligible| terms.subsidy.as_ref().is_some_and(|subsidy| subsidy.budget_available);
    let (first, terms) = answered("a subsidy is told", &counted).await;
    let subsidy = terms.subsidy.unwrap();
    assert_eq!((subsidy.policy_id.as_str(), subsidy.subsidy_rate_ppm), (share.as_str(), 15_000));
    // 100 000 CNY at 1.5 % for the 366 days from 5 March 2031, over 360.
    assert_eq!(subsidy.expected_fen, 152_500);
    assert_eq!(terms.net_cost_fen, terms.total_interest_fen - 152_500);
    assert!((19_000..21_000).contains(&terms.net_rate_ppm), "{}", terms.net_rate_ppm);

    // Without money it is told and not counted on; a late fact of before changes nothing.
    world.deliver(Deliveries::new([exhausted(&share, 3), appropriated(&share, 2)])).await;
    let (_, terms) = answered("the budget is empty", &|terms| !counted(terms)).await;
    assert_eq!((terms.net_rate_ppm, terms.net_cost_fen), (35_000, terms.total_interest_fen));
    assert_eq!(terms.subsidy.unwrap().expected_fen, 152_500);

    // Each crossing of zero shows, both ways; who did not fit leaves what is there to others.
    let key = format!("{share}-2031");
    let freed = Event::of(&key, &BudgetFreed { budget: Some(budget(&share, 7)), version: 4 });
    world.deliver(Deliveries::new([freed]).twice()).await;
    answered("money came back", &counted).await;
    let spent = Event::of(&key, &BudgetSpent { budget: Some(budget(&share, 0)), version: 5 });
    world.deliver(Deliveries::new([spent]).twice()).await;
    answered("the last fen is promised", &|terms| !counted(terms)).await;
    let too_large = Event::of(&key, &BudgetExhausted { budget: Some(budget(&share, 9)), version: 6 });
    world.deliver(Deliveries::new([too_large])).await;
    answered("a large loan did not fit", &counted).await;
    let kept = Budget { kept_for_queue: true, ..budget(&share, 9) };
    let waited_for = Event::of(&key, &BudgetExhausted { budget: Some(kept), version: 7 });
    world.deliver(Deliveries::new([waited_for]).twice()).await;
    answered("what is left is kept for who waits", &|terms| !counted(terms)).await;
    let let_go = Event::of(&key, &BudgetFreed { budget: Some(budget(&share, 9)), version: 8 });
    world.deliver(Deliveries::new([let_go]).twice()).await;
    answered("nobody waits any more", &counted).await;

    // The answer of before can be computed again.
    let again = RecalculateRequest {
        enterprise_id: enterprise.to_string(),
        wish: Some(request.clone()),
        catalog_version: first.catalog_version,
        profile_version: first.profile_version,
        computed_on: first.computed_on.clone(),
        coupons_version: 0,
        level_worth_ppm: first.level_worth_ppm,
        unrated_level_ppm: first.unrated_level_ppm,
    };
    let again = world.calculator().recalculate(as_staff(again)).await.unwrap().into_inner().answer.unwrap();
    assert_eq!(again, first);
    world.stop().await;
}

#[tokio::test]
async fn a_share_is_reckoned_of_the_rate_that_the_policy_names() {
    let (world, _, enterprise) = World::ready().await;
    let request = CalculateRequest { requested_fen: 10_000_000, term_months: 12, ..wish() };
    let expected = async |what: &str, wanted: Option<(&str, i64, i64)>| {
        eventually(PATIENCE, what, || async {
            let answer = world.calculator().calculate(as_enterprise(&enterprise, request.clone())).await?.into_inner();
            // The product is dealt with a moment before it is in the snapshot.
            let outcome = answer.offers.first().and_then(|offer| offer.outcome.clone());
            let Some(Outcome::Eligible(terms)) = outcome else { return Ok(None) };
            let found = terms.subsidy.as_ref();
            let found = found.map(|told| (told.policy_id.as_str(), told.subsidy_rate_ppm, told.expected_fen));
            Ok((found == wanted).then_some(()))
        })
        .await
        .unwrap();
    };
    // Half of 3 % for one year, of 3.5 % for more than five, and of a rate of a later release, of which nothing is known here.
    let (one, over_five, later) = (new_id(), new_id(), new_id());
    let facts = [
        policy(&one, 1, spec(half_of(ReferenceRate::OneYearLpr.into()), "ip_pledge")),
        policy(&later, 1, spec(half_of(7), "ip_pledge")),
    ];
    world.deliver(Deliveries::new(facts)).await;
    expected("half of the one-year LPR", Some((&one, 15_000, 152_500))).await;
    let fact = policy(&over_five, 1, spec(half_of(ReferenceRate::OverFiveYearLpr.into()), "ip_pledge"));
    world.deliver(Deliveries::new([fact])).await;
    // 100 000 CNY at 1.75 % for 366 days, over 360.
    expected("half of the over-five-year LPR", Some((&over_five, 17_500, 177_917))).await;

    // Without the rate of the end of 2030 there is nothing to tell.
    let changes = vec![LprChange { published_on: "2031-01-20".to_owned(), one_year_ppm: 1, five_year_ppm: 1 }];
    world.deliver(Deliveries::new([lpr_table(9, LprTable { changes, known_through: "2031-03-19".to_owned() })])).await;
    expected("no rate, no subsidy", None).await;
    world.stop().await;
}

#[tokio::test]
async fn a_policy_is_for_whom_it_says_and_until_it_ends() {
    let (world, _, enterprise) = World::ready().await;
    let request = CalculateRequest { requested_fen: 10_000_000, term_months: 12, ..wish() };
    let told = async |what: &str, wanted: Option<&str>| {
        eventually(PATIENCE, what, || async {
            let answer = world.calculator().calculate(as_enterprise(&enterprise, request.clone())).await?.into_inner();
            // The product is dealt with a moment before it is in the snapshot.
            let outcome = answer.offers.first().and_then(|offer| offer.outcome.clone());
            let Some(Outcome::Eligible(terms)) = outcome else { return Ok(None) };
            let found = terms.subsidy.map(|subsidy| subsidy.policy_id);
            Ok((found.as_deref() == wanted).then_some(()))
        })
        .await
        .unwrap();
    };
    let rate = |ppm| Benefit::FixedRate(FixedRate { rate_ppm: ppm });
    let (elsewhere, nobody, here) = (new_id(), new_id(), new_id());
    let facts = [
        policy(&elsewhere, 1, PolicySpec { region_codes: vec!["44".to_owned()], ..spec(rate(30_000), "ip_pledge") }),
        policy(&nobody, 1, PolicySpec { who: "patent_count > 1000000".to_owned(), ..spec(rate(20_000), "ip_pledge") }),
        policy(
            &here,
            1,
            PolicySpec {
                region_codes: vec!["3300".to_owned()],
                who: "requested_fen > 1".to_owned(),
                ..spec(rate(10_000), "ip_pledge")
            },
        ),
    ];
    world.deliver(Deliveries::new(facts).shuffled(3)).await;
    told("only the policy of this region and condition", Some(here.as_str())).await;
    let low = BudgetLow { budget: Some(budget(&here, 5)), version: 1, threshold_ppm: 100_000 };
    world.deliver(Deliveries::new([Event::of(&format!("{here}-2031"), &low)])).await;
    let ended = Event::of(&here, &PolicyRetired { policy_id: here.clone(), version: 1 });
    world.deliver(Deliveries::new([ended]).twice()).await;
    told("an ended policy promises nothing", None).await;
    world.stop().await;
}

pub fn coupon(coupon_id: &str, policy_id: &str, enterprise: &str, version: i64, state: CouponState) -> Coupon {
    Coupon {
        coupon_id: coupon_id.to_owned(),
        policy_id: policy_id.to_owned(),
        policy_version: 1,
        enterprise_id: enterprise.to_owned(),
        rate_cut_ppm: 5_000,
        required_product_tags: vec!["ip_pledge".to_owned()],
        valid_until: "2031-12-31".to_owned(),
        state: state.into(),
        version,
        principal_cap_fen: 1_000_000_000,
        cap_per_loan_fen: 20_000_000,
        max_months: 12,
        day_count_days: 360,
        ..Coupon::default()
    }
}

#[tokio::test]
async fn a_coupon_is_counted_with_what_it_adds_up_to_and_used_on_an_order() {
    let (world, product, enterprise) = World::ready().await;
    let request = CalculateRequest { requested_fen: 10_000_000, term_months: 12, ..wish() };
    let answered = async |what: &str, holds: &dyn Fn(&Eligible) -> bool| {
        eventually(PATIENCE, what, || async {
            let answer = world.calculator().calculate(as_enterprise(&enterprise, request.clone())).await?.into_inner();
            // The product is dealt with a moment before it is in the snapshot.
            let outcome = answer.offers.first().and_then(|offer| offer.outcome.clone());
            let Some(Outcome::Eligible(terms)) = outcome else { return Ok(None) };
            Ok(holds(&terms).then_some((answer, terms)))
        })
        .await
        .unwrap()
    };
    let (cut, other, id) = (new_id(), new_id(), new_id());
    let rate = Benefit::FixedRate(FixedRate { rate_ppm: 1_000 });
    let rate_coupon = Benefit::RateCoupon(RateCoupon { rate_cut_ppm: 5_000 });
    let facts = [
        policy(&cut, 1, PolicySpec { adds_up: true, ..spec(rate_coupon, "ip_pledge") }),
        policy(&other, 1, PolicySpec { adds_up: true, ..spec(rate, "ip_pledge") }),
        appropriated(&cut, 1),
        appropriated(&other, 1),
    ];
    world.deliver(Deliveries::new(facts).twice().shuffled(7)).await;
    let issued = coupon(&id, &cut, enterprise.as_str(), 1, CouponState::Held);
    world.deliver(Deliveries::new([Event::of(&id, &CouponIssued { coupon: Some(issued) })]).twice()).await;
    let (with, terms) =
        answered("the coupon is told", &|terms| terms.coupon.is_some() && terms.subsidy.is_some()).await;
    // 100 000 CNY for the 366 days from 5 March 2031 over 360: half a percent, and a tenth.
    let saved = terms.coupon.unwrap().saved_fen;
    assert_eq!((saved, terms.subsidy.unwrap().expected_fen), (50_833, 10_167));
    assert_eq!(terms.net_cost_fen, terms.total_interest_fen - 50_833 - 10_167);

    // Another's coupon, or none there is, is refused; the own one goes with the order to the loan.
    let stranger = PlaceOrderRequest { coupon_id: new_id(), ..order(&product, 10_000_000) };
    let refused = world.orders().place_order(as_enterprise(&enterprise, stranger)).await.unwrap_err();
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "COUPON_NOT_USABLE");
    // One open order has it at a time; it is free again when that ends without a loan.
    let own = || PlaceOrderRequest { coupon_id: id.clone(), ..order(&product, 10_000_000) };
    let place = async || world.orders().place_order(as_enterprise(&enterprise, own())).await;
    let withdrawn = place().await.unwrap().into_inner().order.unwrap();
    let in_use = place().await.unwrap_err();
    assert_eq!(in_use.get_error_details().error_info().unwrap().reason, "COUPON_IN_USE");
    let withdraw =
        WithdrawOrderRequest { request_id: new_id(), order_id: withdrawn.order_id, reason_zh: String::new() };
    world.orders().withdraw_order(as_enterprise(&enterprise, withdraw)).await.unwrap();
    let placed = place().await.unwrap().into_inner().order.unwrap();
    assert_eq!(placed.coupon_id, id);
    let loan = world.approve(approval(&placed, "REF-1")).await;
    assert_eq!(loan.coupon_id, id);

    let used = coupon(&id, &cut, enterprise.as_str(), 2, CouponState::Redeemed);
    world.deliver(Deliveries::new([Event::of(&id, &CouponRedeemed { coupon: Some(used) })])).await;
    let (without, _) = answered("the coupon is used", &|terms| terms.coupon.is_none()).await;
    assert_eq!((with.coupons_version, without.coupons_version), (1, 2));
    let again = RecalculateRequest {
        enterprise_id: enterprise.to_string(),
        wish: Some(request.clone()),
        catalog_version: with.catalog_version,
        profile_version: with.profile_version,
        computed_on: with.computed_on.clone(),
        coupons_version: with.coupons_version,
        level_worth_ppm: with.level_worth_ppm,
        unrated_level_ppm: with.unrated_level_ppm,
    };
    let again = world.calculator().recalculate(as_staff(again)).await.unwrap().into_inner().answer.unwrap();
    assert_eq!(again, with, "with the coupon it had");
    world.stop().await;
}
