//! Random courses on a real database: whatever happens in whatever order, the ledger finds no difference; and where facts commute,
//! their order and number leave no trace. They are other ones in every run; a test that fails tells the seed with which they come
//! again.

use jiff::{Span, Timestamp, civil::Date};
use subsidy::{
    error::Error,
    flow::{
        batch,
        compensation::{self, Payer},
        course::Happened,
        reversal, settlement,
    },
    life::{Event, What},
    loss::Bearer,
    settlement::Refusal,
    store::{self, budget::Paper, compensation::State, loan::Approved},
};
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    id::{CompensationId, GrantId, LineId},
};
use zhirong_proto::{
    matching::v1::Guarantee,
    subsidy::v1::{Policy, PolicySpec},
};
use zhirong_testkit::seed;

use crate::{
    compensations::{pool_policy, shared},
    race::{approved, desk},
    support::{IP_FEN, World, general_policy, ip_policy},
};

/// Numbers that a seed decides (SplitMix64).
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

/// Where a loan stands.
enum Stage {
    Approved,
    Running,
    /// Repaid by the loan that takes its place.
    Renewing,
    Lost,
    Ended,
}

/// A loan as its lender knows it.
struct Running {
    approved: Approved,
    version: i64,
    owed: i64,
    rate: Ppm,
    matures_on: Date,
    on: Date,
    stage: Stage,
}

impl Running {
    fn new(number: usize, dice: &mut Dice) -> Self {
        let mut approved = approved(number % 20);
        approved.loan.amount = Fen::new(dice.fen(30).get() * 10_000_000);
        // A pool, a guarantor and the lender share the risk of every other one.
        approved.guarantee = shared(number).guarantee.filter(|_: &Guarantee| dice.below(2) == 0);
        let (owed, rate, on) = (approved.loan.amount.get(), approved.loan.rate, approved.loan.approved_on());
        Self { approved, version: 1, owed, rate, matures_on: on, on, stage: Stage::Approved }
    }

    /// What happens to it next; nothing once it has ended.
    fn next(&mut self, dice: &mut Dice) -> Option<Happened> {
        self.on = self.on.checked_add(Span::new().days(i64::try_from(dice.below(20)).unwrap())).unwrap();
        let what = match self.stage {
            Stage::Ended => return None,
            Stage::Approved => {
                self.stage = Stage::Running;
                self.matures_on = self.on.checked_add(Span::new().months(12)).unwrap();
                self.owed /= i64::try_from(1 + dice.below(2)).unwrap();
                What::Disbursed { amount: Fen::new(self.owed), rate: self.rate, matures_on: self.matures_on }
            }
            Stage::Running => self.goes_on(dice),
            Stage::Renewing => {
                self.stage = Stage::Ended;
                What::Renewed
            }
            Stage::Lost => {
                self.stage = if dice.below(3) == 0 { Stage::Ended } else { Stage::Lost };
                What::Recovered { amount: dice.fen(40_000_000) }
            }
        };
        self.version += 1;
        Some(Happened {
            loan_id: self.approved.loan.loan_id,
            version: self.version,
            event: Event { on: self.on, what },
        })
    }

    fn goes_on(&mut self, dice: &mut Dice) -> What {
        match dice.below(16) {
            0 => {
                self.stage = Stage::Ended;
                What::Settled
            }
            1 => {
                self.stage = Stage::Renewing;
                What::Settled
            }
            2 => {
                self.stage = Stage::Lost;
                What::Defaulted { principal: Fen::new(self.owed), interest: dice.fen(600_000) }
            }
            // Another rate, or a later day.
            3 => {
                self.rate = Ppm::new(dice.fen(60_000).get());
                What::Terms { rate: self.rate, matures_on: self.matures_on }
            }
            4 => {
                let longer = Span::new().months(i64::try_from(1 + dice.below(12)).unwrap());
                self.matures_on = self.matures_on.checked_add(longer).unwrap();
                What::Terms { rate: self.rate, matures_on: self.matures_on }
            }
            5..=8 => {
                let principal = self.owed / 4;
                self.owed -= principal;
                What::Repaid { principal: Fen::new(principal), interest: dice.fen(100_000) }
            }
            _ => What::Repaid { principal: Fen::ZERO, interest: dice.fen(600_000) },
        }
    }
}

