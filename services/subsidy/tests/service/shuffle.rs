//! Whatever the order in which the other services are heard, and however often: what is kept in the end is the same, byte for byte.
//!
//! There is money for all: a budget that is short serves who comes while it has some, and takes nothing back for who comes late.

mod history;

use jiff::Timestamp;
use subsidy::flow::accrual;
use zhirong_proto::subsidy::v1::PolicySpec;
use zhirong_runtime::streams;
use zhirong_testkit::{Aside, State, TestDatabase, any_order_ends_the_same};

use self::history::{HOLDERS, history};
use crate::{
    compensations::pool_policy,
    coupons::{coupon_policy, holders, issue},
    known::for_ten,
    race::desk,
    support::{World, general_policy, ip_policy, staff},
};

/// What depends on the way.
const ASIDES: [Aside; 9] = [
    Aside::columns("subsidy_grant", &["grant_id", "created_at"], "made when the approval comes"),
    Aside::columns("subsidy_grant", &["version", "changed_in"], "counts how often it was computed to something else"),
    Aside::columns("budget", &["fact_version"], "counts what was told of it on the way"),
    Aside::columns("compensation", &["compensation_id", "opened_at"], "made when the default comes"),
    Aside::columns("compensation_part", &["compensation_id"], "made when the default comes"),
    Aside::table(
        "ledger_transaction",
        "each step of the way; its sums are the balances, and the ledger finds no difference",
    ),
    Aside::untouched("reversal", "only staff take grants back"),
    Aside::untouched("settlement_batch", "only staff settle"),
    Aside::untouched("settlement_line", "only staff settle"),
];

/// Policies of every kind that hangs on what is heard, with money for all, and coupons; no LPR yet.
async fn beginning() -> (TestDatabase, Vec<String>) {
    const PLENTY_FEN: i64 = 10_000_000_000;
    let world = World::start(1).await;
    let share = PolicySpec { adds_up: true, least_days: 30, ..ip_policy() };
    let of_ten = PolicySpec { adds_up: true, ..for_ten(general_policy()) };
    for spec in [share, of_ten, for_ten(pool_policy(10))] {
        let policy = world.policy(spec).await;
        world.appropriate(&policy, 2026, PLENTY_FEN).await;
    }
    let cut = world.policy(coupon_policy()).await;
    world.appropriate(&cut, 2026, PLENTY_FEN).await;
    let request = issue(&cut.policy_id, holders(&HOLDERS));
    world.coupons().issue_coupons(staff("zhao", request)).await.unwrap();
    let mut coupons = Vec::new();
    for holder in HOLDERS {
        coupons.push(world.coupons_of(holder).await.remove(0).coupon_id);
    }
    (world.stop().await, coupons)
}

/// Until every fact was taken, and every grant has earned what it has until today.
async fn settled(world: &World) {
    for (stream, durable) in [
        (streams::MATCHING, "subsidy-loan-life"),
        (streams::CATALOG, "subsidy-reference"),
        (streams::PROFILE, "subsidy-profiles"),
        (streams::PROFILE, "subsidy-erasures"),
    ] {
        world.drained(stream, durable).await;
    }
    while accrual::accrue_some(&world.pool, &desk(), Timestamp::now()).await.unwrap() > 0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_ends_the_same_for_all_that_is_heard() {
    let (left, coupons) = beginning().await;
    any_order_ends_the_same(&history(&coupons), async |deliveries| {
        let world = World::after(&left).await;
        world.deliver(deliveries).await;
        settled(&world).await;
        let end = State::of(&world.pool, &ASIDES).await?;
        world.stop().await;
        Ok(end)
    })
    .await
    .unwrap();
}
