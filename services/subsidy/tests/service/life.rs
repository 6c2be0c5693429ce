//! What happens to a loan after it was paid out, and what it means for its grant.

use futures::future::join_all;
use zhirong_proto::{
    matching::v1::{Guarantee, Loan, LoanDefaulted, LoanState, LoanTermsChanged},
    subsidy::v1::{
        Grant, GrantAccrued, GrantState, GuaranteeFeeShare, InterestShare, Policy, PolicySpec, RetirePolicyRequest,
        ReviewPolicyRequest, SubmitPolicyRequest, TryPolicyRequest, policy_spec::Benefit,
    },
};

use crate::support::{GENERAL_FEN, IP_FEN, World, general_policy, ip_policy, loan, new_id, refusal, staff};

/// 1 000 000 CNY × 1.8 % / 360.
const DAY: i64 = 5_000;

fn money(grant: &Grant) -> (i64, i64, i64) {
    (grant.planned_fen, grant.payable_fen, grant.reserved_fen + grant.accrued_fen)
}

#[tokio::test]
async fn interest_paid_makes_it_due_and_principal_paid_frees_the_rest() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, IP_FEN).await;
    let loan = world.running_loan(1).await;
    assert_eq!(money(&world.grant_of(&loan).await), (IP_FEN, 0, IP_FEN));

    world.repay(&loan, 3, (0, 240_000), "2026-03-21").await;
    world.handled().await;
    assert_eq!(money(&world.grant_of(&loan).await), (IP_FEN, 20 * DAY, IP_FEN - 20 * DAY));
    let told = world.announced::<GrantAccrued>().await;
    assert_eq!((told.len(), told[0].payable_change_fen), (1, 20 * DAY));

    world.repay(&loan, 4, (50_000_000, 0), "2026-04-01").await;
    world.handled().await;
    let halved = 31 * DAY + 334 * DAY / 2;
    assert_eq!(money(&world.grant_of(&loan).await), (halved, 20 * DAY, halved - 20 * DAY));
    assert_eq!(world.budget(&policy).await.available_fen, IP_FEN - halved, "the rest is free");

    world.repay(&loan, 5, (50_000_000, 200_000), "2026-06-01").await;
    world.settle(&loan, 6, "2026-06-01").await;
    world.handled().await;
    let whole = 31 * DAY + 61 * DAY / 2;
    let ended = world.grant_of(&loan).await;
    assert_eq!((ended.state(), money(&ended)), (GrantState::Ended, (whole, whole, 0)));
    assert!(ended.explanation_zh.contains("贷款已结束"), "{}", ended.explanation_zh);
    assert_eq!(world.budget(&policy).await.available_fen, IP_FEN - whole);
    world.stop().await;
}

#[tokio::test]
async fn a_grant_is_never_above_the_interest_paid_and_a_default_ends_it() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, IP_FEN).await;
    let loan = world.running_loan(1).await;
    world.repay(&loan, 3, (0, 70_000), "2026-03-21").await;
    let lost = Loan { version: 4, state: LoanState::Defaulted.into(), outstanding_fen: 100_000_000, ..loan.clone() };
    let fact = LoanDefaulted { loan: Some(lost), defaulted_on: "2026-05-01".to_owned(), overdue_interest_fen: 9 };
    world.publish(&new_id(), &loan.loan_id, &fact).await;
    world.handled().await;
    let grant = world.grant_of(&loan).await;
    assert_eq!((grant.state(), money(&grant)), (GrantState::Ended, (70_000, 70_000, 0)));
    world.stop().await;
}

#[tokio::test]
async fn new_terms_hold_from_their_day_on() {
    let world = World::with_lpr(1).await;
    let share = Benefit::InterestShare(InterestShare { share_ppm: 500_000 });
    let policy = world.policy(PolicySpec { benefit: Some(share), ..ip_policy() }).await;
    world.appropriate(&policy, 2026, 10_000_000).await;
    let loan = world.running_loan(1).await;
    // Half of 4.35 % on a million for 365 / 360 of a year.
    assert_eq!(world.grant_of(&loan).await.planned_fen, 2_205_208);
    let changed = Loan { version: 3, rate_ppm: 36_000, matures_on: "2026-09-01".to_owned(), ..loan.clone() };
    let fact = LoanTermsChanged { loan: Some(changed), effective_on: "2026-03-31".to_owned() };
    world.publish(&new_id(), &loan.loan_id, &fact).await;
    world.handled().await;
    // 30 days at 2.175 %, 154 days at 1.8 %.
    assert_eq!(world.grant_of(&loan).await.planned_fen, 181_250 + 770_000);
    world.stop().await;
}

