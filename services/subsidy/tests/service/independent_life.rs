//! What grants earn over the life of their loans, against another program that looks at every single day:
//! tests/independent/life.py.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use jiff::{ToSpan as _, civil::Date};
use serde_json::{Value, json};
use subsidy::{
    life::{Event, Terms, What, standing},
    plan::ExactRate,
    policy::Benefit,
    sharing::due_alone,
};
use zhirong_kernel::{Fen, Ppm, interest::DayCount, lpr::Tenor};

const CASES: usize = 4_000;

/// SplitMix64: the same numbers in every run, so that a difference can be looked at again.
pub struct Random(pub u64);

impl Random {
    /// Both ends included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        least + i64::try_from(mixed % u64::try_from(most - least + 1).unwrap()).unwrap()
    }

    pub fn small(&mut self, least: i64, most: i64) -> i32 {
        i32::try_from(self.between(least, most)).unwrap()
    }

    fn rate(&mut self) -> Ppm {
        Ppm::new(self.between(0, 90_000))
    }

    pub fn terms(&mut self) -> Terms {
        let share = self.between(0, 2) == 0;
        let (benefit, offered) = if share {
            (Benefit::InterestShare(Ppm::new(self.between(1, 1_000_000))), ExactRate::new(0))
        } else {
            // A share of an LPR, which is seldom a whole ppm; of which one has been settled at the approval.
            let exact = self.between(500_000, 800_000) * self.between(20_000, 45_000);
            (Benefit::LprShare { share: Ppm::new(500_000), tenor: Tenor::default() }, ExactRate::new(exact))
        };
        Terms {
            benefit,
            offered,
            taken: ExactRate::new(if self.between(0, 2) == 0 { self.between(0, 30_000_000_000) } else { 0 }),
            fee: Fen::ZERO,
            principal_cap: Fen::new(self.between(1_000_000, 2_000_000_000)),
            cap: Fen::new(self.between(10_000, 60_000_000)),
            day_count: if self.between(0, 1) == 0 { DayCount::Actual360 } else { DayCount::Actual365 },
            max_months: self.small(1, 30),
            least_days: if self.between(0, 3) == 0 { self.small(1, 200) } else { 0 },
        }
    }

    fn later(&mut self, on: Date, days: i64) -> Date {
        on.checked_add(self.between(0, days).days()).unwrap()
    }

    /// Repayments, new terms, an early or late end, a renewal or a default, and a day up to which it is known.
    pub fn course(&mut self) -> (Vec<Event>, Date) {
        let mut on = self.later("2024-01-01".parse().unwrap(), 900);
        let amount = self.between(1, 3_000_000_000);
        let matures_on = self.later(on, 1100);
        let mut owed = amount;
        let mut events =
            vec![Event { on, what: What::Disbursed { amount: Fen::new(amount), rate: self.rate(), matures_on } }];
        for _ in 0..self.between(0, 9) {
            on = self.later(on, 120);
            let what = match self.between(0, 9) {
                0 => What::Terms { rate: self.rate(), matures_on: self.later(on, 700) },
                1 => {
                    events.push(Event { on, what: What::Settled });
                    if self.between(0, 1) == 0 {
                        events.push(Event { on, what: What::Renewed });
                    }
                    break;
                }
                2 => {
                    events.push(Event { on, what: What::Defaulted { principal: Fen::new(owed), interest: Fen::ZERO } });
                    break;
                }
                _ => {
                    let principal = self.between(0, owed) * self.between(0, 1);
                    owed -= principal;
                    What::Repaid { principal: Fen::new(principal), interest: Fen::new(self.between(0, 9_000_000)) }
                }
            };
            events.push(Event { on, what });
        }
        (events, self.later(on, 400))
    }
}

pub fn event_json(event: &Event) -> Value {
    let on = event.on.to_string();
    match event.what {
        What::Disbursed { amount, rate, matures_on } => {
            json!([on, "disbursed", amount.get(), rate.get(), matures_on.to_string()])
        }
        What::Repaid { principal, interest } => json!([on, "repaid", principal.get(), interest.get()]),
        What::Terms { rate, matures_on } => json!([on, "terms", rate.get(), matures_on.to_string()]),
        What::Settled => json!([on, "settled"]),
        What::Renewed => json!([on, "renewed"]),
        What::Defaulted { .. } => json!([on, "defaulted"]),
        What::Recovered { .. } => unreachable!("not made here"),
    }
}

pub fn terms_json(terms: &Terms) -> Value {
    let share = match terms.benefit {
        Benefit::InterestShare(share) => Some(share.get()),
        _ => None,
    };
    json!({
        "offered": [terms.offered.get(), 1_000_000_000_000_i64], "interest_share_ppm": share,
        "taken": [terms.taken.get(), 1_000_000_000_000_i64], "principal_cap_fen": terms.principal_cap.get(),
        "cap_fen": terms.cap.get(), "max_months": terms.max_months, "least_days": terms.least_days,
        "year": terms.day_count.days(),
    })
}

/// What a program of tests/independent answers.
pub fn script<T: serde::de::DeserializeOwned>(name: &str, input: &Value) -> T {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/independent").join(name);
    let mut child =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut pipe = child.stdin.take().unwrap();
    let text = input.to_string();
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn another_program_agrees_to_the_fen_on_thousands_of_random_lives() {
    let mut random = Random(20_261_123);
    let mut cases = Vec::new();
    let mut ours = Vec::new();
    let mut paid = 0;
    for _ in 0..CASES {
        let (terms, (events, day)) = (random.terms(), random.course());
        let due = due_alone(&terms, &events, day).unwrap();
        let found = standing(&terms, &events, day, due).unwrap().unwrap();
        ours.push([found.planned.get(), found.earned.get(), found.due.get()]);
        paid += i32::from(found.due.is_positive());
        let mut case = terms_json(&terms);
        case["events"] = events.iter().map(event_json).collect();
        case["day"] = json!(day.to_string());
        cases.push(case);
    }
    let theirs: Vec<[i64; 3]> = script("life.py", &json!({ "cases": cases }));
    assert_eq!(theirs.len(), CASES);
    for (place, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "{}", cases[place]);
    }
    // The comparison is worth something: many have something due.
    assert!(usize::try_from(paid).unwrap() > CASES / 3, "{paid}");
}
