//! What an enterprise reads about its grants stays true as they go on.

use zhirong_proto::{
    matching::v1::Loan,
    subsidy::v1::{GrantState, PolicySpec},
};

use crate::support::{GENERAL_FEN, IP_FEN, World, general_policy, ip_policy, loan};

const BOTH: &str =
    "审批时，本笔贷款共符合2项政策，按可同时享受且合计最多的方式确定为《知识产权质押贷款贴息》、《小微企业贷款贴息》";

#[tokio::test]
async fn what_was_decided_at_the_approval_is_told_also_when_the_loan_is_paid_out() {
    let world = World::with_lpr(1).await;
    let ip = world.policy(PolicySpec { adds_up: true, ..ip_policy() }).await;
    let general = world.policy(PolicySpec { adds_up: true, ..general_policy() }).await;
    world.appropriate(&ip, 2026, IP_FEN).await;
    let loan = loan(1);
    world.approve(&loan).await;
    world.handled().await;
    let told = async || {
        let grants = world.all_grants().await;
        let of = |policy: &str| grants.iter().find(|grant| grant.policy_id == policy).unwrap().clone();
        (of(&ip.policy_id), of(&general.policy_id))
    };
    let queued = format!("{BOTH}；其中《小微企业贷款贴息》因当时资金不足列入排队。");
    let (paid, waiting) = told().await;
    assert!(paid.explanation_zh.contains(&queued), "{}", paid.explanation_zh);
    assert!(waiting.explanation_zh.contains(&format!("{BOTH}。")), "{}", waiting.explanation_zh);
    assert!(waiting.explanation_zh.contains("已按贷款审批先后排队"), "{}", waiting.explanation_zh);

    world.appropriate(&general, 2026, GENERAL_FEN).await;
    let (paid, served) = told().await;
    assert_eq!(served.state(), GrantState::Reserved);
    assert!(served.explanation_zh.contains(&format!("{BOTH}。资金已预留")), "{}", served.explanation_zh);
    assert!(!served.explanation_zh.contains("排队"), "{}", served.explanation_zh);
    assert!(paid.explanation_zh.contains(&queued), "{}", paid.explanation_zh);

    world.disburse(&loan, 60_000_000, "2026-03-05").await;
    world.handled().await;
    let (paid, served) = told().await;
    for part in ["实际放款600,000.00元", &queued, "贷款已发放"] {
        assert!(paid.explanation_zh.contains(part), "{}", paid.explanation_zh);
    }
    assert!(served.explanation_zh.contains(&format!("{BOTH}。贷款已发放")), "{}", served.explanation_zh);
    world.stop().await;
}

#[tokio::test]
async fn a_better_policy_without_money_is_named() {
    let world = World::with_lpr(1).await;
    let (_ip, general) = (world.policy(ip_policy()).await, world.policy(general_policy()).await);
    world.appropriate(&general, 2026, GENERAL_FEN).await;
    let loan = loan(1);
    world.approve(&loan).await;
    world.handled().await;
    let told = world.grant_of(&loan).await.explanation_zh;
    let expected = "确定为《小微企业贷款贴息》；《知识产权质押贷款贴息》因当时资金不足未选用。";
    assert!(told.contains(expected), "{told}");
    world.stop().await;
}

#[tokio::test]
async fn an_amount_that_the_loans_course_has_changed_is_told_beside_the_computation() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 10 * IP_FEN).await;
    let loan = world.running_loan(1).await;
    let told = async || world.grant_of(&loan).await.explanation_zh;
    assert!(!told().await.contains("贴息现为"), "{}", told().await);
    world.repay(&loan, 3, (50_000_000, 0), "2026-04-01").await;
    world.handled().await;
    // 31 days of 50 CNY, 334 of 25.
    for part in ["实际放款1,000,000.00元", "贴息18,250.00元。", "贴息现为9,900.00元。"] {
        assert!(told().await.contains(part), "{}", told().await);
    }
    world.repay(&loan, 4, (50_000_000, 200_000), "2026-04-11").await;
    world.settle(&loan, 5, "2026-04-11").await;
    world.handled().await;
    for part in ["贴息现为1,800.00元。", "贷款已结束，贴息不再增加。", "待付1,800.00元"] {
        assert!(told().await.contains(part), "{}", told().await);
    }
    world.stop().await;
}

#[tokio::test]
async fn the_cap_of_a_year_is_told_where_it_cuts_and_where_it_is_used_up() {
    let world = World::with_lpr(1).await;
    let cap_per_enterprise_year_fen = IP_FEN + GENERAL_FEN + 100;
    let ip = world.policy(PolicySpec { cap_per_enterprise_year_fen, ..ip_policy() }).await;
    let general = world.policy(general_policy()).await;
    for policy in [&ip, &general] {
        world.appropriate(policy, 2026, 10 * IP_FEN).await;
    }
    let own = loan(1).enterprise_id;
    let loans = [1, 2, 3].map(|number| Loan { enterprise_id: own.clone(), ..loan(number) });
    let mut told = Vec::new();
    for loan in &loans {
        world.approve(loan).await;
        world.handled().await;
        told.push(world.grant_of(loan).await.explanation_zh);
    }
    assert!(!told[0].contains("上限"), "{}", told[0]);
    assert!(told[1].contains("贴息10,139.89元（企业年度上限）。"), "{}", told[1]);
    let used_up = "确定为《小微企业贷款贴息》；《知识产权质押贷款贴息》因企业年度上限已用完，不再享受。";
    assert!(told[2].contains(used_up) && told[2].contains("贴息10,138.89元。"), "{}", told[2]);
    // It is no cap of one loan, also once that is paid out.
    world.disburse(&loans[1], 100_000_000, "2026-03-02").await;
    world.handled().await;
    let out = world.grant_of(&loans[1]).await.explanation_zh;
    assert!(out.contains("贴息10,139.89元（企业年度上限）。") && !out.contains("单笔上限"), "{out}");
    world.stop().await;
}
