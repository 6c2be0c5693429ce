//! What stories about money do again and again: a product of their own, enterprises that it suits, loans, policies with budgets.

use anyhow::{Context as _, Result};
use jiff::{ToSpan as _, civil::Date};
use serde_json::{Value, json};
use uuid::Uuid;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    catalog::v1::{CreditTerms, GuaranteeForm, ProductSpec, RepaymentMethod, product_spec::Terms},
    matching::v1::{
        ApproveLoanRequest, CalculateRequest, CalculateView, Loan, PlaceOrderRequest, RecordDisbursementRequest,
        bank_order_service_client::BankOrderServiceClient, calculator_service_client::CalculatorServiceClient,
        order_service_client::OrderServiceClient,
    },
    subsidy::v1::{
        AppropriateBudgetRequest, Budget, DayCount, DraftPolicyRequest, Grant, ListBudgetsRequest, ListGrantsRequest,
        Policy, PolicySpec, ReviewPolicyRequest, SubmitPolicyRequest, grant_service_client::GrantServiceClient,
        policy_review_service_client::PolicyReviewServiceClient, policy_service_client::PolicyServiceClient,
        policy_spec::Benefit,
    },
};

use crate::{
    district::{Authorised, District, eventually},
    liandu,
    products::{condition, publish_product},
    records::{publish, record},
};

/// The lender of these stories.
pub const BANK: &str = "sample-puhui-bank";
/// Calls in flight at once.
const AT_ONCE: usize = 8;

/// An id for a request.
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// A credit product with these tags that anybody in operation may have, at a rate, up to 200 million CNY.
pub async fn product(district: &District, name_zh: &str, tags: &[&str], rate_ppm: i64) -> Result<String> {
    let terms = CreditTerms {
        conditions: vec![condition("is_in_operation", "存续在业")],
        limit_formula: "registered_capital_fen * 20".to_owned(),
        rate_formula: rate_ppm.to_string(),
        min_amount_fen: 100,
        max_amount_fen: 20_000_000_000,
        min_term_months: 1,
        max_term_months: 36,
        repayment_method: RepaymentMethod::InterestFirst.into(),
        guarantee_form: GuaranteeForm::Credit.into(),
        answer_working_days: 5,
        ..CreditTerms::default()
    };
    let spec = ProductSpec {
        institution_id: BANK.to_owned(),
        name_zh: name_zh.to_owned(),
        summary_zh: "示例产品".to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        terms: Some(Terms::Credit(terms)),
    };
    publish_product(district, spec).await
}

/// Another member of the staff than [`District::as_staff`].
pub async fn reviewer(district: &District) -> Result<Authorised> {
    Ok(district.with_token(&district.token(&["staff"], "story-reviewer").await?))
}

/// Enterprises of a class in a division, with little known of them but what [`product`] asks for; waits until the calculator
/// knows them.
pub async fn enterprises(district: &District, division: &str, class: &str, count: usize) -> Result<Vec<Uscc>> {
    let all: Vec<Uscc> =
        (0..count).map(|number| Uscc::with_check(&format!("91{division}MA2K{number:05}"))).collect::<Result<_, _>>()?;
    let records: Vec<Value> = all
        .iter()
        .enumerate()
        .map(|(number, uscc)| {
            let data = json!({
                "name": format!("示例企业{division}第{number}号"), "established_on": "2019-05-20",
                "enterprise_class": class, "industry_code": "C34", "registered_capital_fen": 1_000_000_000,
                "is_in_operation": true,
            });
            record(uscc, "business_registration", "2026-10-01", &data)
        })
        .collect();
    publish(district, &format!("enterprises-{division}-{class}"), &records).await?;
    for uscc in [all.first(), all.last()].into_iter().flatten() {
        known(district, uscc).await?;
    }
    Ok(all)
}

async fn known(district: &District, uscc: &Uscc) -> Result<()> {
    let client = CalculatorServiceClient::new(district.as_enterprise(uscc).await?);
    let request = CalculateRequest { view: CalculateView::Eligible.into(), limit: 1, ..CalculateRequest::default() };
    eventually(&format!("{uscc} can compute"), || async {
        Ok((client.clone().calculate(request.clone()).await?.into_inner().eligible_count > 0).then_some(()))
    })
    .await
}

