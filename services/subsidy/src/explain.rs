//! How an amount came about, for the enterprise, in Chinese.

use std::fmt::Write as _;

use zhirong_kernel::{Fen, Ppm, lpr::Tenor};

use crate::{
    combine::Share,
    entitlement::Candidate,
    grant::{Grant, State},
    loss::{Bearer, Part, Pool},
    plan::Plan,
    policy::{Benefit, Spec},
};

/// What the loan brings to the computation.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Approved amount, or what was paid out.
    pub principal: Fen,
    /// Whether it was paid out.
    pub disbursed: bool,
    /// The LPR that the policy names; none for a fixed rate.
    pub lpr: Option<Ppm>,
    /// The year at whose end it counts.
    pub lpr_year: i16,
    /// The fee for the guarantee.
    pub fee: Fen,
}

/// The computation with its figures.
#[must_use]
pub fn calculation(spec: &Spec, plan: &Plan, figures: Figures) -> String {
    let mut text = format!("依据《{}》（{}），", spec.name_zh, spec.source_document_zh);
    if let Benefit::GuaranteeFeeShare(share) = spec.benefit {
        let _ = write!(text, "按担保费{}元的{share}补贴；补贴{}元", figures.fee, plan.amount);
        let alone = share.share_of(figures.fee).unwrap_or(plan.amount);
        text.push_str(match plan.capped {
            true => "（单笔上限）。",
            false if plan.amount < alone => "（与其他政策合计以担保费为限）。",
            false => "。",
        });
        return text;
    }
    let full = match (spec.benefit, figures.lpr) {
        (Benefit::LprShare { share, tenor }, Some(lpr)) => {
            let name = match tenor {
                Tenor::OneYear => "一年期",
                Tenor::OverFiveYears => "五年期以上",
            };
            let _ = write!(text, "按{}年末{name}LPR（{lpr}）的{share}贴息", figures.lpr_year);
            share.get().saturating_mul(lpr.get())
        }
        (Benefit::InterestShare(share), _) => {
            let _ = write!(text, "按贷款实际利息的{share}贴息");
            i64::MAX
        }
        (Benefit::RateCoupon(cut), _) => {
            let _ = write!(text, "使用利率优惠券，年利率优惠{cut}");
            cut.get().saturating_mul(zhirong_kernel::rate::WHOLE)
        }
        (benefit, _) => {
            let _ = write!(text, "按{}的年利率贴息", benefit.ppm());
            benefit.ppm().get().saturating_mul(zhirong_kernel::rate::WHOLE)
        }
    };
    let rate = plan.rate.to_ppm();
    if full == i64::MAX {
        let _ = write!(text, "，即年利率{rate}");
    } else if plan.rate.get() < full {
        let _ = write!(text, "，以贷款实际利率为限，即年利率{rate}");
    } else if figures.lpr.is_some() {
        let _ = write!(text, "，即年利率{rate}");
    }
    let event = if figures.disbursed { "实际放款" } else { "获批贷款" };
    let _ = write!(text, "；{event}{}元", figures.principal);
    if plan.principal < figures.principal {
        let _ = write!(text, "，按贴息本金上限{}元计", plan.principal);
    }
    let _ = write!(
        text,
        "；计息期自{}起至{}止（算头不算尾），共{}天，一年按{}天计；贴息{}元",
        plan.from,
        plan.until,
        plan.days,
        spec.day_count.days(),
        plan.amount
    );
    text.push_str(if plan.capped { "（单笔上限）。" } else { "。" });
    text
}

