//! The quality-enterprise pool: from borrowers' own history 50 enterprises come into the pool, get better terms by it at once,
//! and one that defaults goes out again.

use anyhow::{Context as _, Result};
use serde_json::json;
use uuid::Uuid;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    catalog::v1::{
        Adjustment, AdjustmentBounds, CreditTerms, DraftAdjustmentRequest, GuaranteeForm, ProductSpec, RepaymentMethod,
        ReviewAdjustmentRequest, adjustment::Limit, adjustment_service_client::AdjustmentServiceClient,
        product_spec::Terms,
    },
    feedback::v1::{RatingLevel, SubmitRatingRequest, rating_service_client::RatingServiceClient},
    matching::v1::{
        ApproveLoanRequest, PlaceOrderRequest, RecordDefaultRequest, RecordDisbursementRequest, RecordRepaymentRequest,
        bank_order_service_client::BankOrderServiceClient, loan_service_client::LoanServiceClient,
        order_service_client::OrderServiceClient,
    },
    profile::v1::{
        ListQualityChangesRequest, ListQualityEnterprisesRequest, ListQualityEnterprisesResponse,
        QualityCriterionKind as Kind, quality_pool_service_client::QualityPoolServiceClient,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    liandu,
    products::{offered, publish_product},
    records::{publish, record},
};

const BANK: &str = "sample-puhui-bank";
/// The district's own figure.
const MEMBERS: usize = 50;
/// Beside them: one that repaid late, one that is dissatisfied, one that has not rated, one on the list of dishonest debtors.
const LATE: usize = MEMBERS;
const DISSATISFIED: usize = MEMBERS + 1;
const SILENT: usize = MEMBERS + 2;
const DISHONEST: usize = MEMBERS + 3;
const ALL: usize = MEMBERS + 4;
const LOAN_FEN: i64 = 100_000_000;
const OWN_LIMIT_FEN: i64 = 500_000_000;
const MORE_FEN: i64 = 300_000_000;

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

fn uscc(number: usize) -> Uscc {
    Uscc::with_check(&format!("91331102MA2Q{number:05}")).unwrap()
}

fn product() -> ProductSpec {
    let terms = CreditTerms {
        limit_formula: "registered_capital_fen".to_owned(),
        rate_formula: "lpr_1y_ppm + 8000".to_owned(),
        min_amount_fen: 10_000_000,
        max_amount_fen: OWN_LIMIT_FEN,
        min_term_months: 6,
        max_term_months: 36,
        repayment_method: RepaymentMethod::InterestFirst.into(),
        guarantee_form: GuaranteeForm::Credit.into(),
        answer_working_days: 5,
        adjustment_bounds: Some(AdjustmentBounds {
            max_rate_cut_ppm: 5_000,
            max_limit_extra_fen: MORE_FEN,
            min_answer_working_days: 1,
            ..AdjustmentBounds::default()
        }),
        ..CreditTerms::default()
    };
    ProductSpec {
        institution_id: BANK.to_owned(),
        name_zh: "普惠循环贷".to_owned(),
        summary_zh: "示例可调产品".to_owned(),
        tags: vec!["micro".to_owned()],
        terms: Some(Terms::Credit(terms)),
    }
}

/// One enterprise borrows and repays half. Gives the loan.
async fn borrows(district: &District, bank: &InstitutionId, number: usize, product: &str) -> Result<String> {
    let uscc = uscc(number);
    let today = liandu::today().to_string();
    let own = |eligible: &zhirong_proto::matching::v1::Eligible| eligible.limit_fen >= LOAN_FEN;
    let offer = offered(district, &uscc, product, own).await?;
    let order = PlaceOrderRequest {
        request_id: new_id(),
        product_id: product.to_owned(),
        amount_fen: LOAN_FEN,
        term_months: 12,
        purpose_zh: "采购原材料".to_owned(),
        consent: liandu::consent(),
        coupon_id: String::new(),
    };
    let mut orders = OrderServiceClient::new(district.as_enterprise(&uscc).await?);
    let order = orders.place_order(order).await?.into_inner().order.unwrap();

    let desk = district.as_bank(bank).await?;
    let approve = ApproveLoanRequest {
        request_id: new_id(),
        order_id: order.order_id,
        amount_fen: LOAN_FEN,
        rate_ppm: offer.rate_ppm,
        term_months: 12,
        bank_reference: format!("L8-{number}"),
        ..ApproveLoanRequest::default()
    };
    let mut answers = BankOrderServiceClient::new(desk.clone());
    let loan_id = answers.approve_loan(approve).await?.into_inner().loan.context("a loan")?.loan_id;
    let disburse = RecordDisbursementRequest {
        request_id: new_id(),
        loan_id: loan_id.clone(),
        amount_fen: LOAN_FEN,
        disbursed_on: today.clone(),
    };
    answers.record_disbursement(disburse).await?;
    let repay = RecordRepaymentRequest {
        request_id: new_id(),
        loan_id: loan_id.clone(),
        principal_fen: LOAN_FEN / 2,
        interest_fen: 0,
        paid_on: today,
        overdue: number == LATE,
    };
    LoanServiceClient::new(desk).record_repayment(repay).await?;
    Ok(loan_id)
}

