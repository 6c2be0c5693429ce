//! Which of the policies that fit are paid: the legal combination that gives most.
//!
//! A policy is paid alone unless it adds up; of those that add up, two that share an exclusive group are not paid together. In
//! order of priority each takes what it offers of the loan's rate, or of the fee for its guarantee, until that is used up.

use zhirong_kernel::{Fen, Ppm};

use crate::{
    entitlement::{Candidate, Loan},
    plan::{self, Basis, ExactRate, Plan},
    policy::Benefit,
};

/// Policies that add up are tried in all combinations up to this many; the smallest beyond are left out.
const MOST_ADDING: usize = 12;

/// One policy of a combination, with what it gives there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The candidate, by its place.
    pub place: usize,
    /// What it gives.
    pub plan: Plan,
    /// What those before it take of the loan's rate; for a share of the fee, of the fee.
    pub taken: ExactRate,
    /// The most that it may get.
    pub cap: Fen,
}

/// A combination.
pub type Combination = Vec<Share>;

/// The legal combination of the candidates for which `may` is true that gives most; at a tie the one with fewer policies, then
/// the one whose last policy comes first among the candidates, or the last but one, and so on. `cap` tells the most that a candidate may get beside the cap of its policy.
///
/// # Errors
/// When an amount can't be computed.
pub fn best(
    candidates: &[Candidate<'_>],
    loan: &Loan,
    may: impl Fn(usize) -> bool,
    cap: impl Fn(usize) -> Option<Fen>,
) -> Result<Combination, plan::Error> {
    let allowed: Vec<usize> = (0..candidates.len()).filter(|place| may(*place)).collect();
    let adds_up = |place: &usize| candidates.get(*place).is_some_and(|found| found.policy.spec.stacking.adds_up);
    let adding: Vec<usize> = allowed.iter().copied().filter(adds_up).take(MOST_ADDING).collect();
    let alone = allowed.iter().map(|place| vec![*place]);
    let together = (1_u32..(1 << adding.len().min(MOST_ADDING)))
        .filter(|chosen| chosen.count_ones() > 1)
        .map(|chosen| {
            let bit = |position: usize| 1_u32.checked_shl(u32::try_from(position).unwrap_or(u32::MAX)).unwrap_or(0);
            let taken = adding.iter().enumerate().filter(|(position, _)| chosen & bit(*position) != 0);
            taken.map(|(_, place)| *place).collect::<Vec<_>>()
        })
        .filter(|places| compatible(candidates, places));
    let mut best: Option<(Fen, Combination)> = None;
    for places in alone.chain(together) {
        let found = arrange(candidates, loan, &places, &[], &cap)?;
        let total = Fen::sum(found.iter().map(|share| share.plan.amount))?;
        let better = match &best {
            None => total.is_positive(),
            Some((held, combination)) => total > *held || (total == *held && found.len() < combination.len()),
        };
        if better {
            best = Some((total, found));
        }
    }
    Ok(best.map(|(_, combination)| combination).unwrap_or_default())
}

/// Beside a combination that is paid, what else could be paid later, once there is money: what adds up to it, in order of
/// priority, each as far as it is compatible.
///
/// # Errors
/// When an amount can't be computed.
pub fn beside(
    candidates: &[Candidate<'_>],
    loan: &Loan,
    paid: &[Share],
    may: impl Fn(usize) -> bool,
    cap: impl Fn(usize) -> Option<Fen>,
) -> Result<Combination, plan::Error> {
    let mut places: Vec<usize> = paid.iter().map(|share| share.place).collect();
    let mut more = Vec::new();
    for place in in_order(candidates, (0..candidates.len()).filter(|place| may(*place)).collect()) {
        places.push(place);
        if compatible(candidates, &places) {
            more.push(place);
        } else {
            places.pop();
        }
    }
    arrange(candidates, loan, &more, paid, &cap)
}

fn compatible(candidates: &[Candidate<'_>], places: &[usize]) -> bool {
    let specs: Vec<_> =
        places.iter().filter_map(|place| candidates.get(*place)).map(|found| &found.policy.spec).collect();
    let mut groups: Vec<&String> = specs.iter().flat_map(|spec| &spec.stacking.exclusive_groups).collect();
    let named = groups.len();
    groups.sort();
    groups.dedup();
    specs.iter().all(|spec| spec.stacking.adds_up) && groups.len() == named
}

fn in_order(candidates: &[Candidate<'_>], mut places: Vec<usize>) -> Vec<usize> {
    places
        .sort_by_key(|place| candidates.get(*place).map(|found| (found.policy.spec.priority, found.policy.policy_id)));
    places
}

/// What each gives, after those that are paid already.
fn arrange(
    candidates: &[Candidate<'_>],
    loan: &Loan,
    places: &[usize],
    paid: &[Share],
    cap: &impl Fn(usize) -> Option<Fen>,
) -> Result<Combination, plan::Error> {
    let mut taken = Taken::default();
    for share in paid {
        if let Some(candidate) = candidates.get(share.place) {
            taken.add(candidate.policy.spec.benefit, share)?;
        }
    }
    let mut found = Vec::with_capacity(places.len());
    for place in in_order(candidates, places.to_vec()) {
        let Some(candidate) = candidates.get(place) else { continue };
        let spec = &candidate.policy.spec;
        let most = cap(place).map_or(spec.cap_per_loan, |cap| cap.min(spec.cap_per_loan));
        if !most.is_positive() {
            continue;
        }
        let rate = plan::bounded_rate(candidate.offered, loan.rate, taken.rate)?;
        let plan = plan::plan(spec, rate, most, Basis { fee_taken: taken.fee, ..loan.basis() })?;
        if plan.amount.is_positive() {
            let share = Share { place, plan, taken: taken.before(spec.benefit), cap: most };
            taken.add(spec.benefit, &share)?;
            found.push(share);
        }
    }
    Ok(found)
}

/// What is taken of a loan's rate, and of the fee for its guarantee.
struct Taken {
    rate: ExactRate,
    fee: ExactRate,
}

impl Default for Taken {
    fn default() -> Self {
        Self { rate: ExactRate::new(0), fee: ExactRate::new(0) }
    }
}

impl Taken {
    const fn before(&self, benefit: Benefit) -> ExactRate {
        if let Benefit::GuaranteeFeeShare(_) = benefit { self.fee } else { self.rate }
    }

    fn add(&mut self, benefit: Benefit, share: &Share) -> Result<(), plan::Error> {
        if let Benefit::GuaranteeFeeShare(part) = benefit {
            let part = plan::bounded_share(part, share.taken)?;
            self.fee = ExactRate::new(self.fee.get().saturating_add(part.get()));
        } else {
            self.rate = ExactRate::new(self.rate.get().saturating_add(share.plan.rate.get()));
        }
        Ok(())
    }
}

/// The sum of what a combination takes of the rate, for display.
#[must_use]
pub fn rate(combination: &[Share]) -> Ppm {
    ExactRate::new(combination.iter().map(|share| share.plan.rate.get()).sum()).to_ppm()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use proptest::prelude::*;
    use uuid::Uuid;
    use zhirong_kernel::{
        Uscc,
        feature::Features,
        id::{LoanId, PolicyId, ProductId},
    };

    use super::*;
    use crate::{
        entitlement::candidates,
        policy::{Benefit, Published, Spec, Wish, tests::wish},
    };

    fn policy(id: u128, rate: i64, priority: i32, adds_up: bool, groups: &[&str]) -> Published {
        let mut wish: Wish = wish();
        wish.benefit = Some(Benefit::FixedRate(Ppm::new(rate)));
        wish.required_product_tags = vec![];
        wish.priority = priority;
        wish.stacking.adds_up = adds_up;
        wish.stacking.exclusive_groups = groups.iter().map(|group| (*group).to_owned()).collect();
        wish.cap_per_loan = Fen::new(1_000_000_000);
        Published {
            policy_id: PolicyId::new(Uuid::from_u128(id)),
            version: 1,
            spec: Arc::new(Spec::try_from(wish).unwrap()),
            published_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
        }
    }

    fn loan(rate: i64) -> Loan {
        Loan {
            loan_id: LoanId::new(Uuid::nil()),
            enterprise_id: Uscc::with_check("91331102MA2E0EXAM").unwrap(),
            institution_id: "sample-bank".parse().unwrap(),
            product_id: ProductId::new(Uuid::nil()),
            product_tags: vec![],
            enterprise_class: String::new(),
            amount: Fen::new(36_000_000),
            rate: Ppm::new(rate),
            term_months: 12,
            approved_at: "2026-03-01T02:00:00Z".parse().unwrap(),
            ip_kinds: vec![],
            guarantee_fee: Fen::ZERO,
            version: 1,
        }
    }

    /// Ids with their rates in ppm.
    fn chosen(policies: &[Published], rate: i64, may: impl Fn(u128) -> bool) -> Vec<(u128, i64)> {
        let loan = loan(rate);
        let found = candidates(policies, None, &loan, Some(&Features::new()), None).unwrap();
        let id = |place: usize| found[place].policy.policy_id.uuid().as_u128();
        let best = best(&found, &loan, |place| may(id(place)), |_| None).unwrap();
        best.iter().map(|share| (id(share.place), share.plan.rate.to_ppm().get())).collect()
    }

    #[test]
    fn the_combination_that_gives_most_is_taken() {
        let alone = policy(1, 20_000, 0, false, &[]);
        let (a, b) = (policy(2, 9_000, 2, true, &[]), policy(3, 12_000, 1, true, &[]));
        let all = [alone, a.clone(), b];
        assert_eq!(chosen(&all, 40_000, |_| true), [(3, 12_000), (2, 9_000)], "21 000 in all, in order of priority");
        assert_eq!(chosen(&all, 40_000, |id| id != 2), [(1, 20_000)]);
        assert_eq!(chosen(&all, 15_000, |_| true), [(1, 15_000)], "the loan's rate bounds it; at a tie fewer policies");
        let capped = [a, policy(3, 12_000, 1, true, &[])];
        assert_eq!(chosen(&capped, 15_000, |_| true), [(3, 12_000), (2, 3_000)]);
        assert!(chosen(&all, 40_000, |_| false).is_empty());
    }

    #[test]
    fn shares_of_a_fee_that_add_up_end_at_the_whole_fee() {
        let fee = |id, priority| {
            let mut policy = policy(id, 1, priority, true, &[]);
            let benefit = Benefit::GuaranteeFeeShare(Ppm::new(600_000));
            policy.spec = Arc::new(Spec { benefit, ..Spec::clone(&policy.spec) });
            policy
        };
        let (policies, loan) = ([fee(1, 2), fee(2, 1)], Loan { guarantee_fee: Fen::new(1_001), ..loan(40_000) });
        let found = candidates(&policies, None, &loan, Some(&Features::new()), None).unwrap();
        let best = best(&found, &loan, |_| true, |_| None).unwrap();
        let paid: Vec<i64> = best.iter().map(|share| share.plan.amount.get()).collect();
        assert_eq!(paid, [601, 400]);
        let later = beside(&found, &loan, &best[..1], |place| place != best[0].place, |_| None).unwrap();
        assert_eq!(later, best[1..], "also when it waits");
    }

    #[test]
    fn of_an_exclusive_group_only_one_is_paid() {
        let all = [
            policy(1, 10_000, 1, true, &["county"]),
            policy(2, 11_000, 2, true, &["county", "green"]),
            policy(3, 5_000, 3, true, &["green"]),
        ];
        assert_eq!(chosen(&all, 90_000, |_| true), [(1, 10_000), (3, 5_000)]);
    }

    #[test]
    fn what_has_no_money_waits_beside_what_is_paid() {
        let all =
            [policy(1, 10_000, 1, true, &["ga"]), policy(2, 9_000, 2, true, &["ga"]), policy(3, 8_000, 3, true, &[])];
        let loan = loan(13_000);
        let found = candidates(&all, None, &loan, Some(&Features::new()), None).unwrap();
        let paid = best(&found, &loan, |place| place == 0, |_| None).unwrap();
        let waiting = beside(&found, &loan, &paid, |place| place != 0, |_| None).unwrap();
        let waits: Vec<_> = waiting.iter().map(|share| (share.place, share.plan.rate.to_ppm().get())).collect();
        assert_eq!(waits, [(2, 3_000)]);
    }

    proptest! {
        /// Against every subset, tried plainly.
        #[test]
        fn nothing_legal_gives_more_and_nothing_is_paid_above_the_rate_or_the_fee(
            rates in prop::collection::vec((1_i64..30_000, 0_i32..4, any::<bool>(), 0_u8..4, any::<bool>()), 1..6),
            loan_rate in 1_i64..60_000, fee in 0_i64..2_000,
        ) {
            let policies: Vec<_> = rates.iter().enumerate().map(|(id, (rate, priority, adds_up, group, of_fee))| {
                let groups: &[&str] = match group { 0 => &[], 1 => &["ga"], 2 => &["gb"], _ => &["ga", "gb"] };
                let mut policy = policy(u128::try_from(id).unwrap(), *rate, *priority, *adds_up, groups);
                if *of_fee {
                    let benefit = Benefit::GuaranteeFeeShare(Ppm::new(rate * 33));
                    policy.spec = Arc::new(Spec { benefit, ..Spec::clone(&policy.spec) });
                }
                policy
            }).collect();
            let loan = Loan { guarantee_fee: Fen::new(fee), ..loan(loan_rate) };
            let found = candidates(&policies, None, &loan, Some(&Features::new()), None).unwrap();
            let chosen = best(&found, &loan, |_| true, |_| None).unwrap();
            let total: i64 = chosen.iter().map(|share| share.plan.amount.get()).sum();
            for subset in 1_u32..(1 << found.len()) {
                let places: Vec<usize> = (0..found.len()).filter(|place| subset & (1 << place) != 0).collect();
                if places.len() > 1 && !compatible(&found, &places) {
                    continue;
                }
                let other = arrange(&found, &loan, &places, &[], &|_| None).unwrap();
                prop_assert!(other.iter().map(|share| share.plan.amount.get()).sum::<i64>() <= total);
                prop_assert!(rate(&other).get() <= loan_rate);
                let is_fee = |share: &&Share| matches!(found[share.place].policy.spec.benefit, Benefit::GuaranteeFeeShare(_));
                prop_assert!(other.iter().filter(is_fee).map(|share| share.plan.amount.get()).sum::<i64>() <= fee);
                // Once some are paid, what may be paid later beside them does not go above either.
                let later = beside(&found, &loan, &other[..1.min(other.len())], |_| true, |_| None).unwrap();
                let both = || other.iter().take(1).chain(&later);
                prop_assert!(both().filter(is_fee).map(|share| share.plan.amount.get()).sum::<i64>() <= fee);
            }
        }
    }
}
