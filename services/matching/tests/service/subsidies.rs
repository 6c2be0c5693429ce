//! What an offer costs in the end: the subsidy it would bring, while there is money.

use zhirong_proto::{
    matching::v1::{CalculateRequest, Eligible, RecalculateRequest, offer::Outcome},
    subsidy::v1::{
        Budget, BudgetAppropriated, BudgetExhausted, DayCount, FixedRate, LprShare, Policy, PolicyPublished,
        PolicySpec, PolicyState, policy_spec::Benefit,
    },
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::support::{PATIENCE, World, as_enterprise, as_staff, new_id, wish};

fn spec(benefit: Benefit, tag: &str) -> PolicySpec {
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

fn policy(id: &str, version: i32, spec: PolicySpec) -> Event {
    let policy = Policy { policy_id: id.to_owned(), version, spec: Some(spec), state: PolicyState::Published.into() };
    Event::of(id, &PolicyPublished { policy: Some(policy) })
}

fn budget(id: &str, available_fen: i64) -> Budget {
    Budget { policy_id: id.to_owned(), year: 2031, available_fen, ..Budget::default() }
}

fn appropriated(id: &str, version: i64) -> Event {
    Event::of(&format!("{id}-2031"), &BudgetAppropriated { budget: Some(budget(id, 1)), version })
}

fn exhausted(id: &str, version: i64) -> Event {
    Event::of(&format!("{id}-2031"), &BudgetExhausted { budget: Some(budget(id, 0)), version })
}

#[tokio::test]
async fn the_subsidy_that_gives_most_is_told_and_counted_while_there_is_money() {
    let (world, _, enterprise) = World::ready().await;
    let request = CalculateRequest { requested_fen: 10_000_000, term_months: 12, ..wish() };
    let answered = async |what: &str, holds: &dyn Fn(&Eligible) -> bool| {
        eventually(PATIENCE, what, || async {
            let answer = world.calculator().calculate(as_enterprise(&enterprise, request.clone())).await?.into_inner();
            let Some(Outcome::Eligible(terms)) = answer.offers[0].outcome.clone() else { return Ok(None) };
            Ok(holds(&terms).then_some((answer, terms)))
        })
        .await
        .unwrap()
    };
    let (_, bare) = answered("an answer", &|_| true).await;
    assert_eq!((bare.subsidy, bare.net_rate_ppm, bare.net_cost_fen), (None, 35_000, bare.total_interest_fen));

    // Half of the LPR of 3 % at the end of the year before, against 1 %; and one for products of another tag.
    let (share, fixed, other) = (new_id(), new_id(), new_id());
    let half = Benefit::LprShare(LprShare { share_ppm: 500_000 });
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
