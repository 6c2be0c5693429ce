//! Plays the demonstration district: data arrive, profiles form, the calculator answers, orders go out, sample banks answer,
//! messages are sent, ratings come back. Everything goes the way of the outside: NATS for data, the gateway for the rest.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use jiff::ToSpan as _;
use serde::Deserialize;
use serde_json::json;
use zhirong_kernel::{
    clock::{Clock as _, SystemClock, business_date},
    id::InstitutionId,
    uscc::Uscc,
};
use zhirong_proto::{
    feedback::v1::{
        ListRatingsRequest, RatingLevel, SetContactRequest, SubmitRatingRequest,
        contact_service_client::ContactServiceClient, rating_service_client::RatingServiceClient,
    },
    matching::v1::{
        CalculateRequest, CalculateView, Consent, DataScope, ListOrdersRequest, Offer, Order, OrderState,
        PlaceOrderRequest, calculator_service_client::CalculatorServiceClient, offer::Outcome,
        order_service_client::OrderServiceClient,
    },
    profile::v1::{
        ListCategoriesRequest, ListProfilesRequest, category_service_client::CategoryServiceClient,
        profile_service_client::ProfileServiceClient,
    },
};

use crate::{
    bank::{self, Answer},
    client::{Authorised, Gateway, patiently},
    records,
    seed::{bar, derived_id, finish},
    token::{self, Bearer},
};

/// Longest wait for something that events bring about.
const PATIENCE: Duration = Duration::from_secs(120);

/// One enterprise's part in the play.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The enterprise.
    pub uscc: Uscc,
    /// A sample phone number.
    pub phone: String,
    /// The product it wants; the best that fits when it names none.
    pub product_id: Option<String>,
    /// What it asks for, fen; nothing when it only computes.
    pub amount_fen: Option<i64>,
    /// For how many months.
    #[serde(default)]
    pub term_months: i32,
    /// What for.
    #[serde(default)]
    pub purpose_zh: String,
    /// What the sample bank answers.
    pub answer: Answer,
    /// How the enterprise rates the service, 1 to 5.
    pub rating: Option<i32>,
}

/// Where everything is.
pub struct Stage<'a> {
    /// The gateway.
    pub gateway: Gateway,
    /// The broker.
    pub nats: &'a records::Broker,
    /// Folder with the signing key.
    pub keys: &'a Path,
    /// Folder with the seeds.
    pub seeds: &'a Path,
}

impl Stage<'_> {
    /// A connection as somebody.
    pub fn as_(&self, bearer: &Bearer, subject: &str) -> Result<Authorised> {
        let token = token::issue(&token::signing_key_file(self.keys), bearer, subject, SystemClock.now(), 1)?;
        self.gateway.as_bearer(&token)
    }

    fn enterprise(&self, uscc: &Uscc) -> Result<Authorised> {
        self.as_(&Bearer::Enterprise(uscc.clone()), "play-enterprise")
    }
}

/// Plays a district's file from beginning to end. Playing it again changes nothing.
pub async fn play(stage: &Stage<'_>, file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let parts: Vec<Part> = serde_norway::from_str(&text).with_context(|| format!("in {}", file.display()))?;

    let file_of_records = stage.seeds.join("demo/records.ndjson");
    let published = records::publish(&records::Options::plain(stage.nats, &file_of_records)).await?;
    profiles_formed(stage, parts.len(), usize::try_from(published.sent)?).await?;
    contacts(stage, &parts).await?;
    compute(stage, &parts).await?;
    let orders = order(stage, &parts).await?;
    banks_answer(stage, file, &parts, &orders).await?;
    rate(stage, &parts).await
}

