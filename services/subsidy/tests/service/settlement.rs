//! What is due is paid once: computed, reviewed by another person, exported, confirmed or failed line by line.

use zhirong_proto::{
    matching::v1::{Loan, LoanRenewed, LoanSettled},
    subsidy::v1::{
        CheckLedgerRequest, ComputeSettlementRequest, DecideReversalRequest, ExportSettlementRequest, GrantPaid,
        GrantReversed, GrantSettled, GrantState, ListReversalsRequest, ListSettlementLinesRequest, PaymentResult,
        PolicySpec, RecordPaymentsRequest, RecordReturnRequest, RequestReversalRequest, Reversal, ReversalState,
        ReviewSettlementRequest, Settlement, SettlementLine, SettlementState, compute_settlement_request::Period,
        payment_result::Outcome,
    },
};

use crate::support::{IP_FEN, World, bank, ip_policy, loan, new_id, refusal, staff};

fn compute(period: Period) -> ComputeSettlementRequest {
    ComputeSettlementRequest { request_id: new_id(), year: 2026, period: Some(period), policy_id: String::new() }
}

fn review(batch: &Settlement, approve: bool) -> ReviewSettlementRequest {
    let reason_zh = if approve { "" } else { "金额有疑问" }.to_owned();
    ReviewSettlementRequest { request_id: new_id(), batch_id: batch.batch_id.clone(), approve, reason_zh }
}

fn export(batch: &Settlement) -> ExportSettlementRequest {
    ExportSettlementRequest { request_id: new_id(), batch_id: batch.batch_id.clone() }
}

fn results(batch: &Settlement, results: Vec<(&SettlementLine, Outcome)>) -> RecordPaymentsRequest {
    let results = results
        .into_iter()
        .map(|(line, outcome)| PaymentResult { reference: line.reference.clone(), outcome: Some(outcome) })
        .collect();
    RecordPaymentsRequest { request_id: new_id(), batch_id: batch.batch_id.clone(), results }
}

fn paid() -> Outcome {
    Outcome::PaidOn("2026-05-08".to_owned())
}

impl World {
    async fn computed(&self, period: Period) -> Settlement {
        let request = staff("zhao", compute(period));
        self.settlements().compute_settlement(request).await.unwrap().into_inner().settlement.unwrap()
    }

    async fn exported(&self, period: Period) -> (Settlement, Vec<SettlementLine>, Vec<u8>) {
        let batch = self.computed(period).await;
        self.settlements().review_settlement(staff("qian", review(&batch, true))).await.unwrap();
        let exported = self.settlements().export_settlement(staff("zhao", export(&batch))).await.unwrap().into_inner();
        (exported.settlement.unwrap(), self.lines(&batch).await, exported.csv)
    }

    async fn lines(&self, batch: &Settlement) -> Vec<SettlementLine> {
        let request = ListSettlementLinesRequest { batch_id: batch.batch_id.clone(), ..Default::default() };
        self.settlements().list_settlement_lines(staff("zhao", request)).await.unwrap().into_inner().lines
    }

    async fn check(&self) {
        let answer = self.ledger().check_ledger(staff("zhao", CheckLedgerRequest {})).await.unwrap().into_inner();
        assert!(answer.budgets > 0 && answer.postings > 0);
        assert_eq!(answer.differences, []);
    }
}

/// Two loans with 20 days due in March, and the first with 10 more in April.
async fn two_due(world: &World) -> [zhirong_proto::matching::v1::Loan; 2] {
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 10 * IP_FEN).await;
    let loans = [world.running_loan(1).await, world.running_loan(2).await];
    for loan in &loans {
        world.repay(loan, 3, (0, 240_000), "2026-03-21").await;
    }
    world.repay(&loans[0], 4, (0, 240_000), "2026-03-31").await;
    world.repay(&loans[0], 5, (0, 240_000), "2026-04-10").await;
    world.handled().await;
    loans
}

