//! Which policies an approved loan fits, and what each would give.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use zhirong_kernel::{
    Fen, Ppm, Uscc,
    clock::business_date,
    feature::Features,
    id::{InstitutionId, LoanId, PolicyId, ProductId},
    lpr::{self, LprHistory, Tenor},
    rule::Inputs,
};

use crate::{
    audience::{Audience, Who},
    plan::{self, Basis, ExactRate, Plan},
    policy::{Benefit, COPYRIGHT_PLEDGE, IpKind, Published, REGISTERED_PLEDGES, Spec},
};

/// An approved loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// The loan.
    pub loan_id: LoanId,
    /// The borrower.
    pub enterprise_id: Uscc,
    /// The lender.
    pub institution_id: InstitutionId,
    /// The product.
    pub product_id: ProductId,
    /// Tags of the product.
    pub product_tags: Vec<String>,
    /// Class of the enterprise; empty when not known.
    pub enterprise_class: String,
    /// Approved amount.
    pub amount: Fen,
    /// Yearly rate.
    pub rate: Ppm,
    /// Term, months.
    pub term_months: i32,
    /// When it was approved.
    pub approved_at: Timestamp,
    /// What intellectual property is pledged.
    pub ip_kinds: Vec<IpKind>,
    /// What the enterprise pays for a guarantee; zero without one.
    pub guarantee_fee: Fen,
    /// Version of the loan.
    pub version: i64,
}

/// A coupon that the borrower uses: a right to one version of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The policy.
    pub policy_id: PolicyId,
    /// Its version.
    pub version: i32,
}

impl Loan {
    /// What a plan is computed on at the approval.
    #[must_use]
    pub fn basis(&self) -> Basis {
        Basis {
            principal: self.amount,
            from: self.approved_on(),
            term_months: self.term_months,
            fee: self.guarantee_fee,
            fee_taken: ExactRate::new(0),
        }
    }

    /// The day of the approval.
    #[must_use]
    pub fn approved_on(&self) -> Date {
        business_date(self.approved_at)
    }
}

/// What one policy would give a loan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The policy version.
    pub policy: &'a Published,
    /// The LPR that counts, of the tenor that the policy names; none where none does.
    pub lpr: Option<Ppm>,
    /// What it offers, before the loan's own rate and other policies bound it.
    pub offered: ExactRate,
    /// The plan, if it is paid alone.
    pub plan: Plan,
}

/// Why the entitlement can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No LPR table has come yet.
    #[error("no LPR table has been published yet; a policy that fits pays a share of the {0}")]
    LprNotPublished(Tenor),
    /// The table does not tell the rate.
    #[error("a policy that fits pays a share of the {0} at the end of the year before: {1}")]
    Lpr(Tenor, #[source] lpr::Error),
    /// Nothing is known of the enterprise.
    #[error("nothing is known yet of the enterprise, and a policy that may fit asks for it")]
    ProfileUnknown,
    /// The amount can't be computed.
    #[error(transparent)]
    Plan(#[from] plan::Error),
}

impl Error {
    /// Whether data that are still to come can cure it.
    #[must_use]
    pub const fn waits_for_data(&self) -> bool {
        matches!(self, Self::LprNotPublished(_) | Self::Lpr(..) | Self::ProfileUnknown)
    }
}

/// The policies that an approved loan fits and that give it anything, the best first: the one that gives most; at a tie the
/// lower priority number, then the id. `features` is what is known of the enterprise, none when nothing has come of it;
/// `coupon` is the one it uses.
///
/// # Errors
/// [`Error`].
pub fn candidates<'a>(
    published: &'a [Published],
    history: Option<&LprHistory>,
    loan: &Loan,
    features: Option<&Features>,
    coupon: Option<Holding>,
) -> Result<Vec<Candidate<'a>>, Error> {
    let mut applicant = Applicant::new(history, loan, features);
    let mut found = Vec::new();
    for policy in entitling(published, loan.approved_at, coupon) {
        let spec = &policy.spec;
        if spec.benefit.is_compensation() || !fits(spec, loan) || !applicant.is_among(spec.who.as_ref())? {
            continue;
        }
        let lpr = match spec.benefit {
            Benefit::LprShare { tenor, .. } => Some(year_end(history, loan, tenor)?),
            _ => None,
        };
        let offered = plan::offered_rate(spec.benefit, lpr, loan.rate)?;
        let rate = plan::bounded_rate(offered, loan.rate, ExactRate::new(0))?;
        let plan = plan::plan(spec, rate, spec.cap_per_loan, loan.basis())?;
        if plan.amount.is_positive() {
            found.push(Candidate { policy, lpr, offered, plan });
        }
    }
    found.sort_by_key(|candidate| {
        let policy = candidate.policy;
        (std::cmp::Reverse(candidate.plan.amount), policy.spec.priority, policy.policy_id)
    });
    Ok(found)
}

