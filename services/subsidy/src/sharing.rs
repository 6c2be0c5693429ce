//! The interest that was paid, given out to the grants of a loan: together they are never due more than it.
//!
//! Payment by payment it goes to the grants in the order in which they take of the loan's rate: each is due what it has earned
//! by then, as far as interest is there that none has used. What is due stays due, whatever is paid later; the interest that
//! nobody used is there for the next payment. A grant uses no interest that it can't receive: nothing while it waits for money,
//! and no more than it holds.
//!
//! What is due already only keeps others from using it, so that it does not matter how often or when it is computed.

use jiff::civil::Date;
use zhirong_kernel::Fen;

use crate::{
    life::{self, Event, Terms, What},
    plan::Error,
};

/// A grant's claim on the interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its terms.
    pub terms: Terms,
    /// What it is due already, paid or not.
    pub had: Fen,
    /// The most that it can come to be due: what it holds, with what its budget has left.
    pub most: Fen,
    /// Whether it waits for money. It uses no interest, and is told what it would get of the interest that is left.
    pub waits: bool,
}

/// What each grant is due after the events, at the beginning of a day, in the order of the claims.
///
/// # Errors
/// When an amount can't be computed.
pub fn due(claims: &[Claim], events: &[Event], day: Date) -> Result<Vec<Fen>, Error> {
    let too_short =
        claims.iter().map(|claim| life::is_too_short(&claim.terms, events)).collect::<Result<Vec<_>, _>>()?;
    let nothing = |claim: &Claim| Claim { had: Fen::ZERO, most: Fen::ZERO, ..*claim };
    let all = || claims.iter().zip(&too_short);
    let served: Vec<Claim> =
        all().map(|(claim, short)| if *short || claim.waits { nothing(claim) } else { *claim }).collect();
    let due = give_out(&served, events, day)?;
    if claims.iter().all(|claim| !claim.waits) {
        return Ok(due);
    }
    let hope = |((claim, short), due): ((&Claim, &bool), Fen)| match claim.waits {
        true if *short => nothing(claim),
        true => Claim { had: Fen::ZERO, most: claim.terms.cap, ..*claim },
        false => Claim { had: due, most: due, ..*claim },
    };
    give_out(&all().zip(due).map(hope).collect::<Vec<_>>(), events, day)
}

/// What one of the grants would be due if it held enough, beside what each is due: of the interest that is left it gets what it has
/// earned.
///
/// # Errors
/// When an amount can't be computed.
pub fn hoped(claims: &[Claim], due: &[Fen], place: usize, events: &[Event], day: Date) -> Result<Fen, Error> {
    let kept = claims.iter().zip(due).enumerate().map(|(other, (claim, due))| {
        let had = if claim.waits { Fen::ZERO } else { *due };
        Claim { had, most: if other == place { claim.terms.cap } else { had }, ..*claim }
    });
    let found = give_out(&kept.collect::<Vec<_>>(), events, day)?;
    Ok(found.get(place).copied().unwrap_or(Fen::ZERO))
}

/// What a grant is due that has the loan's interest to itself.
///
/// # Errors
/// When an amount can't be computed.
pub fn due_alone(terms: &Terms, events: &[Event], day: Date) -> Result<Fen, Error> {
    let claim = Claim { terms: *terms, had: Fen::ZERO, most: terms.cap, waits: false };
    Ok(due(&[claim], events, day)?.first().copied().unwrap_or(Fen::ZERO))
}

