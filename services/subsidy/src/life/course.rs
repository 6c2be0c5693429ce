//! The course of a loan as its events tell it, and what a grant earns over it.

use jiff::{Span, civil::Date};
use zhirong_kernel::{Fen, Ppm, rate::WHOLE};

use super::{Event, Terms, What};
use crate::plan::Error;

/// A time with one principal and one rate.
struct Stretch {
    from: Date,
    to: Date,
    principal: Fen,
    rate: Ppm,
}

/// The course of a loan, as far as it is subsidised.
pub(super) struct Course {
    pub(super) from: Date,
    pub(super) until: Date,
    stretches: Vec<Stretch>,
    /// Principal and rate now.
    pub(super) principal: Fen,
    pub(super) rate: Ppm,
    /// The last payment of interest.
    pub(super) interest_on: Option<Date>,
    pub(super) ended: Option<Date>,
    repaid: bool,
}

impl Course {
    pub(super) fn read(terms: &Terms, events: &[Event]) -> Result<Option<Self>, Error> {
        let mut found: Option<Self> = None;
        let mut matures = Date::MIN;
        for event in events {
            match (&mut found, event.what) {
                (None, What::Disbursed { amount, rate, matures_on }) => {
                    matures = matures_on;
                    found = Some(Self {
                        from: event.on,
                        until: event.on,
                        stretches: Vec::new(),
                        principal: amount,
                        rate,
                        interest_on: None,
                        ended: None,
                        repaid: false,
                    });
                }
                (Some(course), what) => {
                    course.close(event.on);
                    match what {
                        What::Repaid { principal, interest } => {
                            course.principal = course.principal.checked_sub(principal)?.max(Fen::ZERO);
                            if interest.is_positive() {
                                course.interest_on = course.interest_on.max(Some(event.on));
                            }
                        }
                        What::Terms { rate, matures_on } => (course.rate, matures) = (rate, matures_on),
                        What::Settled => {
                            course.ended = course.ended.or(Some(event.on));
                            course.repaid = true;
                        }
                        What::Renewed => {
                            course.ended = course.ended.or(Some(event.on));
                            course.repaid = false;
                        }
                        What::Defaulted { .. } => course.ended = course.ended.or(Some(event.on)),
                        What::Disbursed { .. } | What::Recovered { .. } => {}
                    }
                }
                (None, _) => {}
            }
        }
        let Some(mut course) = found else { return Ok(None) };
        let dates = |error: jiff::Error| Error::Dates(error.to_string());
        let longest = Span::new().try_months(terms.max_months).and_then(|span| course.from.checked_add(span));
        course.until = longest.map_err(dates)?.min(matures).min(course.ended.unwrap_or(Date::MAX)).max(course.from);
        course.close(Date::MAX);
        Ok(Some(course))
    }

    /// Ends the stretch that runs at a day, and begins the next.
    fn close(&mut self, on: Date) {
        let from = self.stretches.last().map_or(self.from, |stretch| stretch.to);
        let to = on.max(from);
        self.stretches.push(Stretch { from, to, principal: self.principal, rate: self.rate });
    }

    pub(super) fn too_short(&self, terms: &Terms) -> bool {
        self.repaid
            && self
                .ended
                .is_some_and(|ended| self.from.until(ended).is_ok_and(|lived| lived.get_days() < terms.least_days))
    }

    /// Earned before a day, rounded once.
    pub(super) fn earned(&self, terms: &Terms, day: Date) -> Result<Fen, Error> {
        let stop = day.min(self.until);
        let mut exact = 0_i128;
        for stretch in &self.stretches {
            let to = stretch.to.min(stop);
            if to <= stretch.from {
                continue;
            }
            let days = stretch.from.until(to).map_err(|error| Error::Dates(error.to_string()))?.get_days();
            let product = i128::from(stretch.principal.min(terms.principal_cap).get())
                .checked_mul(terms.rate(stretch.rate)?.get().into())
                .and_then(|product| product.checked_mul(days.into()))
                .and_then(|product| product.checked_add(exact));
            exact = product.ok_or(Error::OutOfRange)?;
        }
        let unit =
            i128::from(terms.day_count.days()).saturating_mul(i128::from(WHOLE)).saturating_mul(i128::from(WHOLE));
        let rounded = exact.checked_add(unit.saturating_div(2)).and_then(|sum| sum.checked_div(unit));
        let fen = rounded.and_then(|fen| i64::try_from(fen).ok()).ok_or(Error::OutOfRange)?;
        Ok(Fen::new(fen).min(terms.cap))
    }
}
