//! The line at a budget: strictly in order of approval, first who was held short, then who waits.

use subsidy::store;
use zhirong_proto::{
    matching::v1::Loan,
    subsidy::v1::{
        BudgetExhausted, BudgetFreed, DecideReversalRequest, Grant, GrantAccrued, GrantReserved,
        GrantState::{self, Active, Ended, Reserved, Reversed, Waiting},
        Policy, PolicySpec, RequestReversalRequest,
    },
};
use zhirong_testkit::eventually;

use crate::support::{IP_FEN, PATIENCE, World, ip_policy, loan, new_id, staff};

impl World {
    /// Two persons take a grant back.
    pub async fn take_back(&self, grant: &Grant) {
        let request = RequestReversalRequest {
            request_id: new_id(),
            grant_id: grant.grant_id.clone(),
            reason_zh: "材料不实".to_owned(),
        };
        let asked = self.ledger().request_reversal(staff("zhao", request)).await.unwrap().into_inner();
        let request = DecideReversalRequest {
            request_id: new_id(),
            reversal_id: asked.reversal.unwrap().reversal_id,
            approve: true,
            reason_zh: String::new(),
        };
        self.ledger().decide_reversal(staff("qian", request)).await.unwrap();
    }

    /// A loan of so many times a million, approved so many seconds after the first.
    async fn approved(&self, number: usize, millions: i64) -> Loan {
        let loan = Loan { amount_fen: millions * 100_000_000, ..loan(number) };
        self.approve(&loan).await;
        self.handled().await;
        loan
    }

    async fn states<const N: usize>(&self, loans: [&Loan; N]) -> [GrantState; N] {
        let grants = self.all_grants().await;
        loans.map(|loan| grants.iter().find(|grant| grant.loan_id == loan.loan_id).unwrap().state())
    }

    /// Whether the background finds somebody to serve.
    async fn has_more_to_serve(&self) -> bool {
        let mut conn = self.pool.acquire().await.unwrap();
        !store::queue::servable(&mut conn).await.unwrap().is_empty()
    }

    async fn ip_policy_with(&self, fen: i64) -> Policy {
        let policy = self.policy(ip_policy()).await;
        self.appropriate(&policy, 2026, fen).await;
        policy
    }
}

#[tokio::test]
async fn a_large_grant_is_not_passed_by_and_newcomers_stand_behind_it() {
    let world = World::with_lpr(1).await;
    let policy = world.ip_policy_with(2 * IP_FEN).await;
    let large = world.approved(5, 5).await;
    let newcomer = world.approved(6, 1).await;
    assert_eq!(world.states([&large, &newcomer]).await, [Waiting, Waiting]);
    let budget = world.budget(&policy).await;
    assert_eq!((budget.available_fen, budget.kept_for_queue), (2 * IP_FEN, true), "it waits for the first");
    let told = world.announced::<BudgetExhausted>().await;
    assert_eq!(told.len(), 2, "each that waits is told");
    assert!(told.iter().all(|fact| fact.budget.as_ref().unwrap().kept_for_queue), "there is nothing for a newcomer");
    assert!(!world.has_more_to_serve().await);

    // Approved before all who wait, told after them: its place is before them.
    let late = world.approved(1, 1).await;
    assert_eq!(world.states([&late, &large, &newcomer]).await, [Reserved, Waiting, Waiting]);
    // One that does not fit waits in front all the same.
    let later = world.approved(2, 4).await;
    let budget = world.appropriate(&policy, 2026, IP_FEN).await;
    assert_eq!((budget.available_fen, budget.reserved_fen, budget.kept_for_queue), (2 * IP_FEN, IP_FEN, true));
    assert_eq!(world.states([&later, &large, &newcomer]).await, [Waiting, Waiting, Waiting]);

    world.appropriate(&policy, 2026, 3 * IP_FEN).await;
    assert_eq!(world.states([&later, &large, &newcomer]).await, [Reserved, Waiting, Waiting]);
    world.appropriate(&policy, 2026, 4 * IP_FEN + 1).await;
    assert_eq!(world.states([&large, &newcomer]).await, [Reserved, Waiting]);
    world.appropriate(&policy, 2026, IP_FEN).await;
    assert_eq!(world.states([&newcomer]).await, [Reserved]);
    let served: Vec<_> =
        world.announced::<GrantReserved>().await.into_iter().map(|fact| fact.grant.unwrap().loan_id).collect();
    assert_eq!(served, [late.loan_id, later.loan_id, large.loan_id, newcomer.loan_id]);
    // Nobody waits any more: who comes now is served at once.
    world.appropriate(&policy, 2026, IP_FEN).await;
    let last = world.approved(7, 1).await;
    assert_eq!(world.states([&last]).await, [Reserved]);
    world.stop().await;
}