#[tokio::test]
async fn facts_of_a_loan_in_any_order_and_number_give_the_same_end_state() {
    let mut ends = Vec::new();
    for reversed in [false, true] {
        let world = World::with_lpr(if reversed { 3 } else { 1 }).await;
        let policy = world.policy(ip_policy()).await;
        world.appropriate(&policy, 2026, 20 * IP_FEN).await;
        let loans: Vec<Loan> = (0..8).map(loan).collect();
        let one = |loan: Loan, step: u8| {
            let world = &world;
            async move {
                match step {
                    0 => world.approve(&loan).await,
                    1 => world.disburse(&loan, 100_000_000, "2026-03-01").await,
                    2 => world.repay(&loan, 3, (10_000_000, 100_000), "2026-03-21").await,
                    3 => world.repay(&loan, 4, (90_000_000, 300_000), "2026-05-01").await,
                    _ => world.settle(&loan, 5, "2026-05-01").await,
                }
            }
        };
        if reversed {
            for step in [4, 2, 3, 4, 1, 0, 3, 0, 2, 1] {
                join_all(loans.iter().map(|loan| one(loan.clone(), step))).await;
            }
        } else {
            for step in 0..5 {
                join_all(loans.iter().map(|loan| one(loan.clone(), step))).await;
            }
        }
        world.handled().await;
        assert!(world.dead_letters().await.is_empty());
        let mut end = Vec::new();
        for loan in &loans {
            let grant = world.grant_of(loan).await;
            assert_eq!(grant.state(), GrantState::Ended);
            end.push((grant.enterprise_id.clone(), money(&grant), grant.until.clone(), grant.explanation_zh.clone()));
        }
        ends.push((end, world.budget(&policy).await.available_fen));
        world.stop().await;
    }
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0].0[0].1, (20 * DAY + 41 * DAY * 9 / 10, 20 * DAY + 41 * DAY * 9 / 10, 0));
}

#[tokio::test]
async fn policies_that_add_up_are_paid_together_up_to_the_loans_rate() {
    let world = World::with_lpr(1).await;
    let ip = world.policy(PolicySpec { adds_up: true, ..ip_policy() }).await;
    let general = world.policy(PolicySpec { adds_up: true, ..general_policy() }).await;
    let fee_share = Benefit::GuaranteeFeeShare(GuaranteeFeeShare { share_ppm: 500_000 });
    let fee =
        world.policy(PolicySpec { benefit: Some(fee_share), adds_up: true, priority: 30, ..general_policy() }).await;
    for policy in [&ip, &general] {
        world.appropriate(policy, 2026, 10_000_000).await;
    }
    let guarantee =
        Guarantee { guarantor_institution_id: "sample-guarantor".to_owned(), fee_fen: 500_000, ..Guarantee::default() };
    let loan = Loan { rate_ppm: 25_000, guarantee: Some(guarantee), ..loan(1) };
    world.approve(&loan).await;
    world.handled().await;
    let mut grants: Vec<(String, i64, GrantState)> = world
        .all_grants()
        .await
        .into_iter()
        .map(|grant| {
            assert!(grant.explanation_zh.contains("本笔贷款共符合3项政策"), "{}", grant.explanation_zh);
            (grant.policy_id.clone(), grant.subsidy_rate_ppm, grant.state())
        })
        .collect();
    grants.sort_by_key(|(_, rate, _)| std::cmp::Reverse(*rate));
    let expected = [
        (ip.policy_id.clone(), 18_000, GrantState::Reserved),
        (general.policy_id.clone(), 7_000, GrantState::Reserved),
        (fee.policy_id.clone(), 0, GrantState::Waiting),
    ];
    assert_eq!(grants, expected);
    // The fee's budget gets money: the grant that waited is served, and due once the loan is paid out.
    world.appropriate(&fee, 2026, 250_000).await;
    world.disburse(&loan, 100_000_000, "2026-03-01").await;
    let due = async || {
        let grants = world.all_grants().await;
        let of = |policy: &Policy| grants.iter().find(|grant| grant.policy_id == policy.policy_id).unwrap().payable_fen;
        [of(&ip), of(&general), of(&fee)]
    };
    world.repay(&loan, 3, (0, 110_000), "2026-03-21").await;
    world.handled().await;
    assert_eq!(due().await, [20 * DAY, 10_000, 250_000], "together they are not above the interest paid");
    // The first has earned far more by now, and what the other is due stays.
    world.repay(&loan, 4, (0, 1), "2026-05-30").await;
    world.handled().await;
    assert_eq!(due().await, [20 * DAY + 1, 10_000, 250_000]);
    world.stop().await;
}