async fn policies(world: &World, money: i64) -> Vec<Policy> {
    let mut all = Vec::new();
    for spec in [PolicySpec { least_days: 30, ..ip_policy() }, general_policy()] {
        let policy = world.policy(PolicySpec { adds_up: true, ..spec }).await;
        world.appropriate(&policy, 2026, money).await;
        all.push(policy);
    }
    let pool = world.policy(pool_policy(0)).await;
    world.appropriate(&pool, 2026, 2 * money).await;
    all.push(pool);
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
    let all: Vec<(Uuid, i64)> = sqlx::query_as(which).fetch_all(&world.pool).await.unwrap();
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

/// A loss goes on by a step: it is claimed, reviewed, paid, or what came back is given to the pool.
async fn compensate(world: &World, dice: &mut Dice) {
    let all: Vec<Uuid> = sqlx::query_scalar(
        "SELECT compensation_id FROM compensation WHERE state <> 'paid' OR pool_owed_fen > 0 ORDER BY opened_at, loan_id",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    let Some(id) = all.get(dice.below(all.len().max(1))).copied().map(CompensationId::new) else { return };
    let (now, desk) = (Timestamp::now(), desk());
    let mut tx = world.pool.begin().await.unwrap();
    let found = store::compensation::lock(&mut tx, id).await.unwrap().unwrap();
    let paper = || Paper { document_zh: "追偿款回单".to_owned(), entered_by: "zhao".to_owned() };
    let paid_on = Date::constant(2026, 10, 8);
    let done = match found.state {
        _ if found.pool_owed.is_positive() => {
            let some = dice.fen(usize::try_from(found.pool_owed.get()).unwrap());
            compensation::returned(&mut tx, &desk, id, (some, paper()), now).await
        }
        State::Open | State::Refused => {
            let lender = found.institution_id.parse().unwrap();
            compensation::claim(&mut tx, id, &lender, vec![], now).await
        }
        State::Claimed => {
            let decision = (dice.below(5) > 0, "qian", "依据材料");
            compensation::review(&mut tx, &desk, id, decision, now).await
        }
        State::Approved | State::Paid => {
            let unpaid = |part: &subsidy::loss::Part| {
                part.bearer != Bearer::Lender && part.paid_on.is_none() && part.amount.is_positive()
            };
            let place = found.parts.iter().position(unpaid).expect("a part that is not paid");
            if found.parts[place].bearer == Bearer::PolicyPool {
                compensation::pay(&mut tx, &desk, (id, place), (Payer::Staff("zhao"), paid_on), now).await
            } else {
                let own = found.parts[place].institution_id.parse().unwrap();
                compensation::pay(&mut tx, &desk, (id, place), (Payer::Institution(&own), paid_on), now).await
            }
        }
    };
    match done {
        Ok(_) => tx.commit().await.unwrap(),
        // The pool has not enough, or the default lies in days to come.
        Err(Error::Budget { .. } | Error::Compensation(compensation::Refusal::WaitingPeriod(_))) => {
            tx.rollback().await.unwrap();
        }
        Err(error) => panic!("{error}"),
    }
}

/// Every kind of fact was told; some money was paid, taken back and given back, and a pool has paid. When that comes hangs on the
/// service's own daily work too, which goes on beside.
async fn everything_happened(world: &World) -> bool {
    let kinds = "SELECT count(DISTINCT kind) FROM loan_event";
    let paid = "SELECT count(*) FROM settlement_line WHERE state = 'paid'";
    let returned = "SELECT count(*) FROM ledger_transaction WHERE reason = 'return' AND grant_id IS NOT NULL";
    let borne = "SELECT count(*) FROM ledger_transaction WHERE reason = 'pay' AND compensation_id IS NOT NULL";
    world.count(kinds).await == 7
        && world.count(paid).await > 0
        && world.count(returned).await > 0
        && world.count(borne).await > 0
}

/// Steps of a course.
const STEPS: usize = 100;

async fn any_step(world: &World, dice: &mut Dice, (all, loans): (&[Policy], &mut Vec<Running>), step: usize) {
    match dice.below(14) {
        0..=2 => {
            let new: Vec<Running> = (0..=dice.below(3)).map(|which| Running::new(step * 3 + which, dice)).collect();
            let facts: Vec<Approved> = new.iter().map(|loan| loan.approved.clone()).collect();
            apply(world, &facts, &[]).await;
            loans.extend(new);
        }
        3..=7 if !loans.is_empty() => {
            let place = dice.below(loans.len());
            let facts: Vec<Happened> = loans[place].next(dice).into_iter().collect();
            assert!(apply(world, &[], &facts).await.is_empty());
        }
        8 => drop(world.appropriate(&all[dice.below(3)], 2026, dice.fen(2_000_000).get()).await),
        9 => settle(world, dice).await,
        10 => take_back(world, dice).await,
        11 | 12 => compensate(world, dice).await,
        _ => give_back(world, dice).await,
    }
}

#[tokio::test]
async fn the_ledger_finds_no_difference_whatever_happens() {
    // One course goes on until all has happened; the other is another one in every run, and as long as it is.
    for (seed, to_the_end) in [(20_260_301, true), (seed().unwrap(), false)] {
        let world = World::with_lpr(1).await;
        let all = policies(&world, 12 * IP_FEN).await;
        let (mut dice, mut loans) = (Dice(seed), Vec::<Running>::new());
        for step in 0.. {
            if step >= STEPS && (!to_the_end || everything_happened(&world).await) {
                break;
            }
            assert!(step < 15 * STEPS, "seed {seed}: something never happens");
            any_step(&world, &mut dice, (&all, &mut loans), step).await;
            let wrong = "SELECT (SELECT count(*) FROM ledger_difference) + (SELECT count(*) FROM budget WHERE available_fen < 0)";
            assert_eq!(world.count(wrong).await, 0, "seed {seed}, step {step}");
        }
        world.stop().await;
    }
}

/// The grants of a world in an order of their own.
async fn standing(world: &World) -> Vec<(Uuid, String, String, i64, i64, i64, i64, i64)> {
    sqlx::query_as(
        "SELECT g.loan_id, v.name_zh, g.state, g.planned_fen, g.reserved_fen, g.accrued_fen, g.payable_fen, g.paid_fen
         FROM subsidy_grant g JOIN policy_version v ON v.policy_id = g.policy_id AND v.version = g.policy_version
         ORDER BY g.loan_id, v.name_zh",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap()
}

/// The losses of a world in an order of their own.
async fn losses(world: &World) -> Vec<(Uuid, Option<String>, i64, i64, String)> {
    sqlx::query_as(
        "SELECT c.loan_id, v.name_zh, c.loss_fen, c.recovered_fen,
                string_agg(concat_ws(' ', p.bearer, p.amount_fen, p.recovered_fen), ', ' ORDER BY p.part)
         FROM compensation c JOIN compensation_part p USING (compensation_id)
             LEFT JOIN policy_version v ON v.policy_id = c.policy_id AND v.version = c.policy_version
         GROUP BY c.compensation_id, v.name_zh ORDER BY c.loan_id",
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
    let mut dice = Dice(seed().unwrap());
    let mut loans: Vec<Running> = (0..16).map(|number| Running::new(number, &mut dice)).collect();
    let approvals: Vec<Approved> = loans.iter().map(|loan| loan.approved.clone()).collect();
    let mut facts = Vec::new();
    for loan in &mut loans {
        facts.extend((0..8).map_while(|_| loan.next(&mut dice)));
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
    assert_eq!(losses(&in_order).await, losses(&shuffled).await);
    in_order.stop().await;
    shuffled.stop().await;
}