/// Of the policies whose pool bears a part of a loss, the one that the loan fitted at its approval: the lowest priority number,
/// then the id. `features` is what is known of the enterprise, none when nothing has come of it.
///
/// # Errors
/// [`Error`].
pub fn pool<'a>(
    published: &'a [Published],
    history: Option<&LprHistory>,
    loan: &Loan,
    features: Option<&Features>,
) -> Result<Option<&'a Published>, Error> {
    let mut applicant = Applicant::new(history, loan, features);
    let mut found = Vec::new();
    for policy in in_force(published, loan.approved_at) {
        let spec = &policy.spec;
        if spec.benefit.is_compensation() && fits(spec, loan) && applicant.is_among(spec.who.as_ref())? {
            found.push(policy);
        }
    }
    Ok(found.into_iter().min_by_key(|policy| (policy.spec.priority, policy.policy_id)))
}

fn year_end(history: Option<&LprHistory>, loan: &Loan, tenor: Tenor) -> Result<Ppm, Error> {
    let history = history.ok_or(Error::LprNotPublished(tenor))?;
    history.at_end_of(lpr_year(loan), tenor).map_err(|error| Error::Lpr(tenor, error))
}

/// The borrower with the loan, as conditions of policies look at them, and what is not known yet.
struct Applicant<'a> {
    audience: Audience<'a>,
    is_known: bool,
    lpr: Result<Ppm, Error>,
}

impl<'a> Applicant<'a> {
    fn new(history: Option<&LprHistory>, loan: &Loan, features: Option<&'a Features>) -> Self {
        let lpr = year_end(history, loan, Tenor::OneYear);
        let lpr_1y_ppm = lpr.as_ref().map_or(0, |lpr| lpr.get());
        let inputs = Inputs { requested_fen: loan.amount.get(), term_months: loan.term_months.into(), lpr_1y_ppm };
        Self { audience: Audience::new(features, inputs), is_known: features.is_some(), lpr }
    }

    /// Whether a policy is for it. A condition waits for what it asks for, and for nothing else.
    fn is_among(&mut self, who: Option<&Who>) -> Result<bool, Error> {
        if let Some(who) = who {
            if !self.is_known && who.asks_features() {
                return Err(Error::ProfileUnknown);
            }
            if who.asks_lpr() {
                self.lpr.clone()?;
            }
        }
        Ok(self.audience.admits(who))
    }
}

/// What is in force, without what only a coupon gives, and what the coupon gives.
fn entitling(
    published: &[Published],
    approved_at: Timestamp,
    coupon: Option<Holding>,
) -> impl Iterator<Item = &Published> {
    let held = published.iter().filter(move |version| {
        coupon.is_some_and(|held| held.policy_id == version.policy_id && held.version == version.version)
    });
    in_force(published, approved_at)
        .filter(move |version| coupon.is_none_or(|held| held.policy_id != version.policy_id))
        .filter(|version| !matches!(version.spec.benefit, Benefit::RateCoupon(_)))
        .chain(held)
}

