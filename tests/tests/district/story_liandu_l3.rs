//! The financial calculator: 38 enterprises over every credit product at once, each verdict as CEL's own interpreter has it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cel::{Context, Program, Value as Cel};
use serde_json::Value;
use zhirong_proto::{
    matching::v1::{
        CalculateRequest, CalculateResponse, CalculateView, Offer, RecalculateRequest,
        calculator_service_client::CalculatorServiceClient, offer::Outcome,
    },
    profile::v1::{GetProfileRequest, Profile, feature_value::Kind, profile_service_client::ProfileServiceClient},
};
use zhirong_tests::{
    district::{District, seeds},
    liandu::{self, Part},
};

/// A credit product as the seeds have it.
struct Product {
    id: String,
    conditions: Vec<(Program, String)>,
    limit: Program,
    rate: Program,
    bounds: (i64, i64),
}

/// What comes of a product, apart from how it is told.
#[derive(Debug, PartialEq)]
enum Verdict {
    Eligible { limit_fen: i64, rate_ppm: i64 },
    Refused(Vec<String>),
    Unknown(BTreeSet<String>),
}

fn credit_products() -> Result<Vec<Product>> {
    let mut products = Vec::new();
    for file in std::fs::read_dir(seeds().join("products"))? {
        let entries: Vec<Value> = serde_norway::from_str(&std::fs::read_to_string(file?.path())?)?;
        for entry in entries {
            let credit = &entry["spec"]["credit"];
            let program = |text: &Value| Ok::<_, anyhow::Error>(Program::compile(text.as_str().context("a rule")?)?);
            let Some(conditions) = credit["conditions"].as_array() else { continue };
            products.push(Product {
                id: entry["product_id"].as_str().context("an id")?.to_owned(),
                conditions: conditions
                    .iter()
                    .map(|condition| Ok((program(&condition["expression"])?, condition["label_zh"].to_string())))
                    .collect::<Result<_>>()?,
                limit: program(&credit["limit_formula"])?,
                rate: program(&credit["rate_formula"])?,
                bounds: (credit["min_amount_fen"].as_i64().unwrap(), credit["max_amount_fen"].as_i64().unwrap()),
            });
        }
    }
    Ok(products)
}

/// The newest one-year LPR of the seeds.
fn one_year_lpr_ppm() -> Result<i64> {
    let table = std::fs::read_to_string(seeds().join("lpr.csv"))?;
    let mut rows = table.lines().filter(|line| !line.starts_with('#'));
    let header: Vec<&str> = rows.next().context("a header")?.split(',').collect();
    let column = header.iter().position(|name| *name == "one_year_ppm").context("the one-year rate")?;
    Ok(rows.rfind(|row| !row.is_empty()).context("a row")?.split(',').nth(column).context("a rate")?.parse()?)
}

/// What CEL's interpreter makes of a product, with the profile's features and the wish as variables.
fn interpreted(product: &Product, profile: &Profile, part: &Part, lpr_ppm: i64) -> Verdict {
    let mut context = Context::default();
    context.add_function("min", |a: i64, b: i64| a.min(b)).unwrap();
    context.add_function("max", |a: i64, b: i64| a.max(b)).unwrap();
    let term = if part.term_months == 0 { 12 } else { part.term_months };
    let inputs =
        [("requested_fen", part.amount_fen.unwrap_or(0)), ("term_months", term.into()), ("lpr_1y_ppm", lpr_ppm)];
    for (name, value) in inputs {
        context.add_variable_from_value(name, value);
    }
    for (name, value) in &profile.features {
        match value.kind.as_ref().unwrap() {
            Kind::Integer(number) => context.add_variable_from_value(name.as_str(), *number),
            Kind::Flag(flag) => context.add_variable_from_value(name.as_str(), *flag),
            Kind::Text(text) => context.add_variable_from_value(name.as_str(), text.as_str()),
        }
    }
    let missing = |program: &Program| -> BTreeSet<String> {
        let references = program.references();
        references
            .variables()
            .into_iter()
            .filter(|name| !profile.features.contains_key(*name) && inputs.iter().all(|(input, _)| input != name))
            .map(ToOwned::to_owned)
            .collect()
    };
    let (mut failed, mut unknown) = (Vec::new(), BTreeSet::new());
    for (program, label) in &product.conditions {
        let lacks = missing(program);
        if lacks.is_empty() {
            match program.execute(&context).unwrap() {
                Cel::Bool(true) => {}
                Cel::Bool(false) => failed.push(label.trim_matches('"').to_owned()),
                other => panic!("{other:?}"),
            }
        }
        unknown.extend(lacks);
    }
    if !failed.is_empty() {
        return Verdict::Refused(failed);
    }
    unknown.extend(missing(&product.limit));
    unknown.extend(missing(&product.rate));
    if !unknown.is_empty() {
        return Verdict::Unknown(unknown);
    }
    let number = |program: &Program| match program.execute(&context).unwrap() {
        Cel::Int(number) => number,
        other => panic!("{other:?}"),
    };
    let limit_fen = number(&product.limit).min(product.bounds.1);
    if limit_fen < product.bounds.0 {
        return Verdict::Refused(vec!["测算额度低于产品起贷金额".to_owned()]);
    }
    Verdict::Eligible { limit_fen, rate_ppm: number(&product.rate) }
}

fn told(offer: &Offer) -> Verdict {
    match offer.outcome.as_ref().unwrap() {
        Outcome::Eligible(terms) => Verdict::Eligible { limit_fen: terms.limit_fen, rate_ppm: terms.rate_ppm },
        Outcome::Refused(refused) => {
            Verdict::Refused(refused.failed.iter().map(|failed| failed.label_zh.clone()).collect())
        }
        Outcome::Unknown(unknown) => {
            Verdict::Unknown(unknown.missing.iter().map(|missing| missing.feature.clone()).collect())
        }
    }
}

