//! A sample of a bank's core system: follows its inbox and answers by a list. It shows an integrator what a real one does:
//! resume from the last position, repeat a call whose outcome is unknown with the same request id, use its own reference.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use uuid::Uuid;
use zhirong_kernel::clock::{Clock, SystemClock, business_date};
use zhirong_proto::matching::v1::{
    AcceptOrderRequest, ApproveLoanRequest, InboxEntry, Order, OrderState, RecordDisbursementRequest,
    RejectOrderRequest, StreamInboxRequest, bank_order_service_client::BankOrderServiceClient,
};

use crate::client::{Authorised, comes_back, patiently};

type Client = BankOrderServiceClient<Authorised>;

/// What the sample bank answers to one enterprise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Approves in full at the quoted rate and pays out the same day.
    Approve,
    /// Says no.
    Reject,
    /// Lets it lie.
    Leave,
}

/// Answers by enterprise (USCC).
pub type Answers = BTreeMap<String, Answer>;

#[derive(Deserialize)]
struct Line {
    uscc: String,
    answer: Answer,
}

/// Reads the answers out of a play's file: a YAML list whose entries have `uscc` and `answer`.
pub fn answers(file: &Path) -> Result<Answers> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let lines: Vec<Line> = serde_norway::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    Ok(lines.into_iter().map(|line| (line.uscc, line.answer)).collect())
}

/// Follows the inbox and answers until `enough` orders have got an answer, or for ever when `enough` is `None`.
pub async fn run(channel: Authorised, answers: &Answers, enough: Option<usize>) -> Result<()> {
    let mut client = BankOrderServiceClient::new(channel);
    let mut position = 0;
    let mut answered = 0_usize;
    while enough.is_none_or(|enough| answered < enough) {
        let follow = client.stream_inbox(StreamInboxRequest { after_position: position }).await;
        let mut entries = match follow {
            Ok(stream) => stream.into_inner(),
            Err(status) if comes_back(&status) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
            Err(status) => return Err(status).context("opening the inbox"),
        };
        loop {
            let entry: InboxEntry = match entries.message().await {
                Ok(Some(response)) => response.entry.context("an inbox entry without content")?,
                Ok(None) => break,
                Err(status) if comes_back(&status) => break,
                Err(status) => return Err(status).context("following the inbox"),
            };
            let order = entry.order.context("an inbox entry without an order")?;
            if order.state() == OrderState::Routed && answer(&client, &order, answers).await? {
                answered = answered.saturating_add(1);
            }
            // Kept only after the entry is dealt with, so that a crash before this line brings it again.
            position = entry.position;
            if enough.is_some_and(|enough| answered >= enough) {
                break;
            }
        }
    }
    Ok(())
}

/// Answers one order; says whether there was something to say.
async fn answer(client: &Client, order: &Order, answers: &Answers) -> Result<bool> {
    match answers.get(&order.enterprise_id).copied().unwrap_or(Answer::Leave) {
        Answer::Leave => Ok(false),
        Answer::Reject => {
            let request = RejectOrderRequest {
                request_id: request_id(order, "reject")?,
                order_id: order.order_id.clone(),
                reason_zh: "示例：未通过本行授信审批".to_owned(),
            };
            let call = async || client.clone().reject_order(request.clone()).await;
            patiently(call).await.context("rejecting an order")?;
            Ok(true)
        }
        Answer::Approve => approve(client, order).await.map(|()| true),
    }
}

async fn approve(client: &Client, order: &Order) -> Result<()> {
    let accept = AcceptOrderRequest { request_id: request_id(order, "accept")?, order_id: order.order_id.clone() };
    patiently(async || client.clone().accept_order(accept.clone()).await).await.context("accepting an order")?;

    let quote = order.quote.context("an order without a quote")?;
    let approve = ApproveLoanRequest {
        request_id: request_id(order, "approve")?,
        order_id: order.order_id.clone(),
        amount_fen: order.amount_fen,
        rate_ppm: quote.rate_ppm,
        term_months: order.term_months,
        bank_reference: format!("SAMPLE-{}", order.order_id),
        ..ApproveLoanRequest::default()
    };
    let approved =
        patiently(async || client.clone().approve_loan(approve.clone()).await).await.context("approving a loan")?;

    let disburse = RecordDisbursementRequest {
        request_id: request_id(order, "disburse")?,
        loan_id: approved.loan.context("an approval without a loan")?.loan_id,
        amount_fen: order.amount_fen,
        disbursed_on: business_date(SystemClock.now()).to_string(),
    };
    patiently(async || client.clone().record_disbursement(disburse.clone()).await)
        .await
        .context("recording a disbursement")?;
    Ok(())
}

/// The same step for the same order always has the same id.
fn request_id(order: &Order, step: &str) -> Result<String> {
    let order_id: Uuid = order.order_id.parse().context("an order's id is a UUID")?;
    Ok(crate::seed::derived_id(&[order_id.as_bytes().as_slice(), step.as_bytes()]).to_string())
}