#[tokio::test]
async fn a_batch_is_computed_reviewed_exported_and_paid_line_by_line() {
    let world = World::with_lpr(1).await;
    let loans = two_due(&world).await;
    let batch = world.computed(Period::Month(3)).await;
    assert_eq!((batch.lines, batch.total_fen, batch.to.as_str()), (2, 150_000 + 100_000, "2026-03-31"));
    let nothing = refusal(world.settlements().compute_settlement(staff("zhao", compute(Period::Month(2)))).await);
    assert_eq!(nothing.reason, "NOTHING_DUE", "what is on its way is in no other batch");
    let mut api = world.settlements();
    assert_eq!(refusal(api.export_settlement(staff("zhao", export(&batch))).await).reason, "SETTLEMENT_NOT_REVIEWED");
    assert_eq!(refusal(api.review_settlement(staff("zhao", review(&batch, true))).await).reason, "SAME_PERSON");
    api.review_settlement(staff("qian", review(&batch, true))).await.unwrap();
    assert_eq!(
        refusal(api.review_settlement(staff("sun", review(&batch, true))).await).reason,
        "SETTLEMENT_NOT_COMPUTED"
    );
    assert_eq!(world.announced::<GrantSettled>().await.len(), 2);
    let lines = world.lines(&batch).await;
    let early = refusal(api.record_payments(staff("zhao", results(&batch, vec![(&lines[0], paid())]))).await);
    assert_eq!(early.reason, "SETTLEMENT_NOT_EXPORTED");
    let first = api.export_settlement(staff("zhao", export(&batch))).await.unwrap().into_inner();
    let again = api.export_settlement(staff("qian", export(&batch))).await.unwrap().into_inner();
    assert_eq!(first.csv, again.csv);
    let text = String::from_utf8(first.csv).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(text.contains("REF-1,1500.00,CNY") && text.contains("REF-2,1000.00,CNY"), "{text}");

    let of = |number: usize| lines.iter().find(|line| line.enterprise_id == loans[number].enterprise_id).unwrap();
    let failed = Outcome::FailedZh("账户已注销".to_owned());
    // All lines of a request count, or none.
    let broken = results(&batch, vec![(of(0), paid()), (of(0), paid())]);
    let refused = refusal(api.record_payments(staff("zhao", broken)).await);
    assert_eq!(
        (refused.reason.as_str(), refused.fields.as_slice()),
        ("PAYMENTS_INVALID", &["results[1].reference".to_owned()][..])
    );
    let request = results(&batch, vec![(of(0), paid()), (of(1), failed.clone())]);
    let answer = api.record_payments(staff("zhao", request.clone())).await.unwrap().into_inner().settlement.unwrap();
    assert_eq!((answer.state(), answer.paid_fen, answer.failed_fen), (SettlementState::Closed, 150_000, 100_000));
    let replay = api.record_payments(staff("zhao", request)).await.unwrap().into_inner().settlement.unwrap();
    assert_eq!(replay, answer);
    let said_again = results(&batch, vec![(of(0), paid()), (of(1), failed.clone())]);
    api.record_payments(staff("sun", said_again)).await.unwrap();
    let otherwise = refusal(api.record_payments(staff("zhao", results(&batch, vec![(of(0), failed)]))).await);
    assert_eq!(otherwise.reason, "LINE_ENDED");

    let (one, two) = (world.grant_of(&loans[0]).await, world.grant_of(&loans[1]).await);
    assert_eq!((one.paid_fen, one.payable_fen), (150_000, 50_000));
    assert_eq!((two.paid_fen, two.payable_fen), (0, 100_000), "what failed is due again");
    assert_eq!(world.announced::<GrantPaid>().await.len(), 1);
    // April pays what failed in March and what April brought.
    let (april, lines, _) = world.exported(Period::Quarter(2)).await;
    assert_eq!((april.lines, april.total_fen), (2, 150_000));
    let all = lines.iter().map(|line| (line, paid())).collect();
    api.record_payments(staff("zhao", results(&april, all))).await.unwrap();
    let sum: i64 = world.all_grants().await.iter().map(|grant| grant.paid_fen).sum();
    assert_eq!(sum, 300_000);
    world.check().await;
    world.stop().await;
}

