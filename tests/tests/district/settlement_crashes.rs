//! Subsidy is made to abort between the statements of a settlement, at every one of its crash points. Everybody repeats what was
//! not answered; in the end each enterprise was paid once, and nothing is lost.

use anyhow::{Context as _, Result};
use zhirong_proto::{
    matching::v1::{Loan, LoanApproved, LoanDisbursed, LoanRepaid, LoanState},
    subsidy::v1::{
        CheckLedgerRequest, ComputeSettlementRequest, DecideReversalRequest, ExportSettlementRequest, FixedRate,
        GrantState, ListSettlementLinesRequest, ListSettlementsRequest, PaymentResult, RecordPaymentsRequest,
        RecordReturnRequest, RequestReversalRequest, ReviewSettlementRequest, SettlementState,
        compute_settlement_request::Period, ledger_service_client::LedgerServiceClient, payment_result::Outcome,
        policy_spec::Benefit, settlement_service_client::SettlementServiceClient,
    },
};
use zhirong_testkit::{Deliveries, Event};
use zhirong_tests::{
    district::{District, eventually},
    finance::{grants_of, new_id, policy, policy_spec, reviewer},
};

/// In the order in which a settlement comes to them; the last four when a paid grant is taken back and its money returns.
const POINTS: [&str; 15] = [
    "settlement_batch_kept",
    "settlement_computed",
    "SettlementService/ComputeSettlement committed",
    "settlement_reviewing",
    "settlement_reviewed",
    "SettlementService/ReviewSettlement committed",
    "settlement_exported",
    "SettlementService/ExportSettlement committed",
    "settlement_paying",
    "settlement_recorded",
    "SettlementService/RecordPayments committed",
    "reversal_taking_back",
    "LedgerService/DecideReversal committed",
    "return_recorded",
    "LedgerService/RecordReturn committed",
];
const LOANS: usize = 12;

