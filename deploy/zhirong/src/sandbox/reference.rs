//! Reference data of years for which none are published yet. A real district waits for the State Council's notice and the central
//! bank's publications, and refuses what needs them until then; a sandbox is there to be tried in any year, so it assumes.

use anyhow::{Context as _, Result};
use jiff::civil::{Date, date};
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use crate::{
    client::{self, Authorised, patiently},
    seed::{self, Reference},
};

/// New Year, Labour Day and National Day, which every notice has (全国年节及纪念日放假办法).
const FIXED_HOLIDAYS: [&str; 6] = ["01-01", "05-01", "05-02", "10-01", "10-02", "10-03"];

/// Publishes what is missing in force for orders and subsidies of today, and says so.
pub async fn assume(author: &Authorised, today: Date) -> Result<()> {
    let pool = client::descriptors()?;
    let method = client::method(&pool, "zhirong.catalog.v1.ReferenceService/GetReference")?;
    let question = DynamicMessage::new(method.input());
    let answer = patiently(async || client::unary(author.clone(), &method, question.clone()).await).await?;
    let in_force = seed::json_of(&answer)?;
    let of = |name: &str| in_force.get(name).cloned().with_context(|| format!("no {name} is published"));
    let calendar = assumed_calendar(of("calendar")?, today.year());
    if let Some((_, years)) = &calendar {
        println!(
            "  no working days of {years:?} are published: this sandbox takes the plain week and the fixed holidays"
        );
    }
    let lpr = assumed_lpr(of("lpr")?, today.year())?;
    if lpr.is_some() {
        println!("  the LPR ends before {}: this sandbox takes the last one for the rest of that year", today.year());
    }
    if calendar.is_none() && lpr.is_none() {
        return Ok(());
    }
    Reference::of(lpr, calendar.map(|(calendar, _)| calendar)).publish(author).await
}

/// The calendar with this year and the next, and which years were missing; none when it has both.
fn assumed_calendar(calendar: Value, this_year: i16) -> Option<(Value, Vec<i16>)> {
    // an empty list is left out of a message's mapping
    let list = |name: &str| calendar.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let (mut years, mut holidays) = (list("years"), list("holidays"));
    let missing: Vec<i16> =
        [this_year, this_year.saturating_add(1)].into_iter().filter(|year| !years.contains(&json!(year))).collect();
    if missing.is_empty() {
        return None;
    }
    for year in &missing {
        years.push(json!(year));
        holidays.extend(FIXED_HOLIDAYS.map(|day| json!(format!("{year}-{day}"))));
    }
    let worked = list("workingWeekendDays");
    Some((json!({ "years": years, "holidays": holidays, "workingWeekendDays": worked }), missing))
}

/// The table known through the end of last year, by which this year's subsidies are reckoned; none when it is.
fn assumed_lpr(mut table: Value, this_year: i16) -> Result<Option<Value>> {
    let known = table.get_mut("knownThrough").context("an LPR table says how far it is known")?;
    let through: Date = known.as_str().context("it is a day")?.parse()?;
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
    fn years_that_are_known_are_left_alone() {
        let calendar = json!({ "years": [2026, 2027], "holidays": ["2026-01-01"], "workingWeekendDays": [] });
        assert_eq!(assumed_calendar(calendar, 2026), None);
        let table = json!({ "changes": [], "knownThrough": "2025-12-31" });
        assert_eq!(assumed_lpr(table, 2026).unwrap(), None);
    }

    #[test]
    fn missing_years_are_added_with_the_fixed_holidays() {
        let calendar = json!({ "years": [2026], "holidays": ["2026-01-01"], "workingWeekendDays": ["2026-10-10"] });
        let (calendar, missing) = assumed_calendar(calendar, 2026).unwrap();
        assert_eq!((&calendar["years"], missing), (&json!([2026, 2027]), vec![2027]));
        assert_eq!(calendar["holidays"].as_array().unwrap().len(), 7);
        assert_eq!(calendar["workingWeekendDays"], json!(["2026-10-10"]));
        let table = json!({ "changes": [], "knownThrough": "2025-12-31" });
        assert_eq!(assumed_lpr(table, 2027).unwrap().unwrap()["knownThrough"], "2026-12-31");
    }
}