/// One loan that a story wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Who borrows.
    pub uscc: Uscc,
    /// How much, fen.
    pub amount_fen: i64,
    /// The coupon it uses; empty for none.
    pub coupon_id: String,
    /// What the bank adds to its approval: guarantee, pledges, rate.
    pub approval: ApproveLoanRequest,
}

impl Wanted {
    /// A plain loan at a rate.
    pub fn new(uscc: &Uscc, amount_fen: i64, rate_ppm: i64) -> Self {
        let approval = ApproveLoanRequest { rate_ppm, ..ApproveLoanRequest::default() };
        Self { uscc: uscc.clone(), amount_fen, coupon_id: String::new(), approval }
    }
}

/// Each orders a product for 12 months by one click, and the bank approves it; in the order of the wishes.
pub async fn lend(district: &District, product_id: &str, wanted: &[Wanted]) -> Result<Vec<Loan>> {
    let bank = bank(district).await?;
    let mut loans = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(AT_ONCE) {
        let mut tasks = Vec::new();
        for one in some {
            let orders = OrderServiceClient::new(district.as_enterprise(&one.uscc).await?);
            let order = PlaceOrderRequest {
                request_id: new_id(),
                product_id: product_id.to_owned(),
                amount_fen: one.amount_fen,
                term_months: 12,
                purpose_zh: "购买原材料".to_owned(),
                consent: liandu::consent(),
                coupon_id: one.coupon_id.clone(),
            };
            tasks.push(tokio::spawn(take_out(orders, bank.clone(), order, one.approval.clone())));
        }
        for task in tasks {
            loans.push(task.await??);
        }
    }
    Ok(loans)
}

async fn take_out(
    orders: OrderServiceClient<Authorised>,
    mut bank: BankOrderServiceClient<Authorised>,
    order: PlaceOrderRequest,
    approval: ApproveLoanRequest,
) -> Result<Loan> {
    let (amount_fen, term_months) = (order.amount_fen, order.term_months);
    let what = format!("{} fen are ordered", order.amount_fen);
    // The product and the profile are on their way to the calculator.
    let order = eventually(&what, || async {
        Ok(Some(orders.clone().place_order(order.clone()).await?.into_inner().order.context("an order")?))
    })
    .await?;
    let request = ApproveLoanRequest {
        request_id: new_id(),
        bank_reference: format!("STORY-{}", order.order_id),
        order_id: order.order_id,
        amount_fen,
        term_months,
        ..approval
    };
    bank.approve_loan(request).await?.into_inner().loan.context("a loan")
}

/// The lender's core system.
pub async fn bank(district: &District) -> Result<BankOrderServiceClient<Authorised>> {
    Ok(BankOrderServiceClient::new(district.as_bank(&BANK.parse::<InstitutionId>()?).await?))
}

/// The bank pays loans out in full, today.
pub async fn pay_out(district: &District, loans: &[Loan]) -> Result<Vec<Loan>> {
    let mut bank = bank(district).await?;
    let mut paid = Vec::with_capacity(loans.len());
    for loan in loans {
        let request = RecordDisbursementRequest {
            request_id: new_id(),
            loan_id: loan.loan_id.clone(),
            amount_fen: loan.amount_fen,
            disbursed_on: liandu::today().to_string(),
        };
        paid.push(bank.record_disbursement(request).await?.into_inner().loan.context("a loan")?);
    }
    Ok(paid)
}

/// A policy for products with a tag, for everybody, for twelve months of a loan approved this year.
pub fn policy_spec(name_zh: &str, tag: &str, benefit: Benefit) -> PolicySpec {
    PolicySpec {
        name_zh: name_zh.to_owned(),
        source_document_zh: "示例文件（虚构）".to_owned(),
        benefit: Some(benefit),
        required_product_tags: vec![tag.to_owned()],
        effective_from: "2024-01-01".to_owned(),
        effective_to: "2100-12-31".to_owned(),
        max_months: 12,
        cap_per_loan_fen: 1_000_000_000,
        principal_cap_fen: 20_000_000_000,
        day_count: DayCount::Actual360.into(),
        priority: 1,
        ..PolicySpec::default()
    }
}

