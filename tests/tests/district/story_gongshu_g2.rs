//! Strategic agreements: 8 banks intend to lend 920 billion CNY; the report shows the intent beside what was really lent.

use anyhow::{Context as _, Result};
use uuid::Uuid;
use zhirong_kernel::id::InstitutionId;
use zhirong_proto::{
    catalog::v1::{
        Agreement, ListAgreementsRequest, RegisterAgreementRequest, agreement_service_client::AgreementServiceClient,
    },
    matching::v1::{ApproveLoanRequest, RecordDisbursementRequest, bank_order_service_client::BankOrderServiceClient},
};
use zhirong_tests::{
    district::{District, eventually},
    liandu,
};

/// 920 billion CNY.
const INTENT_FEN: i64 = 92_000_000_000_000;
const BANKS: i64 = 8;

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn story_gongshu_g2_strategic_agreements() -> Result<()> {
    let district = District::start().await?;
    liandu::data_arrive(&district).await?;
    let parts = liandu::parts()?;
    let part = parts.iter().find(|part| part.gets_a_loan()).context("somebody who gets a loan")?;
    let order = liandu::order(&district, part).await?;
    let lender: InstitutionId = order.institution_id.parse()?;

    // Eight banks sign, the one that will lend among them.
    let mut banks: Vec<String> = [
        "sample-gongmao-bank",
        "sample-nonggeng-bank",
        "sample-jiangnan-bank",
        "sample-oujiang-bank",
        "sample-liancheng-bank",
        "sample-shanglv-bank",
        "sample-shanhai-bank",
        "sample-minhe-bank",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    if !banks.contains(&order.institution_id) {
        banks[0].clone_from(&order.institution_id);
    }
    let mut agreements = AgreementServiceClient::new(district.as_staff().await?);
    let today = liandu::today();
    for institution_id in &banks {
        let agreement = Agreement {
            institution_id: institution_id.clone(),
            name_zh: "示例战略合作协议".to_owned(),
            intent_fen: INTENT_FEN / BANKS,
            signed_on: today.yesterday()?.to_string(),
            ends_on: today.saturating_add(jiff::Span::new().years(3)).to_string(),
            ..Agreement::default()
        };
        let request = RegisterAgreementRequest { request_id: new_id(), agreement: Some(agreement) };
        agreements.register_agreement(request).await?;
    }
    let own = AgreementServiceClient::new(district.as_bank(&lender).await?)
        .list_agreements(ListAgreementsRequest::default())
        .await?
        .into_inner()
        .agreements;
    assert_eq!(own.len(), 1, "a bank sees its own agreement");

    // Before anybody lends there is intent and nothing else.
    let report = liandu::report(&district).await?;
    assert_eq!((report["agreements"].as_i64(), report["intent_fen"].as_i64()), (Some(BANKS), Some(INTENT_FEN)));
    assert_eq!((report["approved_fen"].as_i64(), report["disbursed_fen"].as_i64()), (Some(0), Some(0)));

    let amount_fen = part.amount_fen.context("an amount")?;
    let mut bank = BankOrderServiceClient::new(district.as_bank(&lender).await?);
    let approval = ApproveLoanRequest {
        request_id: new_id(),
        order_id: order.order_id.clone(),
        amount_fen,
        rate_ppm: order.quote.context("a quote")?.rate_ppm,
        term_months: part.term_months,
        bank_reference: "G2-1".to_owned(),
        ..ApproveLoanRequest::default()
    };
    let loan = bank.approve_loan(approval).await?.into_inner().loan.context("a loan")?;
    let paid = RecordDisbursementRequest {
        request_id: new_id(),
        loan_id: loan.loan_id,
        amount_fen,
        disbursed_on: today.to_string(),
    };
    bank.record_disbursement(paid).await?;

    let report = eventually("the loan is in the report", || async {
        let report = liandu::report(&district).await?;
        Ok((report["loans_disbursed"] == 1).then_some(report))
    })
    .await?;
    assert_eq!(report["intent_fen"].as_i64(), Some(INTENT_FEN), "an intent is no loan and a loan no intent");
    assert_eq!(report["disbursed_fen"].as_i64(), Some(amount_fen));
    let lines = report["institutions"].as_array().context("lines")?;
    assert_eq!(lines.len(), 8);
    for line in lines {
        let is_lender = line["institution_id"] == lender.as_str();
        assert_eq!(line["intent_fen"].as_i64(), Some(INTENT_FEN / BANKS));
        let lent = if is_lender { amount_fen } else { 0 };
        assert_eq!(line["disbursed_fen"].as_i64(), Some(lent), "{line}");
        let share = i128::from(lent) * 1_000_000 / i128::from(INTENT_FEN / BANKS);
        assert_eq!(line["kept_ppm"].as_i64().map(i128::from), Some(share), "{line}");
    }
    let text = liandu::report_text(&district).await?;
    assert!(text.contains("920,000,000,000.00") || text.contains("920000000000.00"), "{text}");
    assert!(text.contains("意向 intended") && text.contains("实放 lent"), "{text}");
    district.stop().await
}
