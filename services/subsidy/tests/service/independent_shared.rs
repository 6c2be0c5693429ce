//! What is shared among several, against another program that knows only the rules: tests/independent/shared.py.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use subsidy::{
    combine,
    entitlement::{Loan, candidates},
    life::{Terms, interest_paid, standing},
    loss::{Bearer, Pool, lost, parts, recover},
    plan::ExactRate,
    policy::{Benefit, Published, Spec, Stacking, Wish},
    sharing::{Claim, due},
};
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    feature::Features,
    id::{LoanId, PolicyId, ProductId},
    interest::DayCount,
};

use crate::{
    independent_life::{Random, event_json, script, terms_json},
    support::uscc,
};

const CASES: usize = 1_000;

#[derive(Deserialize)]
struct Theirs {
    interest: Vec<Vec<Option<i64>>>,
    fees: Vec<i64>,
    losses: Vec<(Vec<i64>, Vec<i64>)>,
}

fn fen(amounts: impl IntoIterator<Item = Fen>) -> Vec<i64> {
    amounts.into_iter().map(Fen::get).collect()
}

/// Two or three grants of one loan. What a grant gets that waits is not compared: it is a forecast.
fn interest(random: &mut Random) -> (Value, Vec<Option<i64>>) {
    let (events, day) = random.course();
    let mut taken = 0;
    let claims: Vec<Claim> = (0..random.between(2, 3))
        .map(|_| {
            let terms = Terms { taken: ExactRate::new(taken), ..random.terms() };
            taken += random.between(0, 15_000_000_000);
            let most = if random.between(0, 3) == 0 { random.between(0, 2_000_000) } else { terms.cap.get() };
            Claim { terms, had: Fen::ZERO, most: Fen::new(most), waits: random.between(0, 9) == 0 }
        })
        .collect();
    let found = due(&claims, &events, day).unwrap();
    assert!(Fen::sum(found.iter().copied()).unwrap() <= interest_paid(&events, day).unwrap());
    let ours = claims.iter().zip(found).map(|(claim, due)| (!claim.waits).then_some(due.get())).collect();
    let grants: Vec<Value> = claims
        .iter()
        .map(|claim| {
            let mut grant = terms_json(&claim.terms);
            grant["most_fen"] = json!(claim.most.get());
            grant["waits"] = json!(claim.waits);
            grant
        })
        .collect();
    let events: Vec<Value> = events.iter().map(event_json).collect();
    (json!({ "grants": grants, "events": events, "day": day.to_string() }), ours)
}

/// One to five policies that add up, each for a share of the fee.
fn fee(random: &mut Random) -> (Value, i64) {
    let most = if random.between(0, 1) == 0 { 20 } else { 3_000_000 };
    let fee = random.between(1, most);
    let policies: Vec<Published> = (0..random.between(1, 5))
        .map(|number| {
            let wish = Wish {
                name_zh: "政策".to_owned(),
                source_document_zh: "文件".to_owned(),
                benefit: Some(Benefit::GuaranteeFeeShare(Ppm::new(random.between(1, 1_000_000)))),
                effective_from: "2026-01-01".parse().ok(),
                effective_to: "2026-12-31".parse().ok(),
                max_months: 12,
                cap_per_loan: Fen::new(if random.between(0, 2) == 0 {
                    random.between(1, 1_000_000)
                } else {
                    9_000_000
                }),
                principal_cap: Fen::new(1),
                day_count: Some(DayCount::Actual360),
                priority: i32::try_from(number).unwrap(),
                stacking: Stacking { adds_up: true, exclusive_groups: vec![] },
                ..Wish::default()
            };
            Published {
                policy_id: PolicyId::new(Uuid::from_u128(u128::try_from(number).unwrap())),
                version: 1,
                spec: Arc::new(Spec::try_from(wish).unwrap()),
                published_at: jiff::Timestamp::UNIX_EPOCH,
                ended_at: None,
            }
        })
        .collect();
    let loan = Loan {
        loan_id: LoanId::new(Uuid::nil()),
        enterprise_id: uscc(1).parse().unwrap(),
        institution_id: "sample-bank".parse().unwrap(),
        product_id: ProductId::new(Uuid::nil()),
        product_tags: vec![],
        enterprise_class: "micro".to_owned(),
        amount: Fen::new(100_000_000),
        rate: Ppm::new(40_000),
        term_months: 12,
        approved_at: "2026-03-01T02:00:00Z".parse().unwrap(),
        ip_kinds: vec![],
        guarantee_fee: Fen::new(fee),
        version: 1,
    };
    let found = candidates(&policies, None, &loan, Some(&Features::new()), None).unwrap();
    let best = combine::best(&found, &loan, |_| true, |_| None).unwrap();
    let paid_out = [subsidy::life::Event {
        on: "2026-03-02".parse().unwrap(),
        what: subsidy::life::What::Disbursed {
            amount: loan.amount,
            rate: loan.rate,
            matures_on: "2027-03-02".parse().unwrap(),
        },
    }];
    for share in &best {
        // Once the loan is paid out, each is due what was planned.
        let candidate = &found[share.place];
        let terms = Terms::new(&candidate.policy.spec, candidate.offered, share.taken, share.cap, loan.guarantee_fee);
        let standing = standing(&terms, &paid_out, "2026-03-03".parse().unwrap(), Fen::ZERO).unwrap().unwrap();
        assert_eq!(standing.due, share.plan.amount);
    }
    let total: i64 = best.iter().map(|share| share.plan.amount.get()).sum();
    assert!(total <= fee);
    let told: Vec<_> =
        policies.iter().map(|policy| [policy.spec.benefit.ppm().get(), policy.spec.cap_per_loan.get()]).collect();
    (json!({ "fee_fen": fee, "policies": told }), total)
}

