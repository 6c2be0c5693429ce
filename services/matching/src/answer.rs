//! The calculator's answer: every product's verdict for one enterprise, what it costs, and the ranking. Pure: the same catalog,
//! profile, wish and day give the same answer to the last bit, which is what an audit relies on.

use jiff::civil::Date;
use zhirong_engine::Row;
use zhirong_kernel::{
    feature::FeatureDictionary,
    interest::{DayCount, interest},
    money::Fen,
    rate::Ppm,
    rule::Inputs,
};
use zhirong_proto::{
    matching::v1::{
        CalculateRequest, CalculateResponse, CalculateView, Eligible, ExpectedCoupon, ExpectedSubsidy, MissingFeature,
        Offer, Unknown, offer::Outcome,
    },
    profile::v1::Profile,
    subsidy::v1::Policy,
};

use crate::{
    adjust::{Offered, offered},
    calculate::{Standing, Verdict, Weights, judge, rank},
    cost::{cost, rate_of},
    coupon::{Held, best},
    error::Error,
    explain,
    product::CompiledProduct,
    snapshot::Catalog,
    subsidy::{Basis, expected, open},
    wish::{USUAL_TERM_MONTHS, features},
};

/// Makes a profile, and what is supposed beside it, ready for the rules of a catalog on a day.
///
/// # Errors
/// [`Error::LprUnknown`].
pub fn row(catalog: &Catalog, profile: &Profile, wish: &CalculateRequest, day: Date) -> Result<Row, Error> {
    Ok(Row::new(&catalog.symbols, &features(profile, &wish.what_if), inputs(catalog, wish, day)?))
}

fn inputs(catalog: &Catalog, wish: &CalculateRequest, day: Date) -> Result<Inputs, Error> {
    Ok(Inputs {
        requested_fen: wish.requested_fen,
        term_months: i64::from(term(wish)),
        lpr_1y_ppm: catalog.one_year_lpr(day)?.get(),
    })
}

/// Who asks what, and what it has.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// Its coupons.
    pub held: &'a Held,
    /// What it wishes.
    pub wish: &'a CalculateRequest,
    /// The business day.
    pub day: Date,
}

const fn term(wish: &CalculateRequest) -> i32 {
    if wish.term_months == 0 { USUAL_TERM_MONTHS } else { wish.term_months }
}

/// Every product's verdict, best first, then what is not known, then what is refused.
///
/// # Errors
/// [`Error::LprUnknown`].
pub fn answer(catalog: &Catalog, question: Question<'_>, weights: Weights) -> Result<CalculateResponse, Error> {
    let Question { profile, held, wish, day } = question;
    let row = row(catalog, profile, wish, day)?;
    let known = features(profile, &wish.what_if);
    let open = open(catalog, profile, &known, inputs(catalog, wish, day)?, day);
    let mut eligible: Vec<_> = catalog
        .engine
        .all(&row)
        .into_iter()
        .filter_map(|found| {
            let product = catalog.listed.get(found.product)?.as_ref();
            let terms = offered(catalog, product, profile, wish, day, (found.limit_fen, found.rate_ppm));
            Some((product, priced(catalog, product, question, &open, terms)))
        })
        .collect();
    eligible.sort_by(|a, b| rank(weights, &standing(catalog, a.0, &a.1), &standing(catalog, b.0, &b.1)));

    let count = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    let eligible_count = count(eligible.len());
    let ranked = eligible
        .into_iter()
        .zip(1..)
        .map(|((product, terms), place)| offer(catalog, product, place, Outcome::Eligible(terms)));
    let mut offers: Vec<Offer> = ranked.collect();
    if wish.view() != CalculateView::Eligible {
        offers.extend(not_eligible(catalog, profile, wish, &row));
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
        coupons_version: held.version,
        level_worth_ppm: weights.level_worth_ppm,
        unrated_level_ppm: weights.unrated_level_ppm,
    })
}

/// What is not known, then what is refused, with what the enterprise can do about it.
fn not_eligible(catalog: &Catalog, profile: &Profile, wish: &CalculateRequest, row: &Row) -> Vec<Offer> {
    let (mut unknown, mut refused) = (Vec::new(), Vec::new());
    for product in &catalog.listed {
        match judge(product, row) {
            Verdict::Eligible { .. } => {}
            Verdict::Unknown(missing) => {
                let missing = missing.into_iter().map(missing_feature).collect();
                unknown.push(offer(catalog, product, 0, Outcome::Unknown(Unknown { missing })));
            }
            Verdict::Refused(failed) => {
                let told = explain::refused(catalog, product, profile, wish, row, failed);
                refused.push(offer(catalog, product, 0, Outcome::Refused(told)));
            }
        }
    }
    unknown.append(&mut refused);
    unknown
}

/// Limit and rate with what they cost. A figure that does not fit into 64 bits is left at its largest: nobody lends that much.
fn priced(
    catalog: &Catalog,
    product: &CompiledProduct,
    Question { profile, held, wish, day }: Question<'_>,
    open: &[&Policy],
    offered: Offered,
) -> Eligible {
    let needed = product.needed(&offered, profile);
    let Offered { limit_fen, rate_ppm, answer_working_days, applied, .. } = offered;
    let terms = &product.terms;
    let principal_fen = if wish.requested_fen > 0 { wish.requested_fen.min(limit_fen) } else { limit_fen };
    let term_months = term(wish).clamp(terms.min_term_months, terms.max_term_months.max(terms.min_term_months));
    let found = cost(terms.repayment_method(), principal_fen, rate_ppm, term_months);
    let total_interest_fen = found.map_or(i64::MAX, |found| found.total_interest_fen);
    let basis = Basis { principal_fen, rate_ppm, term_months, interest_fen: total_interest_fen, day };
    let (coupon, subsidy) = relief(catalog, product, held, open, basis);
    let saved = coupon.as_ref().map_or(0, |coupon| coupon.saved_fen);
    // A grant that would wait for money is told, and not counted on.
    let counted = subsidy.as_ref().filter(|subsidy| subsidy.budget_available).map_or(0, |subsidy| subsidy.expected_fen);
    let net_cost_fen = total_interest_fen.saturating_sub(saved).saturating_sub(counted);
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
        subsidy,
        coupon,
        adjustments: applied,
        answer_working_days,
        needed: Some(needed),
    }
}

/// The coupon and the subsidy: both where their policies add up, else the one that is worth more.
fn relief(
    catalog: &Catalog,
    product: &CompiledProduct,
    held: &Held,
    open: &[&Policy],
    basis: Basis,
) -> (Option<ExpectedCoupon>, Option<ExpectedSubsidy>) {
    let alone = expected(catalog, open, product, basis, None);
    let Some((coupon, policy)) = best(catalog, held, product, basis) else { return (None, alone) };
    let left = Basis {
        rate_ppm: basis.rate_ppm.saturating_sub(coupon.rate_cut_ppm),
        interest_fen: basis.interest_fen.saturating_sub(coupon.saved_fen),
        ..basis
    };
    let beside = expected(catalog, open, product, left, Some(policy));
    let worth = |subsidy: &Option<ExpectedSubsidy>| {
        subsidy.as_ref().filter(|subsidy| subsidy.budget_available).map_or(0, |subsidy| subsidy.expected_fen)
    };
    if worth(&alone) > coupon.saved_fen.saturating_add(worth(&beside)) {
        return (None, alone);
    }
    (Some(coupon), beside)
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
