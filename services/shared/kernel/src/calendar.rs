//! Working days by the State Council's yearly notices (国务院办公厅关于节假日安排的通知), 调休 included.

use std::collections::BTreeSet;

use jiff::{
    ToSpan as _,
    civil::{Date, Weekday},
};

/// Why a working day can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The notice for this year is not known; a guess would be wrong.
    #[error(
        "the working days of {0} are not published here; load the State Council's notice first"
    )]
    YearUnknown(i16),
    /// A row that can't be read.
    #[error("line {line}: {why}")]
    Row {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The data contradict the week.
    #[error("{0}")]
    Contradiction(String),
}

/// Which days are worked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calendar {
    years: BTreeSet<i16>,
    holidays: BTreeSet<Date>,
    working_weekend_days: BTreeSet<Date>,
}

impl Calendar {
    /// A calendar that is complete for these years.
    ///
    /// # Errors
    /// When a day lies outside the years, is both holiday and worked, or a make-up working day is no weekend day.
    pub fn try_new(
        years: impl IntoIterator<Item = i16>,
        holidays: impl IntoIterator<Item = Date>,
        working_weekend_days: impl IntoIterator<Item = Date>,
    ) -> Result<Self, Error> {
        let calendar = Self {
            years: years.into_iter().collect(),
            holidays: holidays.into_iter().collect(),
            working_weekend_days: working_weekend_days.into_iter().collect(),
        };
        for day in calendar
            .holidays
            .iter()
            .chain(&calendar.working_weekend_days)
        {
            if !calendar.years.contains(&day.year()) {
                return Err(Error::Contradiction(format!(
                    "{day} is not in one of the calendar's years"
                )));
            }
        }
        if let Some(day) = calendar
            .holidays
            .intersection(&calendar.working_weekend_days)
            .next()
        {
            return Err(Error::Contradiction(format!(
                "{day} can't be a holiday and a working day"
            )));
        }
        if let Some(day) = calendar
            .working_weekend_days
            .iter()
            .find(|day| !is_weekend(**day))
        {
            return Err(Error::Contradiction(format!(
                "{day} is no Saturday or Sunday, so it is worked anyway"
            )));
        }
        Ok(calendar)
    }

    /// Reads `date,kind` rows, kind `holiday` or `workday`; lines that begin with `#` are comments. The years are those of
    /// the holidays.
    ///
    /// # Errors
    /// When a row can't be read, or as [`Calendar::try_new`].
    pub fn from_csv(text: &str) -> Result<Self, Error> {
        let (mut holidays, mut worked) = (Vec::new(), Vec::new());
        for (index, row) in text.lines().enumerate() {
            let row = row.trim();
            if row.is_empty() || row.starts_with('#') || row == "date,kind" {
                continue;
            }
            let wrong = |why: &str| Error::Row {
                line: index.saturating_add(1),
                why: why.to_owned(),
            };
            let (date, kind) = row
                .split_once(',')
                .ok_or_else(|| wrong("`date,kind` was expected"))?;
            let date: Date = date
                .parse()
                .map_err(|_| wrong("the date must be YYYY-MM-DD"))?;
            match kind {
                "holiday" => holidays.push(date),
                "workday" => worked.push(date),
                _ => return Err(wrong("the kind must be `holiday` or `workday`")),
            }
        }
        let years: BTreeSet<i16> = holidays.iter().map(|day| day.year()).collect();
        Self::try_new(years, holidays, worked)
    }

    /// Whether a day is worked.
    ///
    /// # Errors
    /// [`Error::YearUnknown`].
    pub fn is_working_day(&self, day: Date) -> Result<bool, Error> {
        if !self.years.contains(&day.year()) {
            return Err(Error::YearUnknown(day.year()));
        }
        Ok(self.working_weekend_days.contains(&day)
            || (!is_weekend(day) && !self.holidays.contains(&day)))
    }

    /// The `count`-th working day after `from`, which itself does not count; `from` for 0.
    ///
    /// # Errors
    /// [`Error::YearUnknown`] when the way leads into a year that is not known.
    pub fn add_working_days(&self, from: Date, count: u32) -> Result<Date, Error> {
        let (mut day, mut left) = (from, count);
        while left > 0 {
            day = day
                .checked_add(1.day())
                .map_err(|_| Error::YearUnknown(day.year()))?;
            if self.is_working_day(day)? {
                left = left.saturating_sub(1);
            }
        }
        Ok(day)
    }

    /// Working days after `from` up to and including `to`; 0 when `to` is not later.
    ///
    /// # Errors
    /// [`Error::YearUnknown`].
    pub fn working_days_between(&self, from: Date, to: Date) -> Result<u32, Error> {
        let (mut day, mut count) = (from, 0_u32);
        while day < to {
            day = day
                .checked_add(1.day())
                .map_err(|_| Error::YearUnknown(day.year()))?;
            if self.is_working_day(day)? {
                count = count.saturating_add(1);
            }
        }
        Ok(count)
    }
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn calendar() -> Calendar {
        Calendar::from_csv(include_str!("../../../../seeds/calendar.csv")).unwrap()
    }

    #[test]
    fn spring_festival_2026_is_from_15_to_23_february() {
        let calendar = calendar();
        for day in 15..=23 {
            assert_eq!(
                calendar.is_working_day(date(2026, 2, day)),
                Ok(false),
                "{day}"
            );
        }
        assert_eq!(
            calendar.is_working_day(date(2026, 2, 14)),
            Ok(true),
            "a Saturday that is worked"
        );
        assert_eq!(calendar.is_working_day(date(2026, 2, 24)), Ok(true));
        assert_eq!(
            calendar.add_working_days(date(2026, 2, 13), 2),
            Ok(date(2026, 2, 24))
        );
        assert_eq!(
            calendar.working_days_between(date(2026, 2, 13), date(2026, 2, 24)),
            Ok(2)
        );
    }

    #[test]
    fn a_year_without_notice_is_an_error() {
        assert_eq!(
            calendar().is_working_day(date(2027, 1, 4)),
            Err(Error::YearUnknown(2027))
        );
        assert_eq!(
            calendar().add_working_days(date(2026, 12, 30), 3),
            Err(Error::YearUnknown(2027))
        );
        assert_eq!(
            calendar().add_working_days(date(2026, 12, 30), 0),
            Ok(date(2026, 12, 30))
        );
    }

    #[test]
    fn every_year_has_about_250_working_days() {
        let calendar = calendar();
        for year in 2024..=2026 {
            let first = date(year - 1, 12, 31);
            let count = calendar
                .working_days_between(first, date(year, 12, 31))
                .unwrap();
            assert!((246..=253).contains(&count), "{year}: {count}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(matches!(
            Calendar::from_csv("2026-01-01,party"),
            Err(Error::Row { line: 1, .. })
        ));
        assert!(matches!(
            Calendar::from_csv("2026-01-01,holiday\n2026-01-05,workday"),
            Err(Error::Contradiction(_))
        ));
        assert!(matches!(
            Calendar::try_new([2026], [date(2025, 1, 1)], []),
            Err(Error::Contradiction(_))
        ));
    }
}
