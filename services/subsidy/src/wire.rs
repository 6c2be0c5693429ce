//! Domain to proto.

use jiff::Timestamp;
use zhirong_kernel::{interest::DayCount, lpr::Tenor};
use zhirong_proto::{
    matching::v1::{IpKind as pb_ip, RiskBearer},
    subsidy::v1 as pb,
};

use crate::{
    budget::Budget,
    explain,
    grant::{Grant, State},
    loss::{Bearer, Part},
    policy::{Benefit, IpKind, Spec},
    store::{
        compensation::{self, Compensation},
        coupon::{self, Coupon},
        reversal::Reversal,
        settlement::{Batch, Line},
    },
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
        payable_fen: budget.payable.get(),
        clawed_back_fen: budget.clawed_back.get(),
        kept_for_queue: budget.kept,
    }
}

/// A grant.
#[must_use]
pub fn grant(grant: &Grant) -> pb::Grant {
    let state = match grant.state {
        State::Reserved => pb::GrantState::Reserved,
        State::Active => pb::GrantState::Active,
        State::Waiting => pb::GrantState::Waiting,
        State::Ended => pb::GrantState::Ended,
        State::Reversed => pb::GrantState::Reversed,
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
        reserved_fen: grant.money.reserved.get(),
        accrued_fen: grant.money.accrued.get(),
        payable_fen: grant.money.payable.get(),
        paid_fen: grant.money.paid.get(),
        clawed_back_fen: grant.money.clawed_back.get(),
        accrued_until: grant.accrued_until.map(|day| day.to_string()).unwrap_or_default(),
    }
}

/// A coupon with what its policy says.
#[must_use]
pub fn coupon(coupon: &Coupon, spec: &Spec) -> pb::Coupon {
    pb::Coupon {
        policy_name_zh: spec.name_zh.clone(),
        rate_cut_ppm: spec.benefit.ppm().get(),
        required_product_tags: spec.required_product_tags.clone(),
        principal_cap_fen: spec.principal_cap.get(),
        cap_per_loan_fen: spec.cap_per_loan.get(),
        max_months: spec.max_months,
        day_count_days: if spec.day_count == DayCount::Actual360 { 360 } else { 365 },
        product_ids: spec.product_ids.iter().map(ToString::to_string).collect(),
        ..bare_coupon(coupon)
    }
}

/// A coupon without what its policy says, which never changes.
#[must_use]
pub fn bare_coupon(coupon: &Coupon) -> pb::Coupon {
    let state = match coupon.state {
        coupon::State::Held => pb::CouponState::Held,
        coupon::State::Redeemed => pb::CouponState::Redeemed,
        coupon::State::Expired => pb::CouponState::Expired,
    };
    pb::Coupon {
        coupon_id: coupon.coupon_id.to_string(),
        policy_id: coupon.policy_id.to_string(),
        policy_version: coupon.policy_version,
        enterprise_id: coupon.enterprise_id.to_string(),
        valid_until: coupon.valid_until.to_string(),
        state: state.into(),
        issued_at: Some(time(coupon.issued_at)),
        loan_id: coupon.loan_id.map(|loan| loan.to_string()).unwrap_or_default(),
        version: coupon.version,
        ..pb::Coupon::default()
    }
}

/// A compensation.
#[must_use]
pub fn compensation(found: &Compensation) -> pb::Compensation {
    let state = match found.state {
        compensation::State::Open => pb::CompensationState::Open,
        compensation::State::Claimed => pb::CompensationState::Claimed,
        compensation::State::Approved => pb::CompensationState::Approved,
        compensation::State::Refused => pb::CompensationState::Refused,
        compensation::State::Paid => pb::CompensationState::Paid,
    };
    let part = |part: &Part| pb::CompensationPart {
        bearer: match part.bearer {
            Bearer::PolicyPool => RiskBearer::PolicyPool,
            Bearer::Guarantor => RiskBearer::Guarantor,
            Bearer::Insurer => RiskBearer::Insurer,
            Bearer::Lender => RiskBearer::Lender,
        }
        .into(),
        institution_id: part.institution_id.clone(),
        share_ppm: part.share_ppm,
        amount_fen: part.amount.get(),
        paid_on: part.paid_on.map(|day| day.to_string()).unwrap_or_default(),
        recovered_fen: part.recovered.get(),
    };
    pb::Compensation {
        compensation_id: found.compensation_id.to_string(),
        loan_id: found.loan_id.to_string(),
        enterprise_id: found.enterprise_id.to_string(),
        institution_id: found.institution_id.clone(),
        policy_id: found.policy.map(|(policy, _)| policy.to_string()).unwrap_or_default(),
        policy_version: found.policy.map_or(0, |(_, version)| version),
        budget_year: found.budget_year,
        state: state.into(),
        loss_fen: found.loss.get(),
        parts: found.parts.iter().map(part).collect(),
        defaulted_on: found.defaulted_on.to_string(),
        claimable_from: found.claimable_from.to_string(),
        evidence: found.evidence.clone(),
        recovered_fen: found.recovered.get(),
        reviewed_by: found.reviewed_by.clone().unwrap_or_default(),
        review_zh: found.review_zh.clone(),
        calculation_zh: found.calculation_zh.clone(),
        version: found.version,
        opened_at: Some(time(found.opened_at)),
    }
}

