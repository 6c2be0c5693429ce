//! How a loss is shared, and what comes back of it: parts that always sum to the whole, by the largest remainder.

use jiff::{Span, civil::Date};
use zhirong_kernel::{Fen, money, rate::WHOLE};

/// What a party is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// The government's pool.
    PolicyPool,
    /// The guarantor.
    Guarantor,
    /// The insurer.
    Insurer,
    /// The lender itself.
    Lender,
}

impl Bearer {
    const ALL: [Self; 4] = [Self::PolicyPool, Self::Guarantor, Self::Insurer, Self::Lender];

    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::PolicyPool => "policy_pool",
            Self::Guarantor => "guarantor",
            Self::Insurer => "insurer",
            Self::Lender => "lender",
        }
    }

    /// Reads [`Bearer::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bearer| bearer.word() == word)
    }
}

/// A party, its institution (none for a pool), and the share of a loss in ppm that was agreed.
pub type Agreed = (Bearer, String, i64);

/// One party's part of a loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What the party is.
    pub bearer: Bearer,
    /// Which institution; empty for a policy pool.
    pub institution_id: String,
    /// The share that was agreed, ppm.
    pub share_ppm: i64,
    /// Its part.
    pub amount: Fen,
    /// Its share of what came back.
    pub recovered: Fen,
    /// When it paid the lender.
    pub paid_on: Option<Date>,
}

impl Part {
    /// What is left to bear.
    ///
    /// # Errors
    /// When the sum does not fit.
    pub fn net(&self) -> Result<Fen, money::Error> {
        self.amount.checked_sub(self.recovered)
    }
}

/// Why a loss can't be shared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The shares do not sum to the whole.
    #[error("the shares sum to {0} ppm, not to 1000000")]
    NotWhole(i64),
    /// An amount is negative or does not fit.
    #[error(transparent)]
    Money(#[from] money::Error),
}

/// What a policy's pool bears of a loss at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Most of the principal lost that the pool has a share of.
    pub principal_cap: Fen,
    /// Most that it bears.
    pub cap: Fen,
    /// Whether interest owed counts as loss.
    pub interest_counts: bool,
}

/// What is lost with a loan: the principal, and the interest owed where the pool's policy counts it.
///
/// # Errors
/// When the sum does not fit.
pub fn lost((principal, interest): (Fen, Fen), pool: Option<Pool>) -> Result<Fen, Error> {
    let counts = pool.is_some_and(|pool| pool.interest_counts);
    Ok(if counts { principal.checked_add(interest)? } else { principal })
}

/// The parts of what is lost. The pool's caps bind the pool alone: what is above them stays with the lender, and so does the
/// pool's whole part when no policy has a pool for it.
///
/// # Errors
/// [`Error`].
pub fn parts(
    (principal, interest): (Fen, Fen),
    shares: &[Agreed],
    pool: Option<Pool>,
    lender: &str,
) -> Result<Vec<Part>, Error> {
    let cap = match pool {
        None => Fen::ZERO,
        Some(found) => {
            let within = lost((principal.min(found.principal_cap), interest), pool)?;
            let within = split(within, shares, found.cap, lender)?;
            Fen::sum(within.iter().filter(|part| part.bearer == Bearer::PolicyPool).map(|part| part.amount))?
        }
    };
    split(lost((principal, interest), pool)?, shares, cap, lender)
}

/// Splits a loss by shares in ppm. The pool bears at most its cap; what is above it stays with the lender, who comes last
/// when the shares do not name it.
///
/// # Errors
/// [`Error`].
pub fn split(loss: Fen, shares: &[Agreed], pool_cap: Fen, lender: &str) -> Result<Vec<Part>, Error> {
    let sum = shares.iter().try_fold(0_i64, |sum, (.., share)| sum.checked_add(*share)).unwrap_or(i64::MAX);
    if sum != WHOLE || shares.iter().any(|(.., share)| *share < 0) {
        return Err(Error::NotWhole(sum));
    }
    let weights: Vec<i64> = shares.iter().map(|(.., share)| *share).collect();
    let nothing = vec![Fen::ZERO; weights.len()];
    let amounts = apportion(loss, &weights, &nothing)?;
    let mut parts: Vec<Part> = shares
        .iter()
        .zip(amounts)
        .map(|((bearer, institution, share), amount)| Part {
            bearer: *bearer,
            institution_id: institution.clone(),
            share_ppm: *share,
            amount,
            recovered: Fen::ZERO,
            paid_on: None,
        })
        .collect();
    let mut left = pool_cap.max(Fen::ZERO);
    let mut excess = Fen::ZERO;
    for part in parts.iter_mut().filter(|part| part.bearer == Bearer::PolicyPool) {
        let borne = part.amount.min(left);
        excess = excess.checked_add(part.amount.checked_sub(borne)?)?;
        left = left.checked_sub(borne)?;
        part.amount = borne;
    }
    if excess.is_positive() {
        if let Some(part) = parts.iter_mut().find(|part| part.bearer == Bearer::Lender) {
            part.amount = part.amount.checked_add(excess)?;
        } else {
            parts.push(Part {
                bearer: Bearer::Lender,
                institution_id: lender.to_owned(),
                share_ppm: 0,
                amount: excess,
                recovered: Fen::ZERO,
                paid_on: None,
            });
        }
    }
    Ok(parts)
}