/// Waits until every record is in and every enterprise has its profile.
pub async fn profiles_formed(stage: &Stage<'_>, enterprises: usize, records: usize) -> Result<()> {
    let staff = stage.as_(&Bearer::Staff, "play-staff")?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let profiles = ProfileServiceClient::new(staff.clone())
            .list_profiles(ListProfilesRequest { page_size: 500, page_token: String::new() })
            .await?
            .into_inner()
            .profiles
            .len();
        let categories = CategoryServiceClient::new(staff.clone())
            .list_categories(ListCategoriesRequest { page_size: 500, page_token: String::new() })
            .await?
            .into_inner()
            .categories;
        let kept: i64 = categories.iter().map(|category| category.record_count).sum();
        if profiles >= enterprises && usize::try_from(kept).is_ok_and(|kept| kept >= records) {
            println!("  {:22} {profiles} formed from {kept} records in {} categories", "profiles", categories.len());
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!(
                "{profiles} of {enterprises} profiles and {kept} of {records} records after {PATIENCE:?}; see `zhirong dead-letters list`"
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn contacts(stage: &Stage<'_>, parts: &[Part]) -> Result<()> {
    for part in parts {
        let client = ContactServiceClient::new(stage.enterprise(&part.uscc)?);
        let request = SetContactRequest {
            request_id: step_id(&part.uscc, "contact"),
            enterprise_id: String::new(),
            phone: part.phone.clone(),
        };
        patiently(async || client.clone().set_contact(request.clone()).await).await.context("setting a contact")?;
    }
    Ok(())
}

async fn compute(stage: &Stage<'_>, parts: &[Part]) -> Result<()> {
    let progress = bar("calculations", parts.len());
    for part in parts {
        offers(stage, part).await?;
        progress.inc(1);
    }
    finish(&progress);
    Ok(())
}

/// The offers that an enterprise may have, best first. The profile may still be on its way to matching.
async fn offers(stage: &Stage<'_>, part: &Part) -> Result<Vec<Offer>> {
    let client = CalculatorServiceClient::new(stage.enterprise(&part.uscc)?);
    let request = CalculateRequest {
        enterprise_id: String::new(),
        requested_fen: part.amount_fen.unwrap_or(0),
        term_months: part.term_months,
        view: CalculateView::Eligible.into(),
        ..CalculateRequest::default()
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match client.clone().calculate(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner().offers),
            Err(status) if status.code() == tonic::Code::NotFound && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => return Err(crate::seed::readable(status.into())).context("computing"),
        }
    }
}

async fn order(stage: &Stage<'_>, parts: &[Part]) -> Result<Vec<Order>> {
    let wishes: Vec<&Part> = parts.iter().filter(|part| part.amount_fen.is_some()).collect();
    let progress = bar("orders", wishes.len());
    let mut orders = Vec::new();
    for part in wishes {
        let client = OrderServiceClient::new(stage.enterprise(&part.uscc)?);
        let placed =
            client.clone().list_orders(ListOrdersRequest::default()).await?.into_inner().orders.into_iter().next();
        let order = match placed {
            Some(order) => order,
            None => place(stage, &client, part).await?,
        };
        orders.push(order);
        progress.inc(1);
    }
    finish(&progress);
    Ok(orders)
}

async fn place(stage: &Stage<'_>, client: &OrderServiceClient<Authorised>, part: &Part) -> Result<Order> {
    let amount = part.amount_fen.context("an amount")?;
    let fits = |offer: &&Offer| {
        let wanted = part.product_id.as_ref().is_none_or(|wanted| *wanted == offer.product_id);
        wanted
            && matches!(&offer.outcome, Some(Outcome::Eligible(eligible))
                if eligible.limit_fen >= amount && eligible.max_term_months >= part.term_months)
    };
    let offers = offers(stage, part).await?;
    let best = offers
        .iter()
        .find(fits)
        .with_context(|| format!("no offer reaches {amount} fen for {}; {} are eligible", part.uscc, offers.len()))?;
    let today = business_date(SystemClock.now());
    let request = PlaceOrderRequest {
        request_id: step_id(&part.uscc, "order"),
        product_id: best.product_id.clone(),
        amount_fen: amount,
        term_months: part.term_months,
        purpose_zh: part.purpose_zh.clone(),
        consent: Some(Consent {
            scopes: vec![DataScope::Needed.into()],
            text_version: "2026-01".to_owned(),
            expires_on: today.checked_add(30.days())?.to_string(),
            ..Consent::default()
        }),
        coupon_id: String::new(),
    };
    let response =
        patiently(async || client.clone().place_order(request.clone()).await).await.context("placing an order")?;
    response.order.context("no order in the answer")
}

/// Runs a sample bank for each institution that has an order to answer.
async fn banks_answer(stage: &Stage<'_>, file: &Path, parts: &[Part], orders: &[Order]) -> Result<()> {
    let answers = bank::answers(file)?;
    let left: BTreeSet<&str> =
        parts.iter().filter(|part| part.answer == Answer::Leave).map(|part| part.uscc.as_str()).collect();
    let open: Vec<&Order> = orders
        .iter()
        .filter(|order| order.state() == OrderState::Routed && !left.contains(order.enterprise_id.as_str()))
        .collect();
    let institutions: BTreeSet<&str> = open.iter().map(|order| order.institution_id.as_str()).collect();
    let mut banks = Vec::new();
    for institution in institutions {
        let count = open.iter().filter(|order| order.institution_id == institution).count();
        let id: InstitutionId = institution.parse()?;
        let channel = stage.as_(&Bearer::Bank(id), "play-bank")?;
        banks.push(bank::run(channel, &answers, Some(count)));
    }
    let count = banks.len();
    futures::future::try_join_all(banks).await?;
    println!("  {:22} {count} sample banks answered {} orders", "banks", open.len());
    Ok(())
}

async fn rate(stage: &Stage<'_>, parts: &[Part]) -> Result<()> {
    let rated: Vec<(&Part, i32)> = parts.iter().filter_map(|part| Some((part, part.rating?))).collect();
    let progress = bar("ratings", rated.len());
    for (part, level) in rated {
        let channel = stage.enterprise(&part.uscc)?;
        let client = RatingServiceClient::new(channel.clone());
        if !client.clone().list_ratings(ListRatingsRequest::default()).await?.into_inner().ratings.is_empty() {
            progress.inc(1);
            continue;
        }
        let loan_id = loan_of(channel).await?;
        let request = SubmitRatingRequest {
            request_id: step_id(&part.uscc, "rating"),
            loan_id,
            level: RatingLevel::try_from(level)?.into(),
            comment_zh: String::new(),
        };
        // Feedback hears of the loan by an event, which may still be on its way.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match client.clone().submit_rating(request.clone()).await {
                Ok(_) => break,
                Err(status) if status.code() == tonic::Code::NotFound && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(status) => return Err(crate::seed::readable(status.into())).context("rating"),
            }
        }
        progress.inc(1);
    }
    finish(&progress);
    Ok(())
}

async fn loan_of(channel: Authorised) -> Result<String> {
    let orders = OrderServiceClient::new(channel).list_orders(ListOrdersRequest::default()).await?.into_inner().orders;
    orders
        .into_iter()
        .find(|order| order.state() == OrderState::Approved)
        .map(|order| order.loan_id)
        .context("an enterprise that rates has an approved order")
}

fn step_id(uscc: &Uscc, step: &str) -> String {
    derived_id(&[b"play", uscc.as_str().as_bytes(), step.as_bytes()]).to_string()
}

/// A line for people who want to try the calculator themselves.
#[must_use]
pub fn calculator_request() -> String {
    json!({ "view": "CALCULATE_VIEW_ELIGIBLE", "limit": 3 }).to_string()
}
