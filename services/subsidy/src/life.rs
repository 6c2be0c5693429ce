//! What a grant has earned, and what of it is due, from what really happened to the loan.
//!
//! A day earns principal × rate / 360 (or 365), with the principal still owed and the rate then in force. What is earned up to
//! the last payment of interest is due, and never more than the interest that was paid, which [`crate::sharing`] gives out to
//! the grants of a loan. Everything is computed anew from the events, so that it does not matter how often or when it is
//! computed.

mod course;

use jiff::civil::Date;
use zhirong_kernel::{Fen, Ppm, interest::DayCount};

use self::course::Course;
use crate::{
    plan::{self, Error, ExactRate},
    policy::{Benefit, Spec},
};

/// Something that happened to a loan after its approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Value date.
    pub on: Date,
    /// What.
    pub what: What,
}

/// What can happen to a loan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It was paid out.
    Disbursed {
        /// How much.
        amount: Fen,
        /// At which yearly rate.
        rate: Ppm,
        /// Its maturity.
        matures_on: Date,
    },
    /// Principal or interest was paid.
    Repaid {
        /// Principal.
        principal: Fen,
        /// Interest.
        interest: Fen,
    },
    /// Rate or maturity changed.
    Terms {
        /// The new rate.
        rate: Ppm,
        /// The new maturity.
        matures_on: Date,
    },
    /// Nothing is owed any more.
    Settled,
    /// Another loan took its place.
    Renewed,
    /// It is in default.
    Defaulted {
        /// Principal lost.
        principal: Fen,
        /// Interest owed.
        interest: Fen,
    },
    /// Something came back after the default.
    Recovered {
        /// How much.
        amount: Fen,
    },
}

/// The terms of one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What is paid.
    pub benefit: Benefit,
    /// The offered yearly rate; for a share of the interest it follows the loan's rate.
    pub offered: ExactRate,
    /// What grants before it take of the loan's rate; for a share of the fee, of the fee.
    pub taken: ExactRate,
    /// The fee of the guarantee.
    pub fee: Fen,
    /// Most of the principal that counts.
    pub principal_cap: Fen,
    /// Most that it may get.
    pub cap: Fen,
    /// Days in the year of account.
    pub day_count: DayCount,
    /// Longest time, months.
    pub max_months: i32,
    /// A loan repaid in full within fewer days gets nothing.
    pub least_days: i32,
}

impl Terms {
    /// The terms of a policy, with what the approval fixed.
    #[must_use]
    pub fn new(spec: &Spec, offered: ExactRate, taken: ExactRate, cap: Fen, fee: Fen) -> Self {
        Self {
            benefit: spec.benefit,
            offered,
            taken,
            fee,
            principal_cap: spec.principal_cap,
            cap,
            day_count: spec.day_count,
            max_months: spec.max_months,
            least_days: spec.least_days,
        }
    }

    /// Whether it pays a part of the loan's interest, and not of a fee.
    #[must_use]
    pub const fn rests_on_interest(&self) -> bool {
        !matches!(self.benefit, Benefit::GuaranteeFeeShare(_))
    }

    fn rate(&self, loan_rate: Ppm) -> Result<ExactRate, Error> {
        let offered = match self.benefit {
            Benefit::InterestShare(_) => plan::offered_rate(self.benefit, None, loan_rate)?,
            _ => self.offered,
        };
        plan::bounded_rate(offered, loan_rate, self.taken)
    }
}

/// Where a grant stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it will come to, if nothing else happens.
    pub planned: Fen,
    /// Earned by the day.
    pub earned: Fen,
    /// Of it due, paid or not.
    pub due: Fen,
    /// First day.
    pub from: Date,
    /// Day after the last one.
    pub until: Date,
    /// Principal that counts now.
    pub principal: Fen,
    /// The rate now.
    pub rate: ExactRate,
    /// Whether the loan has ended.
    pub ended: bool,
}

/// All interest reported as paid by a day, that day included.
///
/// # Errors
/// When the sum does not fit.
pub fn interest_paid(events: &[Event], by: Date) -> Result<Fen, Error> {
    Ok(Fen::sum(events.iter().filter(|event| event.on <= by).filter_map(|event| match event.what {
        What::Repaid { interest, .. } => Some(interest),
        _ => None,
    }))?)
}

/// What a grant has earned of interest by the last payment of interest, whoever's it is. Nothing when no interest was paid, the
/// loan was repaid too early, or the grant does not rest on interest.
///
/// # Errors
/// When an amount can't be computed.
pub fn earned_when_paid(terms: &Terms, events: &[Event], day: Date) -> Result<Fen, Error> {
    let Some(course) = Course::read(terms, events)? else { return Ok(Fen::ZERO) };
    match course.interest_on {
        Some(paid_on) if terms.rests_on_interest() && !course.too_short(terms) => {
            course.earned(terms, paid_on.min(day))
        }
        _ => Ok(Fen::ZERO),
    }
}

