//! What the subsidies of a district must be, computed apart from the service.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use zhirong_kernel::id::InstitutionId;
use zhirong_proto::matching::v1::{
    GetLoanRequest, Loan, Order, OrderState, bank_order_service_client::BankOrderServiceClient, get_loan_request::Key,
};

use crate::district::{District, seeds};

/// The loans as the banks that gave them see them.
pub async fn loans(district: &District, orders: &[Order]) -> Result<Vec<Loan>> {
    let mut loans = Vec::new();
    for order in orders.iter().filter(|order| order.state() == OrderState::Approved) {
        let institution: InstitutionId = order.institution_id.parse()?;
        let request = GetLoanRequest { key: Some(Key::LoanId(order.loan_id.clone())) };
        let mut client = BankOrderServiceClient::new(district.as_bank(&institution).await?);
        loans.push(client.get_loan(request).await?.into_inner().loan.context("a loan")?);
    }
    Ok(loans)
}

/// Policy and amount of each loan's grant by a program of its own, in another language, from the seeds and the loans alone.
pub fn computed_apart(loans: &[Loan]) -> Result<BTreeMap<String, (String, i64)>> {
    let zone = TimeZone::get("Asia/Shanghai")?;
    let policies: Value = serde_norway::from_str(&std::fs::read_to_string(seeds().join("policies.yaml"))?)?;
    let loans: Vec<Value> = loans
        .iter()
        .map(|loan| {
            let approved = loan.approved_at.unwrap();
            let approved_on = Timestamp::new(approved.seconds, approved.nanos).unwrap().to_zoned(zone.clone()).date();
            json!({
                "loan_id": loan.loan_id,
                "product_tags": loan.product_tags,
                "enterprise_class": loan.enterprise_class,
                "amount_fen": loan.amount_fen,
                "rate_ppm": loan.rate_ppm,
                "term_months": loan.term_months,
                "approved_on": approved_on.to_string(),
                "disbursed_fen": loan.disbursed_fen,
                "disbursed_on": loan.disbursed_on,
            })
        })
        .collect();
    let script = seeds().parent().context("the repository")?.join("tests/independent/subsidy.py");
    let mut python = Command::new("python3")
        .arg(script)
        .arg("--lpr")
        .arg(seeds().join("lpr.csv"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = json!({ "policies": policies, "loans": loans }).to_string();
    python.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "the independent computation failed");
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    answer["grants"]
        .as_array()
        .context("grants")?
        .iter()
        .map(|grant| {
            let text = |name: &str| grant[name].as_str().map(ToOwned::to_owned).context("a text");
            Ok((text("loan_id")?, (text("policy_id")?, grant["planned_fen"].as_i64().context("an amount")?)))
        })
        .collect()
}
