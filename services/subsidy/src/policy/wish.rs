//! What a policy may say.

use std::collections::BTreeSet;

use jiff::civil::Date;
use zhirong_kernel::{Fen, Ppm, id::ProductId, interest::DayCount};

use super::{Benefit, CLASSES, COPYRIGHT_PLEDGE, IpKind, Spec, Stacking, Who};

const MOST_TAGS: usize = 16;
const MOST_REGIONS: usize = 32;
const MOST_PRODUCTS: usize = 64;
const LONGEST_NAME: usize = 64;
/// A budget is low at 10 %, unless its policy says otherwise.
const LOW_BUDGET: Ppm = Ppm::new(100_000);
const LONGEST_DOCUMENT: usize = 200;

/// What somebody wants a policy to say; the parts that could not be read are missing.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// See [`Spec::name_zh`].
    pub name_zh: String,
    /// See [`Spec::source_document_zh`].
    pub source_document_zh: String,
    /// See [`Spec::benefit`].
    pub benefit: Option<Benefit>,
    /// See [`Spec::required_product_tags`].
    pub required_product_tags: Vec<String>,
    /// See [`Spec::product_ids`].
    pub product_ids: Vec<ProductId>,
    /// See [`Spec::enterprise_classes`].
    pub enterprise_classes: Vec<String>,
    /// See [`Spec::effective_from`].
    pub effective_from: Option<Date>,
    /// See [`Spec::effective_to`].
    pub effective_to: Option<Date>,
    /// See [`Spec::max_months`].
    pub max_months: i32,
    /// See [`Spec::cap_per_loan`].
    pub cap_per_loan: Fen,
    /// See [`Spec::principal_cap`].
    pub principal_cap: Fen,
    /// See [`Spec::day_count`].
    pub day_count: Option<DayCount>,
    /// See [`Spec::priority`].
    pub priority: i32,
    /// See [`Spec::region_codes`].
    pub region_codes: Vec<String>,
    /// See [`Spec::ip_kinds`].
    pub ip_kinds: Vec<IpKind>,
    /// See [`Spec::cap_per_enterprise_year`].
    pub cap_per_enterprise_year: Option<Fen>,
    /// See [`Spec::stacking`].
    pub stacking: Stacking,
    /// See [`Spec::least_days`].
    pub least_days: i32,
    /// See [`Spec::low_budget`].
    pub low_budget: Option<Ppm>,
    /// See [`Spec::who`].
    pub who: String,
}

/// A field that can't stay as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its path in the specification, such as `lpr_share.share_ppm`.
    pub field: &'static str,
    /// What it must be.
    pub must: String,
}

impl TryFrom<Wish> for Spec {
    type Error = Vec<Violation>;

    /// Checks everything and names all violations at once.
    fn try_from(wish: Wish) -> Result<Self, Vec<Violation>> {
        let mut violations = violations(&wish);
        let who = match wish.who.trim() {
            "" => None,
            text => Who::compile(text).map_err(|must| violations.push(Violation { field: "who", must })).ok(),
        };
        match (wish.benefit, wish.effective_from, wish.effective_to, wish.day_count) {
            (Some(benefit), Some(effective_from), Some(effective_to), Some(day_count)) if violations.is_empty() => {
                Ok(Self {
                    name_zh: wish.name_zh,
                    source_document_zh: wish.source_document_zh,
                    benefit,
                    required_product_tags: wish.required_product_tags,
                    product_ids: wish.product_ids,
                    enterprise_classes: wish.enterprise_classes,
                    effective_from,
                    effective_to,
                    max_months: wish.max_months,
                    cap_per_loan: wish.cap_per_loan,
                    principal_cap: wish.principal_cap,
                    day_count,
                    priority: wish.priority,
                    region_codes: wish.region_codes,
                    ip_kinds: wish.ip_kinds,
                    cap_per_enterprise_year: wish.cap_per_enterprise_year,
                    stacking: wish.stacking,
                    least_days: wish.least_days,
                    low_budget: wish.low_budget.unwrap_or(LOW_BUDGET),
                    who,
                })
            }
            _ => Err(violations),
        }
    }
}

