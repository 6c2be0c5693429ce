//! How an amount came about, for the enterprise, in Chinese.

use std::fmt::Write as _;

use zhirong_kernel::{Fen, Ppm};

use crate::{
    grant::{Grant, State},
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
    /// The one-year LPR; none for a fixed rate.
    pub lpr: Option<Ppm>,
    /// The year at whose end it counts.
    pub lpr_year: i16,
}

/// The computation with its figures.
#[must_use]
pub fn calculation(spec: &Spec, plan: &Plan, figures: Figures) -> String {
    let mut text = format!("依据《{}》（{}），", spec.name_zh, spec.source_document_zh);
    let full = match (spec.benefit, figures.lpr) {
        (Benefit::LprShare(share), Some(lpr)) => {
            let _ = write!(text, "按{}年末一年期LPR（{lpr}）的{share}贴息", figures.lpr_year);
            share.get().saturating_mul(lpr.get())
        }
        (benefit, _) => {
            let _ = write!(text, "按{}的年利率贴息", benefit.ppm());
            benefit.ppm().get().saturating_mul(zhirong_kernel::rate::WHOLE)
        }
    };
    let rate = plan.rate.to_ppm();
    if plan.rate.get() < full {
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

/// Added when a disbursement needed more than was left.
#[must_use]
pub fn ceiling(reserved: Fen) -> String {
    format!("年度资金余额不足以增加，以已预留的{reserved}元为限。")
}

/// The computation and where the grant stands.
#[must_use]
pub fn whole(grant: &Grant) -> String {
    let standing = match (grant.state, grant.disbursed) {
        (State::Reserved, _) => "资金已预留，无需申请。",
        (State::Active, _) => "贷款已发放，贴息金额已锁定，无需申请。",
        (State::Waiting, _) => "本年度资金额度暂不足，已按贷款审批先后排队，资金到位后自动安排，无需申请。",
    };
    format!("{}{standing}", grant.calculation_zh)
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
        let lpr = matches!(spec.benefit, Benefit::LprShare(_)).then_some(Ppm::new(30_000));
        let rate = subsidised_rate(spec.benefit, lpr, Ppm::new(loan_rate)).unwrap();
        let basis = Basis { principal: Fen::new(principal), from: "2026-03-01".parse().unwrap(), term_months: 12 };
        let figures = Figures { principal: Fen::new(principal), disbursed: false, lpr, lpr_year: 2025 };
        calculation(&spec, &plan(&spec, rate, basis).unwrap(), figures)
    }

    #[test]
    fn a_share_of_the_lpr_with_all_its_figures() {
        let expected = "依据《知识产权质押贷款贴息》（示例文件〔2026〕1号），按2025年末一年期LPR（3.00%）的50.00%贴息，即年利率1.50%；\
            获批贷款1,000,000.00元；计息期自2026-03-01起至2027-03-01止（算头不算尾），共365天，一年按360天计；贴息15,208.33元。";
        assert_eq!(text(43_500, 100_000_000, |_| {}), expected);
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