/// The year at whose end the LPR counts: the one before the approval.
#[must_use]
pub fn lpr_year(loan: &Loan) -> i16 {
    loan.approved_on().year().saturating_sub(1)
}

/// One version a policy: the one in force when the loan was approved, however late the news of it arrives.
///
/// A version takes over from the one before when it is published, but not before its first day, and what it takes over ends
/// with it. A policy that was first published after the approval counts back to its first day.
fn in_force(published: &[Published], approved_at: Timestamp) -> impl Iterator<Item = &Published> {
    let day = business_date(approved_at);
    let mut chosen: BTreeMap<PolicyId, &Published> = BTreeMap::new();
    for candidate in published.iter().filter(|version| version.spec.effective_from <= day) {
        let takes_over = |held: &&Published| {
            let (new, old) = (candidate.published_at <= approved_at, held.published_at <= approved_at);
            match (new, old) {
                (true, true) => candidate.version > held.version,
                (false, false) => candidate.version < held.version,
                (new, _) => new,
            }
        };
        if chosen.get(&candidate.policy_id).is_none_or(takes_over) {
            chosen.insert(candidate.policy_id, candidate);
        }
    }
    chosen
        .into_values()
        .filter(move |version| day <= version.spec.effective_to && version.ended_at.is_none_or(|at| approved_at < at))
}

fn fits(spec: &Spec, loan: &Loan) -> bool {
    let has = |tag: &str| loan.product_tags.iter().any(|found| found == tag);
    let tags_fit = spec.required_product_tags.iter().all(|tag| has(tag));
    let product_fits = spec.product_ids.is_empty() || spec.product_ids.contains(&loan.product_id);
    let class_fits = spec.enterprise_classes.is_empty() || spec.enterprise_classes.contains(&loan.enterprise_class);
    // A share of the LPR is for patents and trademarks: a pledge of copyright alone gets none, also under a general tag.
    let only_copyright = has(COPYRIGHT_PLEDGE) && !REGISTERED_PLEDGES.iter().any(|tag| has(tag));
    let refused = matches!(spec.benefit, Benefit::LprShare { .. }) && only_copyright;
    let region_fits = spec.region_codes.is_empty() || spec.region_codes.iter().any(|code| registered_in(loan, code));
    let pledge_fits = spec.ip_kinds.is_empty() || spec.ip_kinds.iter().any(|kind| loan.ip_kinds.contains(kind));
    tags_fit && product_fits && class_fits && region_fits && pledge_fits && !refused
}

