//! Many transactions on the same loans and budgets: nobody waits in a circle, and what was foreseen without a lock holds or is
//! decided anew under it.

use std::sync::Arc;

use futures::future::join_all;
use jiff::{Timestamp, civil::date};
use sqlx::PgConnection;
use subsidy::{
    error::Error,
    flow::{accrual, approval, batch, course::Happened, settlement},
    life::{Event, What},
    settlement::Refusal,
    store::loan::Approved,
};
use zhirong_kernel::{Fen, Ppm};
use zhirong_proto::subsidy::v1::{GrantQueued, GrantReserved, GrantState, PolicySpec};
use zhirong_testkit::eventually;

use crate::{
    race::{approved, desk},
    support::{IP_FEN, PATIENCE, World, general_policy, ip_policy},
};

fn happened(loan: &Approved, version: i64, day: i8, what: What) -> Happened {
    Happened { loan_id: loan.loan.loan_id, version, event: Event { on: date(2026, 3, day), what } }
}

fn paid_out(loan: &Approved) -> Happened {
    let what = What::Disbursed { amount: loan.loan.amount, rate: Ppm::new(43_500), matures_on: date(2027, 3, 1) };
    happened(loan, 2, 1, what)
}

fn interest(loan: &Approved, version: i64) -> Happened {
    let what = What::Repaid { principal: Fen::ZERO, interest: Fen::new(12_000) };
    happened(loan, version, i8::try_from(version).unwrap(), what)
}

#[tokio::test]
async fn batches_settlements_and_accruals_at_once_never_wait_in_a_circle() {
    const BATCHES: usize = 6;
    let world = World::with_lpr(1).await;
    for spec in [ip_policy(), general_policy()] {
        let policy = world.policy(PolicySpec { adds_up: true, ..spec }).await;
        world.appropriate(&policy, 2026, 500 * IP_FEN).await;
    }
    let pool = world.database.pool_of(24).await.unwrap();
    let loans: Arc<Vec<Approved>> = Arc::new((0..48).map(approved).collect());
    let mut tx = pool.begin().await.unwrap();
    let out: Vec<Happened> = loans.iter().map(paid_out).collect();
    assert!(batch::apply(&mut tx, &desk(), &loans, &out, Timestamp::now()).await.unwrap().is_empty());
    tx.commit().await.unwrap();

    let start = Arc::new(tokio::sync::Barrier::new(BATCHES + 4));
    let mut tasks = Vec::new();
    for number in 0..BATCHES {
        let (pool, loans, start) = (pool.clone(), Arc::clone(&loans), Arc::clone(&start));
        tasks.push(tokio::spawn(async move {
            let desk = desk();
            start.wait().await;
            for round in 0..6 {
                let new: Vec<Approved> =
                    (0..3).map(|which| approved(1000 + number * 100 + round * 10 + which)).collect();
                // each batch goes through its own loans, from the last to the first
                let own = loans.iter().enumerate().filter(|(place, _)| place % BATCHES == number);
                let paid: Vec<Happened> =
                    own.rev().map(|(_, loan)| interest(loan, 3 + i64::try_from(round).unwrap())).collect();
                let mut tx = pool.begin().await.unwrap();
                batch::apply(&mut tx, &desk, &new, &paid, Timestamp::now()).await.unwrap();
                tx.commit().await.unwrap();
            }
        }));
    }
    for _ in 0..2 {
        let (to_compute, begin) = (pool.clone(), Arc::clone(&start));
        tasks.push(tokio::spawn(async move {
            begin.wait().await;
            for _ in 0..8 {
                let mut tx = to_compute.begin().await.unwrap();
                let what = ((date(2026, 3, 1), date(2026, 3, 31)), None);
                match settlement::compute(&mut tx, &desk(), what, "zhao", Timestamp::now()).await {
                    Ok(computed) => {
                        let no = (false, "qian", "重新计算");
                        settlement::review(&mut tx, computed, no, Timestamp::now()).await.unwrap();
                    }
                    Err(Error::Settlement(Refusal::NothingDue)) => {}
                    Err(error) => panic!("{error}"),
                }
                tx.commit().await.unwrap();
            }
        }));
        let (pool, start) = (pool.clone(), Arc::clone(&start));
        tasks.push(tokio::spawn(async move {
            start.wait().await;
            for days in 1..12_i64 {
                let then = Timestamp::now().checked_add(jiff::Span::new().hours(24 * days)).unwrap();
                accrual::accrue_some(&pool, &desk(), then).await.unwrap();
            }
        }));
    }
    for done in join_all(tasks).await {
        done.unwrap();
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(world.count(deadlocks).await, 0);
    world.stop().await;
}

/// One transaction foresees its decision, writes it and waits for the budget; what the transaction before it does meanwhile is
/// committed then.
async fn overtaken(world: &World, before: &[Approved], ours: &Approved) {
    let pool = world.database.pool_of(4).await.unwrap();
    let mut first = pool.begin().await.unwrap();
    approval::approve_all(&mut first, &desk(), before, Timestamp::now()).await.unwrap();
    let mut second = pool.begin().await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *second).await.unwrap();
    let ours = ours.clone();
    let waiting = tokio::spawn(async move {
        approval::approve_all(&mut second, &desk(), &[ours], Timestamp::now()).await.unwrap();
        second.commit().await.unwrap();
    });
    eventually(PATIENCE, "it has written its grant and waits for the budget", || async {
        let query = "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
                     WHERE pid = $1 AND a.wait_event_type = 'Lock' AND l.relation = 'subsidy_grant'::regclass
                       AND l.mode = 'RowExclusiveLock'";
        let found: i64 = sqlx::query_scalar(query).bind(pid).fetch_one(&pool).await?;
        Ok((found == 1).then_some(()))
    })
    .await
    .unwrap();
    first.commit().await.unwrap();
    waiting.await.unwrap();
}