#[tokio::test]
async fn a_discarded_batch_is_due_again_and_a_period_to_come_is_refused() {
    let world = World::with_lpr(1).await;
    two_due(&world).await;
    let batch = world.computed(Period::Quarter(1)).await;
    let request = ReviewSettlementRequest { reason_zh: String::new(), ..review(&batch, false) };
    let silent = refusal(world.settlements().review_settlement(staff("qian", request)).await);
    assert_eq!(silent.fields, ["reason_zh"]);
    world.settlements().review_settlement(staff("qian", review(&batch, false))).await.unwrap();
    assert_eq!(world.computed(Period::Month(3)).await.total_fen, batch.total_fen);
    let future = ComputeSettlementRequest { year: 2100, ..compute(Period::Month(1)) };
    let refused = refusal(world.settlements().compute_settlement(staff("zhao", future)).await);
    assert_eq!(refused.reason, "PERIOD_NOT_OVER");
    for (year, period, field) in
        [(2026, Some(Period::Month(13)), "month"), (2018, Some(Period::Quarter(1)), "year"), (2026, None, "period")]
    {
        let request = ComputeSettlementRequest { year, period, ..compute(Period::Month(1)) };
        let refused = refusal(world.settlements().compute_settlement(staff("zhao", request)).await);
        assert_eq!((refused.reason.as_str(), refused.fields), ("PERIOD_INVALID", vec![field.to_owned()]));
    }
    world.check().await;
    world.stop().await;
}

#[tokio::test]
async fn a_grant_that_is_taken_back_claims_what_was_paid_and_what_is_on_its_way() {
    let world = World::with_lpr(1).await;
    let loans = two_due(&world).await;
    let (march, lines, _) = world.exported(Period::Month(3)).await;
    let line = lines.iter().find(|line| line.enterprise_id == loans[0].enterprise_id).unwrap();
    let grant = world.grant_of(&loans[0]).await;
    let mut ledger = world.ledger();
    let request = RequestReversalRequest {
        request_id: new_id(),
        grant_id: grant.grant_id.clone(),
        reason_zh: "材料不实".to_owned(),
    };
    let reversal =
        ledger.request_reversal(staff("zhao", request.clone())).await.unwrap().into_inner().reversal.unwrap();
    let twice = RequestReversalRequest { request_id: new_id(), ..request };
    assert_eq!(refusal(ledger.request_reversal(staff("qian", twice)).await).reason, "REVERSAL_OPEN");
    let decide = || DecideReversalRequest {
        request_id: new_id(),
        reversal_id: reversal.reversal_id.clone(),
        approve: true,
        reason_zh: String::new(),
    };
    assert_eq!(refusal(ledger.decide_reversal(staff("zhao", decide())).await).reason, "SAME_PERSON");
    let answer = ledger.decide_reversal(staff("qian", decide())).await.unwrap().into_inner().grant.unwrap();
    assert_eq!((answer.state(), answer.planned_fen, answer.payable_fen), (GrantState::Reversed, 150_000, 150_000));
    assert_eq!(refusal(ledger.decide_reversal(staff("qian", decide())).await).reason, "REVERSAL_DECIDED");
    assert_eq!(world.announced::<GrantReversed>().await.len(), 1);

    // The bank pays what was on its way; it is claimed back at once.
    world.settlements().record_payments(staff("zhao", results(&march, vec![(line, paid())]))).await.unwrap();
    let told = world.announced::<GrantReversed>().await;
    assert_eq!(
        told.iter().map(|fact| fact.claimed_fen).collect::<Vec<_>>(),
        [0, 150_000],
        "what is claimed back is told"
    );
    let claimed = world.grant_of(&loans[0]).await;
    assert_eq!((claimed.planned_fen, claimed.paid_fen, claimed.clawed_back_fen), (0, 0, 150_000));
    let returned = |amount_fen| RecordReturnRequest {
        request_id: new_id(),
        grant_id: grant.grant_id.clone(),
        amount_fen,
        document_zh: "收款回单".to_owned(),
    };
    assert_eq!(refusal(ledger.record_return(staff("zhao", returned(150_001))).await).reason, "MORE_THAN_CLAIMED");
    let back = ledger.record_return(staff("zhao", returned(150_000))).await.unwrap().into_inner().grant.unwrap();
    assert_eq!(back.clawed_back_fen, 0);
    world.check().await;
    world.stop().await;
}

