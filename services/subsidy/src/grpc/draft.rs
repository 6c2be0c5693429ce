//! Reads what somebody wants a policy to say.

use zhirong_kernel::{Fen, Ppm, id::PolicyId, interest::DayCount};
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
    let spec = Spec::try_from(wish(request.spec.clone().unwrap_or_default()));
    let unknown = request
        .spec
        .iter()
        .flat_map(|spec| &spec.ip_kinds)
        .any(|kind| pb_ip::try_from(*kind).ok().and_then(ip_kind).is_none());
    let spec = match spec {
        Ok(_) if unknown => {
            let must = "each must be IP_KIND_PATENT, IP_KIND_TRADEMARK or IP_KIND_COPYRIGHT".to_owned();
            Err(vec![Violation { field: "ip_kinds", must }])
        }
        other => other,
    };
    match (id, spec) {
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

/// What a request wants a policy to say.
pub(super) fn wish(spec: pb::PolicySpec) -> Wish {
    let day_count = match spec.day_count() {
        pb::DayCount::Actual360 => Some(DayCount::Actual360),
        pb::DayCount::Actual365 => Some(DayCount::Actual365),
        pb::DayCount::Unspecified => None,
    };
    let ip_kinds = spec.ip_kinds().filter_map(ip_kind).collect();
    Wish {
        benefit: spec.benefit.map(|benefit| match benefit {
            pb::policy_spec::Benefit::LprShare(share) => Benefit::LprShare(Ppm::new(share.share_ppm)),
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
