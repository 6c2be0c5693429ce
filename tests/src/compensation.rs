//! What stories about losses do again and again.

use anyhow::{Context as _, Result};
use zhirong_proto::{
    matching::v1::{
        ApproveLoanRequest, Guarantee, Loan, RecordDefaultRequest, RiskBearer, RiskShare,
        loan_service_client::LoanServiceClient,
    },
    subsidy::v1::{
        ClaimCompensationRequest, Compensation, Evidence, ListCompensationsRequest, PayCompensationRequest,
        ReviewCompensationRequest, compensation_service_client::CompensationServiceClient,
    },
};

use crate::{
    district::{District, eventually},
    finance::{BANK, Wanted, new_id, reviewer},
    liandu,
};

/// The guarantor of these stories.
pub const GUARANTOR: &str = "sample-guarantor";

/// A loan whose loss is shared by pool, guarantor and lender, in ppm.
pub fn shared(wanted: Wanted, (pool, guarantor, lender): (i64, i64, i64), fee_fen: i64) -> Wanted {
    let share = |bearer: RiskBearer, institution: &str, share_ppm| RiskShare {
        bearer: bearer.into(),
        institution_id: institution.to_owned(),
        share_ppm,
    };
    let guarantee = Guarantee {
        guarantor_institution_id: GUARANTOR.to_owned(),
        contract_reference: "STORY".to_owned(),
        fee_fen,
        risk_shares: vec![
            share(RiskBearer::PolicyPool, "", pool),
            share(RiskBearer::Guarantor, GUARANTOR, guarantor),
            share(RiskBearer::Lender, BANK, lender),
        ],
    };
    Wanted { approval: ApproveLoanRequest { guarantee: Some(guarantee), ..wanted.approval.clone() }, ..wanted }
}

/// The bank declares a default today; gives the compensation that opens by itself.
pub async fn default(district: &District, loan: &Loan) -> Result<Compensation> {
    let bank = district.as_bank(&BANK.parse()?).await?;
    let request = RecordDefaultRequest {
        request_id: new_id(),
        loan_id: loan.loan_id.clone(),
        defaulted_on: liandu::today().to_string(),
        overdue_interest_fen: 0,
    };
    LoanServiceClient::new(bank.clone()).record_default(request).await?;
    let client = CompensationServiceClient::new(bank);
    eventually("the loss is split", || {
        let mut client = client.clone();
        async move {
            let all = client.list_compensations(ListCompensationsRequest::default()).await?.into_inner().compensations;
            Ok(all.into_iter().find(|found| found.loan_id == loan.loan_id))
        }
    })
    .await
}

/// Claimed by the bank, approved by one, the pool's part (the first) paid by another, the guarantor's by itself.
pub async fn compensate(district: &District, opened: &Compensation) -> Result<Compensation> {
    let compensation_id = opened.compensation_id.clone();
    let evidence = vec![Evidence { document_zh: "代偿申请书".to_owned(), sha256: "0a".repeat(32) }];
    let claim = ClaimCompensationRequest { request_id: new_id(), compensation_id: compensation_id.clone(), evidence };
    CompensationServiceClient::new(district.as_bank(&BANK.parse()?).await?).claim_compensation(claim).await?;
    let review = ReviewCompensationRequest {
        request_id: new_id(),
        compensation_id: compensation_id.clone(),
        approve: true,
        reason_zh: "材料齐全".to_owned(),
    };
    CompensationServiceClient::new(district.as_staff().await?).review_compensation(review).await?;
    let pay = |part| PayCompensationRequest {
        request_id: new_id(),
        compensation_id: compensation_id.clone(),
        part,
        paid_on: liandu::today().to_string(),
    };
    CompensationServiceClient::new(reviewer(district).await?).pay_compensation(pay(0)).await?;
    let mut guarantor = CompensationServiceClient::new(district.as_bank(&GUARANTOR.parse()?).await?);
    guarantor.pay_compensation(pay(1)).await?.into_inner().compensation.context("a compensation")
}
