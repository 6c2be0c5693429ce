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
    LprHistory::try_new(vec![change("2024-10-21", 31_000), change("2025-05-20", 30_000)], "2025-12-31".parse().unwrap())
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
    let lpr = |at: &str| known(&policies, Some(&history()), &loan(&["ip_pledge"], at)).unwrap().first().unwrap().lpr;
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
    let policies = [published(1, 1, "2026-06-01T00:00:00Z", |_| {}), published(1, 2, "2026-07-01T00:00:00Z", |_| {})];
    assert_eq!(chosen(&policies, &loan(&["ip_pledge"], MARCH)), [(1, 1)]);
}

#[test]
fn nothing_is_no_candidate() {
    let policies = [published(1, 1, JANUARY, |_| {})];
    let mut free = loan(&["ip_pledge"], MARCH);
    free.rate = Ppm::new(0);
    assert!(chosen(&policies, &free).is_empty());
}
