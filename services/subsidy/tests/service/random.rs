//! Random courses on a real database, always the same ones: whatever happens in whatever order, the ledger finds no difference; and
//! where facts commute, their order and number leave no trace.

use jiff::{Span, Timestamp, civil::Date};
use subsidy::{
    error::Error,
    flow::{batch, course::Happened, reversal, settlement},
    life::{Event, What},
    settlement::Refusal,
    store::{self, budget::Paper, loan::Approved},
};
use zhirong_kernel::{Fen, Ppm, id::GrantId, id::LineId};
use zhirong_proto::subsidy::v1::{Policy, PolicySpec};

use crate::{
    race::{approved, desk},
    support::{IP_FEN, World, general_policy, ip_policy},
};

/// Numbers that are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(most).unwrap()).unwrap()
    }

    fn fen(&mut self, most: usize) -> Fen {
        Fen::new(i64::try_from(1 + self.below(most)).unwrap())
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for place in (1..all.len()).rev() {
            all.swap(place, self.below(place + 1));
        }
    }
}

/// A loan as its lender knows it.
struct Running {
    approved: Approved,
    version: i64,
    owed: i64,
    on: Date,
    ended: bool,
}

impl Running {
    fn new(number: usize, dice: &mut Dice) -> Self {
        let mut approved = approved(number % 20);
        approved.loan.amount = Fen::new(dice.fen(30).get() * 10_000_000);
        let (owed, on) = (approved.loan.amount.get(), approved.loan.approved_on());
        Self { approved, version: 1, owed, on, ended: false }
    }

    /// What happens to it next; nothing once it has ended.
    fn next(&mut self, dice: &mut Dice) -> Option<Happened> {
        if self.ended {
            return None;
        }
        self.on = self.on.checked_add(Span::new().days(i64::try_from(dice.below(20)).unwrap())).unwrap();
        let what = match dice.below(8) {
            _ if self.version == 1 => {
                let matures_on = self.on.checked_add(Span::new().months(12)).unwrap();
                self.owed /= i64::try_from(1 + dice.below(2)).unwrap();
                What::Disbursed { amount: Fen::new(self.owed), rate: Ppm::new(43_500), matures_on }
            }
            0 => {
                self.ended = true;
                What::Settled
            }
            1 | 2 => {
                let principal = self.owed / 4;
                self.owed -= principal;
                What::Repaid { principal: Fen::new(principal), interest: dice.fen(100_000) }
            }
            _ => What::Repaid { principal: Fen::ZERO, interest: dice.fen(600_000) },
        };
        self.version += 1;
        Some(Happened {
            loan_id: self.approved.loan.loan_id,
            version: self.version,
            event: Event { on: self.on, what },
        })
    }
}

async fn policies(world: &World, money: i64) -> Vec<Policy> {
    let mut all = Vec::new();
    for spec in [PolicySpec { least_days: 30, ..ip_policy() }, general_policy()] {
        let policy = world.policy(PolicySpec { adds_up: true, ..spec }).await;
        world.appropriate(&policy, 2026, money).await;
        all.push(policy);
    }
    all
}

