//! The interest subsidy that an offer would bring as policies and budgets stand. An expectation: what is granted is computed by
//! subsidy on the approved loan, by the same rule.

use jiff::{Span, civil::Date};
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue, Features},
    lpr::Tenor,
    rule::{Expected, Inputs, Outcome as RuleOutcome, Rule, RuleContext},
};
use zhirong_proto::{
    matching::v1::ExpectedSubsidy,
    profile::v1::{Profile, feature_value::Kind},
    subsidy::v1::{DayCount, Policy, PolicySpec, ReferenceRate, policy_spec::Benefit},
};

use crate::{product::CompiledProduct, snapshot::Catalog};

/// What is subsidised.
#[derive(Debug, Clone, Copy)]
pub struct Basis {
    /// Principal, fen.
    pub principal_fen: i64,
    /// Yearly rate of the offer, ppm; a subsidy is never above it.
    pub rate_ppm: i64,
    /// Term, months.
    pub term_months: i32,
    /// Interest over the term, fen; a subsidy is never above it.
    pub interest_fen: i64,
    /// Day of the answer.
    pub day: Date,
}

const MILLION: i128 = 1_000_000;

/// Who a policy is for, compiled.
#[derive(Debug)]
pub struct Condition {
    /// As it was written.
    pub text: String,
    rule: Rule,
}

impl Condition {
    /// Compiles a condition that subsidy has checked; none when this version does not know a feature of it.
    #[must_use]
    pub fn compile(text: &str) -> Option<Self> {
        let rule = Rule::compile(text, FeatureDictionary::standard(), Expected::Bool);
        let rule = rule.inspect_err(|error| tracing::error!(%error, "a policy's condition does not compile")).ok()?;
        Some(Self { text: text.to_owned(), rule })
    }
}

/// The policies that an enterprise may have on a day, whatever the product: by class, region and condition.
#[must_use]
pub fn open<'a>(
    catalog: &'a Catalog,
    profile: &Profile,
    features: &Features,
    inputs: Inputs,
    day: Date,
) -> Vec<&'a Policy> {
    let class = match profile.features.get("enterprise_class").and_then(|value| value.kind.as_ref()) {
        Some(Kind::Text(class)) => class.as_str(),
        _ => "",
    };
    let mut context = None;
    let mut is_true = |policy: &Policy| match catalog.conditions.get(&policy.policy_id) {
        Some(condition) => {
            let context = context.get_or_insert_with(|| RuleContext::new(features, inputs));
            condition.rule.evaluate(context) == RuleOutcome::Value(FeatureValue::Bool(true))
        }
        // One that does not compile here is no promise.
        None => policy.spec.as_ref().is_some_and(|spec| spec.who.is_empty()),
    };
    let registry = profile.enterprise_id.get(2..8).unwrap_or_default();
    catalog
        .policies
        .iter()
        .filter(|policy| policy.spec.as_ref().is_some_and(|spec| fits(spec, class, registry, day)) && is_true(policy))
        .collect()
}

/// Of the policies that are open to the enterprise, the one that gives most on a product; at a tie the one with the lower
/// priority number, then the first by id. `beside` is the policy of a coupon that is used, which the other must add up with.
#[must_use]
pub fn expected(
    catalog: &Catalog,
    open: &[&Policy],
    product: &CompiledProduct,
    basis: Basis,
    beside: Option<&Policy>,
) -> Option<ExpectedSubsidy> {
    let tags = product.product.spec.as_ref().map(|spec| spec.tags.as_slice()).unwrap_or_default();
    let fitting = open.iter().filter_map(|policy| {
        let spec = policy.spec.as_ref().filter(|spec| {
            spec.required_product_tags.iter().all(|tag| tags.contains(tag))
                && (spec.product_ids.is_empty() || spec.product_ids.contains(&product.product.product_id))
                && (spec.ip_kinds.is_empty() || tags.iter().any(|tag| tag.ends_with("_pledge")))
                && beside.is_none_or(|beside| add_up(spec, beside))
        })?;
        let rate = rate(catalog, spec, basis)?;
        Some((amount(spec, rate, basis)?, rate, spec, *policy))
    });
    let (amount, rate, spec, policy) = fitting.max_by(|a, b| {
        let key = |found: &(i64, i128, &PolicySpec, &Policy)| (found.0, std::cmp::Reverse(found.2.priority));
        key(a).cmp(&key(b)).then_with(|| b.3.policy_id.cmp(&a.3.policy_id))
    })?;
    Some(ExpectedSubsidy {
        policy_id: policy.policy_id.clone(),
        policy_version: policy.version,
        policy_name_zh: spec.name_zh.clone(),
        subsidy_rate_ppm: i64::try_from(rate.checked_add(MILLION / 2)?.checked_div(MILLION)?).ok()?,
        expected_fen: amount,
        budget_available: catalog.funded.contains(&(policy.policy_id.clone(), basis.day.year())),
    })
}