fn violations(wish: &Wish) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut must = |holds: bool, field: &'static str, must: &str| {
        if !holds {
            found.push(Violation { field, must: must.to_owned() });
        }
    };
    must(is_text(&wish.name_zh, LONGEST_NAME), "name_zh", "must have 1 to 64 characters, without control characters");
    must(
        is_text(&wish.source_document_zh, LONGEST_DOCUMENT),
        "source_document_zh",
        "must have 1 to 200 characters, without control characters",
    );
    match wish.benefit {
        None => must(false, "benefit", "must be set"),
        Some(Benefit::LprShare { share, .. }) => {
            let allowed = (500_000..=800_000).contains(&share.get());
            must(allowed, "lpr_share.share_ppm", "must be between 500000 and 800000 (50 % to 80 %)");
            let copyright = wish.required_product_tags.iter().any(|tag| tag == COPYRIGHT_PLEDGE);
            must(
                !copyright,
                "required_product_tags",
                "a share of the LPR is paid for patents and trademarks, not for copyright",
            );
        }
        Some(Benefit::FixedRate(rate)) => {
            must((1..=50_000).contains(&rate.get()), "fixed_rate.rate_ppm", "must be between 1 and 50000 (5 %)");
        }
        Some(Benefit::InterestShare(share)) => {
            must((1..=1_000_000).contains(&share.get()), "interest_share.share_ppm", "must be between 1 and 1000000");
        }
        Some(Benefit::GuaranteeFeeShare(share)) => {
            let allowed = (1..=1_000_000).contains(&share.get());
            must(allowed, "guarantee_fee_share.share_ppm", "must be between 1 and 1000000");
        }
        Some(Benefit::RateCoupon(cut)) => {
            must((1..=50_000).contains(&cut.get()), "rate_coupon.rate_cut_ppm", "must be between 1 and 50000 (5 %)");
        }
        Some(Benefit::RiskCompensation { waiting_days, .. }) => {
            let allowed = (0..=3660).contains(&waiting_days);
            must(allowed, "risk_compensation.waiting_days", "must be between 0 and 3660");
        }
    }
    let tags = &wish.required_product_tags;
    must(tags.len() <= MOST_TAGS, "required_product_tags", "must be at most 16");
    must(tags.iter().all(|tag| is_tag(tag)), "required_product_tags", "each must match [a-z][a-z0-9_]{1,31}");
    must(all_differ(tags), "required_product_tags", "must not repeat");
    let products = &wish.product_ids;
    must(products.len() <= MOST_PRODUCTS, "product_ids", "must be at most 64");
    must(products.iter().collect::<BTreeSet<_>>().len() == products.len(), "product_ids", "must not repeat");
    let classes = &wish.enterprise_classes;
    let known = classes.iter().all(|class| CLASSES.contains(&class.as_str()));
    must(known, "enterprise_classes", "each must be micro, small, medium, large or individual");
    must(all_differ(classes), "enterprise_classes", "must not repeat");
    must(wish.effective_from.is_some(), "effective_from", "must be a date, YYYY-MM-DD");
    must(wish.effective_to.is_some(), "effective_to", "must be a date, YYYY-MM-DD");
    if let (Some(from), Some(to)) = (wish.effective_from, wish.effective_to) {
        must(from <= to, "effective_to", "must not be before effective_from");
    }
    must((1..=120).contains(&wish.max_months), "max_months", "must be between 1 and 120");
    must(wish.cap_per_loan.is_positive(), "cap_per_loan_fen", "must be positive");
    must(wish.principal_cap.is_positive(), "principal_cap_fen", "must be positive");
    must(wish.day_count.is_some(), "day_count", "must be DAY_COUNT_ACTUAL_360 or DAY_COUNT_ACTUAL_365");
    let regions = &wish.region_codes;
    must(regions.len() <= MOST_REGIONS, "region_codes", "must be at most 32");
    must(regions.iter().all(|code| is_region(code)), "region_codes", "each must have 2, 4 or 6 digits (GB/T 2260)");
    must(all_differ(regions), "region_codes", "must not repeat");
    let copyright = wish.ip_kinds.contains(&IpKind::Copyright);
    let lpr = matches!(wish.benefit, Some(Benefit::LprShare { .. }));
    must(!(copyright && lpr), "ip_kinds", "a share of the LPR is paid for patents and trademarks, not for copyright");
    let yearly = wish.cap_per_enterprise_year.is_none_or(Fen::is_positive);
    must(yearly, "cap_per_enterprise_year_fen", "must be positive, or 0 for none");
    let of_losses = wish.benefit.is_some_and(Benefit::is_compensation);
    must(
        !(of_losses && wish.cap_per_enterprise_year.is_some()),
        "cap_per_enterprise_year_fen",
        "must be 0 for a part of a loss, which cap_per_loan_fen and principal_cap_fen bound",
    );
    let groups = &wish.stacking.exclusive_groups;
    must(groups.len() <= MOST_TAGS, "exclusive_groups", "must be at most 16");
    must(groups.iter().all(|group| is_tag(group)), "exclusive_groups", "each must match [a-z][a-z0-9_]{1,31}");
    must((0..=3660).contains(&wish.least_days), "least_days", "must be between 0 and 3660");
    let low = wish.low_budget.is_none_or(|share| (1..=1_000_000).contains(&share.get()));
    must(low, "low_budget_ppm", "must be between 1 and 1000000, or 0 for 100000");
    found
}