/// Shares what came back in proportion to what each bears. `before` is what came back earlier; above the loss nothing is
/// shared. What each has only rises.
///
/// # Errors
/// When a sum does not fit.
pub fn recover(parts: &mut [Part], before: Fen, more: Fen) -> Result<(), Error> {
    let loss = Fen::sum(parts.iter().map(|part| part.amount))?;
    let shared = before.min(loss);
    let after = before.checked_add(more)?.min(loss);
    let weights: Vec<i64> = parts.iter().map(|part| part.amount.get()).collect();
    let had: Vec<Fen> = parts.iter().map(|part| part.recovered).collect();
    let gets = apportion_more(after, after.checked_sub(shared)?, &weights, &had)?;
    for (part, gets) in parts.iter_mut().zip(gets) {
        part.recovered = part.recovered.checked_add(gets)?;
    }
    Ok(())
}

/// A whole in parts by weight, beside what each has: the largest remainder gets the odd fen, at a tie the first.
fn apportion(whole: Fen, weights: &[i64], had: &[Fen]) -> Result<Vec<Fen>, Error> {
    apportion_more(whole, whole, weights, had)
}

/// Hands `more` out, so that together with what each had they come to `whole` by weight, as near as whole fen can.
fn apportion_more(whole: Fen, more: Fen, weights: &[i64], had: &[Fen]) -> Result<Vec<Fen>, Error> {
    let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if whole.get() < 0 || total <= 0 {
        return if whole == Fen::ZERO {
            Ok(vec![Fen::ZERO; weights.len()])
        } else {
            Err(money::Error::Negative.into())
        };
    }
    // In units of fen / total: what each should get, exactly.
    let wanted: Vec<i128> = weights
        .iter()
        .zip(had)
        .map(|(weight, had)| {
            let due = i128::from(whole.get()).checked_mul(i128::from(*weight));
            let had = i128::from(had.get()).checked_mul(total);
            due.zip(had).and_then(|(due, had)| due.checked_sub(had)).ok_or(money::Error::Overflow)
        })
        .collect::<Result<_, _>>()?;
    let mut given: Vec<i128> = wanted.iter().map(|wanted| wanted.div_euclid(total).max(0)).collect();
    let mut left = i128::from(more.get()).saturating_sub(given.iter().sum());
    let missing = |given: &[i128], place: usize| {
        let pair = wanted.get(place).zip(given.get(place));
        pair.map_or(i128::MIN, |(wanted, given)| wanted.saturating_sub(given.saturating_mul(total)))
    };
    while left != 0 {
        let step = left.signum();
        let places = (0..given.len()).filter(|place| step > 0 || given.get(*place).is_some_and(|given| *given > 0));
        let chosen =
            places.max_by_key(|place| (missing(&given, *place).saturating_mul(step), std::cmp::Reverse(*place)));
        let Some(given) = chosen.and_then(|place| given.get_mut(place)) else { break };
        *given = given.saturating_add(step);
        left = left.saturating_sub(step);
    }
    Ok(given
        .into_iter()
        .map(|fen| i64::try_from(fen).map(Fen::new).map_err(|_| money::Error::Overflow))
        .collect::<Result<_, _>>()?)
}

