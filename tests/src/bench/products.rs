//! Products and profiles with a believable spread, the same in every run: bands, sets of industry codes, many distinct
//! thresholds, formulas with caps, data that are missing.

use std::collections::BTreeMap;

use serde::Serialize;
use zhirong_kernel::feature::{FeatureValue, Features};

/// A sequence of numbers that looks random and is always the same.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15))
    }

    /// From `least` to `most`.
    pub fn number(&mut self, least: i64, most: i64) -> i64 {
        // The finishing steps of SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        least + (word % (most - least + 1) as u64) as i64
    }

    fn chance(&mut self, percent: i64) -> bool {
        self.number(1, 100) <= percent
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.number(0, words.len() as i64 - 1) as usize]
    }
}

/// A product in the languages that are compared.
#[derive(Serialize, Clone)]
pub struct Sample {
    pub cel: Vec<String>,
    pub zen: Vec<String>,
    /// As cells of a decision table, which zen can look up by an index.
    pub cells: BTreeMap<String, String>,
    pub limit: String,
    pub rate: String,
    pub zen_limit: String,
    pub zen_rate: String,
    pub min_fen: i64,
    pub max_fen: i64,
    /// The same as columns, for a table.
    pub row: Columns,
}

/// What a table of products has in the place of rules.
#[derive(Serialize, Clone, Default)]
pub struct Columns {
    pub min_age: i64,
    pub max_age: i64,
    pub min_revenue: i64,
    pub max_overdue: i64,
    pub min_score: i64,
    pub min_headcount: i64,
    pub industries: Vec<String>,
    pub classes: Vec<String>,
    pub revenue_share: i64,
    pub cap_fen: i64,
    pub add_ppm: i64,
    pub each_ppm: i64,
    pub cut_cap_ppm: i64,
    pub floor_ppm: i64,
}

const CLASSES: [&str; 5] = ["individual", "micro", "small", "medium", "large"];

fn industry(number: i64) -> String {
    format!("C{number:02}")
}

/// Credit products: eight conditions, a limit and a rate each.
pub fn products(count: usize, seed: u64) -> Vec<Sample> {
    let mut dice = Dice::new(seed);
    (0..count)
        .map(|_| {
            let min_age = dice.number(6, 60) * 30;
            let industries: Vec<String> = {
                let (first, many) = (dice.number(0, 60), dice.number(8, 40));
                (0..many).map(|step| industry((first + step * 3) % 90)).collect()
            };
            let mut classes: Vec<String> =
                CLASSES.iter().filter(|_| dice.chance(65)).map(|class| (*class).to_owned()).collect();
            if classes.is_empty() {
                classes.push("small".to_owned());
            }
            let row = Columns {
                min_age,
                max_age: min_age + dice.number(100, 600) * 30,
                // Many distinct thresholds, as banks set them.
                min_revenue: dice.number(1, 400) * 5_000_000,
                max_overdue: dice.number(0, 3),
                min_score: dice.number(40, 68) * 10,
                min_headcount: dice.number(0, 20),
                industries,
                classes,
                revenue_share: dice.number(3, 12),
                cap_fen: dice.number(5, 300) * 10_000_000,
                add_ppm: dice.number(0, 150) * 100,
                each_ppm: dice.number(1, 20) * 10,
                cut_cap_ppm: dice.number(2, 20) * 100,
                floor_ppm: dice.number(240, 300) * 100,
            };
            sample(row)
        })
        .collect()
}

fn sample(row: Columns) -> Sample {
    let quoted = |words: &[String]| words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    let shared = |and: &str, no: &str| {
        vec![
            format!("age_days >= {} {and} age_days <= {}", row.min_age, row.max_age),
            format!("annual_revenue_fen >= {}", row.min_revenue),
            format!("overdue_count_24m <= {}", row.max_overdue),
            format!("credit_score >= {}", row.min_score),
            format!("social_insurance_headcount >= {}", row.min_headcount),
            format!("industry_code in [{}]", quoted(&row.industries)),
            format!("enterprise_class in [{}]", quoted(&row.classes)),
            no.to_owned(),
        ]
    };
    let cells = [
        ("age_days", format!("[{}..{}]", row.min_age, row.max_age)),
        ("annual_revenue_fen", format!(">= {}", row.min_revenue)),
        ("overdue_count_24m", format!("<= {}", row.max_overdue)),
        ("credit_score", format!(">= {}", row.min_score)),
        ("social_insurance_headcount", format!(">= {}", row.min_headcount)),
        ("industry_code", quoted(&row.industries)),
        ("enterprise_class", quoted(&row.classes)),
        ("is_dishonest", "false".to_owned()),
    ];
    let (share, cap) = (row.revenue_share, row.cap_fen);
    let (add, each, cut, floor) = (row.add_ppm, row.each_ppm, row.cut_cap_ppm, row.floor_ppm);
    Sample {
        cel: shared("&&", "!is_dishonest"),
        zen: shared("and", "is_dishonest == false"),
        cells: cells.map(|(field, cell)| (field.to_owned(), cell)).into(),
        limit: format!("min(annual_revenue_fen / {share}, {cap})"),
        rate: format!("max(lpr_1y_ppm + {add} - min(patent_count * {each}, {cut}), {floor})"),
        zen_limit: format!("min([floor(annual_revenue_fen / {share}), {cap}])"),
        zen_rate: format!("max([lpr_1y_ppm + {add} - min([patent_count * {each}, {cut}]), {floor}])"),
        min_fen: 10_000_000,
        max_fen: 3_000_000_000,
        row,
    }
}

/// An enterprise; now and then something is not known of it.
pub fn profile(dice: &mut Dice) -> Features {
    let mut features = Features::new();
    let mut put = |dice: &mut Dice, name: &str, value: FeatureValue, known: i64| {
        if dice.chance(known) {
            features.insert(name.to_owned(), value);
        }
    };
    let int = FeatureValue::Int;
    let age = dice.number(60, 9_000);
    put(dice, "age_days", int(age), 99);
    // Most are small, few are large.
    let size = dice.number(1, 1_000);
    let revenue = size * size * dice.number(500, 20_000);
    put(dice, "annual_revenue_fen", int(revenue), 96);
    let overdue = if dice.chance(80) { 0 } else { dice.number(1, 6) };
    put(dice, "overdue_count_24m", int(overdue), 97);
    let score = dice.number(350, 850);
    put(dice, "credit_score", int(score), 99);
    let headcount = dice.number(0, 4) * dice.number(0, 50);
    put(dice, "social_insurance_headcount", int(headcount), 96);
    let code = industry(dice.number(0, 89));
    put(dice, "industry_code", FeatureValue::Text(code), 99);
    let class = dice.of(&CLASSES).to_owned();
    put(dice, "enterprise_class", FeatureValue::Text(class), 99);
    let dishonest = dice.chance(2);
    put(dice, "is_dishonest", FeatureValue::Bool(dishonest), 99);
    let patents = if dice.chance(70) { 0 } else { dice.number(1, 40) };
    put(dice, "patent_count", int(patents), 97);
    features
}
