//! Reference data out of their messages; checked when they come in, so that what is kept can be used.

use jiff::civil::Date;
use zhirong_kernel::{
    calendar::Calendar,
    lpr::{Change, LprHistory},
    rate::Ppm,
};
use zhirong_proto::catalog::v1::{LprTable, WorkingDayCalendar};

/// Why reference data can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// The history that a table tells.
pub fn lpr(table: &LprTable) -> Result<LprHistory, Unusable> {
    let changes = table
        .changes
        .iter()
        .map(|change| {
            Ok(Change {
                published_on: date(&change.published_on)?,
                one_year: Ppm::new(change.one_year_ppm),
                five_year: Ppm::new(change.five_year_ppm),
            })
        })
        .collect::<Result<_, Unusable>>()?;
    LprHistory::try_new(changes, date(&table.known_through)?).map_err(|error| Unusable(format!("LPR table: {error}")))
}

/// The calendar of a notice.
pub fn calendar(notice: &WorkingDayCalendar) -> Result<Calendar, Unusable> {
    let dates = |texts: &[String]| texts.iter().map(|text| date(text)).collect::<Result<Vec<Date>, _>>();
    let years: Vec<i16> = notice
        .years
        .iter()
        .map(|year| i16::try_from(*year).map_err(|_| Unusable(format!("{year} is not a year"))))
        .collect::<Result<_, _>>()?;
    Calendar::try_new(years, dates(&notice.holidays)?, dates(&notice.working_weekend_days)?)
        .map_err(|error| Unusable(format!("calendar: {error}")))
}

fn date(text: &str) -> Result<Date, Unusable> {
    text.parse().map_err(|_| Unusable(format!("`{text}` is not a date")))
}