/// Drafted and handed in by one, published by another, with money for this year.
pub async fn policy(district: &District, spec: PolicySpec, budget_fen: i64) -> Result<Policy> {
    let mut policies = PolicyServiceClient::new(district.as_staff().await?);
    let draft = DraftPolicyRequest { request_id: new_id(), policy_id: String::new(), spec: Some(spec) };
    let policy = policies.draft_policy(draft).await?.into_inner().policy.context("a draft")?;
    let (policy_id, version) = (policy.policy_id.clone(), policy.version);
    let submit = SubmitPolicyRequest {
        request_id: new_id(),
        policy_id: policy_id.clone(),
        version,
        reason_zh: "请复核".to_owned(),
    };
    PolicyReviewServiceClient::new(district.as_staff().await?).submit_policy(submit).await?;
    let review = ReviewPolicyRequest {
        request_id: new_id(),
        policy_id: policy_id.clone(),
        version,
        publish: true,
        reason_zh: "同意".to_owned(),
    };
    let mut reviews = PolicyReviewServiceClient::new(reviewer(district).await?);
    let policy = reviews.review_policy(review).await?.into_inner().policy.context("a policy")?;
    if budget_fen > 0 {
        let money = AppropriateBudgetRequest {
            request_id: new_id(),
            policy_id,
            year: this_year(),
            amount_fen: budget_fen,
            document_zh: "示例拨款（虚构）".to_owned(),
        };
        policies.appropriate_budget(money).await?;
    }
    Ok(policy)
}

/// The year of budgets.
pub fn this_year() -> i32 {
    i32::from(liandu::today().year())
}

/// Days of twelve months from today.
pub fn days_of_a_year() -> i64 {
    let today = liandu::today();
    let until: Date = today.checked_add(12.months()).unwrap();
    i64::from(today.until(until).unwrap().get_days())
}

/// Principal × rate × days of twelve months / 360, half up.
pub fn year_of(principal_fen: i64, rate_ppm: i64) -> i64 {
    let exact = i128::from(principal_fen) * i128::from(rate_ppm) * i128::from(days_of_a_year());
    i64::try_from((2 * exact + 360_000_000) / 720_000_000).unwrap()
}

/// The least principal whose year at a rate comes to this.
pub fn principal_for(amount_fen: i64, rate_ppm: i64) -> i64 {
    let unit = i128::from(rate_ppm) * i128::from(days_of_a_year());
    let least = (i128::from(amount_fen) * 720_000_000 - 360_000_000 + 2 * unit - 1) / (2 * unit);
    let found = i64::try_from(least).unwrap();
    assert_eq!(year_of(found, rate_ppm), amount_fen);
    found
}

/// All grants, page by page.
pub async fn grants(district: &District) -> Result<Vec<Grant>> {
    let mut client = GrantServiceClient::new(district.as_staff().await?);
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListGrantsRequest { page_size: 500, page_token, ..ListGrantsRequest::default() };
        let page = client.list_grants(request).await?.into_inner();
        found.extend(page.grants);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// Waits until there are this many grants of a policy; gives them.
pub async fn grants_of(district: &District, policy: &Policy, count: usize) -> Result<Vec<Grant>> {
    eventually(&format!("{count} grants of {}", policy.policy_id), || async {
        let all = grants(district).await?;
        let own: Vec<Grant> = all.into_iter().filter(|grant| grant.policy_id == policy.policy_id).collect();
        Ok((own.len() == count).then_some(own))
    })
    .await
}

/// This year's budget of a policy.
pub async fn budget(district: &District, policy: &Policy) -> Result<Budget> {
    let request = ListBudgetsRequest { page_size: 500, page_token: String::new() };
    let mut client = PolicyServiceClient::new(district.as_staff().await?);
    let all = client.list_budgets(request).await?.into_inner().budgets;
    all.into_iter()
        .find(|budget| budget.policy_id == policy.policy_id && budget.year == this_year())
        .context("the budget of this year")
}
