//! How long after its fact a change is in the calculator's answers, from the broker to an answer at the gateway.

use std::time::Instant;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use zhirong_proto::{
    catalog::v1::{GetProductRequest, ProductPublished, product_service_client::ProductServiceClient},
    matching::v1::{
        CalculateRequest, CalculateResponse, CalculateView, calculator_service_client::CalculatorServiceClient,
    },
    profile::v1::{
        FeatureValue, GetProfileRequest, ProfileUpdated, feature_value::Kind,
        profile_service_client::ProfileServiceClient,
    },
};
use zhirong_testkit::{Deliveries, Event};

use crate::{
    district::{Authorised, District},
    liandu::{self, Part},
};

const ROUNDS: i64 = 60;
/// Above every version that the district itself has given.
const FIRST: i64 = 1_000_000;

/// Milliseconds in order, of profiles and of products.
pub struct Fresh {
    pub profiles: Vec<f64>,
    pub products: Vec<f64>,
}

/// Publishes facts as the services do, one after the other, and asks until each is in the answer. What the district computes
/// afterwards rests on them, so that this comes last.
pub async fn measure(district: &District, part: &Part) -> Result<Fresh> {
    let broker = jetstream::new(async_nats::connect(district.nats()).await?);
    let client = CalculatorServiceClient::new(district.as_enterprise(&part.uscc).await?);
    let request = GetProfileRequest { enterprise_id: part.uscc.to_string() };
    let mut profiles = ProfileServiceClient::new(district.as_staff().await?);
    let mut profile = profiles.get_profile(request).await?.into_inner().profile.context("a profile")?;
    let mut fresh = Fresh { profiles: Vec::new(), products: Vec::new() };
    for round in 0..ROUNDS {
        profile.version = FIRST + round;
        let count = FeatureValue { kind: Some(Kind::Integer(round)), ..FeatureValue::default() };
        profile.features.insert("trademark_count".to_owned(), count);
        let event = Event::of(part.uscc.as_str(), &ProfileUpdated { profile: Some(profile.clone()) });
        fresh.profiles.push(seen(&broker, event, &client, |answer| answer.profile_version == FIRST + round).await?);
    }
    let offers = liandu::calculate(district, part, CalculateView::Eligible).await?;
    let product_id = offers.offers.first().context("an offer")?.product_id.clone();
    let request = GetProductRequest { product_id: product_id.clone(), ..GetProductRequest::default() };
    let mut products = ProductServiceClient::new(district.as_staff().await?);
    let mut product = products.get_product(request).await?.into_inner().product.context("a product")?;
    for round in 0..ROUNDS {
        let version = 1_000 + i32::try_from(round)?;
        product.version = version;
        let fact = ProductPublished { product: Some(product.clone()), sequence: FIRST + round };
        let event = Event::of(&product_id, &fact);
        let holds = |answer: &CalculateResponse| {
            answer.offers.iter().any(|offer| offer.product_id == product_id && offer.product_version == version)
        };
        fresh.products.push(seen(&broker, event, &client, holds).await?);
    }
    fresh.profiles.sort_by(f64::total_cmp);
    fresh.products.sort_by(f64::total_cmp);
    Ok(fresh)
}

async fn seen(
    broker: &jetstream::Context,
    event: Event,
    client: &CalculatorServiceClient<Authorised>,
    holds: impl Fn(&CalculateResponse) -> bool,
) -> Result<f64> {
    let request = CalculateRequest { view: CalculateView::Eligible.into(), ..CalculateRequest::default() };
    let deliveries = Deliveries::new([event]);
    let began = Instant::now();
    deliveries.publish(broker).await?;
    while !holds(client.clone().calculate(request.clone()).await?.get_ref()) {}
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