#[tokio::test]
async fn who_is_served_after_the_end_of_the_loan_gets_the_interest_that_nobody_used() {
    let world = World::with_lpr(1).await;
    let ip = world.policy(PolicySpec { adds_up: true, ..ip_policy() }).await;
    let whole_fee = Benefit::GuaranteeFeeShare(GuaranteeFeeShare { share_ppm: 600_000 });
    let fee = PolicySpec { benefit: Some(whole_fee), adds_up: true, priority: 30, ..general_policy() };
    for priority in [30, 31] {
        let policy = world.policy(PolicySpec { priority, ..fee.clone() }).await;
        world.appropriate(&policy, 2026, 1_000_000).await;
    }
    let guarantee =
        Guarantee { guarantor_institution_id: "sample-guarantor".to_owned(), fee_fen: 500_000, ..Guarantee::default() };
    let loan = Loan { guarantee: Some(guarantee), ..loan(1) };
    world.approve(&loan).await;
    world.disburse(&loan, 100_000_000, "2026-03-01").await;
    world.repay(&loan, 3, (100_000_000, 30_000), "2026-03-21").await;
    world.settle(&loan, 4, "2026-03-21").await;
    world.handled().await;
    let of_fee: Vec<i64> =
        world.all_grants().await.iter().map(|grant| grant.payable_fen).filter(|due| *due > 0).collect();
    assert_eq!(of_fee, [300_000, 200_000], "60 % and the 40 % that are left of the fee");
    world.appropriate(&ip, 2026, 10_000_000).await;
    world.handled().await;
    let grants = world.all_grants().await;
    let served = grants.iter().find(|grant| grant.policy_id == ip.policy_id).unwrap();
    assert_eq!((served.state(), money(served)), (GrantState::Ended, (30_000, 30_000, 0)));
    assert_eq!(world.budget(&ip).await.available_fen, 10_000_000 - 30_000);
    world.stop().await;
}

#[tokio::test]
async fn an_enterprise_gets_no_more_than_its_cap_of_a_year() {
    let world = World::with_lpr(1).await;
    let capped = PolicySpec { cap_per_enterprise_year_fen: 2_000_000, max_months: 24, ..ip_policy() };
    let policy = world.policy(capped).await;
    world.appropriate(&policy, 2026, 100_000_000).await;
    let other = loan(2);
    let second = Loan { enterprise_id: loan(1).enterprise_id, ..loan(3) };
    let third = Loan { enterprise_id: loan(1).enterprise_id, ..loan(4) };
    let first = loan(1);
    for loan in [&first, &other, &second, &third] {
        world.approve(loan).await;
        world.handled().await;
    }
    assert_eq!(world.grant_of(&second).await.planned_fen, 2_000_000 - IP_FEN);
    assert_eq!(world.grant_of(&other).await.planned_fen, IP_FEN);
    assert_eq!(world.all_grants().await.len(), 3, "nothing is left for the last");
    // Half a year more would be 920 000 more: the first has no room beside the second, the other enterprise has its own.
    for loan in [&first, &other] {
        world.disburse(loan, loan.amount_fen, "2026-03-01").await;
        let longer = Loan { version: 3, matures_on: "2027-09-01".to_owned(), ..loan.clone() };
        let fact = LoanTermsChanged { loan: Some(longer), effective_on: "2026-06-01".to_owned() };
        world.publish(&new_id(), &loan.loan_id, &fact).await;
    }
    world.handled().await;
    assert_eq!(world.grant_of(&first).await.planned_fen, IP_FEN);
    assert_eq!(world.grant_of(&other).await.planned_fen, 2_000_000);
    world.stop().await;
}

