//! Which policies are paid together, where, and how much an enterprise gets in a year, against another program that tries every set
//! of policies: tests/independent/combined.py.

use std::{collections::HashMap, sync::Arc};

use jiff::{Timestamp, ToSpan as _, civil::Date};
use serde_json::{Value, json};
use subsidy::{
    combine,
    entitlement::{Loan, candidates},
    flow::approval,
    policy::{Benefit, IpKind, Published, Spec, Stacking, Wish},
    store::loan::Approved,
    wire,
};
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm, Uscc,
    clock::start_of_business_date,
    id::{LoanId, PolicyId, ProductId},
    interest::DayCount,
    lpr::{Change, LprHistory, Tenor},
};

use crate::{
    independent_life::{Random, script},
    race::desk,
    support::World,
};

/// What is paid for each loan: policies with amounts in fen.
type Paid = Vec<Vec<(Uuid, i64)>>;

const WORLDS: usize = 600;
const LOANS: usize = 6;
const TAGS: [&str; 3] = ["ip_pledge", "patent_pledge", "copyright_pledge"];
/// Registries of enterprises, and divisions of two, four and six digits that they are in or not.
const REGISTRIES: [&str; 4] = ["331102", "331121", "330100", "440300"];
const DIVISIONS: [&str; 6] = ["33", "3311", "331102", "331121", "44", "3301"];

/// As [`World::with_lpr`] knows it.
fn lpr() -> Vec<(i32, i64, i64)> {
    vec![(2024, 31_000, 36_000), (2025, 30_000, 35_000)]
}

fn history() -> LprHistory {
    let changes = lpr().into_iter().map(|(year, one, five)| Change {
        published_on: Date::new(i16::try_from(year).unwrap(), 6, 20).unwrap(),
        one_year: Ppm::new(one),
        five_year: Ppm::new(five),
    });
    LprHistory::try_new(changes.collect(), "2025-12-31".parse().unwrap()).unwrap()
}

fn chance(random: &mut Random, percent: i64) -> bool {
    random.between(1, 100) <= percent
}

fn one<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[usize::try_from(random.between(0, i64::try_from(of.len()).unwrap() - 1)).unwrap()]
}

fn some(random: &mut Random, of: &[&str], percent: i64) -> Vec<String> {
    of.iter().filter(|_| chance(random, percent)).map(|word| (*word).to_owned()).collect()
}

/// Mostly round figures, so that there are ties, and often others.
fn spec(random: &mut Random) -> Spec {
    let odd = chance(random, 40);
    let benefit = match random.between(0, 5) {
        0 => Benefit::LprShare {
            share: Ppm::new(if odd { random.between(500_000, 800_000) } else { 500_000 }),
            tenor: one(random, &[Tenor::OneYear, Tenor::OverFiveYears]),
        },
        1 => Benefit::InterestShare(Ppm::new(if odd { random.between(1, 900_000) } else { 250_000 })),
        2 => Benefit::GuaranteeFeeShare(Ppm::new(if odd { random.between(1, 900_000) } else { 400_000 })),
        _ => Benefit::FixedRate(Ppm::new(if odd { random.between(1, 40_000) } else { random.between(1, 4) * 5_000 })),
    };
    let lpr_share = matches!(benefit, Benefit::LprShare { .. });
    let kinds: &[IpKind] = if lpr_share { &[IpKind::Patent] } else { &[IpKind::Patent, IpKind::Copyright] };
    let wish = Wish {
        name_zh: "政策".to_owned(),
        source_document_zh: "文件".to_owned(),
        benefit: Some(benefit),
        required_product_tags: some(random, if lpr_share { &TAGS[..2] } else { &TAGS[..] }, 12),
        enterprise_classes: some(random, &["micro", "small"], 25),
        effective_from: one(random, &["2025-01-01", "2025-01-01", "2025-09-01"]).parse().ok(),
        effective_to: one(random, &["2026-12-31", "2026-12-31", "2026-05-31"]).parse().ok(),
        max_months: if odd { random.small(3, 24) } else { 12 },
        cap_per_loan: Fen::new(if odd { random.between(1, 900_000) } else { 1_000_000_000 }),
        principal_cap: Fen::new(if odd { random.between(1, 90_000_000) } else { 1_000_000_000 }),
        day_count: Some(if odd {
            one(random, &[DayCount::Actual360, DayCount::Actual365])
        } else {
            DayCount::Actual360
        }),
        priority: random.small(0, 2),
        region_codes: if chance(random, 30) { some(random, &DIVISIONS, 40) } else { vec![] },
        ip_kinds: if chance(random, 15) { vec![one(random, kinds)] } else { vec![] },
        cap_per_enterprise_year: chance(random, 45).then(|| Fen::new(random.between(1, 900_000))),
        stacking: Stacking { adds_up: chance(random, 75), exclusive_groups: some(random, &["county", "green"], 25) },
        ..Wish::default()
    };
    Spec::try_from(wish).unwrap()
}