#[tokio::test]
async fn that_the_queue_is_gone_and_money_is_left_for_newcomers_is_told() {
    let world = World::with_lpr(1).await;
    let policy = world.ip_policy_with(IP_FEN).await;
    let large = world.approved(1, 3).await;
    assert!(world.budget(&policy).await.kept_for_queue);
    assert!(world.announced::<BudgetFreed>().await.is_empty());
    world.take_back(&world.grant_of(&large).await).await;
    let freed = world.announced::<BudgetFreed>().await.pop().unwrap().budget.unwrap();
    assert_eq!((freed.available_fen, freed.kept_for_queue), (IP_FEN, false));

    // What comes back while somebody needs more is not for newcomers.
    let (first, waiting) = (world.approved(2, 1).await, world.approved(3, 2).await);
    assert_eq!(world.states([&first, &waiting]).await, [Reserved, Waiting]);
    world.take_back(&world.grant_of(&first).await).await;
    assert_eq!(world.announced::<BudgetFreed>().await.len(), 1);
    let last = world.announced::<BudgetExhausted>().await.pop().unwrap().budget.unwrap();
    assert_eq!((last.available_fen, last.kept_for_queue), (IP_FEN, true));
    // With what it needs the first leaves some: the treasury's gift tells it.
    let given = world.appropriate(&policy, 2026, 2 * IP_FEN).await;
    assert_eq!((given.available_fen, given.kept_for_queue), (IP_FEN, false));
    world.stop().await;
}

#[tokio::test]
async fn a_reservation_that_is_released_in_full_flows_to_the_queue() {
    let world = World::with_lpr(1).await;
    let policy = world.ip_policy_with(IP_FEN).await;
    let (first, second) = (world.approved(1, 1).await, world.approved(2, 1).await);
    assert_eq!(world.states([&first, &second]).await, [Reserved, Waiting]);
    world.take_back(&world.grant_of(&first).await).await;
    assert_eq!(world.states([&first, &second]).await, [Reversed, Reserved]);
    let budget = world.budget(&policy).await;
    assert_eq!((budget.available_fen, budget.reserved_fen), (0, IP_FEN));
    world.stop().await;
}

#[tokio::test]
async fn the_next_ones_come_through_when_the_first_is_taken_back_shrinks_or_ends() {
    let world = World::with_lpr(1).await;
    let policy = world.ip_policy_with(IP_FEN).await;
    let (first, second) = (world.approved(1, 3).await, world.approved(2, 1).await);
    assert_eq!(world.states([&first, &second]).await, [Waiting, Waiting]);
    world.take_back(&world.grant_of(&first).await).await;
    assert_eq!(world.states([&first, &second]).await, [Reversed, Reserved]);

    // It is paid out in part: it fits, and leaves some to the next.
    world.appropriate(&policy, 2026, 2 * IP_FEN).await;
    let (third, fourth) = (world.approved(3, 3).await, world.approved(4, 1).await);
    assert_eq!(world.states([&third, &fourth]).await, [Waiting, Waiting]);
    world.disburse(&third, 100_000_000, "2026-03-02").await;
    world.handled().await;
    assert_eq!(world.states([&third, &fourth]).await, [Active, Reserved]);
    assert_eq!(world.budget(&policy).await.available_fen, 0);

    // It ends, and no interest was paid: there is nothing to wait for.
    world.appropriate(&policy, 2026, IP_FEN).await;
    let (fifth, sixth) = (world.approved(5, 3).await, world.approved(6, 1).await);
    assert_eq!(world.states([&fifth, &sixth]).await, [Waiting, Waiting]);
    world.disburse(&fifth, 300_000_000, "2026-03-02").await;
    world.handled().await;
    assert_eq!(world.states([&fifth, &sixth]).await, [Waiting, Waiting]);
    world.settle(&fifth, 3, "2026-03-12").await;
    world.handled().await;
    assert_eq!(world.states([&fifth, &sixth]).await, [Ended, Reserved]);
    world.stop().await;
}

/// Approved on 1 February 2026 and so many seconds for a month, 28 days; paid out on 15 March the month has 31.
fn short_by_three_days(number: usize) -> Loan {
    let seconds = 1_769_911_200 + i64::try_from(number).unwrap();
    Loan { approved_at: Some(prost_types::Timestamp { seconds, nanos: 0 }), ..loan(number) }
}

