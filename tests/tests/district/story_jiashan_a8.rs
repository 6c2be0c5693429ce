//! Policy, guarantor and bank share the risk: 388 enterprises, 3.835 billion CNY lent, nearly 10 million CNY compensated.

use anyhow::Result;
use zhirong_proto::subsidy::v1::{
    CheckLedgerRequest, CompensationState, RiskCompensation, ledger_service_client::LedgerServiceClient,
    policy_spec::Benefit,
};
use zhirong_tests::{
    compensation::{compensate, default, shared},
    district::District,
    finance::{Wanted, budget, enterprises, lend, pay_out, policy, policy_spec, product},
};

/// The district's own figures.
const ENTERPRISES: usize = 388;
const LENT_FEN: i64 = 383_500_000_000;
/// What the pool paid for the loans that were not paid back.
const COMPENSATED_FEN: i64 = 998_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn story_jiashan_a8_risk_sharing() -> Result<()> {
    let district = District::start().await?;
    let product = product(&district, "普惠政银担", &["risk_shared_story"], 39_000).await?;
    let pool = Benefit::RiskCompensation(RiskCompensation { waiting_days: 0, interest_counts: false });
    let pool = policy(&district, policy_spec("示例政银担风险池", "risk_shared_story", pool), 2_000_000_000).await?;
    let borrowers = enterprises(&district, "330421", "medium", ENTERPRISES).await?;

    // Pool 40 %, guarantor 40 %, bank 20 %. Two loans will be lost, of which the pool's parts are what it paid.
    let lost = [COMPENSATED_FEN * 5 / 4, COMPENSATED_FEN * 5 / 4];
    let mut left = LENT_FEN - lost[0] - lost[1];
    let wanted: Vec<Wanted> = borrowers
        .iter()
        .enumerate()
        .map(|(number, uscc)| {
            let rest = i64::try_from(ENTERPRISES - number).unwrap();
            let amount = match number {
                0 | 1 => lost[number],
                _ => left / rest,
            };
            if number > 1 {
                left -= amount;
            }
            shared(Wanted::new(uscc, amount, 39_000), (400_000, 400_000, 200_000), 0)
        })
        .collect();
    let loans = lend(&district, &product, &wanted).await?;
    assert_eq!(loans.iter().map(|loan| loan.amount_fen).sum::<i64>(), LENT_FEN);

    let out = pay_out(&district, &loans[..3]).await?;
    let mut paid_by_pool = 0;
    for loan in &out[..2] {
        let opened = default(&district, loan).await?;
        assert_eq!(opened.parts.iter().map(|part| part.amount_fen).sum::<i64>(), loan.amount_fen);
        let closed = compensate(&district, &opened).await?;
        assert_eq!(closed.state(), CompensationState::Paid);
        paid_by_pool += closed.parts[0].amount_fen;
    }
    assert_eq!(paid_by_pool, COMPENSATED_FEN);
    let money = budget(&district, &pool).await?;
    assert_eq!((money.paid_fen, money.available_fen), (COMPENSATED_FEN, 2_000_000_000 - COMPENSATED_FEN));
    let mut operator = LedgerServiceClient::new(district.as_operator().await?);
    let check = operator.check_ledger(CheckLedgerRequest {}).await?.into_inner();
    assert_eq!(check.differences, []);
    district.stop().await
}
