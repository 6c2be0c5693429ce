//! Every day posts what the day before has earned, once, whoever asks how often.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _, civil::date};
use subsidy::{
    flow::{Desk, accrual::accrue_some},
    store::policy::Book,
};
use zhirong_kernel::id::UuidV7;
use zhirong_proto::{matching::v1::Loan, subsidy::v1::Grant};

use crate::support::{World, ip_policy, loan};

impl World {
    /// Accrues up to an instant, as a replica with that clock would; says how many loans.
    pub async fn accrue(&self, now: jiff::Timestamp) -> usize {
        accrue(&self.pool, now).await
    }
}

/// Accrues over a pool of connections up to an instant; says how many loans.
async fn accrue(pool: &sqlx::PgPool, now: jiff::Timestamp) -> usize {
    let desk = Desk { ids: Arc::new(UuidV7), book: Book::default() };
    let mut loans = 0;
    loop {
        match accrue_some(pool, &desk, now).await.unwrap() {
            0 => return loans,
            some => loans += some,
        }
    }
}

/// 333 333.33 CNY × 1.8 % × days / 360, rounded half up.
fn earned(days: i64) -> i64 {
    (2 * 33_333_333 * 18 * days + 360_000) / 720_000
}

#[tokio::test]
async fn the_days_are_accrued_once_each_and_sum_to_the_period() {
    let world = World::with_lpr(1).await;
    let other = world.database.pool().await.unwrap();
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 10_000_000).await;
    // Paid out in a year far off, so that no running clock has anything to accrue.
    let loans: Vec<Loan> = (1..4).map(|number| Loan { amount_fen: 33_333_333, ..loan(number) }).collect();
    for loan in &loans {
        world.approve(loan).await;
        world.disburse(loan, loan.amount_fen, "2098-03-01").await;
    }
    world.handled().await;
    let first = date(2098, 3, 1);
    let at = |day: i64, hour: i8| -> Timestamp {
        let on = first.checked_add(day.days()).unwrap();
        on.at(hour, 30, 0, 0).in_tz("Asia/Shanghai").unwrap().timestamp()
    };
    let (mut sum, mut before) = (0, 0);
    for day in [1, 2, 3, 4, 5, 34, 364, 365, 366] {
        let posted = "SELECT coalesce(sum(amount_fen), 0)::bigint FROM ledger_transaction WHERE reason = 'accrue'";
        // Just after midnight from two pools at once, and once more in the evening.
        let (one, two) = tokio::join!(accrue(&world.pool, at(day, 0)), accrue(&other, at(day, 0)));
        assert!(one + two >= loans.len());
        assert_eq!(accrue(&other, at(day, 23)).await, 0, "the day is done");
        let grants: Vec<Grant> = world.all_grants().await;
        let due = earned(day.min(365));
        assert!(grants.iter().all(|grant| grant.accrued_fen == due), "day {day}: {due}, {grants:?}");
        let all = world.count(posted).await;
        sum += all - before;
        before = all;
        assert_eq!(all, 3 * due);
    }
    let planned: i64 = world.all_grants().await.iter().map(|grant| grant.planned_fen).sum();
    assert_eq!((sum, 3 * earned(365)), (planned, planned));
    world.stop().await;
}
