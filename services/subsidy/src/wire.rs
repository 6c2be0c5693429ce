//! Domain to proto.

use jiff::Timestamp;
use zhirong_kernel::interest::DayCount;
use zhirong_proto::subsidy::v1 as pb;

use crate::{
    budget::Budget,
    explain,
    grant::{Grant, State},
    policy::{Benefit, Spec},
};

/// A budget.
#[must_use]
pub fn budget(budget: &Budget) -> pb::Budget {
    pb::Budget {
        policy_id: budget.policy_id.to_string(),
        year: budget.year,
        appropriated_fen: budget.appropriated.get(),
        available_fen: budget.available.get(),
        reserved_fen: budget.reserved.get(),
        accrued_fen: budget.accrued.get(),
        paid_fen: budget.paid.get(),
    }
}

/// A grant.
#[must_use]
pub fn grant(grant: &Grant) -> pb::Grant {
    let state = match grant.state {
        State::Reserved => pb::GrantState::Reserved,
        State::Active => pb::GrantState::Active,
        State::Waiting => pb::GrantState::Waiting,
    };
    pb::Grant {
        grant_id: grant.grant_id.to_string(),
        loan_id: grant.loan_id.to_string(),
        enterprise_id: grant.enterprise_id.to_string(),
        policy_id: grant.policy_id.to_string(),
        policy_version: grant.policy_version,
        policy_name_zh: grant.policy_name_zh.clone(),
        budget_year: grant.budget_year,
        state: state.into(),
        planned_fen: grant.planned.get(),
        subsidy_rate_ppm: grant.rate.to_ppm().get(),
        principal_fen: grant.principal.get(),
        from: grant.from.to_string(),
        until: grant.until.to_string(),
        explanation_zh: explain::whole(grant),
        version: grant.version,
        created_at: Some(time(grant.created_at)),
    }
}

/// What a policy says.
#[must_use]
pub fn spec(spec: Spec) -> pb::PolicySpec {
    let benefit = match spec.benefit {
        Benefit::LprShare(share) => pb::policy_spec::Benefit::LprShare(pb::LprShare { share_ppm: share.get() }),
        Benefit::FixedRate(rate) => pb::policy_spec::Benefit::FixedRate(pb::FixedRate { rate_ppm: rate.get() }),
    };
    let day_count = match spec.day_count {
        DayCount::Actual360 => pb::DayCount::Actual360,
        DayCount::Actual365 => pb::DayCount::Actual365,
    };
    pb::PolicySpec {
        name_zh: spec.name_zh,
        source_document_zh: spec.source_document_zh,
        benefit: Some(benefit),
        required_product_tags: spec.required_product_tags,
        enterprise_classes: spec.enterprise_classes,
        effective_from: spec.effective_from.to_string(),
        effective_to: spec.effective_to.to_string(),
        max_months: spec.max_months,
        cap_per_loan_fen: spec.cap_per_loan.get(),
        principal_cap_fen: spec.principal_cap.get(),
        day_count: day_count.into(),
        priority: spec.priority,
    }
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
