//! A random history of some enterprises, the same for the same seed.

use jiff::{Span, Timestamp, civil::Date};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use zhirong_kernel::{clock::business_date, uscc::Uscc};
use zhirong_proto::{
    feedback::v1::{Rating, RatingLevel, RatingReceived},
    matching::v1::{
        Loan, LoanApproved, LoanDefaulted, LoanDisbursed, LoanRecovered, LoanRenewed, LoanRepaid, LoanSettled,
        LoanState, LoanTermsChanged, Order, OrderPlaced,
    },
    profile::v1::{Category, CategoryField, FieldType},
};
use zhirong_testkit::Event;

use crate::world::enterprise;

pub const ENTERPRISES: u32 = 12;
const RECORD: &str = "cn.zhirong.gov.record.observed.v1";
const RELOAD: &str = "cn.zhirong.gov.reload.completed.v1";

/// What happens.
pub struct History {
    pub seed: u64,
    /// Records that objections will be raised against, one each of the first enterprises.
    pub disputed: Vec<Event>,
    /// All the rest, in the order in which it happened to be told.
    pub rest: Vec<Event>,
}

pub struct Teller<'a> {
    seed: u64,
    random: StdRng,
    now: Timestamp,
    categories: &'a [Category],
}

impl<'a> Teller<'a> {
    pub fn new(seed: u64, now: Timestamp, categories: &'a [Category]) -> Self {
        Self { seed, random: StdRng::seed_from_u64(seed), now, categories }
    }

    pub fn history(mut self) -> History {
        let disputed: Vec<Event> = (0..3).map(|number| event(&self::disputed(number, self.now, 40, 3))).collect();
        let mut rest = Vec::new();
        for number in 0..ENTERPRISES {
            let uscc = enterprise(number);
            for category in self.categories {
                rest.extend(self.records(category, &uscc));
            }
            // all of the last one's loans are settled: it will be erased
            let erased = number + 1 == ENTERPRISES;
            for _ in 0..if erased { 3 } else { self.random.random_range(0..3) } {
                rest.extend(self.loan(&uscc, erased));
            }
        }
        rest.extend(self.reloads());
        // the second disputed record is corrected by its source
        rest.push(event(&self::disputed(1, self.now, 30, 4)));
        History { seed: self.seed, disputed, rest }
    }

    /// One or two records of a category: versions, corrections, withdrawals, ties, moves.
    fn records(&mut self, category: &Category, uscc: &Uscc) -> Vec<Event> {
        let mut all = Vec::new();
        for place in 0..self.random.random_range(1..3) {
            let id = format!("{uscc}-{place}");
            for _ in 0..self.random.random_range(1..5) {
                let days = self.random.random_range(1..500);
                let owner = if self.random.random_ratio(1, 12) {
                    enterprise(self.random.random_range(0..ENTERPRISES))
                } else {
                    uscc.clone()
                };
                let mut record = json!({
                    "source": "office", "category": category.category, "record_id": id, "uscc": owner.as_str(),
                    // few instants, so that some versions share one
                    "observed_at": days_before(self.now, days / 50 * 50 + 1).to_string(),
                    "revision": self.random.random_range(0..2),
                });
                if self.random.random_ratio(1, 10) {
                    record["operation"] = json!("OPERATION_WITHDRAW");
                } else {
                    record["data"] = Value::Object(self.data(category));
                }
                all.push(event(&record));
            }
        }
        all
    }

    fn data(&mut self, category: &Category) -> Map<String, Value> {
        let mut data = Map::new();
        for field in &category.fields {
            if field.required || self.random.random_ratio(2, 3) {
                data.insert(field.name.clone(), self.value(field));
            }
        }
        data
    }

