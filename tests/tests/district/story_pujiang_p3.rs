//! Insurance and pledge: an insurer stands for pledge loans and compensates the bank; 2 loans of over 8 million CNY.

use anyhow::{Context as _, Result};
use tonic_types::StatusExt as _;
use zhirong_proto::{
    matching::v1::{
        ApproveLoanRequest, Guarantee, RecordDefaultRequest, RecordRecoveryRequest, RiskBearer, RiskShare,
        loan_service_client::LoanServiceClient,
    },
    subsidy::v1::{
        ClaimCompensationRequest, Compensation, CompensationState, Evidence, ListCompensationsRequest,
        PayCompensationRequest, ReviewCompensationRequest, compensation_service_client::CompensationServiceClient,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    finance::{BANK, Wanted, enterprises, lend, new_id, pay_out, product},
    liandu,
};

const INSURER: &str = "sample-insurer";

fn insured(wanted: Wanted) -> Wanted {
    let share = |bearer: RiskBearer, institution: &str, share_ppm| RiskShare {
        bearer: bearer.into(),
        institution_id: institution.to_owned(),
        share_ppm,
    };
    let guarantee = Guarantee {
        guarantor_institution_id: INSURER.to_owned(),
        contract_reference: format!("POLICY-{}", &new_id()[..8]),
        risk_shares: vec![share(RiskBearer::Insurer, INSURER, 700_000), share(RiskBearer::Lender, BANK, 300_000)],
        ..Guarantee::default()
    };
    Wanted { approval: ApproveLoanRequest { guarantee: Some(guarantee), ..wanted.approval.clone() }, ..wanted }
}

#[tokio::test(flavor = "multi_thread")]
async fn story_pujiang_p3_insurance_and_pledge() -> Result<()> {
    let district = District::start().await?;
    let product = product(&district, "普惠质押保险贷", &["ip_insured"], 40_000).await?;
    let borrowers = enterprises(&district, "330726", "large", 2).await?;
    let wanted: Vec<Wanted> = borrowers
        .iter()
        .zip([500_000_000, 310_000_000])
        .map(|(uscc, amount)| insured(Wanted::new(uscc, amount, 40_000)))
        .collect();
    let loans = pay_out(&district, &lend(&district, &product, &wanted).await?).await?;
    assert!(loans.iter().map(|loan| loan.amount_fen).sum::<i64>() > 800_000_000);

    // One of them is not paid back.
    let bank = district.as_bank(&BANK.parse()?).await?;
    let default = RecordDefaultRequest {
        request_id: new_id(),
        loan_id: loans[1].loan_id.clone(),
        defaulted_on: liandu::today().to_string(),
        overdue_interest_fen: 0,
    };
    LoanServiceClient::new(bank.clone()).record_default(default).await?;
    let mut lender = CompensationServiceClient::new(bank.clone());
    let look = ListCompensationsRequest::default();
    let opened: Compensation = eventually("the loss is split", || {
        let (mut lender, look) = (lender.clone(), look.clone());
        async move { Ok(lender.list_compensations(look).await?.into_inner().compensations.pop()) }
    })
    .await?;
    let parts: Vec<i64> = opened.parts.iter().map(|part| part.amount_fen).collect();
    assert_eq!((opened.loss_fen, parts), (310_000_000, vec![217_000_000, 93_000_000]));

    let evidence = vec![Evidence { document_zh: "保险理赔申请书".to_owned(), sha256: "0a".repeat(32) }];
    let claim =
        ClaimCompensationRequest { request_id: new_id(), compensation_id: opened.compensation_id.clone(), evidence };
    lender.claim_compensation(claim).await?;
    let review = ReviewCompensationRequest {
        request_id: new_id(),
        compensation_id: opened.compensation_id.clone(),
        approve: true,
        reason_zh: "材料齐全".to_owned(),
    };
    let mut staff = CompensationServiceClient::new(district.as_staff().await?);
    staff.review_compensation(review).await?;
    let pay = |part| PayCompensationRequest {
        request_id: new_id(),
        compensation_id: opened.compensation_id.clone(),
        part,
        paid_on: liandu::today().to_string(),
    };
    let refused = staff.pay_compensation(pay(0)).await.unwrap_err();
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "NOT_YOUR_PART");
    let mut insurer = CompensationServiceClient::new(district.as_bank(&INSURER.parse()?).await?);
    let paid = insurer.pay_compensation(pay(0)).await?.into_inner().compensation.context("a compensation")?;
    assert_eq!(paid.state(), CompensationState::Paid);

    // The pledge is sold: what comes back goes to both, as they bore the loss.
    let recovery = RecordRecoveryRequest {
        request_id: new_id(),
        loan_id: loans[1].loan_id.clone(),
        recovered_fen: 100_000_001,
        recovered_on: liandu::today().to_string(),
    };
    LoanServiceClient::new(bank).record_recovery(recovery).await?;
    let shared = eventually("the recovery is shared", || {
        let (mut insurer, look) = (insurer.clone(), look.clone());
        async move {
            let found = insurer.list_compensations(look).await?.into_inner().compensations.pop();
            Ok(found.filter(|found| found.recovered_fen > 0))
        }
    })
    .await?;
    let recovered: Vec<i64> = shared.parts.iter().map(|part| part.recovered_fen).collect();
    assert_eq!(recovered, [70_000_001, 30_000_000]);
    district.stop().await
}
