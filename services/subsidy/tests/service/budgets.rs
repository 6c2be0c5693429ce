//! Budgets: money of the treasury, entered once, served at once to who waits.

use tonic::Code;
use zhirong_proto::subsidy::v1::{
    BudgetExhausted, BudgetFreed, BudgetSpent, GrantQueued, GrantReserved, GrantState, ListBudgetsRequest,
};

use crate::support::{IP_FEN, World, appropriation, general_policy, ip_policy, loan, new_id, refusal, staff};

#[tokio::test]
async fn money_is_added_up_and_a_repeated_request_adds_nothing() {
    let world = World::start(1).await;
    let policy = world.policy(ip_policy()).await;
    let request = appropriation(&policy.policy_id, 2026, 300);
    for _ in 0..2 {
        let budget = world
            .policies()
            .appropriate_budget(staff("zhao", request.clone()))
            .await
            .unwrap()
            .into_inner()
            .budget
            .unwrap();
        assert_eq!((budget.appropriated_fen, budget.available_fen), (300, 300));
    }
    let mut changed = request.clone();
    changed.amount_fen = 301;
    assert_eq!(refusal(world.policies().appropriate_budget(staff("zhao", changed)).await).reason, "REQUEST_ID_REUSED");
    assert_eq!(world.appropriate(&policy, 2026, 200).await.available_fen, 500);
    assert_eq!(world.appropriate(&policy, 2027, 7).await.available_fen, 7);

    let page = |page_token| {
        let mut policies = world.policies();
        async move {
            policies
                .list_budgets(staff("zhao", ListBudgetsRequest { page_size: 1, page_token }))
                .await
                .unwrap()
                .into_inner()
        }
    };
    let first = page(String::new()).await;
    let second = page(first.next_page_token.clone()).await;
    let years = [&first, &second].map(|page| (page.budgets[0].year, page.budgets[0].appropriated_fen));
    assert_eq!(years, [(2026, 500), (2027, 7)]);
    assert!(page(second.next_page_token).await.budgets.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn bad_money_is_refused_with_every_field() {
    let world = World::start(1).await;
    let refused = |request| {
        let mut policies = world.policies();
        async move { refusal(policies.appropriate_budget(staff("zhao", request)).await) }
    };
    let mut bad = appropriation("x", 2018, 0);
    bad.document_zh = " ".to_owned();
    let bad = refused(bad).await;
    assert_eq!((bad.code, bad.reason.as_str()), (Code::InvalidArgument, "BUDGET_INVALID"));
    assert_eq!(bad.fields, ["policy_id", "year", "amount_fen", "document_zh"]);
    let unknown = refused(appropriation(&new_id(), 2026, 1)).await;
    assert_eq!((unknown.code, unknown.reason.as_str()), (Code::NotFound, "POLICY_NOT_FOUND"));
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, i64::MAX).await;
    let too_much = refused(appropriation(&policy.policy_id, 2026, 1)).await;
    assert_eq!((too_much.reason.as_str(), too_much.fields), ("BUDGET_TOO_LARGE", vec!["amount_fen".to_owned()]));
    world.stop().await;
}

#[tokio::test]
async fn who_waits_is_served_in_order_of_approval_as_far_as_the_money_goes() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    let loans: Vec<_> = (0..4).map(loan).collect();
    // They arrive in the opposite order of approval.
    for loan in loans.iter().rev() {
        world.approve(loan).await;
        world.handled().await;
    }
    assert_eq!(world.announced::<GrantQueued>().await.len(), 4);
    let exhausted = world.announced::<BudgetExhausted>().await;
    assert_eq!(exhausted.iter().map(|fact| fact.version).collect::<Vec<_>>(), [1, 2, 3, 4]);

    let budget = world.appropriate(&policy, 2026, 2 * IP_FEN + 1).await;
    assert_eq!((budget.available_fen, budget.reserved_fen), (1, 2 * IP_FEN));
    let served: Vec<_> = world.announced::<GrantReserved>().await.into_iter().map(|fact| fact.grant.unwrap()).collect();
    assert_eq!(served.iter().map(|grant| &grant.loan_id).collect::<Vec<_>>(), [&loans[0].loan_id, &loans[1].loan_id]);
    assert!(served.iter().all(|grant| grant.version == 2 && grant.state() == GrantState::Reserved));
    let waiting = world.grant_of(&loans[2]).await;
    assert_eq!((waiting.state(), waiting.planned_fen), (GrantState::Waiting, IP_FEN));
    assert!(waiting.explanation_zh.contains("排队"), "{}", waiting.explanation_zh);
    world.stop().await;
}

#[tokio::test]
async fn a_loan_falls_back_to_the_best_policy_with_money_and_waits_for_the_best() {
    let world = World::with_lpr(1).await;
    let (ip, general) = (world.policy(ip_policy()).await, world.policy(general_policy()).await);
    world.appropriate(&general, 2026, crate::support::GENERAL_FEN).await;
    let (first, second) = (loan(1), loan(2));
    for loan in [&first, &second] {
        world.approve(loan).await;
        world.handled().await;
    }
    let (first, second) = (world.grant_of(&first).await, world.grant_of(&second).await);
    assert_eq!((first.policy_id.clone(), first.state()), (general.policy_id.clone(), GrantState::Reserved));
    assert_eq!((second.policy_id.clone(), second.state()), (ip.policy_id.clone(), GrantState::Waiting));
    let exhausted = world.announced::<BudgetExhausted>().await;
    let which: Vec<_> = exhausted.iter().map(|fact| fact.budget.clone().unwrap().policy_id).collect();
    assert_eq!(
        which,
        [ip.policy_id.clone(), ip.policy_id],
        "the budget that was passed over, then the one that is waited for"
    );
    world.stop().await;
}

#[tokio::test]
async fn the_last_fen_and_the_first_that_comes_back_are_told() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 2 * IP_FEN).await;
    let told = async |spent: usize, freed: usize| {
        let found = (world.announced::<BudgetSpent>().await, world.announced::<BudgetFreed>().await);
        assert_eq!((found.0.len(), found.1.len()), (spent, freed));
        assert!(found.0.iter().all(|fact| fact.budget.as_ref().unwrap().available_fen == 0));
        assert!(found.1.iter().all(|fact| fact.budget.as_ref().unwrap().available_fen > 0));
        let versions = found.0.iter().map(|fact| fact.version).chain(found.1.iter().map(|fact| fact.version));
        versions.max().unwrap_or(0)
    };
    let approve = async |number: usize, amount_fen: i64| {
        let loan = zhirong_proto::matching::v1::Loan { amount_fen, ..loan(number) };
        world.approve(&loan).await;
        world.handled().await;
        loan
    };
    let first = approve(1, 100_000_000).await;
    told(0, 0).await;
    // One that does not fit says so, and that there is money, which nobody gets before it is taken back.
    let large = approve(2, 200_000_000).await;
    let short = world.announced::<BudgetExhausted>().await.pop().unwrap();
    assert_eq!(short.budget.unwrap().available_fen, IP_FEN);
    approve(3, 100_000_000).await;
    told(0, 0).await;
    world.take_back(&world.grant_of(&large).await).await;
    let spent = told(1, 0).await;
    // Half is paid out: what is released is there for others.
    world.disburse(&first, 50_000_000, "2026-03-02").await;
    world.handled().await;
    assert!(told(1, 1).await > spent);
    // What the treasury gives is told as such.
    approve(4, 50_000_000).await;
    world.appropriate(&policy, 2026, 2 * IP_FEN + 1).await;
    told(2, 1).await;
    world.stop().await;
}
