//! Product adjustment: for a set of enterprises a bank lowers the rate, raises the limit and opens a fast lane, within the bounds
//! it set itself; one member gets 3 million CNY more at the preferential rate.

use anyhow::{Context as _, Result};
use serde_json::json;
use uuid::Uuid;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    catalog::v1::{
        Adjustment, AdjustmentBounds, CreditTerms, DraftAdjustmentRequest, EndAdjustmentRequest, GuaranteeForm,
        ProductSpec, RepaymentMethod, ReviewAdjustmentRequest, RuleOperator, RuleRow, adjustment::Limit,
        adjustment_service_client::AdjustmentServiceClient, product_spec::Terms,
    },
    matching::v1::{Eligible, PlaceOrderRequest, order_service_client::OrderServiceClient},
};
use zhirong_tests::{
    district::District,
    liandu,
    products::{offered, publish_product},
    records::{publish, record},
};

const BANK: &str = "sample-puhui-bank";
/// The product's own largest amount, and what the adjustment adds: 5 and 3 million CNY.
const OWN_LIMIT_FEN: i64 = 500_000_000;
const MORE_FEN: i64 = 300_000_000;

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

fn product() -> ProductSpec {
    // Written as staff write it: rows, no CEL.
    let row = |feature: &str, operator: RuleOperator, values: &[&str]| RuleRow {
        feature: feature.to_owned(),
        operator: operator.into(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
        ..RuleRow::default()
    };
    let condition = |row| zhirong_proto::catalog::v1::Condition { rows: vec![row], ..Default::default() };
    let terms = CreditTerms {
        conditions: vec![
            condition(row("registered_capital_fen", RuleOperator::AtLeast, &["100万元"])),
            condition(row("is_dishonest", RuleOperator::IsFalse, &[])),
        ],
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
        name_zh: "普惠经营贷".to_owned(),
        summary_zh: "示例可调产品".to_owned(),
        tags: vec!["micro".to_owned()],
        terms: Some(Terms::Credit(terms)),
    }
}

fn order(product: &str, amount_fen: i64) -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: new_id(),
        product_id: product.to_owned(),
        amount_fen,
        term_months: 12,
        purpose_zh: "扩大生产".to_owned(),
        consent: liandu::consent(),
        coupon_id: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_l9_product_adjustment() -> Result<()> {
    let district = District::start().await?;
    let product = publish_product(&district, product()).await?;

    let [member, other] =
        ["91331102MA2C000010", "91331102MA2C000020"].map(|text| Uscc::with_check(&text[..17]).unwrap());
    let mut records = Vec::new();
    for (uscc, is_specialised) in [(&member, true), (&other, false)] {
        let registration = json!({
            "name": "示例成员有限公司", "established_on": "2019-05-20", "enterprise_class": "small",
            "industry_code": "C35", "registered_capital_fen": 2_000_000_000_i64, "is_in_operation": true,
        });
        records.push(record(uscc, "business_registration", "2026-10-01", &registration));
        records.push(record(uscc, "dishonest_debtor", "2026-10-01", &json!({ "is_dishonest": false })));
        let level = if is_specialised { "province" } else { "none" };
        let level = json!({ "is_specialised": is_specialised, "specialised_level": level });
        records.push(record(uscc, "specialised_enterprise", "2026-10-01", &level));
    }
    publish(&district, "records", &records).await?;

    let own = |eligible: &Eligible| eligible.limit_fen == OWN_LIMIT_FEN && eligible.adjustments.is_empty();
    let before = offered(&district, &member, &product, own).await?;
    assert_eq!(before.answer_working_days, 5);

    // The bank writes what it wants to give; beyond its own bounds it may not go.
    let bank: InstitutionId = BANK.parse()?;
    let mut bank = AdjustmentServiceClient::new(district.as_bank(&bank).await?);
    let today = liandu::today();
    let adjustment = Adjustment {
        product_id: product.clone(),
        enterprise_tag: "is_specialised".to_owned(),
        name_zh: "专精特新专享优惠".to_owned(),
        rate_cut_ppm: 5_000,
        limit: Some(Limit::LimitExtraFen(MORE_FEN)),
        answer_working_days: 1,
        from: today.yesterday()?.to_string(),
        to: today.saturating_add(jiff::Span::new().days(90)).to_string(),
        ..Adjustment::default()
    };
    let write = |adjustment: Adjustment| DraftAdjustmentRequest { request_id: new_id(), adjustment: Some(adjustment) };
    let greedy = Adjustment { rate_cut_ppm: 5_001, ..adjustment.clone() };
    assert_eq!(bank.draft_adjustment(write(greedy)).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let written = bank.draft_adjustment(write(adjustment)).await?.into_inner().adjustment.context("a draft")?;
    let approve = ReviewAdjustmentRequest {
        request_id: new_id(),
        adjustment_id: written.adjustment_id.clone(),
        approve: true,
        reason: String::new(),
    };
    AdjustmentServiceClient::new(district.as_staff().await?).review_adjustment(approve).await?;

    let better = offered(&district, &member, &product, |eligible| !eligible.adjustments.is_empty()).await?;
    assert_eq!(better.limit_fen, OWN_LIMIT_FEN + MORE_FEN, "3 million CNY more");
    assert_eq!(better.rate_ppm, before.rate_ppm - 5_000);
    assert_eq!(better.answer_working_days, 1);
    let applied = &better.adjustments[0];
    assert_eq!(
        (applied.name_zh.as_str(), applied.rate_cut_ppm, applied.limit_raise_fen, applied.answer_working_days),
        ("专精特新专享优惠", 5_000, MORE_FEN, 1)
    );
    offered(&district, &other, &product, own).await?;

    // The member orders all of it at the preferential rate; who does not belong gets no more than before.
    let mut orders = OrderServiceClient::new(district.as_enterprise(&member).await?);
    let placed = orders.place_order(order(&product, OWN_LIMIT_FEN + MORE_FEN)).await?.into_inner().order.unwrap();
    assert_eq!(placed.quote.context("a quote")?.rate_ppm, better.rate_ppm);
    let mut others = OrderServiceClient::new(district.as_enterprise(&other).await?);
    assert!(others.place_order(order(&product, OWN_LIMIT_FEN + 1)).await.is_err());
    others.place_order(order(&product, OWN_LIMIT_FEN)).await?;

    // The bank ends it; what was ordered keeps its terms.
    let end = EndAdjustmentRequest {
        request_id: new_id(),
        adjustment_id: written.adjustment_id,
        reason: "专项额度已满".to_owned(),
    };
    bank.end_adjustment(end).await?;
    let after = offered(&district, &member, &product, own).await?;
    assert_eq!((after.rate_ppm, after.answer_working_days), (before.rate_ppm, 5));
    district.stop().await
}