#[tokio::test]
async fn reversals_are_listed_in_pages_in_order_of_their_request_and_by_where_they_stand() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 4 * IP_FEN).await;
    let mut ledger = world.ledger();
    let mut asked = Vec::new();
    for number in 1..=4 {
        let loan = loan(number);
        world.approve(&loan).await;
        world.handled().await;
        let (grant_id, reason_zh) = (world.grant_of(&loan).await.grant_id, format!("原因{number}"));
        let request = RequestReversalRequest { request_id: new_id(), grant_id, reason_zh };
        let answer = ledger.request_reversal(staff("zhao", request)).await.unwrap().into_inner();
        asked.push(answer.reversal.unwrap());
    }
    for (which, approve) in [(0, true), (2, false)] {
        let (reversal_id, reason_zh) = (asked[which].reversal_id.clone(), "已核实".to_owned());
        let request = DecideReversalRequest { request_id: new_id(), reversal_id, approve, reason_zh };
        let answer = ledger.decide_reversal(staff("qian", request)).await.unwrap().into_inner();
        asked[which] = answer.reversal.unwrap();
    }
    let listed = async |state: ReversalState| {
        let (mut found, mut page_token) = (Vec::<Reversal>::new(), String::new());
        loop {
            let request = ListReversalsRequest { page_size: 2, page_token, state: state.into() };
            let page = world.ledger().list_reversals(staff("sun", request)).await.unwrap().into_inner();
            found.extend(page.reversals);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    };
    assert_eq!(listed(ReversalState::Unspecified).await, asked);
    assert_eq!(listed(ReversalState::Requested).await, [asked[1].clone(), asked[3].clone()]);
    assert_eq!(listed(ReversalState::Approved).await, [asked[0].clone()]);
    let declined = listed(ReversalState::Declined).await;
    assert_eq!(declined, [asked[2].clone()]);
    assert_eq!((declined[0].decided_by.as_str(), declined[0].decision_zh.as_str()), ("qian", "已核实"));
    let odd = ListReversalsRequest { state: 9, ..ListReversalsRequest::default() };
    assert_eq!(refusal(ledger.list_reversals(staff("sun", odd)).await).fields, ["state"]);
    let nobody = bank("sample-bank", ListReversalsRequest::default());
    assert_eq!(refusal(ledger.list_reversals(nobody).await).reason, "ROLE_NOT_ALLOWED");
    world.stop().await;
}

#[tokio::test]
async fn a_renewal_is_no_early_repayment_whichever_of_its_facts_comes_first() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(PolicySpec { least_days: 200, ..ip_policy() }).await;
    world.appropriate(&policy, 2026, 2 * IP_FEN).await;
    let loans = [world.running_loan(1).await, world.running_loan(2).await];
    for loan in &loans {
        world.repay(loan, 3, (0, 240_000), "2026-03-21").await;
    }
    world.handled().await;
    let (march, lines, _) = world.exported(Period::Month(3)).await;
    let all = lines.iter().map(|line| (line, paid())).collect();
    world.settlements().record_payments(staff("zhao", results(&march, all))).await.unwrap();
    let stands = async |loan: &Loan| {
        let grant = world.grant_of(loan).await;
        (grant.state(), grant.planned_fen, grant.paid_fen, grant.clawed_back_fen)
    };
    for (loan, in_order) in loans.iter().zip([true, false]) {
        let renewed_by_loan_id = new_id();
        let old = Loan { version: 4, renewed_by_loan_id: renewed_by_loan_id.clone(), ..loan.clone() };
        let settled = LoanSettled { loan: Some(old.clone()), settled_on: "2026-04-01".to_owned() };
        let renewed = LoanRenewed { loan: Some(Loan { version: 5, ..old }), renewed_by_loan_id };
        if in_order {
            world.publish(&new_id(), &loan.loan_id, &settled).await;
            world.handled().await;
            assert_eq!(stands(loan).await, (GrantState::Ended, 100_000, 100_000, 0), "between the two facts");
            world.publish(&new_id(), &loan.loan_id, &renewed).await;
        } else {
            world.publish(&new_id(), &loan.loan_id, &renewed).await;
            world.publish(&new_id(), &loan.loan_id, &settled).await;
        }
        world.handled().await;
        assert_eq!(stands(loan).await, (GrantState::Ended, 100_000, 100_000, 0));
    }
    world.check().await;
    world.stop().await;
}