/// The states of the grants of a loan, and how many facts told each that it is reserved, and that it waits.
async fn outcome(world: &World, loan: &Approved) -> (Vec<GrantState>, usize, usize) {
    let id = loan.loan.loan_id.to_string();
    let grants = world.all_grants().await;
    let states = grants.iter().filter(|grant| grant.loan_id == id).map(zhirong_proto::subsidy::v1::Grant::state);
    let reserved = world.announced::<GrantReserved>().await;
    let queued = world.announced::<GrantQueued>().await;
    let of =
        |grant: &Option<zhirong_proto::subsidy::v1::Grant>| grant.as_ref().is_some_and(|grant| grant.loan_id == id);
    (
        states.collect(),
        reserved.iter().filter(|fact| of(&fact.grant)).count(),
        queued.iter().filter(|fact| of(&fact.grant)).count(),
    )
}

#[tokio::test]
async fn money_that_is_spent_before_the_lock_comes_lets_a_foreseen_grant_wait() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 2 * IP_FEN).await;
    let ours = approved(9);
    overtaken(&world, &[approved(1), approved(2)], &ours).await;
    assert_eq!(outcome(&world, &ours).await, (vec![GrantState::Waiting], 0, 1));
    assert_eq!(world.budget(&policy).await.reserved_fen, 2 * IP_FEN);
    world.stop().await;
}

#[tokio::test]
async fn somebody_who_waits_since_then_has_it_decided_anew() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 4 * IP_FEN).await;
    let (mut large, ours) = (approved(1), approved(9));
    large.loan.amount = Fen::new(500_000_000);
    overtaken(&world, std::slice::from_ref(&large), &ours).await;
    assert_eq!(outcome(&world, &large).await, (vec![GrantState::Waiting], 0, 1));
    assert_eq!(outcome(&world, &ours).await, (vec![GrantState::Waiting], 0, 1), "behind who was approved before");
    assert_eq!(world.budget(&policy).await.reserved_fen, 0);
    world.stop().await;
}

#[tokio::test]
async fn what_an_enterprise_got_since_then_counts_for_its_cap() {
    let world = World::with_lpr(1).await;
    let cap_per_enterprise_year_fen = IP_FEN + 1000;
    let policy = world.policy(PolicySpec { cap_per_enterprise_year_fen, ..ip_policy() }).await;
    world.appropriate(&policy, 2026, 20 * IP_FEN).await;
    let ours = approved(7);
    overtaken(&world, &[approved(7)], &ours).await;
    assert_eq!(outcome(&world, &ours).await, (vec![GrantState::Reserved], 1, 0));
    assert_eq!(world.budget(&policy).await.reserved_fen, cap_per_enterprise_year_fen);
    world.stop().await;
}

/// Facts one by one in one transaction, as after a redelivery: what they will need is locked first.
#[tokio::test]
async fn all_that_a_batch_will_need_can_be_locked_before() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 10 * IP_FEN).await;
    let loans = [approved(1), approved(2)];
    let mut tx = world.pool.begin().await.unwrap();
    approval::approve_all(&mut tx, &desk(), &loans, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    let free = async |conn: &mut PgConnection, query: &'static str| {
        let found: Vec<uuid::Uuid> = sqlx::query_scalar(query).fetch_all(conn).await.unwrap();
        found.len()
    };
    let mut tx = world.pool.begin().await.unwrap();
    batch::lock(&mut tx, &desk(), &[approved(3)], &[paid_out(&loans[1])], Timestamp::now()).await.unwrap();
    let mut other = world.pool.begin().await.unwrap();
    assert_eq!(free(&mut other, "SELECT loan_id FROM loan FOR UPDATE SKIP LOCKED").await, 1);
    assert_eq!(free(&mut other, "SELECT budget_id FROM budget FOR UPDATE SKIP LOCKED").await, 0);
    tx.rollback().await.unwrap();
    other.rollback().await.unwrap();
    world.stop().await;
}
