//! The Liandu story, acted from outside: NATS for data, the gateway for the rest, banks as processes of their own.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Child;
use uuid::Uuid;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    feedback::v1::{
        ListSmsRequest, RatingLevel, SetContactRequest, Sms, SmsKind, SubmitRatingRequest,
        contact_service_client::ContactServiceClient, rating_service_client::RatingServiceClient,
    },
    matching::v1::{
        CalculateRequest, CalculateResponse, CalculateView, Consent, DataScope, ListOrdersRequest, Offer, Order,
        OrderState, PlaceOrderRequest, calculator_service_client::CalculatorServiceClient, offer::Outcome,
        order_service_client::OrderServiceClient,
    },
    profile::v1::{
        ListCategoriesRequest, ListProfilesRequest, category_service_client::CategoryServiceClient,
        profile_service_client::ProfileServiceClient,
    },
    subsidy::v1::{Grant, ListGrantsRequest, grant_service_client::GrantServiceClient},
};

use crate::{
    district::{District, eventually, seeds},
    quiet::quiet,
};

/// One enterprise's part in the story.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// The enterprise.
    pub uscc: Uscc,
    /// Its sample phone number.
    pub phone: String,
    /// The product it wants; the best that fits when it names none.
    pub product_id: Option<String>,
    /// What it asks for, fen.
    pub amount_fen: Option<i64>,
    /// For how many months.
    #[serde(default)]
    pub term_months: i32,
    /// What for.
    #[serde(default)]
    pub purpose_zh: String,
    /// What the bank answers.
    pub answer: String,
    /// How it rates, 1 to 5.
    pub rating: Option<i32>,
}

impl Part {
    /// Whether the story ends with a loan.
    pub fn gets_a_loan(&self) -> bool {
        self.answer == "approve"
    }
}

/// The file that says who does what.
pub fn parts_file() -> PathBuf {
    seeds().join("demo/liandu.yaml")
}

/// Everybody's part.
pub fn parts() -> Result<Vec<Part>> {
    Ok(serde_norway::from_str(&fs::read_to_string(parts_file())?)?)
}

/// Publishes the records of all enterprises and waits until the profiles and the calculator have them all. Says how many
/// there were.
pub async fn data_arrive(district: &District) -> Result<usize> {
    data_arrive_beside(district, 0).await
}

/// As [`data_arrive`], where this many other records are live already, of one category.
pub async fn data_arrive_beside(district: &District, others: usize) -> Result<usize> {
    let file = seeds().join("demo/records.ndjson");
    district.zhirong(&["records", "--wait-s", "0", "--nats", district.nats(), &file.display().to_string()]).await?;
    let records = fs::read_to_string(file)?.lines().filter(|line| !line.trim().is_empty()).count();
    records_known(district, records + others).await?;
    Ok(records)
}

/// Waits until this many records are live and everybody has what follows from them: while they arrive, the calculator answers
/// from a part of them, and what it says changes.
async fn records_known(district: &District, records: usize) -> Result<()> {
    let staff = district.as_staff().await?;
    eventually(&format!("{records} records are in the profiles"), || async {
        let request = ListCategoriesRequest { page_size: 500, page_token: String::new() };
        let answer = CategoryServiceClient::new(staff.clone()).list_categories(request).await?.into_inner();
        let live: i64 = answer.categories.iter().map(|category| category.record_count).sum();
        Ok((live == i64::try_from(records)?).then_some(()))
    })
    .await?;
    quiet(district).await
}

/// How many enterprises have a profile.
pub async fn profile_count(district: &District) -> Result<usize> {
    let request = ListProfilesRequest { page_size: 500, page_token: String::new() };
    Ok(ProfileServiceClient::new(district.as_staff().await?).list_profiles(request).await?.into_inner().profiles.len())
}

/// Every enterprise tells where it wants its messages.
pub async fn contacts(district: &District, parts: &[Part]) -> Result<()> {
    for part in parts {
        ContactServiceClient::new(district.as_enterprise(&part.uscc).await?)
            .set_contact(SetContactRequest {
                request_id: Uuid::now_v7().to_string(),
                enterprise_id: String::new(),
                phone: part.phone.clone(),
            })
            .await?;
    }
    Ok(())
}

/// The calculator's answer for one enterprise; asked again while the gateway or the calculator is away.
pub async fn calculate(district: &District, part: &Part, view: CalculateView) -> Result<CalculateResponse> {
    let client = CalculatorServiceClient::new(district.as_enterprise(&part.uscc).await?);
    let request = CalculateRequest {
        enterprise_id: String::new(),
        requested_fen: part.amount_fen.unwrap_or(0),
        term_months: part.term_months,
        view: view.into(),
        ..CalculateRequest::default()
    };
    eventually(&format!("{} can compute", part.uscc), || async {
        Ok(Some(client.clone().calculate(request.clone()).await?.into_inner()))
    })
    .await
}

/// The best offer that is large and long enough.
pub fn best_offer(response: &CalculateResponse, part: &Part) -> Result<Offer> {
    let amount = part.amount_fen.context("an enterprise that orders asks for an amount")?;
    let fits = |offer: &&Offer| {
        matches!(&offer.outcome, Some(Outcome::Eligible(eligible))
            if eligible.limit_fen >= amount && eligible.max_term_months >= part.term_months)
            && part.product_id.as_ref().is_none_or(|wanted| *wanted == offer.product_id)
    };
    response
        .offers
        .iter()
        .find(fits)
        .cloned()
        .with_context(|| format!("no offer reaches {amount} fen for {}", part.uscc))
}

