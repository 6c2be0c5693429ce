//! Histories by chance of a few enterprises: records of two sources that come, are corrected, withdrawn, sent to another enterprise or
//! late, reloads, loans, changes of schemas, erasures and days.

use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::date};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use zhirong_kernel::clock::{Clock as _, business_date};
use zhirong_proto::profile::v1::{Category, CategoryField, FieldType};

use crate::{
    fixture::{Fixture, category, enterprise},
    marks::Marks,
    record::{Key, Reload, Version},
    store::{self, quality::Step},
};

const ENTERPRISES: u32 = 4;
const SOURCES: [&str; 2] = ["office", "bureau"];

/// A category with fields beside its features.
fn with(category: Category, fields: &[(&str, FieldType, &str)]) -> Category {
    let field = |(name, kind, feature): &(&str, FieldType, &str)| CategoryField {
        name: (*name).to_owned(),
        r#type: (*kind).into(),
        feature: (*feature).to_owned(),
        ..CategoryField::default()
    };
    let fields = category.fields.iter().cloned().chain(fields.iter().map(field)).collect();
    Category { fields, ..category }
}

/// The schemas; those of some categories in two ways. The grade, the number of employees and the days overdue come from several.
pub fn schemas(other: bool) -> Vec<Category> {
    let either = |one: &'static [&'static str], two: &'static [&'static str]| if other { two } else { one };
    let licence = [("number", FieldType::Text, "license_count"), ("until", FieldType::Date, "")];
    vec![
        with(
            category("business_registration", &["industry_code"]),
            &[("name", FieldType::Text, ""), ("founded", FieldType::Date, "age_days")],
        ),
        category("patent", either(&["patent_count"], &["patent_count", "invention_patent_count"])),
        category("tax_credit", &["tax_credit_grade"]),
        category("customs", either(&["tax_credit_grade", "employee_count"], &["employee_count"])),
        category("annual_report", either(&["employee_count"], &["employee_count", "max_overdue_days"])),
        category("credit_record", &["max_overdue_days", "loan_balance_fen"]),
        category("court_judgment", either(&["max_overdue_days"], &[])),
        category("tax_payment", &["tax_paid_12m_fen"]),
        Category { last_day_field: "until".to_owned(), ..with(category("administrative_license", &[]), &licence) },
        category("honor_reward", &[]),
    ]
}