async fn apply(world: &World, approved: &[Approved], happened: &[Happened]) -> Vec<(usize, String)> {
    let mut tx = world.pool.begin().await.unwrap();
    let early = batch::apply(&mut tx, &desk(), approved, happened, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    early
}

/// A batch from its computation to the bank's answers, some of which are failures.
async fn settle(world: &World, dice: &mut Dice) {
    let (now, desk) = (Timestamp::now(), desk());
    let mut tx = world.pool.begin().await.unwrap();
    let year = (Date::constant(2026, 1, 1), Date::constant(2026, 9, 30));
    let batch_id = match settlement::compute(&mut tx, &desk, (year, None), "zhao", now).await {
        Ok(batch_id) => batch_id,
        Err(Error::Settlement(Refusal::NothingDue)) => return,
        Err(error) => panic!("{error}"),
    };
    settlement::review(&mut tx, batch_id, (true, "qian", ""), now).await.unwrap();
    settlement::export(&mut tx, batch_id, now).await.unwrap();
    let lines = store::settlement::lines(&mut tx, batch_id, 0, 1000).await.unwrap();
    tx.commit().await.unwrap();
    let results: Vec<_> = lines
        .iter()
        .map(|line| {
            let failed = dice.below(5) == 0;
            let paid = settlement::Outcome::Paid(Date::constant(2026, 10, 8));
            let outcome = if failed { settlement::Outcome::Failed("账户已注销".to_owned()) } else { paid };
            (LineId::new(line.line_id), outcome)
        })
        .collect();
    let mut tx = world.pool.begin().await.unwrap();
    settlement::record(&mut tx, &desk, batch_id, &results, now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn some_grant(world: &World, dice: &mut Dice, which: &'static str) -> Option<(GrantId, i64)> {
    let all: Vec<(uuid::Uuid, i64)> = sqlx::query_as(which).fetch_all(&world.pool).await.unwrap();
    let place = dice.below(all.len().max(1));
    all.get(place).map(|(id, fen)| (GrantId::new(*id), *fen))
}

async fn take_back(world: &World, dice: &mut Dice) {
    let open = "SELECT grant_id, paid_fen FROM subsidy_grant WHERE state <> 'reversed' ORDER BY created_at, loan_id";
    let Some((grant, _)) = some_grant(world, dice, open).await else { return };
    let mut tx = world.pool.begin().await.unwrap();
    let asked = reversal::request(&mut tx, &desk(), grant, ("zhao", "材料不实"), Timestamp::now()).await.unwrap();
    let yes = (true, "qian", "");
    reversal::decide(&mut tx, &desk(), asked.reversal_id, yes, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn give_back(world: &World, dice: &mut Dice) {
    let claimed =
        "SELECT grant_id, clawed_back_fen FROM subsidy_grant WHERE clawed_back_fen > 0 ORDER BY created_at, loan_id";
    let Some((grant, fen)) = some_grant(world, dice, claimed).await else { return };
    let paper = Paper { document_zh: "收款回单".to_owned(), entered_by: "zhao".to_owned() };
    let some = dice.fen(usize::try_from(fen).unwrap());
    let mut tx = world.pool.begin().await.unwrap();
    reversal::returned(&mut tx, &desk(), grant, (some, paper), Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Some money was paid, taken back and given back. When that comes hangs on the service's own daily work too, which goes on beside.
async fn everything_happened(world: &World) -> bool {
    let paid = "SELECT count(*) FROM settlement_line WHERE state = 'paid'";
    let returned = "SELECT count(*) FROM ledger_transaction WHERE reason = 'return'";
    world.count(paid).await > 0 && world.count(returned).await > 0
}

#[tokio::test]
async fn the_ledger_finds_no_difference_whatever_happens() {
    for seed in [1, 20_260_301] {
        let world = World::with_lpr(1).await;
        let all = policies(&world, 12 * IP_FEN).await;
        let (mut dice, mut loans) = (Dice(seed), Vec::<Running>::new());
        for step in 0.. {
            if step >= 150 && everything_happened(&world).await {
                break;
            }
            assert!(step < 1500, "seed {seed}: something never happens");
            match dice.below(12) {
                0..=2 => {
                    let new: Vec<Running> =
                        (0..=dice.below(3)).map(|which| Running::new(step * 3 + which, &mut dice)).collect();
                    let facts: Vec<Approved> = new.iter().map(|loan| loan.approved.clone()).collect();
                    apply(&world, &facts, &[]).await;
                    loans.extend(new);
                }
                3..=7 if !loans.is_empty() => {
                    let place = dice.below(loans.len());
                    let facts: Vec<Happened> = loans[place].next(&mut dice).into_iter().collect();
                    assert!(apply(&world, &[], &facts).await.is_empty());
                }
                8 => drop(world.appropriate(&all[dice.below(2)], 2026, dice.fen(2_000_000).get()).await),
                9 => settle(&world, &mut dice).await,
                10 => take_back(&world, &mut dice).await,
                _ => give_back(&world, &mut dice).await,
            }
            let wrong = "SELECT (SELECT count(*) FROM ledger_difference) + (SELECT count(*) FROM budget WHERE available_fen < 0)";
            assert_eq!(world.count(wrong).await, 0, "seed {seed}, step {step}");
        }
        world.stop().await;
    }
}

/// The grants of a world in an order of their own.
async fn standing(world: &World) -> Vec<(uuid::Uuid, String, String, i64, i64, i64, i64, i64)> {
    sqlx::query_as(
        "SELECT g.loan_id, v.name_zh, g.state, g.planned_fen, g.reserved_fen, g.accrued_fen, g.payable_fen, g.paid_fen
         FROM subsidy_grant g JOIN policy_version v ON v.policy_id = g.policy_id AND v.version = g.policy_version
         ORDER BY g.loan_id, v.name_zh",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn facts_in_any_order_and_number_come_to_the_same() {
    let (in_order, shuffled) = (World::with_lpr(1).await, World::with_lpr(1).await);
    for world in [&in_order, &shuffled] {
        policies(world, 2000 * IP_FEN).await;
    }
    let mut dice = Dice(7);
    let mut loans: Vec<Running> = (0..25).map(|number| Running::new(number, &mut dice)).collect();
    let approvals: Vec<Approved> = loans.iter().map(|loan| loan.approved.clone()).collect();
    let mut facts = Vec::new();
    for loan in &mut loans {
        facts.extend((0..5).map_while(|_| loan.next(&mut dice)));
    }
    assert!(apply(&in_order, &approvals, &facts).await.is_empty());

    // Everything twice, some before what it follows on; what is too early comes again.
    let (mut approvals, mut facts) = ([approvals.clone(), approvals].concat(), [facts.clone(), facts].concat());
    dice.shuffle(&mut approvals);
    dice.shuffle(&mut facts);
    let mut approvals = approvals.chunks(9);
    while !facts.is_empty() {
        let now: Vec<Happened> = facts.drain(..facts.len().min(17)).collect();
        let new = approvals.next().unwrap_or_default();
        facts.extend(apply(&shuffled, new, &now).await.into_iter().map(|(place, _)| now[place]));
    }
    // Both are accrued to today.
    for world in [&in_order, &shuffled] {
        while subsidy::flow::accrual::accrue_some(&world.pool, &desk(), Timestamp::now()).await.unwrap() > 0 {}
    }
    let (one, other) = (standing(&in_order).await, standing(&shuffled).await);
    assert!(one.len() > 25);
    assert_eq!(one, other);
    in_order.stop().await;
    shuffled.stop().await;
}