fn wish(part: &Part) -> CalculateRequest {
    CalculateRequest {
        requested_fen: part.amount_fen.unwrap_or(0),
        term_months: part.term_months,
        ..CalculateRequest::default()
    }
}

/// Best first: the net rate, then the limit, then the id; nobody has rated yet.
fn ranked(answer: &CalculateResponse) {
    let keys: Vec<_> = answer
        .offers
        .iter()
        .filter_map(|offer| match offer.outcome.as_ref().unwrap() {
            Outcome::Eligible(terms) => Some((terms.net_rate_ppm, -terms.limit_fen, &offer.product_id, offer.rank)),
            _ => None,
        })
        .collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
    assert!(keys.iter().zip(1..).all(|(key, place)| key.3 == place), "{keys:?}");
}

/// What an eligible offer says it costs fits together.
fn costed(offer: &Offer, part: &Part) {
    let Some(Outcome::Eligible(terms)) = &offer.outcome else { return };
    let wished = part.amount_fen.unwrap_or(terms.limit_fen);
    assert_eq!(terms.principal_fen, wished.min(terms.limit_fen));
    // Nobody pays less than interest on half the principal, or more than on all of it.
    let full =
        i128::from(terms.principal_fen) * i128::from(terms.rate_ppm) * i128::from(terms.term_months) / 12_000_000;
    let paid = i128::from(terms.total_interest_fen);
    assert!(full / 2 - 1 <= paid && paid <= full + 1, "{terms:?}");
    assert!(terms.net_cost_fen <= terms.total_interest_fen && terms.net_rate_ppm <= terms.rate_ppm);
    assert!(terms.term_months <= terms.max_term_months && terms.answer_working_days > 0);
}

/// Supposes the smallest change that each refusal tells of: the product is then offered. Says how many there were.
async fn what_is_suggested_does(district: &District, part: &Part, answer: &CalculateResponse) -> Result<usize> {
    let mut client = CalculatorServiceClient::new(district.as_enterprise(&part.uscc).await?);
    let mut tried = BTreeMap::new();
    for offer in &answer.offers {
        let Some(Outcome::Refused(refused)) = &offer.outcome else { continue };
        for needed in refused.failed.iter().flat_map(|failed| &failed.needed) {
            assert!(!needed.values.is_empty() && needed.text_zh.starts_with(&needed.label_zh), "{needed:?}");
        }
        let Some(change) = &refused.smallest_change else { continue };
        assert!(change.text_zh.ends_with("即可") || change.text_zh.ends_with('）'), "{change:?}");
        let key = format!("{} {:?}", change.feature, change.to);
        tried.entry(key).or_insert_with(|| (change.clone(), Vec::new())).1.push(&offer.product_id);
    }
    let mut count = 0;
    for (change, products) in tried.into_values() {
        let what_if = [(change.feature, change.to.context("a value")?)].into();
        let request = CalculateRequest { what_if, view: CalculateView::Eligible.into(), ..wish(part) };
        let supposed = client.calculate(request).await?.into_inner();
        for product in products {
            assert!(supposed.offers.iter().any(|offer| &offer.product_id == product), "{}", change.text_zh);
            count += 1;
        }
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_l3_calculator() -> Result<()> {
    let district = District::start().await?;
    let parts = liandu::parts()?;
    liandu::data_arrive(&district).await?;
    let (products, lpr_ppm) = (credit_products()?, one_year_lpr_ppm()?);
    assert_eq!(products.len(), 216);
    let staff = CalculatorServiceClient::new(district.as_staff().await?);
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut suggested = 0;
    for part in &parts {
        let answer = liandu::calculate(&district, part, CalculateView::All).await?;
        let request = GetProfileRequest { enterprise_id: part.uscc.to_string() };
        let mut profiles = ProfileServiceClient::new(district.as_staff().await?);
        let profile = profiles.get_profile(request).await?.into_inner().profile.context("a profile")?;
        assert_eq!(answer.profile_version, profile.version, "computed on the newest profile");
        let told: BTreeMap<&str, Verdict> =
            answer.offers.iter().map(|offer| (offer.product_id.as_str(), told(offer))).collect();
        assert_eq!(told.len(), products.len());
        for product in &products {
            let expected = interpreted(product, &profile, part, lpr_ppm);
            assert_eq!(told[product.id.as_str()], expected, "{} and {}", part.uscc, product.id);
            *seen
                .entry(match expected {
                    Verdict::Eligible { .. } => "eligible",
                    Verdict::Refused(_) => "refused",
                    Verdict::Unknown(_) => "unknown",
                })
                .or_default() += 1;
        }
        ranked(&answer);
        answer.offers.iter().for_each(|offer| costed(offer, part));

        // The answer can be computed again, to the last bit.
        let again = RecalculateRequest {
            enterprise_id: part.uscc.to_string(),
            wish: Some(wish(part)),
            catalog_version: answer.catalog_version,
            profile_version: answer.profile_version,
            computed_on: answer.computed_on.clone(),
            coupons_version: answer.coupons_version,
            level_worth_ppm: answer.level_worth_ppm,
            unrated_level_ppm: answer.unrated_level_ppm,
        };
        let again = staff.clone().recalculate(again).await?.into_inner().answer.context("an answer")?;
        assert_eq!(again, answer);
        suggested += what_is_suggested_does(&district, part, &answer).await?;
    }
    assert!(suggested > 50, "{suggested} smallest changes were tried");
    assert!(seen["eligible"] > 100 && seen["refused"] > 100, "{seen:?}");
    assert_eq!(liandu::report(&district).await?["enterprises_computed"], parts.len());
    district.stop().await
}