/// A consent to hand over what the product needs, for 30 days: what one click asks for.
pub fn consent() -> Option<Consent> {
    let expires_on = today().checked_add(jiff::Span::new().days(30)).unwrap();
    Some(Consent {
        scopes: vec![DataScope::Needed.into()],
        text_version: "2026-01".to_owned(),
        expires_on: expires_on.to_string(),
        ..Consent::default()
    })
}

/// A valid order for an offer.
pub fn order_request(part: &Part, offer: &Offer) -> PlaceOrderRequest {
    PlaceOrderRequest {
        request_id: Uuid::now_v7().to_string(),
        product_id: offer.product_id.clone(),
        amount_fen: part.amount_fen.unwrap_or(0),
        term_months: part.term_months,
        purpose_zh: part.purpose_zh.clone(),
        consent: consent(),
        coupon_id: String::new(),
    }
}

/// One enterprise computes and orders the best that fits.
pub async fn order(district: &District, part: &Part) -> Result<Order> {
    let offers = calculate(district, part, CalculateView::Eligible).await?;
    let request = order_request(part, &best_offer(&offers, part)?);
    let response = OrderServiceClient::new(district.as_enterprise(&part.uscc).await?).place_order(request).await?;
    response.into_inner().order.context("an order")
}

/// As [`order`], but the gateway may be away for a moment: the same request is sent again.
pub async fn order_patiently(district: &District, part: &Part) -> Result<Order> {
    let offers = calculate(district, part, CalculateView::Eligible).await?;
    let request = order_request(part, &best_offer(&offers, part)?);
    let client = OrderServiceClient::new(district.as_enterprise(&part.uscc).await?);
    eventually(&format!("{} has ordered", part.uscc), || async {
        Ok(Some(client.clone().place_order(request.clone()).await?.into_inner().order.context("an order")?))
    })
    .await
}

/// Starts the core system of each institution that has an order.
pub async fn banks(district: &District, orders: &[Order]) -> Result<Vec<Child>> {
    let institutions: BTreeSet<&str> = orders.iter().map(|order| order.institution_id.as_str()).collect();
    let mut banks = Vec::new();
    for institution in institutions {
        let id: InstitutionId = institution.parse()?;
        banks.push(district.sample_bank(&id, &parts_file()).await?);
    }
    Ok(banks)
}

/// Waits until every order that the story has answered is in its end state; gives all orders.
pub async fn answered(district: &District, parts: &[Part]) -> Result<Vec<Order>> {
    let staff = OrderServiceClient::new(district.as_staff().await?);
    eventually("the banks have answered", || async {
        let request = ListOrdersRequest { page_size: 500, page_token: String::new(), enterprise_id: String::new() };
        let orders = staff.clone().list_orders(request).await?.into_inner().orders;
        let done = parts.iter().filter(|part| part.amount_fen.is_some()).all(|part| {
            let wanted = match part.answer.as_str() {
                "approve" => OrderState::Approved,
                "reject" => OrderState::Rejected,
                _ => OrderState::Routed,
            };
            orders.iter().any(|order| order.enterprise_id == part.uscc.as_str() && order.state() == wanted)
        });
        Ok(done.then_some(orders))
    })
    .await
}

/// Every enterprise with a loan and an opinion rates.
pub async fn rate(district: &District, parts: &[Part], orders: &[Order]) -> Result<()> {
    for part in parts {
        let Some(level) = part.rating else { continue };
        let order = orders.iter().find(|order| order.enterprise_id == part.uscc.as_str()).context("an order")?;
        ensure!(!order.loan_id.is_empty(), "an approved order names its loan");
        let client = RatingServiceClient::new(district.as_enterprise(&part.uscc).await?);
        let request = SubmitRatingRequest {
            request_id: Uuid::now_v7().to_string(),
            loan_id: order.loan_id.clone(),
            level: RatingLevel::try_from(level)?.into(),
            comment_zh: String::new(),
        };
        eventually("feedback has heard of the loan", || async {
            Ok(Some(client.clone().submit_rating(request.clone()).await?))
        })
        .await?;
    }
    Ok(())
}

/// All grants.
pub async fn grants(district: &District) -> Result<Vec<Grant>> {
    let request = ListGrantsRequest { page_size: 500, ..ListGrantsRequest::default() };
    Ok(GrantServiceClient::new(district.as_staff().await?).list_grants(request).await?.into_inner().grants)
}

/// All messages of a kind.
pub async fn messages(district: &District, kind: SmsKind) -> Result<Vec<Sms>> {
    let request = ListSmsRequest { page_size: 500, page_token: String::new() };
    let mut messages =
        RatingServiceClient::new(district.as_staff().await?).list_sms(request).await?.into_inner().messages;
    messages.retain(|message| message.kind() == kind);
    Ok(messages)
}

/// What `zhirong report` prints, as JSON.
pub async fn report(district: &District) -> Result<Value> {
    Ok(serde_json::from_str(&run_report(district, &["--json"]).await?)?)
}

/// What `zhirong report` prints for people.
pub async fn report_text(district: &District) -> Result<String> {
    run_report(district, &[]).await
}

async fn run_report(district: &District, more: &[&str]) -> Result<String> {
    let token = district.folder().join("tokens/story-staff");
    fs::write(&token, district.token(&["staff"], "story-staff").await?)?;
    // A story that runs over midnight still counts both days.
    let (from, to) = (today().yesterday()?.to_string(), today().tomorrow()?.to_string());
    let token = token.display().to_string();
    let arguments = ["report", "--gateway", district.gateway(), "--token-file", &token, "--from", &from, "--to", &to];
    district.zhirong(&[arguments.as_slice(), more].concat()).await
}

/// Today in Asia/Shanghai.
#[expect(clippy::disallowed_methods, reason = "a story runs on the real day")]
pub fn today() -> jiff::civil::Date {
    Timestamp::now().to_zoned(TimeZone::get("Asia/Shanghai").unwrap()).date()
}