/// A batch.
#[must_use]
pub fn settlement(batch: &Batch) -> pb::Settlement {
    let state = match batch.state.as_str() {
        "discarded" => pb::SettlementState::Discarded,
        "reviewed" => pb::SettlementState::Reviewed,
        "exported" => pb::SettlementState::Exported,
        "closed" => pb::SettlementState::Closed,
        _ => pb::SettlementState::Computed,
    };
    pb::Settlement {
        batch_id: batch.batch_id.to_string(),
        from: batch.from_on.to_jiff().to_string(),
        to: batch.to_on.to_jiff().to_string(),
        policy_id: batch.policy_id.map(|policy| policy.to_string()).unwrap_or_default(),
        state: state.into(),
        lines: batch.lines,
        total_fen: batch.total_fen,
        paid_fen: batch.paid_fen,
        failed_fen: batch.failed_fen,
        computed_by: batch.computed_by.clone(),
        computed_at: Some(time(batch.computed_at.to_jiff())),
        reviewed_by: batch.reviewed_by.clone().unwrap_or_default(),
        review_zh: batch.review_zh.clone(),
    }
}

/// A line of a batch.
#[must_use]
pub fn line(line: &Line) -> pb::SettlementLine {
    let state = match line.state.as_str() {
        "paid" => pb::SettlementLineState::Paid,
        "failed" => pb::SettlementLineState::Failed,
        "dropped" => pb::SettlementLineState::Dropped,
        _ => pb::SettlementLineState::Open,
    };
    pb::SettlementLine {
        reference: line.line_id.to_string(),
        number: line.number,
        grant_id: line.grant_id.to_string(),
        enterprise_id: line.enterprise_id.clone(),
        enterprise_name: line.enterprise_name.clone(),
        amount_fen: line.amount_fen,
        state: state.into(),
        reason_zh: line.reason_zh.clone(),
        paid_on: line.paid_on.map(|day| day.to_jiff().to_string()).unwrap_or_default(),
    }
}

/// A reversal.
#[must_use]
pub fn reversal(reversal: &Reversal) -> pb::Reversal {
    let state = match reversal.state.as_str() {
        "approved" => pb::ReversalState::Approved,
        "declined" => pb::ReversalState::Declined,
        _ => pb::ReversalState::Requested,
    };
    pb::Reversal {
        reversal_id: reversal.reversal_id.to_string(),
        grant_id: reversal.grant_id.to_string(),
        state: state.into(),
        reason_zh: reversal.reason_zh.clone(),
        requested_by: reversal.requested_by.clone(),
        decided_by: reversal.decided_by.clone().unwrap_or_default(),
        requested_at: Some(time(reversal.requested_at.to_jiff())),
        decision_zh: reversal.decision_zh.clone(),
    }
}

/// What a policy says.
#[must_use]
pub fn spec(spec: Spec) -> pb::PolicySpec {
    let benefit = match spec.benefit {
        Benefit::LprShare { share, tenor } => {
            let reference_rate = match tenor {
                Tenor::OneYear => pb::ReferenceRate::OneYearLpr,
                Tenor::OverFiveYears => pb::ReferenceRate::OverFiveYearLpr,
            };
            pb::policy_spec::Benefit::LprShare(pb::LprShare {
                share_ppm: share.get(),
                reference_rate: reference_rate.into(),
            })
        }
        Benefit::FixedRate(rate) => pb::policy_spec::Benefit::FixedRate(pb::FixedRate { rate_ppm: rate.get() }),
        Benefit::InterestShare(share) => {
            pb::policy_spec::Benefit::InterestShare(pb::InterestShare { share_ppm: share.get() })
        }
        Benefit::GuaranteeFeeShare(share) => {
            pb::policy_spec::Benefit::GuaranteeFeeShare(pb::GuaranteeFeeShare { share_ppm: share.get() })
        }
        Benefit::RateCoupon(cut) => pb::policy_spec::Benefit::RateCoupon(pb::RateCoupon { rate_cut_ppm: cut.get() }),
        Benefit::RiskCompensation { waiting_days, interest_counts } => {
            pb::policy_spec::Benefit::RiskCompensation(pb::RiskCompensation { waiting_days, interest_counts })
        }
    };
    let ip_kind = |kind: &IpKind| {
        i32::from(match kind {
            IpKind::Patent => pb_ip::Patent,
            IpKind::Trademark => pb_ip::Trademark,
            IpKind::Copyright => pb_ip::Copyright,
        })
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
        region_codes: spec.region_codes,
        who: spec.who.as_ref().map(|who| who.text().to_owned()).unwrap_or_default(),
        ip_kinds: spec.ip_kinds.iter().map(ip_kind).collect(),
        cap_per_enterprise_year_fen: spec.cap_per_enterprise_year.map_or(0, zhirong_kernel::Fen::get),
        adds_up: spec.stacking.adds_up,
        exclusive_groups: spec.stacking.exclusive_groups,
        least_days: spec.least_days,
        low_budget_ppm: spec.low_budget.get(),
        product_ids: spec.product_ids.iter().map(ToString::to_string).collect(),
    }
}

/// An instant.
#[must_use]
pub fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
