//! The loan prime rate (LPR, 贷款市场报价利率), published by the National Interbank Funding Center on the 20th of a month or the
//! next working day.

use std::fmt;

use jiff::civil::Date;

use crate::rate::Ppm;

/// Which of the two rates that are published together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tenor {
    /// For one year (一年期).
    #[default]
    OneYear,
    /// For more than five years (五年期以上).
    OverFiveYears,
}

impl fmt::Display for Tenor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::OneYear => "one-year LPR",
            Self::OverFiveYears => "over-five-year LPR",
        })
    }
}

/// Why a rate can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Before the first publication.
    #[error("no LPR was in force on {0}; the first here is of {1}")]
    TooEarly(Date, Date),
    /// Beyond what is known.
    #[error(
        "the LPR of {asked} is not known here; the table is known to be right until {known_through}: enter later publications"
    )]
    Unknown {
        /// The day asked for.
        asked: Date,
        /// The last day the table covers.
        known_through: Date,
    },
    /// The table can't be used.
    #[error("{0}")]
    Table(String),
}

/// One published change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Day of publication, from which it is in force.
    pub published_on: Date,
    /// For one year.
    pub one_year: Ppm,
    /// For more than five years.
    pub five_year: Ppm,
}

impl Change {
    /// The rate of a tenor.
    #[must_use]
    pub const fn rate(&self, tenor: Tenor) -> Ppm {
        match tenor {
            Tenor::OneYear => self.one_year,
            Tenor::OverFiveYears => self.five_year,
        }
    }
}

/// All changes, and until when they are known to be all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LprHistory {
    changes: Vec<Change>,
    known_through: Date,
}

impl LprHistory {
    /// A history; `changes` in order of day.
    ///
    /// # Errors
    /// When there are none, they are not in order, a rate is missing (zero) or not between 0 and 24 %, or `known_through` lies
    /// before the last. So whoever has a table has both rates of each of its days.
    pub fn try_new(changes: Vec<Change>, known_through: Date) -> Result<Self, Error> {
        let Some(last) = changes.last() else {
            return Err(Error::Table("an LPR table needs at least one publication".to_owned()));
        };
        if known_through < last.published_on {
            return Err(Error::Table(format!("known_through {known_through} lies before {}", last.published_on)));
        }
        for (earlier, later) in changes.iter().zip(changes.iter().skip(1)) {
            if later.published_on <= earlier.published_on {
                return Err(Error::Table(format!("{} must come after {}", later.published_on, earlier.published_on)));
            }
        }
        for change in &changes {
            for tenor in [Tenor::OneYear, Tenor::OverFiveYears] {
                let ppm = change.rate(tenor).get();
                if !(1..=240_000).contains(&ppm) {
                    let day = change.published_on;
                    return Err(Error::Table(format!("the {tenor} of {day}, {ppm} ppm, is not between 0 and 24 %")));
                }
            }
        }
        Ok(Self { changes, known_through })
    }

    /// Reads `published_on,one_year_ppm,five_year_ppm[,…]` rows with a comment `# known_through: YYYY-MM-DD`.
    ///
    /// # Errors
    /// When a row can't be read, or as [`LprHistory::try_new`].
    pub fn from_csv(text: &str) -> Result<Self, Error> {
        let mut known_through = None;
        let mut changes = Vec::new();
        for row in text.lines().map(str::trim) {
            if let Some(comment) = row.strip_prefix('#') {
                if let Some(day) = comment.trim().strip_prefix("known_through:") {
                    known_through = day.trim().parse().ok();
                }
                continue;
            }
            if row.is_empty() || row.starts_with("published_on") {
                continue;
            }
            let wrong = || Error::Table(format!("`{row}` is not `published_on,one_year_ppm,five_year_ppm`"));
            let mut cells = row.split(',');
            let mut cell = || cells.next().ok_or_else(wrong);
            changes.push(Change {
                published_on: cell()?.parse().map_err(|_| wrong())?,
                one_year: cell()?.parse().map_err(|_| wrong())?,
                five_year: cell()?.parse().map_err(|_| wrong())?,
            });
        }
        let known_through = known_through
            .ok_or_else(|| Error::Table("a comment `# known_through: YYYY-MM-DD` is missing".to_owned()))?;
        Self::try_new(changes, known_through)
    }

    /// All changes in order of day.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The last day the table is known to be right for.
    #[must_use]
    pub fn known_through(&self) -> Date {
        self.known_through
    }

    /// The publication in force on a day.
    ///
    /// # Errors
    /// [`Error::TooEarly`] or [`Error::Unknown`].
    pub fn in_force(&self, day: Date) -> Result<Change, Error> {
        if day > self.known_through {
            return Err(Error::Unknown { asked: day, known_through: self.known_through });
        }
        let first = self.changes.first().map_or(day, |change| change.published_on);
        self.changes.iter().rev().find(|change| change.published_on <= day).copied().ok_or(Error::TooEarly(day, first))
    }

    /// The latest publication known on a day: as [`Self::in_force`], but past the end of the table the last one. For prices,
    /// which follow the latest published rate; entitlements use [`Self::in_force`].
    ///
    /// # Errors
    /// [`Error::TooEarly`].
    pub fn latest_known(&self, day: Date) -> Result<Change, Error> {
        self.in_force(day.min(self.known_through))
    }