    /// A value that lets some enterprises into tiers and pool and keeps others out.
    fn value(&mut self, field: &CategoryField) -> Value {
        const YUAN_10_000: i64 = 1_000_000;
        let one_of = |random: &mut StdRng, all: &[i64]| json!(all.choose(random).copied().unwrap_or_default());
        let random = &mut self.random;
        match field.name.as_str() {
            "annual_revenue_fen" => {
                return one_of(random, &[900 * YUAN_10_000, 12_000 * YUAN_10_000, 31_000 * YUAN_10_000]);
            }
            "net_profit_fen" => return one_of(random, &[90 * YUAN_10_000, 1_200 * YUAN_10_000, 6_000 * YUAN_10_000]),
            "valuation_fen" => return one_of(random, &[0, 6_000 * YUAN_10_000, 110_000 * YUAN_10_000]),
            "is_dishonest" | "is_abnormal" => return json!(random.random_ratio(1, 12)),
            _ => {}
        }
        match field.r#type() {
            FieldType::Integer => {
                let least = field.minimum.unwrap_or(0);
                json!(random.random_range(least..=field.maximum.unwrap_or(20).min(least.saturating_add(12))))
            }
            FieldType::Boolean => json!(random.random_ratio(1, 2)),
            FieldType::Date => json!(format!("20{:02}-03-01", random.random_range(0..25))),
            _ => match field.allowed_values.choose(random) {
                Some(allowed) => json!(allowed),
                None => json!(format!("名称{}", random.random_range(0..9))),
            },
        }
    }

    /// Two reloads of another source of patents, the second of which leaves out what the first has and what comes late, and one that
    /// is never complete.
    fn reloads(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        for (name, as_of, observed) in [("spring", 200, 220), ("summer", 100, 150), ("never", 20, 30)] {
            let mut count = 0;
            for number in 0..ENTERPRISES {
                if self.random.random_ratio(1, 2) {
                    continue;
                }
                count += 1;
                all.push(event(&json!({
                    "source": "centre", "category": "patent", "record_id": format!("c{number}"),
                    "uscc": enterprise(number).as_str(), "reload_id": name,
                    "observed_at": days_before(self.now, observed).to_string(),
                    "data": { "patent_count": number % 4, "invention_patent_count": 1 },
                })));
            }
            let record_count = if name == "never" { count + 1 } else { count };
            let end = json!({ "source": "centre", "category": "patent", "reload_id": name, "record_count": record_count,
                "as_of": days_before(self.now, as_of).to_string() });
            all.push(
                Event::new("gov.data.v1.patent", RELOAD, "application/json", end.to_string())
                    .with("ce-source", "centre"),
            );
        }
        for number in 0..ENTERPRISES {
            all.push(event(&json!({
                "source": "centre", "category": "patent", "record_id": format!("live{number}"),
                "uscc": enterprise(number).as_str(),
                "observed_at": days_before(self.now, if number % 2 == 0 { 50 } else { 250 }).to_string(),
                "data": { "patent_count": 2, "invention_patent_count": 2 },
            })));
        }
        all
    }

    /// The life of a loan as far as it has come, with the rating of its service.
    fn loan(&mut self, uscc: &Uscc, settled: bool) -> Vec<Event> {
        let (now, days) = (self.now, self.random.random_range(60..300_i64));
        let on = |days: i64| day_before(now, days).to_string();
        let id = |random: &mut StdRng| Uuid::from_bytes(random.random()).to_string();
        let loan = Loan {
            loan_id: id(&mut self.random),
            order_id: id(&mut self.random),
            enterprise_id: uscc.to_string(),
            amount_fen: 1_000,
            approved_at: Some(at(now, days)),
            disbursed_on: on(days - 1),
            matures_on: on(days - 90),
            ..Loan::default()
        };
        // of which nothing else is told
        let loan_after = loan.order_id.clone();
        let after = |version, state: LoanState, outstanding_fen| {
            Some(Loan { version, state: state.into(), outstanding_fen, ..loan.clone() })
        };
        let order = Order {
            order_id: loan.order_id.clone(),
            enterprise_id: uscc.to_string(),
            placed_at: Some(at(now, days + 1)),
            ..Order::default()
        };
        let repaid = |version, outstanding, days, overdue| {
            let loan = after(version, LoanState::Disbursed, outstanding);
            Event::of(
                uscc.as_str(),
                &LoanRepaid { loan, principal_fen: 500, interest_fen: 5, paid_on: on(days), overdue },
            )
        };
        let late = !settled && self.random.random_ratio(1, 6);
        let mut life = vec![
            Event::of(uscc.as_str(), &OrderPlaced { order: Some(order) }),
            Event::of(
                uscc.as_str(),
                &LoanApproved { loan: after(1, LoanState::Approved, 0), ..LoanApproved::default() },
            ),
            Event::of(uscc.as_str(), &LoanDisbursed { loan: after(2, LoanState::Disbursed, 1_000) }),
            repaid(3, 500, days - 20, late),
        ];
        match if settled { 4 } else { self.random.random_range(0..6) } {
            0 => {
                let loan = after(4, LoanState::Defaulted, 500);
                let fact = LoanDefaulted { loan, defaulted_on: on(days - 50), overdue_interest_fen: 3 };
                life.push(Event::of(uscc.as_str(), &fact));
                let loan = after(5, LoanState::Defaulted, 500);
                let fact = LoanRecovered { loan, recovered_fen: 100, recovered_on: on(days - 55) };
                life.push(Event::of(uscc.as_str(), &fact));
            }
            1 => {
                let loan = after(4, LoanState::Disbursed, 500);
                let loan = loan.map(|loan| Loan { matures_on: on(days - 300), ..loan });
                let fact = LoanTermsChanged { loan, effective_on: on(days - 30) };
                life.push(Event::of(uscc.as_str(), &fact));
            }
            _ => {
                life.push(repaid(4, 0, days - 40, false));
                let fact = LoanSettled { loan: after(5, LoanState::Settled, 0), settled_on: on(days - 40) };
                life.push(Event::of(uscc.as_str(), &fact));
                let loan = after(6, LoanState::Settled, 0);
                let fact = LoanRenewed { loan, renewed_by_loan_id: loan_after.clone() };
                life.push(Event::of(uscc.as_str(), &fact));
            }
        }
        let levels = [
            RatingLevel::VerySatisfied,
            RatingLevel::VerySatisfied,
            RatingLevel::Satisfied,
            RatingLevel::BasicallySatisfied,
        ];
        let rating = Rating {
            rating_id: id(&mut self.random),
            loan_id: loan.loan_id.clone(),
            enterprise_id: uscc.to_string(),
            level: levels.choose(&mut self.random).copied().unwrap_or_default().into(),
            received_at: Some(at(now, days - 10)),
            ..Rating::default()
        };
        life.push(Event::of(uscc.as_str(), &RatingReceived { rating: Some(rating) }));
        life
    }
}

/// The record of an enterprise that it disputes.
fn disputed(number: u32, now: Timestamp, days: i64, patents: u32) -> Value {
    json!({
        "source": "office", "category": "patent", "record_id": format!("disputed-{number}"),
        "uscc": enterprise(number).as_str(), "observed_at": days_before(now, days).to_string(),
        "data": { "patent_count": patents, "invention_patent_count": 0 },
    })
}

fn event(record: &Value) -> Event {
    let text = |name: &str| record[name].as_str().unwrap().to_owned();
    let subject = format!("gov.data.v1.{}", text("category"));
    Event::new(&subject, RECORD, "application/json", record.to_string()).with("ce-source", &text("source"))
}

fn days_before(now: Timestamp, days: i64) -> Timestamp {
    now.checked_sub(Span::new().hours(24 * days)).unwrap()
}

fn day_before(now: Timestamp, days: i64) -> Date {
    business_date(now).saturating_sub(Span::new().days(days))
}

fn at(now: Timestamp, days: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: days_before(now, days).as_second(), nanos: 0 }
}
