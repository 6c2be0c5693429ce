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
            true => cut(spec, plan),
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
    text.push_str(if plan.capped { cut(spec, plan) } else { "。" });
    text
}

/// Which cap has cut an amount: below the policy's cap per loan, it is what is left to the enterprise of the year.
fn cut(spec: &Spec, plan: &Plan) -> &'static str {
    if plan.amount < spec.cap_per_loan { "（企业年度上限）。" } else { "（单笔上限）。" }
}

/// What was decided of the policies that fitted a loan; those without shares by their places.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The policies that fitted.
    pub candidates: &'a [Candidate<'a>],
    /// What had its money at once.
    pub paid: &'a [Share],
    /// What waits for money.
    pub waiting: &'a [Share],
    /// Better ones that had no money and do not wait, because they are not paid together with what is paid.
    pub passed_over: &'a [usize],
    /// Those of which the enterprise has used up its cap of the year.
    pub used_up: &'a [usize],
}

/// Why this combination of the policies that fitted, as it was decided at the approval, so that it stays true whatever happens
/// later; empty when only one fitted. For the grant of the policy at `own`, whose waiting its standing tells.
#[must_use]
pub fn combination(decision: &Decision<'_>, own: usize) -> String {
    let Decision { candidates, paid, waiting, passed_over, used_up } = *decision;
    if candidates.len() < 2 {
        return String::new();
    }
    let names = |places: &mut dyn Iterator<Item = usize>| {
        let found = places.filter_map(|place| candidates.get(place));
        found.map(|found| format!("《{}》", found.policy.spec.name_zh)).collect::<Vec<_>>().join("、")
    };
    let chosen = names(&mut paid.iter().chain(waiting).map(|share| share.place));
    let mut text =
        format!("审批时，本笔贷款共符合{}项政策，按可同时享受且合计最多的方式确定为{chosen}", candidates.len());
    let queued = names(&mut waiting.iter().map(|share| share.place).filter(|place| *place != own));
    if !queued.is_empty() {
        let _ = write!(text, "；其中{queued}因当时资金不足列入排队");
    }
    let passed_over = names(&mut passed_over.iter().copied());
    if !passed_over.is_empty() {
        let _ = write!(text, "；{passed_over}因当时资金不足未选用");
    }
    let used_up = names(&mut used_up.iter().copied());
    if !used_up.is_empty() {
        let _ = write!(text, "；{used_up}因企业年度上限已用完，不再享受");
    }
    text.push('。');
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

/// The computation, what was decided at the approval, what has changed since, and where the grant stands.
#[must_use]
pub fn whole(grant: &Grant) -> String {
    let standing = match grant.state {
        State::Reserved => "资金已预留，无需申请。",
        State::Active => "贷款已发放，贴息金额已锁定，无需申请。",
        State::Waiting => "本年度资金额度暂不足，已按贷款审批先后排队，资金到位后自动安排，无需申请。",
        State::Ended if grant.short => "贷款已结束。",
        State::Ended => "贷款已结束，贴息不再增加。",
        State::Reversed => "贴息已撤销。",
    };
    let mut text = grant.calculation_zh.clone();
    text.push_str(&grant.combination_zh);
    let planned = grant.planned;
    if grant.short && !matches!(grant.state, State::Waiting | State::Reversed) {
        let _ = write!(text, "年度资金余额不足以增加，以已预留的{planned}元为限，资金到位后按审批先后补足。");
    } else if grant.state != State::Reversed && grant.explained.is_some_and(|explained| explained != planned) {
        let _ = write!(text, "按放款后的实际情况（还款、利率、期限及结清、逾期等），贴息现为{planned}元。");
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
        text_below(Fen::MAX, loan_rate, principal, change)
    }

    /// With what is left to the enterprise of the year.
    fn text_below(left: Fen, loan_rate: i64, principal: i64, change: impl FnOnce(&mut crate::policy::Wish)) -> String {
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
        calculation(&spec, &plan(&spec, rate, spec.cap_per_loan.min(left), basis).unwrap(), figures)
    }

    #[test]
    fn a_share_of_the_lpr_with_all_its_figures() {
        let expected = "依据《知识产权质押贷款贴息》（示例文件〔2026〕1号），按2025年末一年期LPR（3.00%）的50.00%贴息，即年利率1.50%；\
            获批贷款1,000,000.00元；计息期自2026-03-01起至2027-03-01止（算头不算尾），共365天，一年按360天计；贴息15,208.33元。";
        assert_eq!(text(43_500, 100_000_000, |_| {}), expected);
    }

    #[test]
    fn a_cap_is_named_as_what_it_is() {
        let of_year = text_below(Fen::new(9_999), 43_500, 100_000_000, |wish| wish.cap_per_loan = Fen::new(10_000));
        assert!(of_year.contains("贴息99.99元（企业年度上限）。"), "{of_year}");
        let of_loan = text_below(Fen::new(10_000), 43_500, 100_000_000, |wish| wish.cap_per_loan = Fen::new(10_000));
        assert!(of_loan.contains("贴息100.00元（单笔上限）。"), "{of_loan}");
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