/// The first day on which a loss can be claimed.
///
/// # Errors
/// None when the date is out of range.
#[must_use]
pub fn claimable_from(defaulted_on: Date, waiting_days: i32) -> Option<Date> {
    Span::new().try_days(waiting_days).ok().and_then(|span| defaulted_on.checked_add(span).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(ppm: &[(Bearer, i64)]) -> Vec<(Bearer, String, i64)> {
        ppm.iter().map(|(bearer, share)| (*bearer, format!("{bearer:?}"), *share)).collect()
    }

    fn amounts(parts: &[Part]) -> Vec<i64> {
        parts.iter().map(|part| part.amount.get()).collect()
    }

    #[test]
    fn the_odd_fen_goes_to_the_largest_remainder() {
        use Bearer::{Guarantor, Insurer, Lender, PolicyPool};
        let thirds = shares(&[(PolicyPool, 333_333), (Guarantor, 333_333), (Lender, 333_334)]);
        assert_eq!(amounts(&split(Fen::new(100), &thirds, Fen::MAX, "bank").unwrap()), [33, 33, 34]);
        let halves = shares(&[(Insurer, 500_000), (Lender, 500_000)]);
        assert_eq!(amounts(&split(Fen::new(3), &halves, Fen::MAX, "bank").unwrap()), [2, 1], "at a tie the first");
        let capped = shares(&[(PolicyPool, 400_000), (Guarantor, 400_000), (Lender, 200_000)]);
        assert_eq!(amounts(&split(Fen::new(1_000), &capped, Fen::new(150), "bank").unwrap()), [150, 400, 450]);
        let without_lender = shares(&[(PolicyPool, 600_000), (Guarantor, 400_000)]);
        let parts = split(Fen::new(1_000), &without_lender, Fen::new(500), "bank").unwrap();
        assert_eq!((amounts(&parts), parts[2].institution_id.as_str()), (vec![500, 400, 100], "bank"));
        assert_eq!(split(Fen::new(1), &shares(&[(Lender, 999_999)]), Fen::MAX, "bank"), Err(Error::NotWhole(999_999)));
    }

    #[test]
    fn caps_of_the_pool_bind_the_pool_alone() {
        use Bearer::{Guarantor, Lender, PolicyPool};
        let agreed = shares(&[(PolicyPool, 400_000), (Guarantor, 400_000), (Lender, 200_000)]);
        let pool = Pool { principal_cap: Fen::new(600), cap: Fen::new(1_000), interest_counts: true };
        let found = |pool| amounts(&parts((Fen::new(1_000), Fen::new(100)), &agreed, pool, "bank").unwrap());
        assert_eq!(
            found(Some(pool)),
            [280, 440, 380],
            "40 % of 600 and 100; the guarantor stands for its share of all"
        );
        assert_eq!(found(Some(Pool { cap: Fen::new(150), ..pool })), [150, 440, 510]);
        assert_eq!(found(Some(Pool { interest_counts: false, ..pool })), [240, 400, 360]);
        assert_eq!(found(None), [0, 400, 600], "no policy has a pool for it");
    }

    #[test]
    fn a_waiting_period_counts_days() {
        assert_eq!(claimable_from("2026-02-20".parse().unwrap(), 10), "2026-03-02".parse().ok());
    }

    fn any_shares() -> impl Strategy<Value = Vec<(Bearer, String, i64)>> {
        prop::collection::vec(1_i64..1_000, 1..6).prop_map(|weights| {
            let sum: i64 = weights.iter().sum();
            let mut ppm: Vec<i64> = weights.iter().map(|weight| weight * WHOLE / sum).collect();
            ppm[0] += WHOLE - ppm.iter().sum::<i64>();
            let bearers = [Bearer::PolicyPool, Bearer::Guarantor, Bearer::Insurer, Bearer::Lender, Bearer::Guarantor];
            ppm.iter().enumerate().map(|(place, share)| (bearers[place], place.to_string(), *share)).collect()
        })
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole_and_are_near_their_share(
            loss in 0_i64..10_000_000_000_000, shares in any_shares(), cap in 0_i64..10_000_000_000_000,
        ) {
            let parts = split(Fen::new(loss), &shares, Fen::MAX, "bank").unwrap();
            prop_assert_eq!(amounts(&parts).iter().sum::<i64>(), loss);
            for part in &parts {
                let exact = i128::from(loss) * i128::from(part.share_ppm);
                let off = (i128::from(part.amount.get()) * i128::from(WHOLE) - exact).abs();
                prop_assert!(off < i128::from(WHOLE), "within a fen");
            }
            let capped = split(Fen::new(loss), &shares, Fen::new(cap), "bank").unwrap();
            prop_assert_eq!(amounts(&capped).iter().sum::<i64>(), loss);
            prop_assert!(capped[0].amount <= Fen::new(cap));
        }

        #[test]
        fn recoveries_only_rise_and_sum_to_what_came_back(
            loss in 1_i64..10_000_000, shares in any_shares(), steps in prop::collection::vec(1_i64..3_000_000, 1..12),
        ) {
            let mut parts = split(Fen::new(loss), &shares, Fen::MAX, "bank").unwrap();
            let mut before = 0_i64;
            for step in steps {
                let had: Vec<_> = parts.iter().map(|part| part.recovered).collect();
                recover(&mut parts, Fen::new(before), Fen::new(step)).unwrap();
                before += step;
                let back: i64 = parts.iter().map(|part| part.recovered.get()).sum();
                prop_assert_eq!(back, before.min(loss));
                for (part, had) in parts.iter().zip(had) {
                    prop_assert!(part.recovered >= had && part.recovered <= part.amount);
                }
            }
        }
    }
}
