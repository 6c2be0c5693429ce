//! Products made up by a story: written by one member of staff, published by another, and what the calculator makes of them.

use anyhow::{Context as _, Result};
use uuid::Uuid;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    catalog::v1::{
        Condition, CreditTerms, DraftProductRequest, GuaranteeForm, ProductSpec, PublishProductRequest,
        RepaymentMethod, product_service_client::ProductServiceClient, product_spec::Terms,
    },
    matching::v1::{CalculateRequest, Eligible, calculator_service_client::CalculatorServiceClient, offer::Outcome},
};

use crate::{
    district::{District, eventually},
    finance::reviewer,
};

/// A condition and its words.
pub fn condition(expression: &str, label_zh: &str) -> Condition {
    Condition { expression: expression.to_owned(), label_zh: label_zh.to_owned(), ..Condition::default() }
}

/// A product of an institution, secured by intellectual property, with one condition and its words.
pub fn pledge_product(
    institution_id: &str,
    name_zh: &str,
    (expression, label_zh): (&str, &str),
    limit_formula: &str,
) -> ProductSpec {
    let terms = CreditTerms {
        conditions: vec![condition(expression, label_zh)],
        limit_formula: limit_formula.to_owned(),
        rate_formula: "lpr_1y_ppm + 4000".to_owned(),
        min_amount_fen: 10_000_000,
        max_amount_fen: 1_000_000_000,
        min_term_months: 6,
        max_term_months: 36,
        repayment_method: RepaymentMethod::InterestFirst.into(),
        guarantee_form: GuaranteeForm::IpPledge.into(),
        answer_working_days: 5,
        ..CreditTerms::default()
    };
    ProductSpec {
        institution_id: institution_id.to_owned(),
        name_zh: name_zh.to_owned(),
        summary_zh: "示例知识产权质押产品".to_owned(),
        tags: vec!["ip_pledge".to_owned()],
        terms: Some(Terms::Credit(terms)),
    }
}

/// Writes and publishes a product; gives its id.
pub async fn publish_product(district: &District, spec: ProductSpec) -> Result<String> {
    let request_id = || Uuid::now_v7().to_string();
    let draft = DraftProductRequest { request_id: request_id(), product_id: String::new(), spec: Some(spec) };
    let author = ProductServiceClient::new(district.as_staff().await?).draft_product(draft).await?.into_inner();
    let drafted = author.product.context("a draft")?;
    let reviewer = reviewer(district).await?;
    let put = PublishProductRequest {
        request_id: request_id(),
        product_id: drafted.product_id.clone(),
        version: drafted.version,
        ..PublishProductRequest::default()
    };
    ProductServiceClient::new(reviewer).publish_product(put).await?;
    Ok(drafted.product_id)
}

/// What the calculator offers an enterprise of a product, once it is as expected.
pub async fn offered(
    district: &District,
    uscc: &Uscc,
    product: &str,
    expected: impl Fn(&Eligible) -> bool,
) -> Result<Eligible> {
    let client = CalculatorServiceClient::new(district.as_enterprise(uscc).await?);
    eventually(&format!("{uscc} is offered what it should be"), || async {
        let answer = client.clone().calculate(CalculateRequest::default()).await?.into_inner();
        let offer = answer.offers.into_iter().find(|offer| offer.product_id == product);
        let Some(Outcome::Eligible(eligible)) = offer.and_then(|offer| offer.outcome) else { return Ok(None) };
        Ok(expected(&eligible).then_some(eligible))
    })
    .await
}