/// The borrower says what it thinks of the loan, or nothing.
async fn rates(district: &District, number: usize, loan_id: &str) -> Result<()> {
    if number != SILENT {
        let level = if number == DISSATISFIED { RatingLevel::Dissatisfied } else { RatingLevel::VerySatisfied };
        let request = SubmitRatingRequest {
            request_id: new_id(),
            loan_id: loan_id.to_owned(),
            level: level.into(),
            comment_zh: String::new(),
        };
        let client = RatingServiceClient::new(district.as_enterprise(&uscc(number)).await?);
        eventually("feedback has heard of the loan", || async {
            Ok(Some(client.clone().submit_rating(request.clone()).await?))
        })
        .await?;
    }
    Ok(())
}

async fn pool(district: &District, members: usize) -> Result<ListQualityEnterprisesResponse> {
    let client = QualityPoolServiceClient::new(district.as_staff().await?);
    eventually(&format!("{members} enterprises are in the pool"), || async {
        let request = ListQualityEnterprisesRequest { page_size: 500, page_token: String::new() };
        let page = client.clone().list_quality_enterprises(request).await?.into_inner();
        Ok((page.enterprise_count == i64::try_from(members)?).then_some(page))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_l8_quality_enterprise_pool() -> Result<()> {
    let district = District::start().await?;
    let bank: InstitutionId = BANK.parse()?;
    let product = publish_product(&district, product()).await?;
    let mut records = Vec::new();
    for number in 0..ALL {
        let registration = json!({
            "name": format!("示例企业{number}"), "established_on": "2019-05-20", "enterprise_class": "small",
            "industry_code": "C35", "registered_capital_fen": 2_000_000_000_i64, "is_in_operation": true,
        });
        records.push(record(&uscc(number), "business_registration", "2026-10-01", &registration));
        let listed = json!({ "is_dishonest": number == DISHONEST });
        records.push(record(&uscc(number), "dishonest_debtor", "2026-10-01", &listed));
    }
    publish(&district, "records", &records).await?;
    let mut loans = Vec::new();
    for number in 0..ALL {
        loans.push(borrows(&district, &bank, number, &product).await?);
    }
    for (number, loan) in loans.iter().enumerate() {
        rates(&district, number, loan).await?;
    }

    let page = pool(&district, MEMBERS).await?;
    let mut expected: Vec<String> = (0..MEMBERS).map(|number| uscc(number).to_string()).collect();
    expected.sort();
    assert_eq!(page.standings.iter().map(|of| of.enterprise_id.clone()).collect::<Vec<_>>(), expected);
    assert!(page.standings.iter().all(|of| of.criteria.len() == 5 && of.criteria.iter().all(|of| of.met)));

    assert_eq!(liandu::report(&district).await?["quality_enterprises"], MEMBERS);

    // The pool is a set that a bank may give better terms to; nobody lists its members by hand.
    let today = liandu::today();
    let adjustment = Adjustment {
        product_id: product.clone(),
        enterprise_tag: "is_quality_enterprise".to_owned(),
        name_zh: "优质企业库专享".to_owned(),
        rate_cut_ppm: 5_000,
        limit: Some(Limit::LimitExtraFen(MORE_FEN)),
        answer_working_days: 1,
        from: today.yesterday()?.to_string(),
        to: today.saturating_add(jiff::Span::new().days(90)).to_string(),
        ..Adjustment::default()
    };
    let before = offered(&district, &uscc(LATE), &product, |_| true).await?;
    let mut desk = AdjustmentServiceClient::new(district.as_bank(&bank).await?);
    let draft = DraftAdjustmentRequest { request_id: new_id(), adjustment: Some(adjustment) };
    let written = desk.draft_adjustment(draft).await?.into_inner().adjustment.context("a draft")?;
    let approve = ReviewAdjustmentRequest {
        request_id: new_id(),
        adjustment_id: written.adjustment_id,
        approve: true,
        reason: String::new(),
    };
    AdjustmentServiceClient::new(district.as_staff().await?).review_adjustment(approve).await?;
    for number in [0, MEMBERS - 1] {
        let better = offered(&district, &uscc(number), &product, |of| !of.adjustments.is_empty()).await?;
        assert_eq!(better.limit_fen, OWN_LIMIT_FEN + MORE_FEN, "3 million CNY more");
        assert_eq!(better.rate_ppm, before.rate_ppm - 5_000);
    }
    for number in [LATE, DISSATISFIED, SILENT, DISHONEST] {
        let own = offered(&district, &uscc(number), &product, |_| true).await?;
        assert_eq!((own.limit_fen, own.adjustments.len()), (OWN_LIMIT_FEN, 0));
    }

    // A member defaults: it goes out with the reason, and the better terms go with it.
    let default = RecordDefaultRequest {
        request_id: new_id(),
        loan_id: loans[0].clone(),
        defaulted_on: today.to_string(),
        overdue_interest_fen: 0,
    };
    LoanServiceClient::new(district.as_bank(&bank).await?).record_default(default).await?;
    pool(&district, MEMBERS - 1).await?;
    offered(&district, &uscc(0), &product, |of| of.adjustments.is_empty()).await?;
    let mut own = QualityPoolServiceClient::new(district.as_enterprise(&uscc(0)).await?);
    let changes = own.list_quality_changes(ListQualityChangesRequest::default()).await?.into_inner().changes;
    assert_eq!(changes.iter().map(|of| of.listed).collect::<Vec<_>>(), [true, false]);
    let unmet: Vec<Kind> = changes[1].criteria.iter().filter(|of| !of.met).map(|of| of.kind()).collect();
    assert_eq!(unmet, [Kind::NoLoss]);
    district.stop().await
}