    /// The LPR in force at the end of a year.
    ///
    /// # Errors
    /// As [`Self::in_force`].
    pub fn at_end_of(&self, year: i16, tenor: Tenor) -> Result<Ppm, Error> {
        let last = Date::new(year, 12, 31).map_err(|_| Error::Table(format!("there is no year {year}")))?;
        self.in_force(last).map(|change| change.rate(tenor))
    }

    /// The one-year LPR in force at the end of a year.
    ///
    /// # Errors
    /// As [`Self::in_force`].
    pub fn one_year_at_end_of(&self, year: i16) -> Result<Ppm, Error> {
        self.at_end_of(year, Tenor::OneYear)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn history() -> LprHistory {
        LprHistory::from_csv(include_str!("../../../../seeds/lpr.csv")).unwrap()
    }

    #[test]
    fn the_rates_at_the_ends_of_years() {
        let history = history();
        assert_eq!(history.one_year_at_end_of(2021), Ok(Ppm::new(38_000)));
        assert_eq!(history.one_year_at_end_of(2023), Ok(Ppm::new(34_500)));
        assert_eq!(history.one_year_at_end_of(2024), Ok(Ppm::new(31_000)));
        assert_eq!(history.one_year_at_end_of(2025), Ok(Ppm::new(30_000)));
    }

    #[test]
    fn each_tenor_has_its_own_rate_at_the_end_of_a_year() {
        let history = history();
        for (year, one, over_five) in [(2022, 36_500, 43_000), (2023, 34_500, 42_000), (2024, 31_000, 36_000)] {
            assert_eq!(history.at_end_of(year, Tenor::OneYear), Ok(Ppm::new(one)));
            assert_eq!(history.at_end_of(year, Tenor::OverFiveYears), Ok(Ppm::new(over_five)));
        }
        assert!(matches!(history.at_end_of(2026, Tenor::OverFiveYears), Err(Error::Unknown { .. })));
        assert!(matches!(history.at_end_of(2018, Tenor::OverFiveYears), Err(Error::TooEarly(..))));
    }

    #[test]
    fn a_table_without_one_of_the_rates_is_refused_by_its_name() {
        let refused = |row: &str| LprHistory::from_csv(&format!("# known_through: 2025-12-31\n{row}")).unwrap_err();
        let said = |row: &str| refused(row).to_string();
        assert_eq!(
            said("2025-05-20,30000,0"),
            "the over-five-year LPR of 2025-05-20, 0 ppm, is not between 0 and 24 %"
        );
        assert_eq!(said("2025-05-20,0,35000"), "the one-year LPR of 2025-05-20, 0 ppm, is not between 0 and 24 %");
        assert!(said("2025-05-20,30000").contains("`2025-05-20,30000` is not"));
    }

    #[test]
    fn a_publication_counts_from_its_day() {
        let history = history();
        assert_eq!(history.in_force(date(2021, 12, 19)).unwrap().one_year, Ppm::new(38_500));
        assert_eq!(history.in_force(date(2021, 12, 20)).unwrap().one_year, Ppm::new(38_000));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let history = history();
        assert!(matches!(history.in_force(date(2019, 8, 19)), Err(Error::TooEarly(..))));
        assert!(matches!(history.one_year_at_end_of(2026), Err(Error::Unknown { .. })));
        for day in [date(2019, 8, 20), date(2025, 12, 31)] {
            assert!(history.in_force(day).is_ok(), "{day} is the edge of what is known");
        }
        assert!(matches!(history.in_force(date(2026, 1, 1)), Err(Error::Unknown { .. })));
        assert!(matches!(history.one_year_at_end_of(2018), Err(Error::TooEarly(..))));
        assert!(history.one_year_at_end_of(i16::MAX).is_err());
        assert!(history.one_year_at_end_of(i16::MIN).is_err());
        assert_eq!(history.latest_known(date(2026, 11, 1)).unwrap().one_year, Ppm::new(30_000));
    }

    #[test]
    fn a_table_out_of_order_is_refused() {
        let text = "# known_through: 2025-12-31\n2025-05-20,30000,35000\n2024-10-21,31000,36000";
        assert!(matches!(LprHistory::from_csv(text), Err(Error::Table(_))));
        assert!(matches!(LprHistory::from_csv("2025-05-20,30000,35000"), Err(Error::Table(_))));
    }

    #[test]
    fn the_seed_says_which_rates_were_checked() {
        let text = include_str!("../../../../seeds/lpr.csv");
        let checked: Vec<&str> =
            text.lines().filter(|row| row.ends_with(",checked against the news of the day")).collect();
        let days: Vec<&str> = checked.iter().map(|row| &row[..10]).collect();
        assert_eq!(days, ["2021-12-20", "2023-08-21", "2024-10-21"], "in force at the ends of 2021, 2023 and 2024");
        let rest = text.lines().filter(|row| row.starts_with("20") && row.ends_with(",general knowledge")).count();
        assert_eq!(checked.len() + rest, history().changes().len());
    }

    #[test]
    fn the_seed_publishes_on_the_20th_or_the_next_working_day() {
        let calendar = crate::calendar::Calendar::from_csv(include_str!("../../../../seeds/calendar.csv")).unwrap();
        for change in history().changes() {
            let day = change.published_on;
            let eve = date(day.year(), day.month(), 19);
            assert_eq!(calendar.add_working_days(eve, 1), Ok(day));
        }
    }
}
