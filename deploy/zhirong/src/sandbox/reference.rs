//! Reference data of years that the seeds don't know yet. A real district waits for the State Council's notice and the central
//! bank's publications, and refuses what needs them until then; a sandbox is there to be tried in any year, so it assumes.

use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::civil::{Date, date};
use serde_json::{Value, json};

use crate::{
    client,
    seed::{self, Staff},
};

/// New Year, Labour Day and National Day, which every notice has (全国年节及纪念日放假办法).
const FIXED_HOLIDAYS: [&str; 6] = ["01-01", "05-01", "05-02", "10-01", "10-02", "10-03"];

/// Publishes what is missing for orders and subsidies of today, and says so.
pub async fn assume(staff: &Staff, seeds: &Path, today: Date) -> Result<()> {
    let pool = client::descriptors()?;
    let calendar = seed::calendar(&seeds.join("calendar.csv"))?;
    if let Some((calendar, years)) = assumed_calendar(calendar, today.year())? {
        println!(
            "  the seeds have no working days of {years:?}: this sandbox takes the plain week and the fixed holidays"
        );
        let method = "zhirong.catalog.v1.ReferenceService/PublishCalendar";
        seed::write(&pool, staff.author.clone(), method, json!({ "calendar": calendar })).await?;
    }
    let table = seed::lpr_table(&seeds.join("lpr.csv"))?;
    if let Some(table) = assumed_lpr(table, today.year())? {
        println!(
            "  the seeds' LPR ends before {}: this sandbox takes the last one for the rest of that year",
            today.year()
        );
        let method = "zhirong.catalog.v1.ReferenceService/PublishLprTable";
        seed::write(&pool, staff.author.clone(), method, json!({ "table": table })).await?;
    }
    Ok(())
}

/// The calendar with this year and the next, and which years were missing; none when it has both.
fn assumed_calendar(mut calendar: Value, this_year: i16) -> Result<Option<(Value, Vec<i16>)>> {
    let mut list = |name: &str| -> Result<Vec<Value>> {
        seed::list(calendar.get_mut(name).map(Value::take).with_context(|| format!("a calendar has {name}"))?)
    };
    let (mut years, mut holidays, worked) = (list("years")?, list("holidays")?, list("working_weekend_days")?);
    let missing: Vec<i16> =
        [this_year, this_year.saturating_add(1)].into_iter().filter(|year| !years.contains(&json!(year))).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    for year in &missing {
        years.push(json!(year));
        holidays.extend(FIXED_HOLIDAYS.map(|day| json!(format!("{year}-{day}"))));
    }
    let calendar = json!({ "years": years, "holidays": holidays, "working_weekend_days": worked });
    Ok(Some((calendar, missing)))
}

/// The table known through the end of last year, by which this year's subsidies are reckoned; none when it is.
fn assumed_lpr(mut table: Value, this_year: i16) -> Result<Option<Value>> {
    let known = table.get_mut("known_through").context("an LPR table says how far it is known")?;
    let through: Date = known.as_str().context("known_through is a day")?.parse()?;
    let needed = date(this_year.saturating_sub(1), 12, 31);
    if through >= needed {
        return Ok(None);
    }
    *known = json!(needed.to_string());
    Ok(Some(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_that_the_seeds_have_are_left_alone() {
        let calendar = json!({ "years": [2026, 2027], "holidays": ["2026-01-01"], "working_weekend_days": [] });
        assert_eq!(assumed_calendar(calendar, 2026).unwrap(), None);
        let table = json!({ "changes": [], "known_through": "2025-12-31" });
        assert_eq!(assumed_lpr(table, 2026).unwrap(), None);
    }

    #[test]
    fn missing_years_are_added_with_the_fixed_holidays() {
        let calendar = json!({ "years": [2026], "holidays": ["2026-01-01"], "working_weekend_days": ["2026-10-10"] });
        let (calendar, missing) = assumed_calendar(calendar, 2026).unwrap().unwrap();
        assert_eq!((&calendar["years"], missing), (&json!([2026, 2027]), vec![2027]));
        assert_eq!(calendar["holidays"].as_array().unwrap().len(), 7);
        assert_eq!(calendar["working_weekend_days"], json!(["2026-10-10"]));
        let table = json!({ "changes": [], "known_through": "2025-12-31" });
        assert_eq!(assumed_lpr(table, 2027).unwrap().unwrap()["known_through"], "2026-12-31");
    }
}
