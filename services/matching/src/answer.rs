//! The calculator's answer: every product's verdict for one enterprise, what it costs, and the ranking. Pure: the same catalog,
//! profile, wish and day give the same answer to the last bit, which is what an audit relies on.

use jiff::civil::Date;
use zhirong_kernel::{
    feature::FeatureDictionary,
    interest::{DayCount, interest},
    money::Fen,
    rate::Ppm,
    rule::{Inputs, RuleContext},
};
use zhirong_proto::{
    matching::v1::{
        CalculateRequest, CalculateResponse, CalculateView, Eligible, FailedCondition, MissingFeature, Offer, Refused,
        Unknown, offer::Outcome,
    },
    profile::v1::Profile,
};

use crate::{
    calculate::{Failed, Standing, Verdict, Weights, judge, rank},
    cost::{cost, rate_of},
    error::Error,
    product::CompiledProduct,
    snapshot::Catalog,
    wish::{USUAL_TERM_MONTHS, features},
};

/// Makes a profile, and what is supposed beside it, ready for the rules of a catalog on a day.
///
/// # Errors
/// [`Error::LprUnknown`].
pub fn context(catalog: &Catalog, profile: &Profile, wish: &CalculateRequest, day: Date) -> Result<RuleContext, Error> {
    let inputs = Inputs {
        requested_fen: wish.requested_fen,
        term_months: i64::from(term(wish)),
        lpr_1y_ppm: catalog.one_year_lpr(day)?.get(),
    };
    Ok(RuleContext::new(&features(profile, &wish.what_if), inputs))
}

const fn term(wish: &CalculateRequest) -> i32 {
    if wish.term_months == 0 { USUAL_TERM_MONTHS } else { wish.term_months }
}

/// Every product's verdict, best first, then what is not known, then what is refused.
///
/// # Errors
/// [`Error::LprUnknown`].
pub fn answer(
    catalog: &Catalog,
    profile: &Profile,
    wish: &CalculateRequest,
    day: Date,
    weights: Weights,
) -> Result<CalculateResponse, Error> {
    let context = context(catalog, profile, wish, day)?;
    let (mut eligible, mut unknown, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for product in catalog.products.values() {
        match judge(product, &context) {
            Verdict::Eligible { limit_fen, rate_ppm } => {
                eligible.push((product, priced(product, limit_fen, rate_ppm, wish)))
            }
            Verdict::Unknown(missing) => unknown.push((product, missing)),
            Verdict::Refused(failed) => refused.push((product, failed)),
        }
    }
    eligible.sort_by(|a, b| rank(weights, &standing(catalog, a.0, &a.1), &standing(catalog, b.0, &b.1)));
    unknown.sort_by(|a, b| a.0.product.product_id.cmp(&b.0.product.product_id));
    refused.sort_by(|a, b| a.0.product.product_id.cmp(&b.0.product.product_id));

    let count = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    let eligible_count = count(eligible.len());
    let ranked = eligible
        .into_iter()
        .zip(1..)
        .map(|((product, terms), place)| offer(catalog, product, place, Outcome::Eligible(terms)));
    let mut offers: Vec<Offer> = ranked.collect();
    if wish.view() != CalculateView::Eligible {
        offers.extend(unknown.into_iter().map(|(product, missing)| {
            let missing = missing.into_iter().map(missing_feature).collect();
            offer(catalog, product, 0, Outcome::Unknown(Unknown { missing }))
        }));
        offers.extend(refused.into_iter().map(|(product, failed)| {
            let failed = failed.into_iter().map(|failed| failed_condition(profile, failed)).collect();
            offer(catalog, product, 0, Outcome::Refused(Refused { failed, ..Refused::default() }))
        }));
    }
    if let Ok(limit @ 1..) = usize::try_from(wish.limit) {
        offers.truncate(limit);
    }
    Ok(CalculateResponse {
        offers,
        computed_count: count(catalog.products.len()),
        eligible_count,
        catalog_version: catalog.version,
        profile_version: profile.version,
        computed_on: day.to_string(),
        coupons_version: 0,
        level_worth_ppm: weights.level_worth_ppm,
        unrated_level_ppm: weights.unrated_level_ppm,
    })
}

/// Limit and rate with what they cost. A figure that does not fit into 64 bits is left at its largest: nobody lends that much.
fn priced(product: &CompiledProduct, limit_fen: i64, rate_ppm: i64, wish: &CalculateRequest) -> Eligible {
    let terms = &product.terms;
    let principal_fen = if wish.requested_fen > 0 { wish.requested_fen.min(limit_fen) } else { limit_fen };
    let term_months = term(wish).clamp(terms.min_term_months, terms.max_term_months.max(terms.min_term_months));
    let found = cost(terms.repayment_method(), principal_fen, rate_ppm, term_months);
    let total_interest_fen = found.map_or(i64::MAX, |found| found.total_interest_fen);
    let net_cost_fen = total_interest_fen;
    Eligible {
        limit_fen,
        rate_ppm,
        max_term_months: terms.max_term_months,
        first_month_interest_fen: interest(Fen::new(principal_fen), Ppm::new(rate_ppm), 30, DayCount::Actual360)
            .map_or(0, Fen::get),
        principal_fen,
        term_months,
        first_month_payment_fen: found.map_or(i64::MAX, |found| found.first_month_fen),
        total_interest_fen,
        net_cost_fen,
        net_rate_ppm: rate_of(net_cost_fen, total_interest_fen, rate_ppm).unwrap_or(rate_ppm),
        answer_working_days: terms.answer_working_days,
        ..Eligible::default()
    }
}

fn standing<'a>(catalog: &Catalog, product: &'a CompiledProduct, terms: &Eligible) -> Standing<'a> {
    let product_id = product.product.product_id.as_str();
    let score_ppm = catalog.scores.get(product_id).copied().unwrap_or(0);
    Standing { rate_ppm: terms.net_rate_ppm, score_ppm, limit_fen: terms.limit_fen, product_id }
}

fn offer(catalog: &Catalog, product: &CompiledProduct, place: i32, outcome: Outcome) -> Offer {
    Offer {
        product_id: product.product.product_id.clone(),
        product_version: product.product.version,
        institution_id: product.institution_id.clone(),
        product_name_zh: product.name_zh.clone(),
        institution_name_zh: catalog.institution_name(&product.institution_id).to_owned(),
        rank: place,
        outcome: Some(outcome),
    }
}

fn missing_feature(feature: String) -> MissingFeature {
    let known = FeatureDictionary::standard().get(&feature);
    MissingFeature {
        label_zh: known.map(|known| known.label_zh.clone()).unwrap_or_default(),
        category: known.map(|known| known.category.clone()).unwrap_or_default(),
        feature,
    }
}

fn failed_condition(profile: &Profile, failed: Failed) -> FailedCondition {
    let values = failed.features.into_iter().filter_map(|name| {
        let value = profile.features.get(&name)?.clone();
        Some((name, value))
    });
    FailedCondition {
        values: values.collect(),
        label_zh: failed.label_zh,
        advice_zh: failed.advice_zh,
        needed: Vec::new(),
    }
}
