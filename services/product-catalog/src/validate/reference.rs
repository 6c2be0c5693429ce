//! What an LPR table and a calendar must be like. The others count days and interest by them, so a gap must not pass.

use std::fmt::Display;

use jiff::civil::{Date, Weekday, date};
use zhirong_kernel::{
    calendar::Calendar,
    lpr::{Change, LprHistory},
    rate::Ppm,
};
use zhirong_proto::catalog::v1::{LprTable, WorkingDayCalendar};

use super::{Findings, Violation};

/// No LPR is or was above this, ppm a year.
const HIGHEST_LPR_PPM: i64 = 240_000;

/// Holidays with a fixed date by the State Council's regulation (全国年节及纪念日放假办法): month and day. A year without one of
/// them is not entered completely.
const FIXED_HOLIDAYS: [(i8, i8); 5] = [(1, 1), (5, 1), (10, 1), (10, 2), (10, 3)];

/// What is wrong with an LPR table.
#[must_use]
pub fn lpr_table(table: &LprTable) -> Vec<Violation> {
    let mut found = Findings::default();
    found.check(!table.changes.is_empty(), "table.changes", "must not be empty");
    let published: Vec<&str> = table.changes.iter().map(|change| change.published_on.as_str()).collect();
    let published = rising(&published, |index| format!("table.changes[{index}].published_on"), &mut found);
    for (index, change) in table.changes.iter().enumerate() {
        for (name, ppm) in [("one_year_ppm", change.one_year_ppm), ("five_year_ppm", change.five_year_ppm)] {
            let in_range = (1..=HIGHEST_LPR_PPM).contains(&ppm);
            let wanted = format!("must be 1 to {HIGHEST_LPR_PPM} (24 %)");
            found.check(in_range, format!("table.changes[{index}].{name}"), wanted);
        }
    }
    let known_through = a_date(&table.known_through, "table.known_through", &mut found);
    if let (Some(known_through), Some(last)) = (known_through, published.last()) {
        let wanted = format!("must not be before the last publication, {last}");
        found.check(known_through >= *last, "table.known_through", wanted);
        // What the others will build of it has the last word.
        if found.0.is_empty() {
            let changes = table.changes.iter().zip(published).map(|(change, published_on)| Change {
                published_on,
                one_year: Ppm::new(change.one_year_ppm),
                five_year: Ppm::new(change.five_year_ppm),
            });
            accept(LprHistory::try_new(changes.collect(), known_through), "table", &mut found);
        }
    }
    found.0
}

/// What is wrong with a calendar.
#[must_use]
pub fn calendar(calendar: &WorkingDayCalendar) -> Vec<Violation> {
    let mut found = Findings::default();
    found.check(!calendar.years.is_empty(), "calendar.years", "must not be empty");
    let mut years: Vec<i16> = Vec::new();
    for (index, year) in calendar.years.iter().enumerate() {
        let field = || format!("calendar.years[{index}]");
        match i16::try_from(*year) {
            Ok(year @ 2000..=2100) => {
                found.check(
                    years.last().is_none_or(|before| *before < year),
                    field(),
                    "must come after the year before it",
                );
                years.push(year);
            }
            _ => found.check(false, field(), "must be 2000 to 2100"),
        }
    }
    let mut dates = |texts: &[String], name: &str| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let field = |index| format!("calendar.{name}[{index}]");
        let dates = rising(&texts, field, &mut found);
        for (index, text) in texts.iter().enumerate() {
            if let Ok(day) = text.parse::<Date>() {
                found.check(years.contains(&day.year()), field(index), "must be in one of the calendar's years");
            }
        }
        dates
    };
    let holidays = dates(&calendar.holidays, "holidays");
    let worked = dates(&calendar.working_weekend_days, "working_weekend_days");
    for (index, text) in calendar.working_weekend_days.iter().enumerate() {
        let Ok(day) = text.parse::<Date>() else { continue };
        let field = || format!("calendar.working_weekend_days[{index}]");
        let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        found.check(weekend, field(), "must be a Saturday or Sunday; other days are worked anyway");
        found.check(!holidays.contains(&day), field(), "must not be a holiday too");
    }
    for year in &years {
        for (month, day) in FIXED_HOLIDAYS {
            let holiday = date(*year, month, day);
            let wanted = format!("{year} is not complete: {holiday} is always a holiday");
            found.check(holidays.contains(&holiday), "calendar.holidays", wanted);
        }
    }
    if found.0.is_empty() {
        accept(Calendar::try_new(years, holidays, worked), "calendar", &mut found);
    }
    found.0
}

