//! Guarantee enhancement for start-ups (科创共担贷): a guarantor carries a share of a first loan of 4.98 million CNY.

use anyhow::Result;
use zhirong_proto::subsidy::v1::{CompensationState, GuaranteeFeeShare, RiskCompensation, policy_spec::Benefit};
use zhirong_tests::{
    compensation::{compensate, default, shared},
    district::{District, eventually},
    finance::{Wanted, budget, enterprises, grants_of, lend, pay_out, policy, policy_spec, product},
};

/// The first loan of the product.
const LOAN_FEN: i64 = 498_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn story_jiashan_a7_shared_guarantee_for_start_ups() -> Result<()> {
    let district = District::start().await?;
    let product = product(&district, "普惠科创共担贷", &["start_up_story"], 38_000).await?;
    let fee = Benefit::GuaranteeFeeShare(GuaranteeFeeShare { share_ppm: 800_000 });
    let fee_policy = policy(&district, policy_spec("示例担保费补贴", "start_up_story", fee), 10_000_000).await?;
    let pool = Benefit::RiskCompensation(RiskCompensation { waiting_days: 0, interest_counts: false });
    let pool_policy = policy(&district, policy_spec("示例科创风险池", "start_up_story", pool), LOAN_FEN).await?;
    let borrower = enterprises(&district, "330421", "medium", 1).await?;

    // Pool 30 %, guarantor 50 %, bank 20 %; the fee is half a percent.
    let wanted = shared(Wanted::new(&borrower[0], LOAN_FEN, 38_000), (300_000, 500_000, 200_000), 2_490_000);
    let loans = lend(&district, &product, &[wanted]).await?;
    let grant = grants_of(&district, &fee_policy, 1).await?.remove(0);
    assert_eq!((grant.planned_fen, grant.payable_fen), (1_992_000, 0));
    assert!(grant.explanation_zh.contains("按担保费24,900.00元的80.00%补贴"), "{}", grant.explanation_zh);
    let loans = pay_out(&district, &loans).await?;
    eventually("the share of the fee is due", || async {
        let grant = grants_of(&district, &fee_policy, 1).await?.remove(0);
        Ok((grant.payable_fen == 1_992_000).then_some(()))
    })
    .await?;

    // It is not paid back: each bears what was agreed, to the fen.
    let opened = default(&district, &loans[0]).await?;
    let parts: Vec<i64> = opened.parts.iter().map(|part| part.amount_fen).collect();
    assert_eq!(parts, [149_400_000, 249_000_000, 99_600_000]);
    let paid = compensate(&district, &opened).await?;
    assert_eq!(paid.state(), CompensationState::Paid);
    assert_eq!(budget(&district, &pool_policy).await?.paid_fen, 149_400_000);
    district.stop().await
}