/// Whether the loan was repaid in full too early for the grant, which gets nothing then.
///
/// # Errors
/// When the dates are out of range.
pub fn is_too_short(terms: &Terms, events: &[Event]) -> Result<bool, Error> {
    Ok(Course::read(terms, events)?.is_some_and(|course| course.too_short(terms)))
}

/// The standing of a grant after the events, at the beginning of a day. `due` is what it is due of the interest that was paid.
/// None when the loan was not paid out.
///
/// # Errors
/// When an amount can't be computed.
pub fn standing(terms: &Terms, events: &[Event], day: Date, due: Fen) -> Result<Option<Standing>, Error> {
    let Some(course) = Course::read(terms, events)? else { return Ok(None) };
    let (principal, rate) = (course.principal.min(terms.principal_cap), terms.rate(course.rate)?);
    let base = Standing {
        planned: Fen::ZERO,
        earned: Fen::ZERO,
        due: Fen::ZERO,
        from: course.from,
        until: course.until,
        principal,
        rate,
        ended: course.ended.is_some(),
    };
    if course.too_short(terms) {
        return Ok(Some(base));
    }
    if let Benefit::GuaranteeFeeShare(share) = terms.benefit {
        let amount = plan::fee_subsidy(share, terms.fee, terms.taken)?.min(terms.cap);
        return Ok(Some(Standing { planned: amount, earned: amount, due: amount, ..base }));
    }
    if base.ended {
        // No more interest will be paid: what is not due by now never will be.
        return Ok(Some(Standing { planned: due, earned: due, due, ..base }));
    }
    let earned = course.earned(terms, day)?.max(due);
    let planned = course.earned(terms, course.until)?.max(earned);
    Ok(Some(Standing { planned, earned, due, ..base }))
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::{ToSpan as _, civil::date};
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn terms() -> Terms {
        Terms {
            benefit: Benefit::FixedRate(Ppm::new(18_000)),
            offered: ExactRate::new(18_000_000_000),
            taken: ExactRate::new(0),
            fee: Fen::ZERO,
            principal_cap: Fen::new(1_000_000_000),
            cap: Fen::new(1_000_000_000),
            day_count: DayCount::Actual360,
            max_months: 12,
            least_days: 0,
        }
    }

    pub(crate) fn out() -> Event {
        let what =
            What::Disbursed { amount: Fen::new(100_000_000), rate: Ppm::new(43_500), matures_on: date(2027, 3, 1) };
        Event { on: date(2026, 3, 1), what }
    }

    pub(crate) fn repaid(on: Date, principal: i64, interest: i64) -> Event {
        Event { on, what: What::Repaid { principal: Fen::new(principal), interest: Fen::new(interest) } }
    }

    fn at(terms: &Terms, events: &[Event], day: Date) -> (i64, i64, i64) {
        let due = crate::sharing::due_alone(terms, events, day).unwrap();
        let standing = standing(terms, events, day, due).unwrap().unwrap();
        (standing.planned.get(), standing.earned.get(), standing.due.get())
    }

    #[test]
    fn days_earn_and_interest_paid_makes_it_due() {
        let (year, day) = (1_825_000, 5_000);
        assert_eq!(at(&terms(), &[out()], date(2026, 3, 1)), (year, 0, 0));
        assert_eq!(at(&terms(), &[out()], date(2026, 3, 31)), (year, 30 * day, 0));
        let paid = [out(), repaid(date(2026, 3, 21), 0, 240_000)];
        assert_eq!(at(&terms(), &paid, date(2026, 3, 31)), (year, 30 * day, 20 * day));
        let little = [out(), repaid(date(2026, 3, 21), 0, 70_000)];
        assert_eq!(at(&terms(), &little, date(2026, 3, 31)), (year, 30 * day, 70_000), "never above the interest paid");
        assert_eq!(at(&terms(), &[out()], date(2030, 1, 1)), (year, year, 0));
        assert_eq!(standing(&terms(), &[], date(2030, 1, 1), Fen::ZERO), Ok(None));
    }

    #[test]
    fn principal_and_rate_change_it_from_that_day_on() {
        let half = [out(), repaid(date(2026, 3, 11), 50_000_000, 100_000)];
        assert_eq!(at(&terms(), &half, date(2026, 3, 21)).1, 10 * 5_000 + 10 * 2_500);
        let change = What::Terms { rate: Ppm::new(9_000), matures_on: date(2026, 9, 1) };
        let cheaper = [out(), Event { on: date(2026, 3, 11), what: change }];
        // From then on the loan's own rate of 0.9 % bounds it, and it ends half a year earlier.
        assert_eq!(at(&terms(), &cheaper, date(2026, 3, 21)).1, 10 * 5_000 + 10 * 2_500);
        assert_eq!(at(&terms(), &cheaper, date(2026, 3, 21)).0, 10 * 5_000 + 174 * 2_500);
        let share = Terms { benefit: Benefit::InterestShare(Ppm::new(500_000)), ..terms() };
        assert_eq!(at(&share, &cheaper, date(2026, 3, 21)).1, 60_417 + 12_500);
    }

    #[test]
    fn the_end_of_the_loan_ends_it() {
        let settled = Event { on: date(2026, 3, 11), what: What::Settled };
        let early = [out(), repaid(date(2026, 3, 11), 100_000_000, 120_000), settled];
        assert_eq!(at(&terms(), &early, date(2026, 5, 1)), (50_000, 50_000, 50_000));
        let strict = Terms { least_days: 11, ..terms() };
        assert_eq!(at(&strict, &early, date(2026, 5, 1)), (0, 0, 0));
        let renewed = Event { on: date(2026, 3, 11), what: What::Renewed };
        let renewal = [early[0], early[1], settled, renewed];
        assert_eq!(
            at(&strict, &renewal, date(2026, 5, 1)),
            (50_000, 50_000, 50_000),
            "a renewal is no early repayment"
        );
        let lost = What::Defaulted { principal: Fen::new(100_000_000), interest: Fen::new(120_000) };
        let default = [out(), repaid(date(2026, 3, 6), 0, 60_000), Event { on: date(2026, 3, 11), what: lost }];
        assert_eq!(at(&terms(), &default, date(2026, 5, 1)), (25_000, 25_000, 25_000), "unpaid interest earns nothing");
    }

    #[test]
    fn an_extension_goes_on_up_to_the_policys_months() {
        let extended = What::Terms { rate: Ppm::new(43_500), matures_on: date(2028, 3, 1) };
        let events = [out(), Event { on: date(2026, 12, 1), what: extended }];
        assert_eq!(at(&terms(), &events, date(2028, 3, 1)).1, 365 * 5_000);
        let longer = Terms { max_months: 18, ..terms() };
        assert_eq!(at(&longer, &events, date(2028, 3, 1)).1, 549 * 5_000);
    }

    #[test]
    fn a_share_of_the_guarantee_fee_is_due_once_the_loan_is_paid_out() {
        let fee = Terms { benefit: Benefit::GuaranteeFeeShare(Ppm::new(500_000)), fee: Fen::new(1_000_001), ..terms() };
        assert_eq!(at(&fee, &[out()], date(2026, 3, 1)), (500_001, 500_001, 500_001));
    }

    /// Random courses: repayments, changes of terms, and an end, on rising days.
    pub(crate) fn course() -> impl Strategy<Value = Vec<Event>> {
        let one = (1_i64..90, 0_u8..5, 0_i64..40_000_000, 0_i64..2_000_000, 0_i64..80_000);
        prop::collection::vec(one, 0..8).prop_map(|steps| {
            let (mut on, mut events) = (date(2026, 3, 1), vec![out()]);
            for (days, kind, principal, interest, rate) in steps {
                on = on.checked_add(days.days()).unwrap();
                let what = match kind {
                    0..=2 => What::Repaid { principal: Fen::new(principal), interest: Fen::new(interest) },
                    3 => What::Terms { rate: Ppm::new(rate), matures_on: date(2027, 6, 1) },
                    _ => What::Settled,
                };
                events.push(Event { on, what });
                if what == What::Settled {
                    break;
                }
            }
            events
        })
    }

    proptest! {
        #[test]
        fn the_sum_of_the_days_is_the_whole_and_nothing_is_above_the_interest(events in course(), cap in 1_i64..3_000_000) {
            let terms = Terms { cap: Fen::new(cap), ..terms() };
            let (mut day, mut before, mut sum) = (date(2026, 3, 1), 0, 0);
            while day < date(2027, 12, 1) {
                let known: Vec<_> = events.iter().copied().filter(|event| event.on <= day).collect();
                let (planned, earned, due) = at(&terms, &known, day);
                let paid = interest_paid(&known, day).unwrap().get();
                prop_assert!(due <= earned && earned <= planned && planned <= cap && due <= paid, "{planned} {earned} {due}");
                sum += earned - before;
                before = earned;
                day = day.tomorrow().unwrap();
            }
            let (planned, earned, _) = at(&terms, &events, day);
            prop_assert_eq!(sum, earned);
            prop_assert_eq!(planned, earned);
        }
    }
}