/// A loan of 1 000 000 CNY of January 2026 as matching tells it: approved, paid out, 30 days of interest paid.
fn facts(number: usize) -> [Event; 3] {
    let loan_id = new_id();
    let loan = |version, state: LoanState| Loan {
        loan_id: loan_id.clone(),
        order_id: new_id(),
        enterprise_id: zhirong_kernel::uscc::Uscc::with_check(&format!("91330421MA2T{number:05}")).unwrap().to_string(),
        institution_id: "sample-puhui-bank".to_owned(),
        product_id: new_id(),
        product_tags: vec!["settlement_story".to_owned()],
        amount_fen: 100_000_000,
        rate_ppm: 36_000,
        term_months: 12,
        bank_reference: format!("S-{number}"),
        state: state.into(),
        version,
        // 10 January 2026
        approved_at: Some(prost_types::Timestamp { seconds: 1_768_010_400, nanos: 0 }),
        disbursed_fen: if version > 1 { 100_000_000 } else { 0 },
        disbursed_on: if version > 1 { "2026-01-10".to_owned() } else { String::new() },
        matures_on: if version > 1 { "2027-01-10".to_owned() } else { String::new() },
        ..Loan::default()
    };
    let repaid = LoanRepaid {
        loan: Some(loan(3, LoanState::Disbursed)),
        principal_fen: 0,
        interest_fen: 300_000,
        paid_on: "2026-02-09".to_owned(),
        overdue: false,
    };
    [
        Event::of(&loan_id, &LoanApproved { loan: Some(loan(1, LoanState::Approved)), ..LoanApproved::default() }),
        Event::of(&loan_id, &LoanDisbursed { loan: Some(loan(2, LoanState::Disbursed)) }),
        Event::of(&loan_id, &repaid),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_whose_service_aborts_at_every_point_pays_once() -> Result<()> {
    let district = District::start().await?;
    let benefit = Benefit::FixedRate(FixedRate { rate_ppm: 18_000 });
    let policy = policy(&district, policy_spec("示例结算贴息", "settlement_story", benefit), 0).await?;
    let money = zhirong_proto::subsidy::v1::AppropriateBudgetRequest {
        request_id: new_id(),
        policy_id: policy.policy_id.clone(),
        year: 2026,
        amount_fen: 1_000_000_000,
        document_zh: "示例拨款（虚构）".to_owned(),
    };
    let mut policies =
        zhirong_proto::subsidy::v1::policy_service_client::PolicyServiceClient::new(district.as_staff().await?);
    policies.appropriate_budget(money).await?;
    let broker = async_nats::jetstream::new(async_nats::connect(district.nats()).await?);
    Deliveries::new((0..LOANS).flat_map(facts).collect::<Vec<_>>()).twice().shuffled(3).publish(&broker).await?;
    // 30 days at 1.8 % of a million.
    let due = 150_000 * i64::try_from(LOANS)?;
    eventually("everything is due", || async {
        let grants = grants_of(&district, &policy, LOANS).await?;
        Ok((grants.iter().map(|grant| grant.payable_fen).sum::<i64>() == due).then_some(()))
    })
    .await?;
    district.crash_at("subsidy", &POINTS).await?;

    // Each repeats the same request until it is answered.
    let author = SettlementServiceClient::new(district.as_staff().await?);
    let compute = ComputeSettlementRequest {
        request_id: new_id(),
        year: 2026,
        period: Some(Period::Quarter(1)),
        policy_id: policy.policy_id.clone(),
    };
    let batch = eventually("a batch is computed", || async {
        Ok(author.clone().compute_settlement(compute.clone()).await?.into_inner().settlement)
    })
    .await?;
    assert_eq!((batch.lines, batch.total_fen), (i64::try_from(LOANS)?, due));
    let batch_id = batch.batch_id.clone();
    let other = SettlementServiceClient::new(reviewer(&district).await?);
    let review = ReviewSettlementRequest {
        request_id: new_id(),
        batch_id: batch_id.clone(),
        approve: true,
        reason_zh: String::new(),
    };
    eventually("it is reviewed", || async { Ok(Some(other.clone().review_settlement(review.clone()).await?)) }).await?;
    let export = ExportSettlementRequest { request_id: new_id(), batch_id: batch_id.clone() };
    let file = eventually("it is exported", || async {
        Ok(Some(author.clone().export_settlement(export.clone()).await?.into_inner()))
    })
    .await?;
    assert_eq!(String::from_utf8(file.csv)?.lines().count(), LOANS + 1);
    let lines = ListSettlementLinesRequest { batch_id: batch_id.clone(), page_size: 500, page_token: String::new() };
    let lines = author.clone().list_settlement_lines(lines).await?.into_inner().lines;
    let results = lines
        .iter()
        .enumerate()
        .map(|(number, line)| PaymentResult {
            reference: line.reference.clone(),
            outcome: Some(if number == 0 {
                Outcome::FailedZh("账户已注销".to_owned())
            } else {
                Outcome::PaidOn("2026-04-10".to_owned())
            }),
        })
        .collect();
    let record = RecordPaymentsRequest { request_id: new_id(), batch_id, results };
    let done = eventually("the bank's answers are recorded", || async {
        Ok(author.clone().record_payments(record.clone()).await?.into_inner().settlement)
    })
    .await?;
    assert_eq!((done.state(), done.paid_fen, done.failed_fen), (SettlementState::Closed, due - 150_000, 150_000));
    let computed = ListSettlementsRequest { page_size: 500, page_token: String::new() };
    let batches = author.clone().list_settlements(computed).await?.into_inner().settlements;
    assert_eq!(batches.len(), 1, "what was committed and not answered is answered, not done again");

    let grants = grants_of(&district, &policy, LOANS).await?;
    let paid: i64 = grants.iter().map(|grant| grant.paid_fen).sum();
    let payable: i64 = grants.iter().map(|grant| grant.payable_fen).sum();
    assert_eq!((paid, payable), (due - 150_000, 150_000), "nobody twice, and what failed is due again");
    let mut operator = LedgerServiceClient::new(district.as_operator().await?);
    let check = operator.check_ledger(CheckLedgerRequest {}).await?.into_inner();
    assert_eq!(check.differences, []);
    // A paid grant is taken back, and its money returns, once.
    let paid = grants.iter().find(|grant| grant.paid_fen > 0).context("a paid grant")?;
    let ledger = LedgerServiceClient::new(district.as_staff().await?);
    let request = RequestReversalRequest {
        request_id: new_id(),
        grant_id: paid.grant_id.clone(),
        reason_zh: "材料不实".to_owned(),
    };
    let reversal = ledger.clone().request_reversal(request).await?.into_inner().reversal.context("a reversal")?;
    let decide = DecideReversalRequest {
        request_id: new_id(),
        reversal_id: reversal.reversal_id,
        approve: true,
        reason_zh: String::new(),
    };
    let decider = LedgerServiceClient::new(reviewer(&district).await?);
    let back = eventually("it is taken back", || async {
        Ok(decider.clone().decide_reversal(decide.clone()).await?.into_inner().grant)
    })
    .await?;
    assert_eq!((back.state(), back.clawed_back_fen), (GrantState::Reversed, 150_000));
    let returned = RecordReturnRequest {
        request_id: new_id(),
        grant_id: back.grant_id,
        amount_fen: 150_000,
        document_zh: "收款回单（虚构）".to_owned(),
    };
    let whole = eventually("its money returns", || async {
        Ok(ledger.clone().record_return(returned.clone()).await?.into_inner().grant)
    })
    .await?;
    assert_eq!((whole.paid_fen, whole.clawed_back_fen), (0, 0));
    for point in POINTS {
        assert!(district.has_crashed_at("subsidy", point)?, "{point}");
    }
    let check = operator.check_ledger(CheckLedgerRequest {}).await?.into_inner();
    assert_eq!(check.differences, []);
    let again = ComputeSettlementRequest { request_id: new_id(), ..compute };
    let next = author.clone().compute_settlement(again).await?.into_inner().settlement.context("a batch")?;
    assert_eq!((next.lines, next.total_fen), (1, 150_000));
    district.stop().await
}
