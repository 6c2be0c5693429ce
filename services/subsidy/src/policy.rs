//! What a policy says, and what it may say.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date};
use zhirong_kernel::{Fen, Ppm, id::PolicyId, interest::DayCount};

/// Classes of enterprises, as in the profile.
pub const CLASSES: [&str; 5] = ["micro", "small", "medium", "large", "individual"];
/// A product that takes a pledge of copyright.
pub const COPYRIGHT_PLEDGE: &str = "copyright_pledge";
/// Products that pledge what the rules on intellectual property subsidise: patents and trademarks.
pub const REGISTERED_PLEDGES: [&str; 2] = ["patent_pledge", "trademark_pledge"];

const MOST_TAGS: usize = 16;
const LONGEST_NAME: usize = 64;
const LONGEST_DOCUMENT: usize = 200;

/// What is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Benefit {
    /// A share of the one-year LPR in force at the end of the year before the approval.
    LprShare(Ppm),
    /// A fixed yearly rate.
    FixedRate(Ppm),
}

impl Benefit {
    /// The share or the rate.
    #[must_use]
    pub const fn ppm(self) -> Ppm {
        match self {
            Self::LprShare(ppm) | Self::FixedRate(ppm) => ppm,
        }
    }
}

/// What a policy says; always valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Chinese name.
    pub name_zh: String,
    /// The document it rests on.
    pub source_document_zh: String,
    /// What is paid.
    pub benefit: Benefit,
    /// The product must carry all of these.
    pub required_product_tags: Vec<String>,
    /// The enterprise must be of one of these; empty means any.
    pub enterprise_classes: Vec<String>,
    /// First day on which an approval counts.
    pub effective_from: Date,
    /// Last day on which an approval counts.
    pub effective_to: Date,
    /// Longest time that is subsidised, months.
    pub max_months: i32,
    /// Most that one loan may get.
    pub cap_per_loan: Fen,
    /// Most of a loan's principal that is subsidised.
    pub principal_cap: Fen,
    /// Days in the year of account.
    pub day_count: DayCount,
    /// At a tie the lower number is taken.
    pub priority: i32,
}

/// A published version, also one that was replaced later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The policy.
    pub policy_id: PolicyId,
    /// The version.
    pub version: i32,
    /// What it says.
    pub spec: Spec,
    /// When it was published.
    pub published_at: Timestamp,
}

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
        let violations = violations(&wish);
        match (wish.benefit, wish.effective_from, wish.effective_to, wish.day_count) {
            (Some(benefit), Some(effective_from), Some(effective_to), Some(day_count)) if violations.is_empty() => {
                Ok(Self {
                    name_zh: wish.name_zh,
                    source_document_zh: wish.source_document_zh,
                    benefit,
                    required_product_tags: wish.required_product_tags,
                    enterprise_classes: wish.enterprise_classes,
                    effective_from,
                    effective_to,
                    max_months: wish.max_months,
                    cap_per_loan: wish.cap_per_loan,
                    principal_cap: wish.principal_cap,
                    day_count,
                    priority: wish.priority,
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
        None => must(false, "benefit", "must be lpr_share or fixed_rate"),
        Some(Benefit::LprShare(share)) => {
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
    }
    let tags = &wish.required_product_tags;
    must(tags.len() <= MOST_TAGS, "required_product_tags", "must be at most 16");
    must(tags.iter().all(|tag| is_tag(tag)), "required_product_tags", "each must match [a-z][a-z0-9_]{1,31}");
    must(all_differ(tags), "required_product_tags", "must not repeat");
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
    found
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
pub(crate) mod tests {
    use jiff::civil::date;

    use super::*;

    pub(crate) fn wish() -> Wish {
        Wish {
            name_zh: "知识产权质押贷款贴息".to_owned(),
            source_document_zh: "示例文件〔2026〕1号".to_owned(),
            benefit: Some(Benefit::LprShare(Ppm::new(500_000))),
            required_product_tags: vec!["ip_pledge".to_owned()],
            enterprise_classes: vec![],
            effective_from: Some(date(2026, 1, 1)),
            effective_to: Some(date(2026, 12, 31)),
            max_months: 12,
            cap_per_loan: Fen::new(20_000_000),
            principal_cap: Fen::new(1_000_000_000),
            day_count: Some(DayCount::Actual360),
            priority: 1,
        }
    }

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
            let found = refused(|wish| wish.benefit = Some(Benefit::LprShare(Ppm::new(share))));
            assert_eq!(found.is_empty(), allowed, "{share}");
        }
        assert_eq!(refused(|wish| wish.benefit = Some(Benefit::LprShare(Ppm::new(490_000)))), ["lpr_share.share_ppm"]);
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
        assert_eq!(refused(|wish| wish.enterprise_classes = vec!["tiny".to_owned()]), ["enterprise_classes"]);
        assert_eq!(refused(|wish| wish.effective_to = Some(date(2025, 12, 31))), ["effective_to"]);
        assert_eq!(refused(|wish| wish.max_months = 121), ["max_months"]);
        assert_eq!(refused(|wish| wish.cap_per_loan = Fen::ZERO), ["cap_per_loan_fen"]);
        assert_eq!(refused(|wish| wish.principal_cap = Fen::new(-1)), ["principal_cap_fen"]);
        assert_eq!(refused(|wish| wish.day_count = None), ["day_count"]);
    }
}
