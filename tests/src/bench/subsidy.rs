//! Approvals that all want money from one budget: how many are reserved a second, beside what the same database does with
//! plain updates of one row, and with transactions of two inserted rows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use sqlx::PgPool;
use subsidy::{
    entitlement::Loan,
    flow::{Desk, approval},
    store::{loan::Approved, policy::Book},
};
use zhirong_kernel::{Clock as _, Fen, Ppm, clock::SystemClock, id::UuidV7, uscc::Uscc};
use zhirong_proto::subsidy::v1::{FixedRate, policy_spec::Benefit};

use super::{Figures, Measure, bare, median};
use crate::{
    district::District,
    finance::{budget, policy, policy_spec},
};

const CONNECTIONS: u32 = 32;
/// As many as the inbox hands over at once.
const BATCH: usize = 500;
/// Each is what a replica of the service does.
const WORKERS: u32 = 3;
/// By turns, because a machine is not always equally fast.
const TURNS: usize = 5;
const APPROVALS: usize = 16_000;
const TIME: Duration = Duration::from_millis(1_500);
const ONE_BY_ONE: usize = 2_000;

/// Runs the group.
pub async fn run() -> Result<Figures> {
    println!("starting a district (release build)");
    let district = District::start_durable().await?;
    let benefit = Benefit::FixedRate(FixedRate { rate_ppm: 10_000 });
    let policy = policy(&district, policy_spec("示例热点预算", "hot_budget", benefit), 10_000_000_000_000).await?;
    let url = district.postgres("subsidy");

    // The events wait in the outbox: beside the baselines, nobody publishes and nobody listens either.
    district.signal("subsidy", "STOP").await?;
    // As in a service that has run for a while: to open a connection costs as much as many a statement.
    let (replicas, many) = (bare::opened(&url, WORKERS).await?, bare::opened(&url, CONNECTIONS).await?);
    let (mut batched, mut naive, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        println!(
            "turn {turn} of {TURNS}: {APPROVALS} approvals on one budget, {BATCH} in a transaction; the baselines"
        );
        batched.push(approvals(&replicas, APPROVALS, BATCH).await?);
        naive.push(bare::one_row_updates(&many, TIME).await?);
        plain.push(bare::two_row_transactions(&many, TIME).await?);
    }
    println!("{ONE_BY_ONE} approvals on one budget, each in a transaction of its own");
    let single = approvals(&many, ONE_BY_ONE, 1).await?;
    district.signal("subsidy", "CONT").await?;
    println!("{APPROVALS} approvals on one budget while their events are published and heard");
    let heard = approvals(&replicas, APPROVALS, BATCH).await?;

    let held = budget(&district, &policy).await?;
    let each = crate::finance::year_of(100_000_000, 10_000);
    let expected = i64::try_from(APPROVALS * (TURNS + 1) + ONE_BY_ONE)? * each;
    anyhow::ensure!(held.reserved_fen == expected, "{} of {expected} fen are reserved", held.reserved_fen);
    district.stop().await?;
    let (batched, naive, plain) = (median(&mut batched), median(&mut naive), median(&mut plain));
    let measure = |name: &str, baseline: f64, baseline_name: &str, goal| Measure {
        name: name.to_owned(),
        ours: batched,
        baseline,
        baseline_name: baseline_name.to_owned(),
        unit: "per second".to_owned(),
        goal,
    };
    let figures = vec![
        measure("hot_budget_vs_naive", naive, "updates of one row, one an approval, 32 connections", Some(10.0)),
        measure("approval_vs_two_row_tx", plain, "two-row transactions, 32 connections", None),
    ];
    let notes = vec![
        format!(
            "each approval: a loan, a grant, a ledger transaction of two postings and an event that waits to be published; medians of {TURNS} turns"
        ),
        format!("while events are published and heard as well, on the same processors: {heard:.0} per second"),
        format!("each in a transaction of its own from {CONNECTIONS} connections: {single:.0} per second"),
    ];
    Ok((figures, notes))
}

/// Approvals reserved a second.
async fn approvals(pool: &PgPool, count: usize, batch: usize) -> Result<f64> {
    let loans: Vec<Approved> = (0..count).map(approved).collect::<Result<_>>()?;
    let workers = usize::try_from(pool.size())?;
    let began = Instant::now();
    let mut tasks = Vec::new();
    for share in loans.chunks(count.div_ceil(workers)) {
        tasks.push(tokio::spawn(reserve(pool.clone(), share.to_vec(), batch)));
    }
    for task in tasks {
        task.await??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

async fn reserve(pool: PgPool, loans: Vec<Approved>, batch: usize) -> Result<()> {
    let desk = Desk { ids: Arc::new(UuidV7), book: Book::default() };
    for some in loans.chunks(batch) {
        let mut tx = pool.begin().await?;
        approval::approve_all(&mut tx, &desk, some, SystemClock.now()).await?;
        tx.commit().await?;
    }
    Ok(())
}

fn approved(number: usize) -> Result<Approved> {
    let loan = Loan {
        loan_id: uuid::Uuid::now_v7().into(),
        enterprise_id: Uscc::with_check(&format!("91330421MA2{:06}", number % 1_000_000))?,
        institution_id: "sample-puhui-bank".parse()?,
        product_id: uuid::Uuid::now_v7().into(),
        product_tags: vec!["hot_budget".to_owned()],
        enterprise_class: "medium".to_owned(),
        amount: Fen::new(100_000_000),
        rate: Ppm::new(40_000),
        term_months: 12,
        approved_at: SystemClock.now(),
        ip_kinds: Vec::new(),
        guarantee_fee: Fen::ZERO,
        version: 1,
    };
    Ok(Approved { loan, guarantee: None, coupon: None, bank_reference: format!("B-{number}"), features: None })
}