/// Goes on by chance, the same for the same seed.
pub struct History {
    chance: StdRng,
    other: bool,
    number: u32,
    reloads: Vec<Reload>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        Self { chance: StdRng::seed_from_u64(seed), other: false, number: 0, reloads: Vec::new() }
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.chance.random_range(0..of.len())].clone()
    }

    fn uscc(&mut self) -> zhirong_kernel::uscc::Uscc {
        enterprise(self.chance.random_range(0..ENTERPRISES))
    }

    /// Now and then so long ago that it is not used, or soon will not be.
    fn observed_at(&mut self) -> Timestamp {
        let days = i64::from(self.chance.random_range(0..4_u8));
        let first =
            self.one(&[date(2026, 3, 1), date(2026, 3, 5), date(2025, 3, 9), date(2024, 9, 5), date(2025, 2, 2)]);
        first.checked_add(days.days()).unwrap().at(4, 0, 0, 0).in_tz("UTC").unwrap().timestamp()
    }

    fn data(&mut self, category: &str) -> Value {
        let number = i64::from(self.chance.random_range(0..9_u8));
        let grade = self.one(&["A", "B", "C"]);
        let mut data = match category {
            "business_registration" => json!({
                "name": format!("示例企业{number}"), "founded": format!("2020-01-0{}", number + 1), "industry_code": grade
            }),
            "patent" => json!({ "patent_count": number, "invention_patent_count": number / 2 }),
            "tax_credit" => json!({ "tax_credit_grade": grade }),
            "customs" => json!({ "tax_credit_grade": grade, "employee_count": number }),
            "annual_report" => json!({ "employee_count": number, "max_overdue_days": number * 3 }),
            "credit_record" => json!({ "max_overdue_days": number, "loan_balance_fen": number }),
            "court_judgment" => json!({ "max_overdue_days": number * 2 }),
            // two of the largest are more than a number holds
            "tax_payment" => json!({ "tax_paid_12m_fen": if number < 4 { i64::MAX } else { number } }),
            "administrative_license" => json!({ "number": grade, "until": format!("2026-03-1{number}") }),
            _ => json!({}),
        };
        if self.chance.random_ratio(1, 4) {
            data.as_object_mut().unwrap().retain(|_, _| self.chance.random_bool(0.5));
        }
        data
    }

    fn version(&mut self) -> Version {
        let categories: Vec<String> = schemas(false).into_iter().map(|category| category.category).collect();
        let (source, category) = (self.one(&SOURCES).to_owned(), self.one(&categories));
        let withdrawn = self.chance.random_ratio(1, 4);
        let data = if withdrawn { "{}".to_owned() } else { self.data(&category).to_string() };
        let record_id = format!("r{}", self.chance.random_range(0..3_u8));
        Version {
            uscc: self.uscc(),
            observed_at: self.observed_at(),
            revision: self.chance.random_range(0..3),
            withdrawn,
            tie_break: format!("{withdrawn}{data}"),
            data,
            reload_id: None,
            key: Key { source, category, record_id },
        }
    }

    /// What happens next.
    pub async fn step(&mut self, fixture: &Fixture) -> Result<(), crate::error::Error> {
        self.number += 1;
        match self.chance.random_range(0..33_u8) {
            0 => {
                let hours = self.one(&[24, 24, 24 * 40]);
                fixture.clock.advance(SignedDuration::from_hours(hours));
            }
            1 => {
                self.other = !self.other;
                let mut schemas = schemas(self.other);
                schemas.rotate_left(self.chance.random_range(0..10));
                for schema in schemas {
                    let mut tx = fixture.pool.begin().await?;
                    store::put_category(&mut tx, &schema).await?;
                    tx.commit().await?;
                }
            }
            2 => {
                let mut tx = fixture.pool.begin().await?;
                let uscc = self.uscc();
                store::erasure::note(&mut tx, uscc.as_str(), fixture.clock.now()).await?;
                store::erasure::history(&mut tx, uscc.as_str()).await?;
                tx.commit().await?;
            }
            3..=6 => self.loan(fixture).await?,
            7..=10 => self.reload(fixture).await?,
            11..=13 => {
                fixture.reloads(2).slice().await?;
            }
            _ => {
                let versions: Vec<Version> = (0..self.chance.random_range(1..4_u8)).map(|_| self.version()).collect();
                fixture.put(&versions).await?;
            }
        }
        Ok(())
    }

    /// Some records that a source has of a category at an instant, and that these are all; or one more of an earlier reload.
    async fn reload(&mut self, fixture: &Fixture) -> Result<(), sqlx::Error> {
        if !self.reloads.is_empty() && self.chance.random_bool(0.5) {
            let reload = self.one(&self.reloads.clone());
            let record_id = format!("r{}", self.chance.random_range(0..3_u8));
            let late = self.member(&reload, record_id);
            return fixture.put(&[late]).await;
        }
        let Key { source, category, .. } = self.version().key;
        let record_count = self.chance.random_range(0..3_i64);
        let reload_id = format!("reload-{}", self.number);
        let reload = Reload { source, category, reload_id, as_of: self.observed_at(), record_count };
        let members: Vec<Version> =
            (0..record_count).map(|number| self.member(&reload, format!("r{number}"))).collect();
        self.reloads.push(reload.clone());
        fixture.hear(&members, &[reload]).await
    }

    fn member(&mut self, reload: &Reload, record_id: String) -> Version {
        let version = self.version();
        let data = if version.withdrawn { version.data } else { self.data(&reload.category).to_string() };
        let key = Key { source: reload.source.clone(), category: reload.category.clone(), record_id };
        Version { key, data, reload_id: Some(reload.reload_id.clone()), ..version }
    }

    /// A loan, kept as whoever hears of it does.
    async fn loan(&mut self, fixture: &Fixture) -> Result<(), sqlx::Error> {
        let (uscc, today) = (self.uscc(), business_date(fixture.clock.now()));
        let mut marks = Marks::default();
        marks.other(uscc.as_str());
        let mut tx = fixture.pool.begin().await?;
        store::mark(&mut tx, &marks, today).await?;
        let (kind, state) = self.one(&[("disbursed", "disbursed"), ("settled", "settled"), ("defaulted", "defaulted")]);
        let step = Step {
            loan_id: uuid::Uuid::now_v7(),
            version: 1,
            enterprise_id: uscc.to_string(),
            kind,
            happened_on: today,
            overdue: false,
            state,
            outstanding_fen: 100,
            matures_on: None,
        };
        store::quality::put_step(&mut tx, &step).await?;
        tx.commit().await
    }
}
