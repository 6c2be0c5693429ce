//! What a policy says.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use zhirong_kernel::{
    Fen, Ppm,
    id::{PolicyId, ProductId},
    interest::DayCount,
    lpr::Tenor,
};

mod wish;

pub use wish::{Violation, Wish, is_text};

pub use crate::audience::{IpKind, Who};
use crate::loss::Pool;

/// Classes of enterprises, as in the profile.
pub const CLASSES: [&str; 5] = ["micro", "small", "medium", "large", "individual"];
/// A product that takes a pledge of copyright.
pub const COPYRIGHT_PLEDGE: &str = "copyright_pledge";
/// Products that pledge what the rules on intellectual property subsidise: patents and trademarks.
pub const REGISTERED_PLEDGES: [&str; 2] = ["patent_pledge", "trademark_pledge"];

/// What is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Benefit {
    /// A share of an LPR in force at the end of the year before the approval.
    LprShare {
        /// The share.
        share: Ppm,
        /// Of which LPR.
        tenor: Tenor,
    },
    /// A fixed yearly rate.
    FixedRate(Ppm),
    /// A share of the loan's own interest.
    InterestShare(Ppm),
    /// A share of the fee for the guarantee.
    GuaranteeFeeShare(Ppm),
    /// A cut of the rate for those who hold a coupon.
    RateCoupon(Ppm),
    /// The pool's part of a loss.
    RiskCompensation {
        /// Days between the default and the first claim.
        waiting_days: i32,
        /// Whether interest owed at the default counts as loss.
        interest_counts: bool,
    },
}

impl Benefit {
    /// The share or the rate; zero for a part of a loss, which is agreed with each loan.
    #[must_use]
    pub const fn ppm(self) -> Ppm {
        match self {
            Self::LprShare { share: ppm, .. }
            | Self::FixedRate(ppm)
            | Self::InterestShare(ppm)
            | Self::GuaranteeFeeShare(ppm)
            | Self::RateCoupon(ppm) => ppm,
            Self::RiskCompensation { .. } => Ppm::new(0),
        }
    }

    /// Whether it is a part of a loss and not a grant of a loan that goes well.
    #[must_use]
    pub const fn is_compensation(self) -> bool {
        matches!(self, Self::RiskCompensation { .. })
    }
}

/// Beside what else a policy may be paid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stacking {
    /// Whether it may be paid beside others that add up, too; otherwise it is paid alone.
    pub adds_up: bool,
    /// Of the policies that share one of these words, only one is paid, also if they add up.
    pub exclusive_groups: Vec<String>,
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
    /// The product must be one of these; empty means any.
    pub product_ids: Vec<ProductId>,
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
    /// Divisions of GB/T 2260, 2, 4 or 6 digits, in one of which the enterprise must be registered; empty means anywhere.
    pub region_codes: Vec<String>,
    /// Kinds of intellectual property of which one must be pledged; empty means that no pledge is asked for.
    pub ip_kinds: Vec<IpKind>,
    /// Most that one enterprise may get out of one year's budget.
    pub cap_per_enterprise_year: Option<Fen>,
    /// Beside what else it may be paid.
    pub stacking: Stacking,
    /// A loan repaid in full within fewer days gets nothing.
    pub least_days: i32,
    /// A budget with a smaller share available is reported as low.
    pub low_budget: Ppm,
    /// Who may have it; none means anybody.
    pub who: Option<Who>,
}

impl Spec {
    /// What its pool bears of a loss at most; none when it has no pool.
    #[must_use]
    pub const fn pool(&self) -> Option<Pool> {
        match self.benefit {
            Benefit::RiskCompensation { interest_counts, .. } => {
                Some(Pool { principal_cap: self.principal_cap, cap: self.cap_per_loan, interest_counts })
            }
            _ => None,
        }
    }
}

/// A published version, also one that was replaced later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The policy.
    pub policy_id: PolicyId,
    /// The version.
    pub version: i32,
    /// What it says.
    pub spec: Arc<Spec>,
    /// When it was published.
    pub published_at: Timestamp,
    /// From then on no approval counts.
    pub ended_at: Option<Timestamp>,
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::civil::date;

    use super::*;

    pub(crate) fn lpr_share(ppm: i64) -> Benefit {
        Benefit::LprShare { share: Ppm::new(ppm), tenor: Tenor::OneYear }
    }

    pub(crate) fn wish() -> Wish {
        Wish {
            name_zh: "知识产权质押贷款贴息".to_owned(),
            source_document_zh: "示例文件〔2026〕1号".to_owned(),
            benefit: Some(lpr_share(500_000)),
            required_product_tags: vec!["ip_pledge".to_owned()],
            enterprise_classes: vec![],
            effective_from: Some(date(2026, 1, 1)),
            effective_to: Some(date(2026, 12, 31)),
            max_months: 12,
            cap_per_loan: Fen::new(20_000_000),
            principal_cap: Fen::new(1_000_000_000),
            day_count: Some(DayCount::Actual360),
            priority: 1,
            ..Wish::default()
        }
    }
}