/// The ids are in no order.
fn policies(random: &mut Random, most: i64) -> Vec<Published> {
    (0..random.between(1, most))
        .map(|_| Published {
            policy_id: PolicyId::new(Uuid::from_u128(u128::try_from(random.between(1, 1 << 60)).unwrap())),
            version: 1,
            spec: Arc::new(spec(random)),
            published_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
        })
        .collect()
}

/// One of so many, in the order of their approvals, of one of so many enterprises.
fn loan(random: &mut Random, (place, all): (usize, usize), enterprises: i64) -> Loan {
    let day = i64::try_from(place * 600 / all).unwrap();
    let first: Date = "2025-03-01".parse().unwrap();
    let approved_at = start_of_business_date(first.checked_add(day.days()).unwrap()).unwrap();
    let number = random.between(1, enterprises);
    let registry = REGISTRIES[usize::try_from(number).unwrap() % REGISTRIES.len()];
    let odd = chance(random, 40);
    let ip_kinds = [IpKind::Patent, IpKind::Copyright].into_iter().filter(|_| chance(random, 60)).collect();
    Loan {
        loan_id: LoanId::new(Uuid::now_v7()),
        enterprise_id: Uscc::with_check(&format!("91{registry}MA{number:07}")).unwrap(),
        institution_id: "sample-bank".parse().unwrap(),
        product_id: ProductId::new(Uuid::nil()),
        product_tags: some(random, &TAGS, 75),
        enterprise_class: one(random, &["micro", "small", "medium"]).to_owned(),
        amount: Fen::new(if odd { random.between(1, 90_000_000) } else { 36_000_000 }),
        rate: Ppm::new(if odd { random.between(0, 60_000) } else { one(random, &[15_000, 20_000, 43_500]) }),
        term_months: if odd { random.small(1, 30) } else { 12 },
        approved_at: approved_at.checked_add(i64::try_from(place).unwrap().seconds()).unwrap(),
        ip_kinds,
        guarantee_fee: Fen::new(if chance(random, 50) { random.between(1, 400_000) } else { 0 }),
        version: 1,
    }
}

fn ip_words(kinds: &[IpKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.word()).collect()
}

fn policy_json(policy: &Published) -> Value {
    let spec = &policy.spec;
    let kind = match spec.benefit {
        Benefit::LprShare { tenor: Tenor::OneYear, .. } => "one_year",
        Benefit::LprShare { tenor: Tenor::OverFiveYears, .. } => "over_five_years",
        Benefit::FixedRate(_) => "rate",
        Benefit::InterestShare(_) => "interest",
        Benefit::GuaranteeFeeShare(_) => "fee",
        other => panic!("{other:?} is not made here"),
    };
    json!({
        "id": policy.policy_id.to_string(), "kind": kind, "ppm": spec.benefit.ppm().get(), "tags": spec.required_product_tags,
        "classes": spec.enterprise_classes, "regions": spec.region_codes, "ip_kinds": ip_words(&spec.ip_kinds),
        "from": spec.effective_from.to_string(), "to": spec.effective_to.to_string(), "max_months": spec.max_months,
        "cap_fen": spec.cap_per_loan.get(), "principal_cap_fen": spec.principal_cap.get(), "year": spec.day_count.days(),
        "priority": spec.priority, "adds_up": spec.stacking.adds_up, "groups": spec.stacking.exclusive_groups,
        "yearly_fen": spec.cap_per_enterprise_year.map(Fen::get),
    })
}

fn loan_json(loan: &Loan) -> Value {
    json!({
        "uscc": loan.enterprise_id.as_str(), "tags": loan.product_tags, "class": loan.enterprise_class,
        "ip_kinds": ip_words(&loan.ip_kinds), "amount_fen": loan.amount.get(), "rate_ppm": loan.rate.get(),
        "months": loan.term_months, "approved_on": loan.approved_on().to_string(), "fee_fen": loan.guarantee_fee.get(),
    })
}

fn theirs(worlds: &[(Vec<Published>, Vec<Loan>)]) -> Vec<Paid> {
    let rates = lpr()
        .into_iter()
        .map(|(year, one, five)| (year.to_string(), json!({ "one_year": one, "over_five_years": five })));
    let worlds = worlds.iter().map(|(policies, loans)| {
        let policies: Vec<_> = policies.iter().map(policy_json).collect();
        json!({ "policies": policies, "loans": loans.iter().map(loan_json).collect::<Vec<_>>() })
    });
    let input = json!({ "lpr": rates.collect::<serde_json::Map<_, _>>(), "worlds": worlds.collect::<Vec<_>>() });
    script("combined.py", &input)
}

