//! Products made up by a story: written by one member of staff, published by another, and what the calculator makes of them.

use anyhow::{Context as _, Result};
use uuid::Uuid;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    catalog::v1::{
        DraftProductRequest, ProductSpec, PublishProductRequest, product_service_client::ProductServiceClient,
    },
    matching::v1::{CalculateRequest, Eligible, calculator_service_client::CalculatorServiceClient, offer::Outcome},
};

use crate::district::{District, eventually};

/// Writes and publishes a product; gives its id.
pub async fn publish_product(district: &District, spec: ProductSpec) -> Result<String> {
    let request_id = || Uuid::now_v7().to_string();
    let draft = DraftProductRequest { request_id: request_id(), product_id: String::new(), spec: Some(spec) };
    let author = ProductServiceClient::new(district.as_staff().await?).draft_product(draft).await?.into_inner();
    let drafted = author.product.context("a draft")?;
    let reviewer = district.with_token(&district.token(&["staff"], "story-reviewer").await?);
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
