//! The financial calculator.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use jiff::civil::Date;
use tonic::{Request, Response, Status};
use zhirong_kernel::{
    clock::business_date,
    feature::FeatureDictionary,
    interest::{DayCount, interest},
    money::Fen,
    rate::Ppm,
    rule::RuleContext,
    uscc::Uscc,
};
use zhirong_proto::{
    matching::v1::{
        CalculateRequest, CalculateResponse, CalculateView, Eligible, FailedCondition, MissingFeature, Offer, Refused,
        Unknown, calculator_service_server::CalculatorService, offer::Outcome,
    },
    profile::v1::Profile,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    problem::Problem,
};

use super::{Matching, context};
use crate::{
    calculate::{Failed, Standing, Verdict, judge, rank},
    error::Error,
    product::CompiledProduct,
    snapshot::Catalog,
    store::read_model,
};

/// Enterprises that were noted on the current day, so that computing again writes nothing.
#[derive(Default)]
pub struct Calculated(Mutex<(Date, HashSet<String>)>);

impl Calculated {
    /// Whether this is the first time today that this process hears of it.
    fn is_first(&self, enterprise: &str, today: Date) -> bool {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.0 != today || !noted.1.contains(enterprise)
    }

    fn note(&self, enterprise: &str, today: Date) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.0 != today {
            *noted = (today, HashSet::new());
        }
        noted.1.insert(enterprise.to_owned());
    }
}

#[tonic::async_trait]
impl CalculatorService for Matching {
    async fn calculate(&self, request: Request<CalculateRequest>) -> Result<Response<CalculateResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.calculate(&caller, &request.into_inner()).await?))
    }
}

impl Matching {
    async fn calculate(&self, caller: &Caller, request: &CalculateRequest) -> Result<CalculateResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        check(request)?;
        let catalog = self.snapshots.current();
        let today = business_date(self.clock.now());
        let mut conn = self.pool.acquire().await?;
        let profile = read_model::profile(&mut conn, enterprise.as_str()).await?;
        // First, so that only who gets an answer counts.
        let context = context(&catalog, &profile, today, request.requested_fen, request.term_months)?;
        if self.calculated.is_first(enterprise.as_str(), today) {
            read_model::note_calculation(&mut conn, enterprise.as_str(), today, catalog.version, profile.version)
                .await?;
            self.calculated.note(enterprise.as_str(), today);
        }
        drop(conn);
        let mut response = answer(&catalog, &profile, &context, request);
        if let Ok(limit @ 1..) = usize::try_from(request.limit) {
            response.offers.truncate(limit);
        }
        Ok(response)
    }
}

fn check(request: &CalculateRequest) -> Result<(), Problem> {
    let mut violations = Vec::new();
    if request.requested_fen < 0 {
        violations.push(("requested_fen", "must be positive, or 0 for no wish"));
    }
    if !(0..=360).contains(&request.term_months) {
        violations.push(("term_months", "must be 1 to 360, or 0 for no wish"));
    }
    if request.limit < 0 {
        violations.push(("limit", "must not be negative"));
    }
    if violations.is_empty() {
        return Ok(());
    }
    let problem =
        Problem::invalid("REQUEST_INVALID", "the wish can't be computed; see the fields").zh("测算条件有误，请核对");
    Err(violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why)))
}

/// An enterprise means itself; staff name one.
fn whose(caller: &Caller, named: &str) -> Result<Uscc, Problem> {
    if caller.role == Role::Enterprise {
        let own = caller.enterprise()?;
        if !named.is_empty() && named != own.as_str() {
            return Err(Error::ProfileNotFound.into());
        }
        return Ok(own.clone());
    }
    named.parse().map_err(|error: zhirong_kernel::uscc::Error| {
        Problem::invalid("USCC_INVALID", error.to_string())
            .field("enterprise_id", error.to_string())
            .zh("统一社会信用代码有误")
    })
}

/// Every product's verdict, best first, then what is not known, then what is refused.
fn answer(
    catalog: &Catalog,
    profile: &Profile,
    context: &RuleContext,
    request: &CalculateRequest,
) -> CalculateResponse {
    let (mut eligible, mut unknown, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for product in catalog.products.values() {
        match judge(product, context) {
            Verdict::Eligible { limit_fen, rate_ppm } => eligible.push((product, limit_fen, rate_ppm)),
            Verdict::Unknown(missing) => unknown.push((product, missing)),
            Verdict::Refused(failed) => refused.push((product, failed)),
        }
    }
    eligible.sort_by(|a, b| rank(&standing(catalog, a.0, a.1, a.2), &standing(catalog, b.0, b.1, b.2)));
    unknown.sort_by(|a, b| a.0.product.product_id.cmp(&b.0.product.product_id));
    refused.sort_by(|a, b| a.0.product.product_id.cmp(&b.0.product.product_id));

    let count = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    let eligible_count = count(eligible.len());
    let ranked = eligible.into_iter().zip(1..).map(|((product, limit_fen, rate_ppm), place)| {
        let outcome = Outcome::Eligible(Eligible {
            limit_fen,
            rate_ppm,
            max_term_months: product.terms.max_term_months,
            first_month_interest_fen: first_month(limit_fen, rate_ppm, request.requested_fen),
        });
        offer(catalog, product, place, outcome)
    });
    let mut offers: Vec<Offer> = ranked.collect();
    if request.view() != CalculateView::Eligible {
        offers.extend(unknown.into_iter().map(|(product, missing)| {
            let missing = missing.into_iter().map(missing_feature).collect();
            offer(catalog, product, 0, Outcome::Unknown(Unknown { missing }))
        }));
        offers.extend(refused.into_iter().map(|(product, failed)| {
            let failed = failed.into_iter().map(|failed| failed_condition(profile, failed)).collect();
            offer(catalog, product, 0, Outcome::Refused(Refused { failed }))
        }));
    }
    CalculateResponse {
        offers,
        computed_count: count(catalog.products.len()),
        eligible_count,
        catalog_version: catalog.version,
        profile_version: profile.version,
    }
}

fn standing<'a>(catalog: &Catalog, product: &'a CompiledProduct, limit_fen: i64, rate_ppm: i64) -> Standing<'a> {
    let product_id = product.product.product_id.as_str();
    let score_ppm = catalog.scores.get(product_id).copied().unwrap_or(0);
    Standing { rate_ppm, score_ppm, limit_fen, product_id }
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

/// 30 days on 360; of what is wished for, but not more than the limit.
fn first_month(limit_fen: i64, rate_ppm: i64, requested_fen: i64) -> i64 {
    let principal = if requested_fen > 0 { requested_fen.min(limit_fen) } else { limit_fen };
    interest(Fen::new(principal), Ppm::new(rate_ppm), 30, DayCount::Actual360).map_or(0, Fen::get)
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
    FailedCondition { values: values.collect(), label_zh: failed.label_zh, advice_zh: failed.advice_zh }
}
