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
    #[error("the working days of {0} are not published here; load the State Council's notice first")]
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

/// New Year, Labour Day and National Day fall on the same days every year (全国年节及纪念日放假办法).
const EVERY_YEAR: [(i8, i8); 5] = [(1, 1), (5, 1), (10, 1), (10, 2), (10, 3)];

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
        for day in calendar.holidays.iter().chain(&calendar.working_weekend_days) {
            if !calendar.years.contains(&day.year()) {
                return Err(Error::Contradiction(format!("{day} is not in one of the calendar's years")));
            }
        }
        if let Some(day) = calendar.holidays.intersection(&calendar.working_weekend_days).next() {
            return Err(Error::Contradiction(format!("{day} can't be a holiday and a working day")));
        }
        if let Some(day) = calendar.working_weekend_days.iter().find(|day| !is_weekend(**day)) {
            return Err(Error::Contradiction(format!("{day} is no Saturday or Sunday, so it is worked anyway")));
        }
        Ok(calendar)
    }

    /// Reads `date,kind` rows, kind `holiday` or `workday`; lines that begin with `#` are comments. The years are those of
    /// the rows; each must have the holidays that every year has, so that a stray row never passes for a year's notice.
    ///
    /// # Errors
    /// When a row can't be read, a year is not complete, or as [`Calendar::try_new`].
    pub fn from_csv(text: &str) -> Result<Self, Error> {
        let (mut holidays, mut worked) = (Vec::new(), Vec::new());
        for (index, row) in text.lines().enumerate() {
            let row = row.trim();
            if row.is_empty() || row.starts_with('#') || row == "date,kind" {
                continue;
            }
            let wrong = |why: &str| Error::Row { line: index.saturating_add(1), why: why.to_owned() };
            let (date, kind) = row.split_once(',').ok_or_else(|| wrong("`date,kind` was expected"))?;
            let date: Date = date.parse().map_err(|_| wrong("the date must be YYYY-MM-DD"))?;
            match kind {
                "holiday" => holidays.push(date),
                "workday" => worked.push(date),
                _ => return Err(wrong("the kind must be `holiday` or `workday`")),
            }
        }
        let years: BTreeSet<i16> = holidays.iter().chain(&worked).map(|day| day.year()).collect();
        for year in &years {
            let listed = |(month, day): &(i8, i8)| {
                holidays.iter().any(|date| (date.year(), date.month(), date.day()) == (*year, *month, *day))
            };
            if let Some((month, day)) = EVERY_YEAR.iter().find(|fixed| !listed(fixed)) {
                return Err(Error::Contradiction(format!(
                    "{year} is not complete: {year}-{month:02}-{day:02} is always a holiday"
                )));
            }
        }
        Self::try_new(years, holidays, worked)
    }

    /// The last day up to which every day from this one is known; none when this one is not.
    #[must_use]
    pub fn known_through(&self, from: Date) -> Option<Date> {
        let known = (from.year()..=i16::MAX).take_while(|year| self.years.contains(year));
        known.last().and_then(|year| Date::new(year, 12, 31).ok())
    }

    /// The years it is complete for.
    #[must_use]
    pub const fn years(&self) -> &BTreeSet<i16> {
        &self.years
    }

    /// Public holidays.
    #[must_use]
    pub const fn holidays(&self) -> &BTreeSet<Date> {
        &self.holidays
    }

    /// Weekend days that are worked.
    #[must_use]
    pub const fn working_weekend_days(&self) -> &BTreeSet<Date> {
        &self.working_weekend_days
    }

    /// Whether a day is worked.
    ///
    /// # Errors
    /// [`Error::YearUnknown`].
    pub fn is_working_day(&self, day: Date) -> Result<bool, Error> {
        if !self.years.contains(&day.year()) {
            return Err(Error::YearUnknown(day.year()));
        }
        Ok(self.working_weekend_days.contains(&day) || (!is_weekend(day) && !self.holidays.contains(&day)))
    }

    /// The `count`-th working day after `from`, which itself does not count; `from` for 0.
    ///
    /// # Errors
    /// [`Error::YearUnknown`] when the way leads into a year that is not known.
    pub fn add_working_days(&self, from: Date, count: u32) -> Result<Date, Error> {
        let (mut day, mut left) = (from, count);
        while left > 0 {
            day = day.checked_add(1.day()).map_err(|_| Error::YearUnknown(day.year()))?;
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
            day = day.checked_add(1.day()).map_err(|_| Error::YearUnknown(day.year()))?;
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
    use proptest::prelude::*;

    use super::*;

    fn calendar() -> Calendar {
        Calendar::from_csv(include_str!("../../../../seeds/calendar.csv")).unwrap()
    }

    #[test]
    fn spring_festival_2026_is_from_15_to_23_february() {
        let calendar = calendar();
        for day in 15..=23 {
            assert_eq!(calendar.is_working_day(date(2026, 2, day)), Ok(false), "{day}");
        }
        assert_eq!(calendar.is_working_day(date(2026, 2, 14)), Ok(true), "a Saturday that is worked");
        assert_eq!(calendar.is_working_day(date(2026, 2, 24)), Ok(true));
        assert_eq!(calendar.add_working_days(date(2026, 2, 13), 2), Ok(date(2026, 2, 24)));
        assert_eq!(calendar.working_days_between(date(2026, 2, 13), date(2026, 2, 24)), Ok(2));
    }

    #[test]
    fn it_is_known_as_far_as_no_year_is_missing() {
        let calendar = calendar();
        assert_eq!(calendar.known_through(date(2019, 3, 1)), Some(date(2026, 12, 31)));
        assert_eq!(calendar.known_through(date(2027, 1, 1)), None);
        let gap = Calendar::try_new([2026, 2028], [], []).unwrap();
        assert_eq!(gap.known_through(date(2026, 11, 1)), Some(date(2026, 12, 31)));
        assert_eq!(gap.known_through(date(2027, 11, 1)), None);
    }

    #[test]
    fn a_year_without_notice_is_an_error() {
        assert_eq!(calendar().is_working_day(date(2027, 1, 4)), Err(Error::YearUnknown(2027)));
        assert_eq!(calendar().add_working_days(date(2026, 12, 30), 3), Err(Error::YearUnknown(2027)));
        assert_eq!(calendar().add_working_days(date(2026, 12, 30), 0), Ok(date(2026, 12, 30)));
    }

    #[test]
    fn every_year_has_about_250_working_days() {
        let calendar = calendar();
        for year in 2019..=2026 {
            let first = date(year - 1, 12, 31);
            let count = calendar.working_days_between(first, date(year, 12, 31)).unwrap();
            assert!((246..=253).contains(&count), "{year}: {count}");
        }
    }

    #[test]
    fn the_seed_agrees_with_the_week_and_the_law() {
        let text = include_str!("../../../../seeds/calendar.csv");
        let calendar = calendar();
        let (mut holidays, mut worked) = (0, 0);
        for row in text.lines().filter(|row| row.starts_with("20")) {
            let (day, kind) = row.split_once(',').unwrap();
            let day: Date = day.parse().unwrap();
            if kind == "workday" {
                worked += 1;
                assert!(is_weekend(day), "{day} is made up for on a weekend");
            } else {
                holidays += 1;
            }
            assert_eq!(calendar.is_working_day(day), Ok(kind == "workday"), "{day}");
        }
        assert_eq!((holidays, worked), (calendar.holidays.len(), calendar.working_weekend_days.len()));
        // A working day freed beyond the statutory ones is worked on a weekend instead, so that the year's balance stays.
        for year in 2019..=2026 {
            let freed = calendar.holidays.iter().filter(|day| day.year() == year && !is_weekend(**day)).count();
            let made_up = calendar.working_weekend_days.iter().filter(|day| day.year() == year).count();
            let statutory = match year {
                // Spring Festival was prolonged by a Friday, and the Saturday made up for it was no longer worked.
                2020 => 11 + 2,
                2025.. => 13,
                _ => 11,
            };
            assert_eq!(freed - made_up, statutory, "{year}: {freed} freed, {made_up} made up");
        }
    }

    #[test]
    fn a_year_with_a_stray_row_is_not_taken_for_known() {
        let stray = format!("{}2027-01-01,holiday\n", include_str!("../../../../seeds/calendar.csv"));
        let error = Calendar::from_csv(&stray).unwrap_err();
        assert!(matches!(&error, Error::Contradiction(why) if why.contains("2027-05-01")), "{error}");
        assert!(Calendar::from_csv("2026-02-14,workday").is_err());
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(matches!(Calendar::from_csv("2026-01-01,party"), Err(Error::Row { line: 1, .. })));
        assert!(matches!(
            Calendar::try_new([2026], [date(2026, 1, 1)], [date(2026, 1, 5)]),
            Err(Error::Contradiction(_))
        ));
        assert!(matches!(
            Calendar::try_new([2026], [date(2026, 1, 3)], [date(2026, 1, 3)]),
            Err(Error::Contradiction(_))
        ));
        assert!(matches!(Calendar::try_new([2026], [date(2025, 1, 1)], []), Err(Error::Contradiction(_))));
    }

    proptest! {
        /// Counting forward and counting between are each other's inverse.
        #[test]
        fn adding_and_counting_agree(start in 0_i32..2500, count in 0_u32..200) {
            let calendar = calendar();
            let from = date(2019, 1, 1).checked_add(start.days()).unwrap();
            let to = calendar.add_working_days(from, count).unwrap();
            prop_assert_eq!(calendar.working_days_between(from, to), Ok(count));
            prop_assert!(count == 0 || calendar.is_working_day(to).unwrap());
        }
    }
}