/// Five thousand loans of a million on 1 March with 20 days due, the first thousand of which were paid for in April only; written
/// with a few statements.
async fn five_thousand_due(world: &World) {
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 5000 * IP_FEN).await;
    let loans: Vec<_> = (0..5000).map(crate::race::approved).collect();
    let mut tx = world.pool.begin().await.unwrap();
    subsidy::flow::approval::approve_all(&mut tx, &crate::race::desk(), &loans, jiff::Timestamp::now()).await.unwrap();
    for statement in [
        "INSERT INTO loan_event (loan_id, version, kind, on_date, principal_fen, rate_ppm, matures_on)
         SELECT loan_id, 2, 'disbursed', '2026-03-01', 100000000, 43500, '2027-03-01' FROM loan",
        "INSERT INTO loan_event (loan_id, version, kind, on_date, principal_fen, interest_fen)
         SELECT g.loan_id, 3, 'repaid', CASE WHEN row_number() OVER (ORDER BY grant_id) <= 1000 THEN date '2026-04-21'
                                             ELSE date '2026-03-21' END, 0, 240000 FROM subsidy_grant g",
        "UPDATE loan SET version = 3, disbursed_fen = 100000000, disbursed_on = '2026-03-01'",
        "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, loses, gains, amount_fen, posted_at)
         SELECT gen_random_uuid(), budget_id, 'accrue', grant_id, 'reserved', 'accrued', 100000, now() FROM subsidy_grant",
        "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, loses, gains, amount_fen, posted_at)
         SELECT gen_random_uuid(), budget_id, 'fall_due', grant_id, 'accrued', 'payable', 100000, now() FROM subsidy_grant",
        // accrued far into the future, so that no background work changes them meanwhile
        "UPDATE subsidy_grant SET state = 'active', disbursed = true, reserved_fen = reserved_fen - 100000, payable_fen = 100000,
             accrued_until = '2100-01-01'",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_large_batch_goes_in_few_statements_and_two_computations_at_once_share_nothing() {
    let world = World::with_lpr(1).await;
    five_thousand_due(&world).await;
    let (mut one, mut other) = (world.settlements(), world.settlements());
    let both = tokio::join!(
        one.compute_settlement(staff("zhao", compute(Period::Month(3)))),
        other.compute_settlement(staff("sun", compute(Period::Month(3))))
    );
    let (done, refused): (Vec<_>, Vec<_>) = [both.0, both.1].into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 1));
    let mut refused = refusal(refused.into_iter().next().unwrap()).reason;
    if refused == "CONFLICT" {
        // It waited longer for the other's budget than a request may, and is told to try again.
        refused = refusal(world.settlements().compute_settlement(staff("sun", compute(Period::Month(3)))).await).reason;
    }
    assert_eq!(refused, "NOTHING_DUE");
    let batch = done.into_iter().next().unwrap().unwrap().into_inner().settlement.unwrap();
    assert_eq!((batch.lines, batch.total_fen), (4000, 400_000_000), "what falls due in April is not in the way");

    // A review moves no money, so that it does not wait for who holds the budget.
    let mut holder = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM budget FOR UPDATE").execute(&mut *holder).await.unwrap();
    world.settlements().review_settlement(staff("qian", review(&batch, true))).await.unwrap();
    holder.rollback().await.unwrap();
    let settled = world.announced::<GrantSettled>().await;
    assert_eq!(settled.len(), 4000);
    assert!(settled.iter().all(|fact| fact.amount_fen == 100_000 && fact.grant.as_ref().unwrap().version == 2));

    world.settlements().export_settlement(staff("zhao", export(&batch))).await.unwrap();
    let lines = world.lines(&batch).await;
    let some = lines.iter().take(20).map(|line| (line, paid())).collect();
    let answer = world.settlements().record_payments(staff("zhao", results(&batch, some))).await.unwrap();
    assert_eq!(answer.into_inner().settlement.unwrap().paid_fen, 2_000_000);
    world.check().await;
    world.stop().await;
}