fn loss(random: &mut Random) -> (Value, (Vec<i64>, Vec<i64>)) {
    let bearers = [Bearer::PolicyPool, Bearer::Guarantor, Bearer::Insurer, Bearer::Lender];
    let chosen: Vec<Bearer> = bearers.into_iter().filter(|_| random.between(0, 2) > 0).collect();
    let chosen = if chosen.is_empty() { vec![Bearer::Guarantor] } else { chosen };
    let mut left = 1_000_000;
    let mut shares = Vec::new();
    for (place, bearer) in chosen.iter().enumerate() {
        let share = if place + 1 == chosen.len() { left } else { random.between(0, left) };
        left -= share;
        shares.push((*bearer, "x".to_owned(), share));
    }
    let most = if random.between(0, 1) == 0 { 50 } else { 900_000_000 };
    let owed = (Fen::new(random.between(0, most)), Fen::new(random.between(0, most)));
    let pool = (random.between(0, 4) > 0).then(|| Pool {
        principal_cap: Fen::new(random.between(1, 2 * most)),
        cap: Fen::new(random.between(1, most)),
        interest_counts: random.between(0, 1) == 0,
    });
    let mut found = parts(owed, &shares, pool, "x").unwrap();
    let amounts = fen(found.iter().map(|part| part.amount));
    assert_eq!(amounts.iter().sum::<i64>(), lost(owed, pool).unwrap().get());
    let recovered: Vec<i64> = (0..random.between(0, 6)).map(|_| random.between(1, most)).collect();
    let mut before = Fen::ZERO;
    for more in &recovered {
        recover(&mut found, before, Fen::new(*more)).unwrap();
        before = before.checked_add(Fen::new(*more)).unwrap();
    }
    let told: Vec<_> = shares.iter().map(|(bearer, _, share)| json!([bearer.word(), share])).collect();
    let pool = pool.map(|pool| {
        json!({ "principal_cap_fen": pool.principal_cap.get(), "cap_fen": pool.cap.get(),
                "interest_counts": pool.interest_counts })
    });
    let case = json!({ "principal_fen": owed.0.get(), "interest_fen": owed.1.get(), "shares": told, "pool": pool,
                       "recovered": recovered });
    (case, (amounts, fen(found.iter().map(|part| part.recovered))))
}

fn compare<T: PartialEq + std::fmt::Debug>(cases: &[Value], ours: &[T], theirs: &[T]) {
    assert_eq!(ours.len(), theirs.len());
    for (case, (ours, theirs)) in cases.iter().zip(ours.iter().zip(theirs)) {
        assert_eq!(ours, theirs, "{case}");
    }
}

#[test]
fn another_program_shares_interest_fees_and_losses_to_the_fen() {
    let mut random = Random(20_261_128);
    let (lives, due): (Vec<_>, Vec<_>) = (0..CASES).map(|_| interest(&mut random)).unzip();
    let (fees, paid): (Vec<_>, Vec<_>) = (0..CASES).map(|_| fee(&mut random)).unzip();
    let (losses, borne): (Vec<_>, Vec<_>) = (0..CASES).map(|_| loss(&mut random)).unzip();
    let theirs: Theirs = script("shared.py", &json!({ "interest": lives, "fees": fees, "losses": losses }));
    compare(&lives, &due, &theirs.interest);
    compare(&fees, &paid, &theirs.fees);
    compare(&losses, &borne, &theirs.losses);
    // The comparison is worth something: often two grants share what was paid, and caps and recoveries count.
    let shared = due.iter().filter(|due| due.iter().flatten().filter(|due| **due > 0).count() > 1).count();
    let recovered = borne.iter().filter(|(_, back)| back.iter().filter(|fen| **fen > 0).count() > 1).count();
    assert!(shared > CASES / 5 && recovered > CASES / 5, "{shared} {recovered}");
}