fn is_region(code: &str) -> bool {
    matches!(code.len(), 2 | 4 | 6) && code.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is there, fits, and can be shown.
#[must_use]
pub fn is_text(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.chars().any(char::is_control)
}

fn is_tag(tag: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (2..=32).contains(&tag.len()) && tag.starts_with(|first: char| first.is_ascii_lowercase()) && tag.bytes().all(plain)
}

fn all_differ(words: &[String]) -> bool {
    words.iter().collect::<BTreeSet<_>>().len() == words.len()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::policy::tests::{lpr_share, wish};

    fn refused(change: impl FnOnce(&mut Wish)) -> Vec<&'static str> {
        let mut wish = wish();
        change(&mut wish);
        Spec::try_from(wish).err().unwrap_or_default().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn the_share_is_50_to_80_percent() {
        for (share, allowed) in
            [(499_999, false), (490_000, false), (500_000, true), (800_000, true), (800_001, false), (810_000, false)]
        {
            let found = refused(|wish| wish.benefit = Some(lpr_share(share)));
            assert_eq!(found.is_empty(), allowed, "{share}");
        }
        assert_eq!(refused(|wish| wish.benefit = Some(lpr_share(490_000))), ["lpr_share.share_ppm"]);
    }

    #[test]
    fn copyright_gets_no_share_of_the_lpr() {
        let copyright = |wish: &mut Wish| wish.required_product_tags = vec![COPYRIGHT_PLEDGE.to_owned()];
        assert_eq!(refused(copyright), ["required_product_tags"]);
        let fixed = |wish: &mut Wish| {
            copyright(wish);
            wish.benefit = Some(Benefit::FixedRate(Ppm::new(10_000)));
        };
        assert!(refused(fixed).is_empty());
    }

    #[test]
    fn every_violation_is_named_at_once() {
        let violations = Spec::try_from(Wish::default()).unwrap_err();
        let fields: Vec<_> = violations.iter().map(|violation| violation.field).collect();
        let all = [
            "name_zh",
            "source_document_zh",
            "benefit",
            "effective_from",
            "effective_to",
            "max_months",
            "cap_per_loan_fen",
            "principal_cap_fen",
            "day_count",
        ];
        assert_eq!(fields, all);
    }

    #[test]
    fn each_field_has_its_bounds() {
        assert_eq!(refused(|wish| wish.name_zh = "名".repeat(65)), ["name_zh"]);
        assert_eq!(refused(|wish| wish.name_zh = "a\0b".to_owned()), ["name_zh"]);
        assert_eq!(refused(|wish| wish.source_document_zh = "文".repeat(201)), ["source_document_zh"]);
        assert_eq!(refused(|wish| wish.benefit = Some(Benefit::FixedRate(Ppm::new(50_001)))), ["fixed_rate.rate_ppm"]);
        assert_eq!(refused(|wish| wish.benefit = Some(Benefit::FixedRate(Ppm::new(0)))), ["fixed_rate.rate_ppm"]);
        assert_eq!(refused(|wish| wish.required_product_tags = vec!["IP".to_owned()]), ["required_product_tags"]);
        assert_eq!(
            refused(|wish| wish.required_product_tags = vec!["a1".to_owned(), "a1".to_owned()]),
            ["required_product_tags"]
        );
        let seventeen = |wish: &mut Wish| wish.required_product_tags = (10..27).map(|n| format!("tag_{n}")).collect();
        assert_eq!(refused(seventeen), ["required_product_tags"]);
        let product = |number: u128| ProductId::new(uuid::Uuid::from_u128(number));
        assert!(refused(|wish| wish.product_ids = (0..64).map(product).collect()).is_empty());
        assert_eq!(refused(|wish| wish.product_ids = (0..65).map(product).collect()), ["product_ids"]);
        assert_eq!(refused(|wish| wish.product_ids = vec![product(1); 2]), ["product_ids"]);
        assert_eq!(refused(|wish| wish.enterprise_classes = vec!["tiny".to_owned()]), ["enterprise_classes"]);
        assert_eq!(refused(|wish| wish.effective_to = Some(date(2025, 12, 31))), ["effective_to"]);
        assert_eq!(refused(|wish| wish.max_months = 121), ["max_months"]);
        assert_eq!(refused(|wish| wish.cap_per_loan = Fen::ZERO), ["cap_per_loan_fen"]);
        assert_eq!(refused(|wish| wish.principal_cap = Fen::new(-1)), ["principal_cap_fen"]);
        assert_eq!(refused(|wish| wish.day_count = None), ["day_count"]);
        let yearly = |wish: &mut Wish| wish.cap_per_enterprise_year = Some(Fen::new(1));
        assert!(refused(yearly).is_empty());
        let of_losses = |wish: &mut Wish| {
            yearly(wish);
            wish.benefit = Some(Benefit::RiskCompensation { waiting_days: 0, interest_counts: false });
        };
        assert_eq!(refused(of_losses), ["cap_per_enterprise_year_fen"]);
    }
}