/// 1 000 000 CNY × 1.8 % / 360.
const DAY: i64 = 5_000;

#[tokio::test]
async fn who_was_held_short_gets_the_rest_in_order_of_approval_before_who_waits() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(PolicySpec { max_months: 1, ..ip_policy() }).await;
    world.appropriate(&policy, 2026, 2 * 28 * DAY).await;
    let (first, second, third) = (short_by_three_days(1), short_by_three_days(2), loan(3));
    for loan in [&second, &first, &third] {
        world.approve(loan).await;
        world.handled().await;
    }
    for loan in [&second, &first] {
        world.disburse(loan, 100_000_000, "2026-03-15").await;
        world.handled().await;
    }
    let planned = async || {
        let (first, second) = (world.grant_of(&first).await, world.grant_of(&second).await);
        [&first, &second].map(|grant| (grant.planned_fen / DAY, grant.explanation_zh.contains("年度资金余额不足")))
    };
    assert_eq!(planned().await, [(28, true), (28, true)]);
    let told = world.announced::<GrantAccrued>().await.len();

    let budget = world.appropriate(&policy, 2026, 4 * DAY).await;
    assert_eq!(budget.available_fen, 0);
    assert_eq!(planned().await, [(31, false), (29, true)]);
    assert_eq!(world.states([&third]).await, [Waiting]);
    let changed: Vec<_> = world.announced::<GrantAccrued>().await.split_off(told);
    let changed: Vec<_> = changed.into_iter().map(|fact| fact.grant.unwrap()).collect();
    assert_eq!(changed, [world.grant_of(&first).await, world.grant_of(&second).await]);

    let budget = world.appropriate(&policy, 2026, (2 + 31 + 1) * DAY).await;
    assert_eq!(planned().await, [(31, false), (31, false)]);
    assert_eq!((world.states([&third]).await, budget.available_fen), ([Reserved], DAY));
    // Nobody is in line any more.
    let newcomer = Loan { amount_fen: 1_000_000, ..loan(4) };
    world.approve(&newcomer).await;
    world.handled().await;
    assert_eq!(world.states([&newcomer]).await, [Reserved]);
    world.stop().await;
}

#[tokio::test]
async fn who_was_held_short_and_has_ended_is_due_the_rest_once_money_comes_and_its_loan_is_free() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(PolicySpec { max_months: 1, ..ip_policy() }).await;
    world.appropriate(&policy, 2026, 28 * DAY).await;
    let loan = short_by_three_days(1);
    world.approve(&loan).await;
    world.disburse(&loan, 100_000_000, "2026-03-15").await;
    world.repay(&loan, 3, (100_000_000, 400_000), "2026-04-15").await;
    world.settle(&loan, 4, "2026-04-15").await;
    world.handled().await;
    let ended = world.grant_of(&loan).await;
    assert_eq!((ended.state(), ended.payable_fen), (Ended, 28 * DAY));
    assert!(ended.explanation_zh.contains("以已预留的1,400.00元为限"), "{}", ended.explanation_zh);
    assert_eq!(world.announced::<BudgetExhausted>().await.len(), 1);

    // Somebody else has the loan: nobody waits for it, and nothing is reckoned with until it is free.
    let mut busy = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM loan FOR UPDATE").execute(&mut *busy).await.unwrap();
    assert_eq!(world.appropriate(&policy, 2026, 5 * DAY).await.available_fen, 5 * DAY);
    assert!(world.has_more_to_serve().await);
    let newcomer = Loan { amount_fen: 1_000_000, ..crate::support::loan(2) };
    world.approve(&newcomer).await;
    world.handled().await;
    assert_eq!(world.states([&newcomer]).await, [Waiting], "behind who was held short");
    busy.rollback().await.unwrap();
    let whole = eventually(PATIENCE, "it is due the rest", || async {
        Ok(Some(world.grant_of(&loan).await).filter(|grant| grant.payable_fen == 31 * DAY))
    })
    .await
    .unwrap();
    assert_eq!((whole.state(), whole.planned_fen), (Ended, 31 * DAY));
    for gone in ["年度资金余额不足", "为限"] {
        assert!(!whole.explanation_zh.contains(gone), "{}", whole.explanation_zh);
    }
    let told = world.announced::<GrantAccrued>().await.pop().unwrap();
    assert_eq!((told.earned_change_fen, told.payable_change_fen, told.grant), (3 * DAY, 3 * DAY, Some(whole)));
    assert_eq!(world.states([&newcomer]).await, [Reserved]);
    assert!(!world.has_more_to_serve().await);
    world.stop().await;
}