fn give_out(claims: &[Claim], events: &[Event], day: Date) -> Result<Vec<Fen>, Error> {
    let mut due: Vec<Fen> = claims.iter().map(|claim| claim.had).collect();
    let (mut paid, mut known) = (Fen::ZERO, Vec::with_capacity(events.len()));
    for event in events {
        known.push(*event);
        if let What::Repaid { interest, .. } = event.what
            && event.on <= day
        {
            paid = paid.checked_add(interest)?;
        }
        let mut left = paid.checked_sub(Fen::sum(due.iter().copied())?)?;
        for (claim, due) in claims.iter().zip(&mut due) {
            if !left.is_positive() {
                break;
            }
            let earned = life::earned_when_paid(&claim.terms, &known, day)?;
            let more = earned.min(claim.most).checked_sub(*due)?.min(left);
            if more.is_positive() {
                *due = due.checked_add(more)?;
                left = left.checked_sub(more)?;
            }
        }
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use zhirong_kernel::Ppm;

    use super::*;
    use crate::{
        life::tests::{course, out, repaid, terms},
        plan::ExactRate,
        policy::Benefit,
    };

    /// A grant of so many fen a day on a million.
    fn claim(fen_a_day: i64, most: i64) -> Claim {
        let offered = ExactRate::new(fen_a_day * 3_600_000);
        let terms = Terms { benefit: Benefit::FixedRate(Ppm::new(1)), offered, ..terms() };
        Claim { terms, had: Fen::ZERO, most: Fen::new(most), waits: false }
    }

    fn given(claims: &[Claim], events: &[Event]) -> Vec<i64> {
        due(claims, events, date(2027, 3, 1)).unwrap().iter().map(|due| due.get()).collect()
    }

    const ALL: i64 = 1_000_000_000;

    #[test]
    fn what_a_later_grant_is_due_stays_when_an_earlier_one_has_earned_more() {
        let both = [claim(1_000, ALL), claim(1_000, ALL)];
        let first = [out(), repaid(date(2026, 3, 21), 0, 30_000)];
        assert_eq!(given(&both, &first), [20_000, 10_000]);
        let second = [first[0], first[1], repaid(date(2026, 5, 30), 0, 1)];
        assert_eq!(given(&both, &second), [20_001, 10_000]);
        let known = [Claim { had: Fen::new(20_000), ..both[0] }, Claim { had: Fen::new(10_000), ..both[1] }];
        assert_eq!(given(&known, &second), [20_001, 10_000], "however often it is computed");
    }

    #[test]
    fn who_waits_or_holds_too_little_uses_no_interest() {
        let events = [out(), repaid(date(2026, 3, 21), 0, 30_000)];
        assert_eq!(given(&[claim(1_000, 5_000), claim(1_000, ALL)], &events), [5_000, 20_000]);
        let waiting = Claim { waits: true, ..claim(1_000, 0) };
        assert_eq!(given(&[waiting, claim(1_000, ALL)], &events), [10_000, 20_000], "it would get what is left");
        let served = [claim(1_000, ALL), Claim { had: Fen::new(20_000), ..claim(1_000, ALL) }];
        assert_eq!(given(&served, &events), [10_000, 20_000]);
    }

    #[test]
    fn who_holds_too_little_hopes_for_the_interest_that_is_left() {
        let events = [out(), repaid(date(2026, 3, 21), 0, 30_000)];
        let claims = [claim(1_000, 5_000), claim(1_000, 12_000), Claim { waits: true, ..claim(1_000, 0) }];
        let day = date(2027, 3, 1);
        let due = due(&claims, &events, day).unwrap();
        assert_eq!(due[..2], [Fen::new(5_000), Fen::new(12_000)]);
        let hoped = |place: usize| hoped(&claims, &due, place, &events, day).unwrap().get();
        assert_eq!(
            [hoped(0), hoped(1)],
            [5_000 + 13_000, 20_000],
            "each beside what the other is due, not what it hopes for"
        );
    }

    proptest! {
        /// Fact by fact, with what was due before or without it: nothing falls but by an early full repayment, and together the
        /// grants never have more than the interest paid.
        #[test]
        fn what_is_due_never_falls_and_is_never_above_the_interest(
            events in course(),
            grants in prop::collection::vec((1_i64..4_000, 1_i64..2_000_000, any::<bool>(), 0_i32..60), 2..4),
        ) {
            let fresh: Vec<Claim> = grants.iter().map(|(rate, most, waits, least_days)| {
                let mut claim = Claim { waits: *waits, ..claim(*rate, *most) };
                claim.terms.least_days = *least_days;
                claim
            }).collect();
            let mut had = vec![Fen::ZERO; fresh.len()];
            for last in 1..=events.len() {
                let (known, day) = (&events[..last], events[last - 1].on);
                let claims: Vec<Claim> = fresh.iter().zip(&had).map(|(claim, had)| Claim { had: *had, ..*claim }).collect();
                let found = due(&claims, known, day).unwrap();
                prop_assert!(Fen::sum(found.iter().copied()).unwrap() <= life::interest_paid(known, day).unwrap());
                let mut short = false;
                for claim in &claims {
                    short |= life::is_too_short(&claim.terms, known).unwrap();
                }
                if !short {
                    prop_assert_eq!(&found, &due(&fresh, known, day).unwrap(), "as if it were computed for the first time");
                }
                for ((claim, before), now) in claims.iter().zip(&had).zip(&found) {
                    prop_assert!(claim.waits || now <= &claim.most);
                    prop_assert!(claim.waits || now >= before || life::is_too_short(&claim.terms, known).unwrap());
                }
                had = found;
            }
        }
    }
}
