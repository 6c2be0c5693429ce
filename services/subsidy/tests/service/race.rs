//! Many at once on one small budget: never exceeded, fully used.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use subsidy::{
    entitlement::Loan,
    flow::{Desk, approval},
    store::{loan::Approved, policy::Book},
};
use uuid::Uuid;
use zhirong_kernel::{Fen, Ppm, id::UuidV7};
use zhirong_proto::subsidy::v1::{BudgetExhausted, BudgetLow, GrantQueued, GrantReserved, GrantState};
use zhirong_testkit::eventually;

use crate::support::{GENERAL_FEN, IP_FEN, PATIENCE, World, general_policy, ip_policy, loan, uscc};

pub fn approved(number: usize) -> Approved {
    let loan = Loan {
        loan_id: Uuid::now_v7().into(),
        enterprise_id: uscc(number).parse().unwrap(),
        institution_id: "sample-bank".parse().unwrap(),
        product_id: Uuid::now_v7().into(),
        product_tags: vec!["ip_pledge".to_owned()],
        enterprise_class: "micro".to_owned(),
        amount: Fen::new(100_000_000),
        rate: Ppm::new(43_500),
        term_months: 12,
        approved_at: "2026-03-01T02:00:00Z".parse().unwrap(),
        ip_kinds: vec![],
        guarantee_fee: Fen::ZERO,
        version: 1,
    };
    Approved { loan, guarantee: None, coupon: None, bank_reference: format!("REF-{number}"), features: None }
}

pub fn desk() -> Desk {
    Desk { ids: Arc::new(UuidV7), book: Book::default() }
}