/// What is paid with money for all, loan by loan, and no enterprise above its cap of a year.
fn ours(policies: &[Published], loans: &[Loan], history: &LprHistory) -> Paid {
    let mut spent: HashMap<(PolicyId, Uscc, i16), i64> = HashMap::new();
    let mut paid = Vec::with_capacity(loans.len());
    for loan in loans {
        let key = |policy: &Published| (policy.policy_id, loan.enterprise_id.clone(), loan.approved_on().year());
        let found = candidates(policies, Some(history), loan, None, None).unwrap();
        let left = |place: usize| {
            let policy = found[place].policy;
            let yearly = policy.spec.cap_per_enterprise_year?;
            Some(Fen::new(yearly.get() - spent.get(&key(policy)).copied().unwrap_or(0)))
        };
        let best = combine::best(&found, loan, |_| true, left).unwrap();
        let gets = best.iter().map(|share| (found[share.place].policy, share.plan.amount.get())).collect::<Vec<_>>();
        for (policy, fen) in &gets {
            *spent.entry(key(policy)).or_default() += fen;
        }
        paid.push(gets.into_iter().map(|(policy, fen)| (policy.policy_id.uuid(), fen)).collect());
    }
    paid
}

#[test]
fn another_program_that_tries_every_set_of_policies_pays_the_same_ones_to_the_fen() {
    let (mut random, history) = (Random(20_261_129), history());
    let worlds: Vec<_> = (0..WORLDS)
        .map(|_| {
            let policies = policies(&mut random, 7);
            let loans = (0..LOANS).map(|place| loan(&mut random, (place, LOANS), 2)).collect::<Vec<_>>();
            (policies, loans)
        })
        .collect();
    let theirs = theirs(&worlds);
    assert_eq!(theirs.len(), WORLDS);
    let (mut together, mut alone, mut nothing, mut at_the_cap) = (0, 0, 0, 0);
    for ((policies, loans), theirs) in worlds.iter().zip(&theirs) {
        let ours = ours(policies, loans, &history);
        for ((loan, ours), theirs) in loans.iter().zip(&ours).zip(theirs) {
            let told = || policies.iter().map(|policy| policy_json(policy).to_string()).collect::<Vec<_>>().join("\n");
            assert_eq!(ours, theirs, "{}\n{}", loan_json(loan), told());
        }
        together += ours.iter().filter(|gets| gets.len() > 1).count();
        alone += ours.iter().filter(|gets| gets.len() == 1).count();
        nothing += ours.iter().filter(|gets| gets.is_empty()).count();
        for policy in policies {
            let Some(yearly) = policy.spec.cap_per_enterprise_year else { continue };
            let mut of: HashMap<(&Uscc, i16), i64> = HashMap::new();
            for (loan, gets) in loans.iter().zip(&ours) {
                let gets = gets.iter().filter(|(id, _)| *id == policy.policy_id.uuid()).map(|(_, fen)| fen);
                *of.entry((&loan.enterprise_id, loan.approved_on().year())).or_default() += gets.sum::<i64>();
            }
            assert!(of.values().all(|spent| *spent <= yearly.get()));
            at_the_cap += of.values().filter(|spent| **spent == yearly.get()).count();
        }
    }
    // The comparison is worth something: all of it happens often.
    let seen = [together, alone, nothing, at_the_cap];
    assert!(seen.iter().all(|count| *count > WORLDS / 4), "{seen:?}");
}

/// The same through the database, where a batch is decided together and the yearly caps are counted from the grants that are there.
#[tokio::test]
async fn another_program_pays_the_same_for_hundreds_of_approvals_that_come_in_batches() {
    const ALL: usize = 240;
    let (world, mut random) = (World::with_lpr(1).await, Random(20_261_130));
    let mut policies = Vec::new();
    while policies.len() < 9 {
        let spec = spec(&mut random);
        let published = world.policy(wire::spec(spec.clone())).await;
        for year in [2025, 2026] {
            world.appropriate(&published, year, 1_000_000_000_000).await;
        }
        policies.push(Published {
            policy_id: published.policy_id.parse().unwrap(),
            version: 1,
            spec: Arc::new(spec),
            published_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
        });
    }
    let loans: Vec<Loan> = (0..ALL).map(|place| loan(&mut random, (place, ALL), 12)).collect();
    let desk = desk();
    for some in loans.chunks(40) {
        let some: Vec<Approved> = some
            .iter()
            .map(|loan| Approved {
                loan: loan.clone(),
                guarantee: None,
                coupon: None,
                bank_reference: String::new(),
                features: None,
            })
            .collect();
        let mut tx = world.pool.begin().await.unwrap();
        approval::approve_all(&mut tx, &desk, &some, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    let rows: Vec<(Uuid, Uuid, i64)> =
        sqlx::query_as("SELECT loan_id, policy_id, planned_fen FROM subsidy_grant ORDER BY policy_id")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    let mut granted: HashMap<Uuid, Vec<(Uuid, i64)>> = HashMap::new();
    for (loan, policy, fen) in rows {
        granted.entry(loan).or_default().push((policy, fen));
    }
    let theirs = theirs(&[(policies, loans.clone())]).remove(0);
    for (loan, mut theirs) in loans.iter().zip(theirs) {
        theirs.sort_unstable();
        let ours = granted.remove(&loan.loan_id.uuid()).unwrap_or_default();
        assert_eq!(ours, theirs, "{}", loan_json(loan));
    }
    assert_eq!(world.count("SELECT count(*) FROM subsidy_grant WHERE state <> 'reserved'").await, 0);
    assert!(world.count("SELECT count(*) FROM subsidy_grant").await > 60);
    world.stop().await;
}
