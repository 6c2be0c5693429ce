//! Reads what somebody wants a policy to say.

use zhirong_kernel::{
    Fen, Ppm,
    id::{PolicyId, ProductId},
    interest::DayCount,
    lpr::Tenor,
};
use zhirong_proto::{matching::v1::IpKind as pb_ip, subsidy::v1 as pb};
use zhirong_runtime::problem::Problem;

use super::date;
use crate::{
    error::Error,
    policy::{Benefit, IpKind, Spec, Stacking, Violation, Wish},
};

/// Checks id and specification together, so that every violation is named at once.
pub(super) fn parse_draft(request: &pb::DraftPolicyRequest) -> Result<(Option<PolicyId>, Spec), Problem> {
    let id = Some(request.policy_id.as_str()).filter(|id| !id.is_empty()).map(str::parse::<PolicyId>).transpose();
    match (id, parse_spec(request.spec.clone().unwrap_or_default())) {
        (Ok(id), Ok(spec)) => Ok((id, spec)),
        (id, spec) => {
            let problem: Problem = Error::PolicyInvalid(spec.err().unwrap_or_default()).into();
            Err(if id.is_err() {
                problem.field("policy_id", "must be a UUID, or empty for a new policy")
            } else {
                problem
            })
        }
    }
}

/// What a request wants a policy to say, checked; every violation is named at once.
pub(super) fn parse_spec(spec: pb::PolicySpec) -> Result<Spec, Vec<Violation>> {
    let mut unknown = Vec::new();
    let mut must = |holds: bool, field, must: &str| {
        if !holds {
            unknown.push(Violation { field, must: must.to_owned() });
        }
    };
    // A word of a later release: what it means is not guessed.
    if let Some(pb::policy_spec::Benefit::LprShare(share)) = &spec.benefit {
        let known = pb::ReferenceRate::try_from(share.reference_rate).is_ok();
        let rates = "must be REFERENCE_RATE_ONE_YEAR_LPR or REFERENCE_RATE_OVER_FIVE_YEAR_LPR";
        must(known, "lpr_share.reference_rate", rates);
    }
    let known = spec.ip_kinds.iter().all(|kind| pb_ip::try_from(*kind).ok().and_then(ip_kind).is_some());
    must(known, "ip_kinds", "each must be IP_KIND_PATENT, IP_KIND_TRADEMARK or IP_KIND_COPYRIGHT");
    let known = spec.product_ids.iter().all(|product| product.parse::<ProductId>().is_ok());
    must(known, "product_ids", "each must be a UUID");
    match Spec::try_from(wish(spec)) {
        Ok(spec) if unknown.is_empty() => Ok(spec),
        Ok(_) => Err(unknown),
        Err(mut found) => {
            found.append(&mut unknown);
            Err(found)
        }
    }
}

fn wish(spec: pb::PolicySpec) -> Wish {
    let day_count = match spec.day_count() {
        pb::DayCount::Actual360 => Some(DayCount::Actual360),
        pb::DayCount::Actual365 => Some(DayCount::Actual365),
        pb::DayCount::Unspecified => None,
    };
    let ip_kinds = spec.ip_kinds().filter_map(ip_kind).collect();
    Wish {
        benefit: spec.benefit.map(|benefit| match benefit {
            pb::policy_spec::Benefit::LprShare(share) => Benefit::LprShare {
                share: Ppm::new(share.share_ppm),
                tenor: match share.reference_rate() {
                    pb::ReferenceRate::Unspecified | pb::ReferenceRate::OneYearLpr => Tenor::OneYear,
                    pb::ReferenceRate::OverFiveYearLpr => Tenor::OverFiveYears,
                },
            },
            pb::policy_spec::Benefit::FixedRate(rate) => Benefit::FixedRate(Ppm::new(rate.rate_ppm)),
            pb::policy_spec::Benefit::InterestShare(share) => Benefit::InterestShare(Ppm::new(share.share_ppm)),
            pb::policy_spec::Benefit::GuaranteeFeeShare(share) => Benefit::GuaranteeFeeShare(Ppm::new(share.share_ppm)),
            pb::policy_spec::Benefit::RateCoupon(cut) => Benefit::RateCoupon(Ppm::new(cut.rate_cut_ppm)),
            pb::policy_spec::Benefit::RiskCompensation(terms) => {
                Benefit::RiskCompensation { waiting_days: terms.waiting_days, interest_counts: terms.interest_counts }
            }
        }),
        name_zh: spec.name_zh,
        source_document_zh: spec.source_document_zh,
        required_product_tags: spec.required_product_tags,
        product_ids: spec.product_ids.iter().filter_map(|product| product.parse().ok()).collect(),
        enterprise_classes: spec.enterprise_classes,
        effective_from: date(&spec.effective_from),
        effective_to: date(&spec.effective_to),
        max_months: spec.max_months,
        cap_per_loan: Fen::new(spec.cap_per_loan_fen),
        principal_cap: Fen::new(spec.principal_cap_fen),
        day_count,
        priority: spec.priority,
        region_codes: spec.region_codes,
        ip_kinds,
        cap_per_enterprise_year: Some(spec.cap_per_enterprise_year_fen).filter(|fen| *fen != 0).map(Fen::new),
        stacking: Stacking { adds_up: spec.adds_up, exclusive_groups: spec.exclusive_groups },
        least_days: spec.least_days,
        low_budget: Some(spec.low_budget_ppm).filter(|ppm| *ppm != 0).map(Ppm::new),
        who: spec.who,
    }
}

const fn ip_kind(kind: pb_ip) -> Option<IpKind> {
    match kind {
        pb_ip::Patent => Some(IpKind::Patent),
        pb_ip::Trademark => Some(IpKind::Trademark),
        pb_ip::Copyright => Some(IpKind::Copyright),
        pb_ip::Unspecified => None,
    }
}