/// The third to eighth characters of a USCC are the division of the registry (GB 32100).
fn registered_in(loan: &Loan, division: &str) -> bool {
    loan.enterprise_id.as_str().get(2..8).is_some_and(|registry| registry.starts_with(division))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use zhirong_kernel::{feature::FeatureValue, lpr::Change};

    use super::*;
    use crate::policy::{Wish, tests::wish};

    fn loan(tags: &[&str], approved_at: &str) -> Loan {
        Loan {
            loan_id: LoanId::new(Uuid::nil()),
            enterprise_id: Uscc::with_check("91331102MA2E0EXAM").unwrap(),
            institution_id: "sample-bank".parse().unwrap(),
            product_id: ProductId::new(Uuid::nil()),
            product_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            enterprise_class: "micro".to_owned(),
            amount: Fen::new(100_000_000),
            rate: Ppm::new(43_500),
            term_months: 12,
            approved_at: approved_at.parse().unwrap(),
            ip_kinds: vec![],
            guarantee_fee: Fen::ZERO,
            version: 1,
        }
    }

    fn published(id: u128, version: i32, published_at: &str, change: impl FnOnce(&mut Wish)) -> Published {
        let mut wish = wish();
        change(&mut wish);
        Published {
            policy_id: PolicyId::new(Uuid::from_u128(id)),
            version,
            spec: std::sync::Arc::new(Spec::try_from(wish).unwrap()),
            published_at: published_at.parse().unwrap(),
            ended_at: None,
        }
    }

    fn history() -> LprHistory {
        let change = |day: &str, ppm| Change {
            published_on: day.parse().unwrap(),
            one_year: Ppm::new(ppm),
            five_year: Ppm::new(40_000),
        };
        LprHistory::try_new(
            vec![change("2024-10-21", 31_000), change("2025-05-20", 30_000)],
            "2025-12-31".parse().unwrap(),
        )
        .unwrap()
    }

    const JANUARY: &str = "2026-01-01T00:00:00Z";
    const MARCH: &str = "2026-03-01T02:00:00Z";

    fn known<'a>(
        policies: &'a [Published],
        history: Option<&LprHistory>,
        loan: &Loan,
    ) -> Result<Vec<Candidate<'a>>, Error> {
        candidates(policies, history, loan, Some(&Features::new()), None)
    }

    fn chosen(policies: &[Published], loan: &Loan) -> Vec<(u128, i32)> {
        let found = known(policies, Some(&history()), loan).unwrap();
        found.iter().map(|found| (found.policy.policy_id.uuid().as_u128(), found.policy.version)).collect()
    }

    fn fixed(ppm: i64) -> impl FnOnce(&mut Wish) {
        move |wish| {
            wish.benefit = Some(Benefit::FixedRate(Ppm::new(ppm)));
            wish.required_product_tags = vec![];
        }
    }

    #[test]
    fn tags_and_class_must_fit() {
        let policies = [published(1, 1, JANUARY, |wish| wish.enterprise_classes = vec!["micro".to_owned()])];
        assert_eq!(chosen(&policies, &loan(&["ip_pledge", "other"], MARCH)), [(1, 1)]);
        assert!(chosen(&policies, &loan(&["other"], MARCH)).is_empty());
        let mut large = loan(&["ip_pledge"], MARCH);
        large.enterprise_class = "large".to_owned();
        assert!(chosen(&policies, &large).is_empty());
        large.enterprise_class = String::new();
        assert!(chosen(&policies, &large).is_empty(), "an unknown class is none of the named ones");
    }

    #[test]
    fn region_pledge_and_condition_must_fit() {
        let fits = |change: fn(&mut Wish), features: Features| {
            let policies = [published(1, 1, JANUARY, change)];
            let mut loan = loan(&["ip_pledge"], MARCH);
            loan.ip_kinds = vec![IpKind::Trademark];
            !candidates(&policies, Some(&history()), &loan, Some(&features), None).unwrap().is_empty()
        };
        let nothing = Features::new;
        assert!(fits(|wish| wish.region_codes = vec!["3311".to_owned(), "44".to_owned()], nothing()));
        assert!(!fits(|wish| wish.region_codes = vec!["3302".to_owned()], nothing()));
        assert!(fits(|wish| wish.ip_kinds = vec![IpKind::Patent, IpKind::Trademark], nothing()));
        assert!(!fits(|wish| wish.ip_kinds = vec![IpKind::Patent], nothing()));
        let staffed = |wish: &mut Wish| wish.who = "employee_count >= 10 && requested_fen >= 100000000".to_owned();
        let with = |count| Features::from([("employee_count".to_owned(), FeatureValue::Int(count))]);
        assert!(fits(staffed, with(10)) && !fits(staffed, with(9)));
        assert!(!fits(staffed, nothing()), "what is not known does not fit");
    }

    #[test]
    fn what_a_condition_asks_for_is_waited_for() {
        let judge = |who: &str, history: Option<&LprHistory>, features: Option<&Features>| {
            let policies = [published(1, 1, JANUARY, |wish| {
                fixed(10_000)(wish);
                who.clone_into(&mut wish.who);
            })];
            candidates(&policies, history, &loan(&[], MARCH), features, None).map(|found| found.len())
        };
        let nothing = Features::new();
        assert_eq!(judge("employee_count > 1", None, None), Err(Error::ProfileUnknown));
        assert_eq!(judge("employee_count > 1", None, Some(&nothing)), Ok(0), "known not to be known");
        assert_eq!(judge("requested_fen > 1", None, None), Ok(1), "neither features nor the LPR are asked for");
        assert_eq!(judge("lpr_1y_ppm < 40000", None, None), Err(Error::LprNotPublished(Tenor::OneYear)));
        assert_eq!(judge("lpr_1y_ppm < 31000", Some(&history()), None), Ok(1));
    }

    #[test]
    fn a_policy_may_name_its_products() {
        let of = |products: Vec<ProductId>| {
            let policies = [published(1, 1, JANUARY, |wish| {
                fixed(10_000)(wish);
                wish.product_ids = products;
            })];
            chosen(&policies, &loan(&[], MARCH)).len()
        };
        let (own, other) = (ProductId::new(Uuid::nil()), ProductId::new(Uuid::from_u128(7)));
        assert_eq!((of(vec![]), of(vec![other, own]), of(vec![other])), (1, 1, 0));
    }

    #[test]
    fn a_coupon_opens_its_version_alone_and_an_ended_policy_gives_nothing() {
        let coupon = |wish: &mut Wish| wish.benefit = Some(Benefit::RateCoupon(Ppm::new(5_000)));
        let mut policies = [published(1, 1, JANUARY, coupon), published(1, 2, "2026-02-01T00:00:00Z", coupon)];
        let loan = loan(&["ip_pledge"], MARCH);
        let with = |policies: &[Published], held| {
            let held = Some(Holding { policy_id: PolicyId::new(Uuid::from_u128(1)), version: held });
            let found = candidates(policies, None, &loan, Some(&Features::new()), held).unwrap();
            found.iter().map(|found| found.policy.version).collect::<Vec<_>>()
        };
        assert!(candidates(&policies, None, &loan, Some(&Features::new()), None).unwrap().is_empty());
        assert_eq!((with(&policies, 1), with(&policies, 3)), (vec![1], vec![]));
        policies[1] = published(1, 2, "2026-02-01T00:00:00Z", |_| {});
        policies[1].ended_at = Some(MARCH.parse().unwrap());
        assert!(chosen(&policies, &loan).is_empty());
    }

    #[test]
    fn a_pledge_of_copyright_alone_gets_no_share() {
        let policies = [published(1, 1, JANUARY, |_| {})];
        assert!(chosen(&policies, &loan(&["ip_pledge", "copyright_pledge"], MARCH)).is_empty());
        assert_eq!(chosen(&policies, &loan(&["ip_pledge", "copyright_pledge", "patent_pledge"], MARCH)), [(1, 1)]);
    }

    #[test]
    fn the_best_comes_first_and_a_tie_goes_to_the_lower_priority_then_id() {
        let policies = [
            published(3, 1, JANUARY, fixed(10_000)),
            published(4, 1, JANUARY, |wish| {
                fixed(10_000)(wish);
                wish.priority = 0;
            }),
            published(2, 1, JANUARY, fixed(10_000)),
            published(9, 1, JANUARY, |_| {}),
        ];
        assert_eq!(chosen(&policies, &loan(&["ip_pledge"], MARCH)), [(9, 1), (4, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn the_dates_include_both_ends_and_are_business_days() {
        let policies = [published(1, 1, JANUARY, |_| {})];
        let fits = |at| !chosen(&policies, &loan(&["ip_pledge"], at)).is_empty();
        assert!(!fits("2025-12-31T15:59:59Z") && fits("2025-12-31T16:00:00Z"));
        assert!(fits("2026-12-31T15:59:59Z") && !fits("2026-12-31T16:00:00Z"));
    }

    #[test]
    fn the_lpr_is_that_of_the_end_of_the_year_before() {
        let policies = [published(1, 1, JANUARY, |wish| wish.effective_from = Some("2025-01-01".parse().unwrap()))];
        let lpr =
            |at: &str| known(&policies, Some(&history()), &loan(&["ip_pledge"], at)).unwrap().first().unwrap().lpr;
        assert_eq!(lpr("2025-06-30T00:00:00Z"), Some(Ppm::new(31_000)));
        assert_eq!(lpr("2025-12-31T16:00:00Z"), Some(Ppm::new(30_000)));
    }

    #[test]
    fn a_policy_on_the_over_five_year_lpr_takes_that_one() {
        let over_five = |wish: &mut Wish| {
            wish.benefit = Some(Benefit::LprShare { share: Ppm::new(600_000), tenor: Tenor::OverFiveYears });
            wish.effective_to = Some("2027-12-31".parse().unwrap());
        };
        let policies = [published(1, 1, JANUARY, over_five)];
        let table = history();
        let found = known(&policies, Some(&table), &loan(&["ip_pledge"], MARCH)).unwrap();
        assert_eq!((found[0].lpr, found[0].plan.rate.to_ppm()), (Some(Ppm::new(40_000)), Ppm::new(24_000)));

        let refused = |history, at| known(&policies, history, &loan(&["ip_pledge"], at)).unwrap_err();
        let later = refused(Some(&table), "2027-02-01T00:00:00Z");
        assert!(later.waits_for_data() && later.to_string().contains("over-five-year LPR"), "{later}");
        assert_eq!(refused(None, MARCH), Error::LprNotPublished(Tenor::OverFiveYears));
    }

    #[test]
    fn an_unknown_lpr_waits_and_matters_only_where_it_counts() {
        let policies = [published(1, 1, JANUARY, |wish| wish.effective_to = Some("2027-12-31".parse().unwrap()))];
        let later = loan(&["ip_pledge"], "2027-02-01T00:00:00Z");
        let unknown = known(&policies, Some(&history()), &later).unwrap_err();
        assert!(matches!(unknown, Error::Lpr(Tenor::OneYear, lpr::Error::Unknown { .. })) && unknown.waits_for_data());
        assert!(known(&policies, None, &loan(&["ip_pledge"], MARCH)).unwrap_err().waits_for_data());
        assert!(known(&policies, None, &loan(&["other"], MARCH)).unwrap().is_empty());
    }

    #[test]
    fn the_version_that_was_in_force_decides_also_when_the_news_comes_late() {
        let policies = [
            published(1, 1, JANUARY, |_| {}),
            published(1, 2, "2026-06-01T00:00:00Z", |_| {}),
            published(1, 3, "2026-07-01T00:00:00Z", |wish| wish.effective_from = Some("2026-10-01".parse().unwrap())),
            published(1, 4, "2026-10-15T00:00:00Z", |wish| {
                wish.effective_from = Some("2026-10-15".parse().unwrap());
                wish.effective_to = Some("2026-10-31".parse().unwrap());
            }),
        ];
        let at = |at| chosen(&policies, &loan(&["ip_pledge"], at));
        assert_eq!(at("2026-05-31T00:00:00Z"), [(1, 1)]);
        assert_eq!(at("2026-06-02T00:00:00Z"), [(1, 2)]);
        assert_eq!(at("2026-08-01T00:00:00Z"), [(1, 2)], "the third is published but not yet in force");
        assert_eq!(at("2026-10-02T00:00:00Z"), [(1, 3)]);
        assert_eq!(at("2026-11-02T00:00:00Z"), [], "the fourth ended what it took over");
    }

    #[test]
    fn a_first_publication_counts_back_to_its_first_day() {
        let policies =
            [published(1, 1, "2026-06-01T00:00:00Z", |_| {}), published(1, 2, "2026-07-01T00:00:00Z", |_| {})];
        assert_eq!(chosen(&policies, &loan(&["ip_pledge"], MARCH)), [(1, 1)]);
    }

    #[test]
    fn nothing_is_no_candidate() {
        let policies = [published(1, 1, JANUARY, |_| {})];
        let mut free = loan(&["ip_pledge"], MARCH);
        free.rate = Ppm::new(0);
        assert!(chosen(&policies, &free).is_empty());
    }
}
