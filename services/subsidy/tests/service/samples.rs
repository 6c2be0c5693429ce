//! Made-up facts of other services, and policies for them.

use zhirong_kernel::Uscc;
use zhirong_proto::{
    catalog::v1::{LprChange, LprTable, ReferencePublished, reference_published::Reference},
    matching::v1::{Loan, LoanState},
    subsidy::v1::{
        AppropriateBudgetRequest, DayCount, DraftPolicyRequest, FixedRate, LprShare, PolicySpec, ReferenceRate,
        policy_spec::Benefit,
    },
};

use crate::support::new_id;

/// A table of the LPR; half a point more over five years.
pub fn lpr(version: i64, changes: &[(&str, i64)], known_through: &str) -> ReferencePublished {
    let changes = changes
        .iter()
        .map(|(day, ppm)| LprChange { published_on: (*day).to_owned(), one_year_ppm: *ppm, five_year_ppm: ppm + 5_000 })
        .collect();
    let table = LprTable { changes, known_through: known_through.to_owned() };
    ReferencePublished { version, reference: Some(Reference::Lpr(table)) }
}

pub fn uscc(number: usize) -> String {
    Uscc::with_check(&format!("91331102MA{number:07}")).unwrap().to_string()
}

pub fn lpr_share(share_ppm: i64, of: ReferenceRate) -> Benefit {
    Benefit::LprShare(LprShare { share_ppm, reference_rate: of.into() })
}

/// 60 % of the one-year LPR on IP pledges in 2026, whoever borrows.
pub fn ip_policy() -> PolicySpec {
    PolicySpec {
        name_zh: "知识产权质押贷款贴息".to_owned(),
        source_document_zh: "示例文件〔2026〕1号".to_owned(),
        benefit: Some(lpr_share(600_000, ReferenceRate::OneYearLpr)),
        required_product_tags: vec!["ip_pledge".to_owned()],
        enterprise_classes: vec![],
        effective_from: "2026-01-01".to_owned(),
        effective_to: "2026-12-31".to_owned(),
        max_months: 12,
        cap_per_loan_fen: 20_000_000,
        principal_cap_fen: 1_000_000_000,
        day_count: DayCount::Actual360.into(),
        priority: 10,
        // What an answer says when nothing is asked for.
        low_budget_ppm: 100_000,
        ..PolicySpec::default()
    }
}

/// 1 % for micro and small enterprises in 2026.
pub fn general_policy() -> PolicySpec {
    PolicySpec {
        name_zh: "小微企业贷款贴息".to_owned(),
        benefit: Some(Benefit::FixedRate(FixedRate { rate_ppm: 10_000 })),
        required_product_tags: vec![],
        enterprise_classes: vec!["micro".to_owned(), "small".to_owned()],
        priority: 20,
        ..ip_policy()
    }
}

pub fn draft(policy_id: &str, spec: PolicySpec) -> DraftPolicyRequest {
    DraftPolicyRequest { request_id: new_id(), policy_id: policy_id.to_owned(), spec: Some(spec) }
}

pub fn appropriation(policy_id: &str, year: i32, amount_fen: i64) -> AppropriateBudgetRequest {
    let document_zh = "示例拨款〔2026〕1号".to_owned();
    AppropriateBudgetRequest { request_id: new_id(), policy_id: policy_id.to_owned(), year, amount_fen, document_zh }
}

/// The subsidy of [`loan`] under [`ip_policy`]: 1 000 000 CNY × 1.8 % × 365 / 360.
pub const IP_FEN: i64 = 1_825_000;
/// The subsidy of [`loan`] under [`general_policy`]: 1 000 000 CNY × 1 % × 365 / 360.
pub const GENERAL_FEN: i64 = 1_013_889;

/// A loan of 1 000 000 CNY for a year on a patent, approved on 1 March 2026 and so many seconds.
pub fn loan(number: usize) -> Loan {
    Loan {
        loan_id: new_id(),
        order_id: new_id(),
        enterprise_id: uscc(number),
        institution_id: "sample-bank".to_owned(),
        institution_name_zh: "示例银行".to_owned(),
        product_id: new_id(),
        product_version: 1,
        product_name_zh: "示例产品".to_owned(),
        product_tags: vec!["ip_pledge".to_owned()],
        enterprise_class: "micro".to_owned(),
        amount_fen: 100_000_000,
        rate_ppm: 43_500,
        term_months: 12,
        bank_reference: format!("REF-{number}"),
        state: LoanState::Approved.into(),
        version: 1,
        approved_at: Some(prost_types::Timestamp { seconds: 1_772_330_400 + i64::try_from(number).unwrap(), nanos: 0 }),
        ..Loan::default()
    }
}

/// The loan after it was paid out.
pub fn disbursed(loan: &Loan, amount_fen: i64, on: &str) -> Loan {
    Loan {
        state: LoanState::Disbursed.into(),
        version: loan.version + 1,
        disbursed_fen: amount_fen,
        disbursed_on: on.to_owned(),
        ..loan.clone()
    }
}