fn add_up(spec: &PolicySpec, beside: &Policy) -> bool {
    let other = beside.spec.as_ref();
    spec.adds_up
        && other.is_some_and(|other| {
            other.adds_up && !spec.exclusive_groups.iter().any(|group| other.exclusive_groups.contains(group))
        })
}

fn fits(spec: &PolicySpec, class: &str, registry: &str, day: Date) -> bool {
    let within = |from: &str, to: &str| {
        let (from, to): (Option<Date>, Option<Date>) = (from.parse().ok(), to.parse().ok());
        from.is_some_and(|from| from <= day) && to.is_some_and(|to| day <= to)
    };
    within(&spec.effective_from, &spec.effective_to)
        && (spec.enterprise_classes.is_empty() || spec.enterprise_classes.iter().any(|of| of == class))
        && (spec.region_codes.is_empty() || spec.region_codes.iter().any(|code| registry.starts_with(code.as_str())))
}

/// The subsidised rate in parts per 10^12, so that a share of a rate stays exact.
fn rate(catalog: &Catalog, spec: &PolicySpec, basis: Basis) -> Option<i128> {
    let paid = match spec.benefit.as_ref()? {
        Benefit::LprShare(share) => {
            // A rate that this release does not know gives no expectation, never that of another rate.
            let tenor = match ReferenceRate::try_from(share.reference_rate).ok()? {
                ReferenceRate::Unspecified | ReferenceRate::OneYearLpr => Tenor::OneYear,
                ReferenceRate::OverFiveYearLpr => Tenor::OverFiveYears,
            };
            let lpr = catalog.year_end_lpr(basis.day.year().checked_sub(1)?, tenor)?;
            i128::from(share.share_ppm).checked_mul(lpr.get().into())?
        }
        Benefit::FixedRate(fixed) => i128::from(fixed.rate_ppm).checked_mul(MILLION)?,
        Benefit::InterestShare(share) => i128::from(share.share_ppm).checked_mul(basis.rate_ppm.into())?,
        // A fee is not known before an approval, a coupon is told apart, and a loss is nobody's subsidy.
        Benefit::GuaranteeFeeShare(_) | Benefit::RateCoupon(_) | Benefit::RiskCompensation(_) => return None,
    };
    Some(paid.min(i128::from(basis.rate_ppm).checked_mul(MILLION)?))
}

/// Principal × rate × days / 360 (or 365), rounded once half up, capped.
fn amount(spec: &PolicySpec, rate: i128, basis: Basis) -> Option<i64> {
    let months = basis.term_months.min(spec.max_months);
    let until = basis.day.checked_add(Span::new().try_months(months).ok()?).ok()?;
    let days = basis.day.until(until).ok()?.get_days();
    let year = if spec.day_count() == DayCount::Actual365 { 365 } else { 360 };
    let unit = MILLION.checked_mul(MILLION)?.checked_mul(year)?;
    let principal = basis.principal_fen.min(spec.principal_cap_fen);
    let exact = i128::from(principal).checked_mul(rate)?.checked_mul(days.into())?;
    let amount = i64::try_from(exact.checked_add(unit / 2)?.checked_div(unit)?).ok()?;
    Some(amount.min(spec.cap_per_loan_fen).min(basis.interest_fen)).filter(|amount| *amount > 0)
}