/// 64 transactions at once over the pools of three replicas; each as the consumer would run it, again after a conflict.
async fn approve_64_at_once(world: &World) {
    let mut pools = Vec::new();
    for _ in 0..3 {
        pools.push(world.database.pool_of(22).await.unwrap());
    }
    let start = Arc::new(tokio::sync::Barrier::new(64));
    let all = (0..64_usize).map(|number| {
        let (pool, start, loan) = (pools[number % 3].clone(), Arc::clone(&start), approved(number));
        tokio::spawn(async move {
            let (desk, loans) = (desk(), [loan]);
            start.wait().await;
            loop {
                let mut tx = pool.begin().await.unwrap();
                match approval::approve_all(&mut tx, &desk, &loans, Timestamp::now()).await {
                    Ok(()) => break tx.commit().await.unwrap(),
                    Err(subsidy::error::Error::Database(error)) if error.as_database_error().is_some() => {
                        let code = error.as_database_error().unwrap().code().unwrap_or_default().into_owned();
                        assert_eq!(code, "40P01", "only a deadlock is worth another try");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for done in join_all(all).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn sixty_four_approvals_at_once_use_a_small_budget_fully_and_no_more() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 20 * IP_FEN + IP_FEN / 2).await;
    approve_64_at_once(&world).await;

    let budget = world.budget(&policy).await;
    assert_eq!((budget.reserved_fen, budget.available_fen), (20 * IP_FEN, IP_FEN / 2));
    let grants = world.all_grants().await;
    assert_eq!(grants.iter().filter(|grant| grant.state() == GrantState::Reserved).count(), 20);
    assert_eq!(grants.iter().filter(|grant| grant.state() == GrantState::Waiting).count(), 44);
    assert_eq!(world.announced::<GrantReserved>().await.len(), 20);
    assert_eq!(world.announced::<GrantQueued>().await.len(), 44);
    let exhausted = world.announced::<BudgetExhausted>().await;
    let low = world.announced::<BudgetLow>().await;
    assert_eq!((exhausted.len(), low.len()), (44, 1), "each that waits is told, little money is told once");
    let mut versions: Vec<_> = exhausted.iter().map(|fact| fact.version).chain([low[0].version]).collect();
    versions.sort_unstable();
    // The first fact about the budget was that it got its money.
    assert_eq!(versions, (2..=46).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test]
async fn approvals_and_money_that_come_at_once_leave_nobody_waiting_who_could_be_served() {
    let world = World::with_lpr(1).await;
    let (ip, general) = (world.policy(ip_policy()).await, world.policy(general_policy()).await);
    world.appropriate(&ip, 2026, 10 * IP_FEN).await;
    world.appropriate(&general, 2026, 10 * GENERAL_FEN).await;
    let money = async {
        for _ in 0..10 {
            world.appropriate(&ip, 2026, IP_FEN).await;
            world.appropriate(&general, 2026, GENERAL_FEN).await;
        }
    };
    tokio::join!(approve_64_at_once(&world), money);
    let (ip, general) = (world.budget(&ip).await, world.budget(&general).await);
    assert_eq!((ip.reserved_fen, ip.available_fen), (20 * IP_FEN, 0));
    assert_eq!(general.reserved_fen + general.available_fen, 20 * GENERAL_FEN);
    let served = 20 + usize::try_from(general.reserved_fen / GENERAL_FEN).unwrap();
    let grants = world.all_grants().await;
    assert_eq!(grants.len(), 64, "one grant a loan");
    assert_eq!(grants.iter().filter(|grant| grant.state() == GrantState::Reserved).count(), served);
    world.stop().await;
}

/// The inbox lets an event through once; here two different ones tell the same approval, and meet.
#[tokio::test]
async fn an_approval_that_somebody_else_applies_meanwhile_gives_one_grant_and_its_neighbours_theirs() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 10 * IP_FEN).await;
    let met = approved(1);
    let mut other = world.pool.begin().await.unwrap();
    approval::approve_all(&mut other, &desk(), std::slice::from_ref(&met), Timestamp::now()).await.unwrap();
    let same = zhirong_proto::matching::v1::Loan { loan_id: met.loan.loan_id.to_string(), ..loan(1) };
    for loan in [&loan(2), &same, &loan(3)] {
        world.approve(loan).await;
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO loan%'";
    eventually(PATIENCE, "the loan is waited for", || async { Ok((world.count(waiting).await == 1).then_some(())) })
        .await
        .unwrap();
    other.commit().await.unwrap();
    world.handled().await;
    assert_eq!(world.all_grants().await.len(), 3);
    assert_eq!(world.budget(&policy).await.reserved_fen, 3 * IP_FEN);
    assert!(world.dead_letters().await.is_empty());
    assert_eq!(world.count("SELECT count(*) FROM ledger_difference").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn three_replicas_on_one_broker_share_a_small_budget() {
    let world = World::with_lpr(3).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 20 * IP_FEN).await;
    let loans: Vec<_> = (0..64).map(loan).collect();
    join_all(loans.iter().flat_map(|loan| [world.approve(loan), world.approve(loan)])).await;
    world.handled().await;
    let budget = world.budget(&policy).await;
    assert_eq!((budget.reserved_fen, budget.available_fen), (20 * IP_FEN, 0));
    assert_eq!(world.all_grants().await.len(), 64);
    assert!(world.dead_letters().await.is_empty());
    // Half of every loan that has money is paid out: what comes back serves ten more.
    let reserved: Vec<_> =
        world.all_grants().await.into_iter().filter(|grant| grant.state() == GrantState::Reserved).collect();
    let of = |id: &str| loans.iter().find(|loan| loan.loan_id == id).unwrap();
    join_all(reserved.iter().map(|grant| world.disburse(of(&grant.loan_id), 50_000_000, "2026-03-02"))).await;
    world.handled().await;
    let states = |state: GrantState| {
        let grants = world.all_grants();
        async move { grants.await.into_iter().filter(|grant| grant.state() == state).count() }
    };
    assert_eq!((states(GrantState::Active).await, states(GrantState::Reserved).await), (20, 10));
    assert_eq!(world.budget(&policy).await.available_fen, 0);
    world.stop().await;
}

#[tokio::test]
async fn more_waiting_grants_than_one_transaction_serves_are_served_by_the_background() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    let pool = &world.pool;
    let mut tx = pool.begin().await.unwrap();
    let loans: Vec<_> = (0..230).map(approved).collect();
    approval::approve_all(&mut tx, &desk(), &loans, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    let budget = world.appropriate(&policy, 2026, 220 * IP_FEN).await;
    assert_eq!(budget.reserved_fen, 100 * IP_FEN, "the first hundred at once");
    eventually(PATIENCE, "the money is used", || async {
        Ok((world.budget(&policy).await.available_fen == 0).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(world.count("SELECT count(*) FROM subsidy_grant WHERE state = 'waiting'").await, 10);
    world.stop().await;
}