/// Why this combination of the policies that fit; empty when only one fits.
#[must_use]
pub fn combination(candidates: &[Candidate<'_>], paid: &[Share], waiting: &[Share]) -> String {
    if candidates.len() < 2 {
        return String::new();
    }
    let names = |shares: &[Share]| {
        let found = shares.iter().filter_map(|share| candidates.get(share.place));
        found.map(|found| format!("《{}》", found.policy.spec.name_zh)).collect::<Vec<_>>().join("、")
    };
    let mut text = format!("本笔贷款共符合{}项政策，按可同时享受且合计最多的方式", candidates.len());
    match (paid.is_empty(), waiting.is_empty()) {
        (true, _) => {
            let _ = write!(text, "排队等候{}。", names(waiting));
        }
        (false, true) => {
            let _ = write!(text, "享受{}。", names(paid));
        }
        (false, false) => {
            let _ = write!(text, "享受{}，并排队等候{}。", names(paid), names(waiting));
        }
    }
    text
}

/// How a loss is shared. `pool` is what the policy's pool bears at most; none when no policy has a pool for it.
#[must_use]
pub fn loss((principal, interest): (Fen, Fen), whole: Fen, parts: &[Part], pool: Option<Pool>) -> String {
    let mut text = format!("损失{whole}元（本金{principal}元");
    if pool.is_some_and(|pool| pool.interest_counts) {
        let _ = write!(text, "、利息{interest}元");
    }
    text.push_str("），按约定比例分担：");
    for (place, part) in parts.iter().enumerate() {
        let name = match part.bearer {
            Bearer::PolicyPool => "政策风险池",
            Bearer::Guarantor => "担保机构",
            Bearer::Insurer => "保险公司",
            Bearer::Lender => "贷款机构",
        };
        let comma = if place == 0 { "" } else { "，" };
        let _ = write!(text, "{comma}{name}{}承担{}元", Ppm::new(part.share_ppm), part.amount);
        match pool.filter(|_| part.bearer == Bearer::PolicyPool) {
            Some(pool) if part.amount == pool.cap => text.push_str("（单笔上限）"),
            Some(pool) if principal > pool.principal_cap => {
                let _ = write!(text, "（按本金上限{}元计）", pool.principal_cap);
            }
            _ => {}
        }
    }
    text.push('。');
    if pool.is_none() && parts.iter().any(|part| part.bearer == Bearer::PolicyPool) {
        text.push_str("没有适用的风险池政策，政策风险池的份额由贷款机构承担。");
    }
    text
}

/// The computation and where the grant stands.
#[must_use]
pub fn whole(grant: &Grant) -> String {
    let standing = match grant.state {
        State::Reserved => "资金已预留，无需申请。",
        State::Active => "贷款已发放，贴息金额已锁定，无需申请。",
        State::Waiting => "本年度资金额度暂不足，已按贷款审批先后排队，资金到位后自动安排，无需申请。",
        State::Ended => "贷款已结束，贴息不再增加。",
        State::Reversed => "贴息已撤销。",
    };
    let mut text = grant.calculation_zh.clone();
    if grant.short && !matches!(grant.state, State::Waiting | State::Reversed) {
        let _ = write!(text, "年度资金余额不足以增加，以已预留的{}元为限。", grant.planned);
    }
    text.push_str(standing);
    let money = &grant.money;
    if money.accrued.is_positive() || money.payable.is_positive() || money.paid.is_positive() {
        let _ = write!(text, "已计提{}元、待付{}元、已付{}元。", money.accrued, money.payable, money.paid);
    }
    if money.clawed_back.is_positive() {
        let _ = write!(text, "待退回{}元。", money.clawed_back);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Basis, plan, subsidised_rate},
        policy::tests::wish,
    };

    fn text(loan_rate: i64, principal: i64, change: impl FnOnce(&mut crate::policy::Wish)) -> String {
        let mut wish = wish();
        change(&mut wish);
        let spec = Spec::try_from(wish).unwrap();
        let lpr = matches!(spec.benefit, Benefit::LprShare { .. }).then_some(Ppm::new(30_000));
        let rate = subsidised_rate(spec.benefit, lpr, Ppm::new(loan_rate)).unwrap();
        let basis = Basis {
            principal: Fen::new(principal),
            from: "2026-03-01".parse().unwrap(),
            term_months: 12,
            fee: Fen::ZERO,
            fee_taken: crate::plan::ExactRate::new(0),
        };
        let figures = Figures { principal: Fen::new(principal), disbursed: false, lpr, lpr_year: 2025, fee: Fen::ZERO };
        calculation(&spec, &plan(&spec, rate, spec.cap_per_loan, basis).unwrap(), figures)
    }

    #[test]
    fn a_share_of_the_lpr_with_all_its_figures() {
        let expected = "依据《知识产权质押贷款贴息》（示例文件〔2026〕1号），按2025年末一年期LPR（3.00%）的50.00%贴息，即年利率1.50%；\
            获批贷款1,000,000.00元；计息期自2026-03-01起至2027-03-01止（算头不算尾），共365天，一年按360天计；贴息15,208.33元。";
        assert_eq!(text(43_500, 100_000_000, |_| {}), expected);
    }

    #[test]
    fn the_lpr_is_named_by_its_tenor() {
        let over_five = Benefit::LprShare { share: Ppm::new(500_000), tenor: Tenor::OverFiveYears };
        let text = text(43_500, 100_000_000, |wish| wish.benefit = Some(over_five));
        assert!(text.contains("按2025年末五年期以上LPR（3.00%）的50.00%贴息"), "{text}");
    }

    #[test]
    fn every_limit_is_named() {
        let limited = text(12_000, 2_000_000_000, |wish| wish.cap_per_loan = Fen::new(10_000));
        for part in
            ["以贷款实际利率为限，即年利率1.20%", "按贴息本金上限10,000,000.00元计", "贴息100.00元（单笔上限）。"]
        {
            assert!(limited.contains(part), "{limited}");
        }
        let fixed = text(43_500, 100_000_000, |wish| wish.benefit = Some(Benefit::FixedRate(Ppm::new(10_000))));
        assert!(fixed.contains("按1.00%的年利率贴息；获批贷款"), "{fixed}");
    }
}