/// Dates that must each come after the one before, so that none stands twice.
fn rising(texts: &[&str], field: impl Fn(usize) -> String, found: &mut Findings) -> Vec<Date> {
    let mut dates: Vec<Date> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        if let Some(day) = a_date(text, field(index), found) {
            found.check(
                dates.last().is_none_or(|before| *before < day),
                field(index),
                "must come after the date before it",
            );
            dates.push(day);
        }
    }
    dates
}

fn a_date(text: &str, field: impl Into<String>, found: &mut Findings) -> Option<Date> {
    // One spelling only: the parser alone would take `20260101` too.
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text);
    found.check(date.is_some(), field, "must be a date, YYYY-MM-DD");
    date
}

fn accept<T, E: Display>(built: Result<T, E>, field: &str, found: &mut Findings) {
    if let Err(error) = built {
        found.check(false, field, error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use zhirong_proto::catalog::v1::LprChange;

    use super::*;

    fn change(published_on: &str, one_year_ppm: i64) -> LprChange {
        LprChange { published_on: published_on.to_owned(), one_year_ppm, five_year_ppm: 35_000 }
    }

    fn fields(found: Vec<Violation>) -> Vec<String> {
        found.into_iter().map(|violation| violation.field).collect()
    }

    fn year(year: i32) -> WorkingDayCalendar {
        let holidays = FIXED_HOLIDAYS.iter().map(|(month, day)| format!("{year}-{month:02}-{day:02}")).collect();
        WorkingDayCalendar { years: vec![year], holidays, working_weekend_days: vec![format!("{year}-10-10")] }
    }

    #[test]
    fn a_good_table_and_a_good_calendar_pass() {
        let table = LprTable {
            changes: vec![change("2024-10-21", 31_000), change("2025-05-20", 30_000)],
            known_through: "2025-12-31".to_owned(),
        };
        assert_eq!(lpr_table(&table), []);
        assert_eq!(calendar(&year(2026)), []);
    }

    #[test]
    fn every_wrong_publication_is_named() {
        let table = LprTable {
            changes: vec![change("2025-05-20", 0), change("2025-05-20", 30_000), change("20250620", 240_001)],
            known_through: "2025-05-19".to_owned(),
        };
        assert_eq!(
            fields(lpr_table(&table)),
            [
                "table.changes[1].published_on",
                "table.changes[2].published_on",
                "table.changes[0].one_year_ppm",
                "table.changes[2].one_year_ppm",
                "table.known_through",
            ]
        );
        assert_eq!(fields(lpr_table(&LprTable::default())), ["table.changes", "table.known_through"]);
    }

    #[test]
    fn a_year_that_is_not_complete_is_refused() {
        let mut lacking = year(2026);
        lacking.holidays.pop();
        let found = calendar(&lacking);
        assert!(found.len() == 1 && found[0].description.contains("2026-10-03"), "{found:?}");
        let mut empty_year = year(2026);
        empty_year.years.push(2027);
        assert_eq!(calendar(&empty_year).len(), FIXED_HOLIDAYS.len());
        assert_eq!(fields(calendar(&WorkingDayCalendar::default())), ["calendar.years"]);
    }

    #[test]
    fn days_that_contradict_are_named() {
        let mut wrong = year(2026);
        wrong.years.push(2026);
        wrong.holidays.push("2026-10-03".to_owned());
        wrong.holidays.push("2027-01-01".to_owned());
        wrong.working_weekend_days = vec!["2026-10-03".to_owned(), "2026-10-12".to_owned()];
        assert_eq!(
            fields(calendar(&wrong)),
            [
                "calendar.years[1]",
                "calendar.holidays[5]",
                "calendar.holidays[6]",
                "calendar.working_weekend_days[0]",
                "calendar.working_weekend_days[1]",
            ]
        );
    }
}