#[tokio::test]
async fn a_policy_is_tried_on_past_loans_then_submitted_returned_published_and_ended() {
    let world = World::with_lpr(1).await;
    let ip = world.policy(ip_policy()).await;
    world.appropriate(&ip, 2026, 100_000_000).await;
    let running = world.running_loan(1).await;
    world.repay(&running, 3, (100_000_000, 400_000), "2026-03-31").await;
    world.settle(&running, 4, "2026-03-31").await;
    world.approve(&loan(2)).await;
    world.handled().await;
    let request = TryPolicyRequest {
        spec: Some(general_policy()),
        from: "2026-01-01".to_owned(),
        to: "2026-12-31".to_owned(),
        most_lines: 1,
    };
    let tried = world.reviews().try_policy(staff("zhao", request.clone())).await.unwrap().into_inner();
    // The first loan really lived 30 days: 1 000 000 CNY × 1 % × 30 / 360.
    assert_eq!((tried.loans, tried.grants, tried.enterprises, tried.total_fen), (2, 2, 2, 83_333 + GENERAL_FEN));
    assert_eq!((tried.years[0].year, tried.years[0].total_fen), (2026, tried.total_fen));
    assert_eq!((tried.lines.len(), tried.lines[0].amount_fen), (1, GENERAL_FEN));
    assert_eq!((tried.unlisted, tried.unlisted_fen), (1, 83_333), "the other is told of");
    let whole = TryPolicyRequest { most_lines: 2, ..request.clone() };
    let whole = world.reviews().try_policy(staff("zhao", whole)).await.unwrap().into_inner();
    assert_eq!((whole.lines.len(), whole.unlisted, whole.unlisted_fen), (2, 0, 0));
    assert_eq!(tried.granted_now_fen, 30 * DAY + IP_FEN);
    assert_eq!(world.count("SELECT count(*) FROM policy").await, 1, "nothing is stored");
    let wrong = TryPolicyRequest { from: "2026-02-30".to_owned(), most_lines: 501, ..request };
    let refused = refusal(world.reviews().try_policy(staff("zhao", wrong)).await);
    assert_eq!(
        (refused.reason.as_str(), refused.fields),
        ("TRIAL_INVALID", vec!["from".to_owned(), "most_lines".to_owned()])
    );

    let drafted =
        world.policies().draft_policy(staff("zhao", crate::support::draft("", general_policy()))).await.unwrap();
    let policy_id = drafted.into_inner().policy.unwrap().policy_id;
    let submit = |who: &'static str| {
        let request = SubmitPolicyRequest {
            request_id: new_id(),
            policy_id: policy_id.clone(),
            version: 1,
            reason_zh: "请复核".to_owned(),
        };
        let mut reviews = world.reviews();
        async move { reviews.submit_policy(staff(who, request)).await }
    };
    let review = |who: &'static str, publish| {
        let request = ReviewPolicyRequest {
            request_id: new_id(),
            policy_id: policy_id.clone(),
            version: 1,
            publish,
            reason_zh: if publish { "" } else { "请补充依据" }.to_owned(),
        };
        let mut reviews = world.reviews();
        async move { reviews.review_policy(staff(who, request)).await }
    };
    assert_eq!(refusal(review("qian", true).await).reason, "POLICY_NOT_SUBMITTED");
    assert_eq!(refusal(submit("qian").await).reason, "NOT_THE_AUTHOR");
    submit("zhao").await.unwrap();
    assert_eq!(refusal(review("zhao", true).await).reason, "SAME_PERSON");
    review("qian", false).await.unwrap();
    submit("zhao").await.unwrap();
    review("qian", true).await.unwrap();
    let retire =
        RetirePolicyRequest { request_id: new_id(), policy_id: policy_id.clone(), reason_zh: "到期".to_owned() };
    world.reviews().retire_policy(staff("qian", retire)).await.unwrap();
    let steps = zhirong_proto::subsidy::v1::ListPolicyStepsRequest { policy_id, ..Default::default() };
    let steps = world.reviews().list_policy_steps(staff("zhao", steps)).await.unwrap().into_inner().steps;
    let kinds: Vec<i32> = steps.iter().map(|step| step.kind).collect();
    assert_eq!(kinds, [1, 2, 3, 2, 4, 5], "drafted, submitted, returned, submitted, published, retired");
    // Approved from now on, no loan counts under it.
    let late = prost_types::Timestamp { seconds: jiff::Timestamp::now().as_second() + 1, nanos: 0 };
    let credit = Loan { product_tags: vec![], approved_at: Some(late), ..loan(9) };
    world.approve(&credit).await;
    world.handled().await;
    assert!(world.all_grants().await.iter().all(|grant| grant.loan_id != credit.loan_id));
    world.stop().await;
}
