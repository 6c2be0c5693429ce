//! The institution's answers: one an order, within bounds, under a reference of its own.

use futures::future::join_all;
use tonic::Code;
use zhirong_proto::matching::v1::{ApproveLoanRequest, LoanApproved, OrderRejected, OrderState};
use zhirong_testkit::Deliveries;

use crate::support::{
    BANK, OTHER_BANK, TODAY, World, acceptance, approval, as_bank, disbursement, new_id, published, reason, refusal,
    rejection,
};

#[tokio::test]
async fn an_order_is_answered_once() {
    let (world, product, enterprise) = World::ready().await;
    let closed = (Code::FailedPrecondition, "ORDER_CLOSED".to_owned());
    let (one, two) = (world.place(&enterprise, &product).await, world.place(&enterprise, &product).await);
    world.approve(approval(&one, "REF-1")).await;
    let rejected =
        world.banks().reject_order(as_bank(BANK, rejection(&two))).await.unwrap().into_inner().order.unwrap();
    assert_eq!((rejected.state(), rejected.reason_zh.as_str()), (OrderState::Rejected, "材料不足"));
    let before = world.inbox(BANK).await;
    for order in [&one, &two] {
        let mut banks = world.banks();
        assert_eq!(reason(banks.approve_loan(as_bank(BANK, approval(order, "REF-2"))).await), closed);
        assert_eq!(reason(banks.reject_order(as_bank(BANK, rejection(order))).await), closed);
        assert_eq!(reason(banks.accept_order(as_bank(BANK, acceptance(order))).await), closed);
    }
    assert_eq!(world.inbox(BANK).await, before);
    assert_eq!(world.announced::<LoanApproved>().await.len(), 1);
    assert_eq!(world.announced::<OrderRejected>().await, [OrderRejected { order: Some(rejected) }]);
    world.stop().await;
}

#[tokio::test]
async fn of_many_approvals_at_once_one_takes_effect() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let attempts = (0..8).map(|n| {
        let (mut banks, request) = (world.banks(), approval(&order, &format!("REF-{n}")));
        async move { banks.approve_loan(as_bank(BANK, request)).await }
    });
    let answers = join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.into_iter().filter(Result::is_err) {
        assert_eq!(reason(answer), (Code::FailedPrecondition, "ORDER_CLOSED".to_owned()));
    }
    assert_eq!(world.count("SELECT count(*) FROM loan").await, 1);
    assert_eq!(world.announced::<LoanApproved>().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_bank_uses_a_reference_once() {
    let (world, product, enterprise) = World::ready().await;
    let elsewhere = new_id();
    world.deliver(Deliveries::new([published(&elsewhere, OTHER_BANK, 1)])).await;
    let (one, two) = (world.place(&enterprise, &product).await, world.place(&enterprise, &product).await);
    let attempts = [&one, &two].map(|order| {
        let (mut banks, request) = (world.banks(), approval(order, "REF-1"));
        async move { banks.approve_loan(as_bank(BANK, request)).await }
    });
    let answers = join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    let left = if answers[0].is_ok() { &two } else { &one };
    let refused = answers.into_iter().find(Result::is_err).unwrap();
    assert_eq!(reason(refused), (Code::AlreadyExists, "BANK_REFERENCE_USED".to_owned()));
    world.approve(approval(left, "REF-2")).await;
    // Another bank numbers its own loans.
    let third = world.place(&enterprise, &elsewhere).await;
    world.banks().approve_loan(as_bank(OTHER_BANK, approval(&third, "REF-1"))).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn an_approval_stays_within_what_was_asked_for() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let approve = async |change: &dyn Fn(&mut ApproveLoanRequest)| {
        let mut request = approval(&order, "REF-1");
        change(&mut request);
        refusal(world.banks().approve_loan(as_bank(BANK, request)).await)
    };
    let above = approve(&|request| request.amount_fen = order.amount_fen + 1).await;
    assert_eq!((above.code, above.reason.as_str()), (Code::FailedPrecondition, "AMOUNT_ABOVE_REQUEST"));
    let term = approve(&|request| request.term_months = 37).await;
    assert_eq!((term.code, term.fields), (Code::InvalidArgument, vec!["term_months".to_owned()]));
    let all_at_once = approve(&|request| {
        (request.amount_fen, request.rate_ppm, request.bank_reference) = (0, 360_001, "编号".to_owned());
    });
    assert_eq!(all_at_once.await.fields, ["amount_fen", "rate_ppm", "bank_reference"]);
    assert_eq!(world.count("SELECT count(*) FROM loan").await, 0);

    let loan = world.approve(approval(&order, "REF-1")).await;
    let disburse = async |amount_fen, day| {
        reason(world.banks().record_disbursement(as_bank(BANK, disbursement(&loan, amount_fen, day))).await)
    };
    assert_eq!(disburse(0, TODAY).await, (Code::InvalidArgument, "DISBURSEMENT_INVALID".to_owned()));
    let above = (Code::FailedPrecondition, "AMOUNT_ABOVE_APPROVED".to_owned());
    assert_eq!(disburse(loan.amount_fen + 1, TODAY).await, above);
    for day in [TODAY.yesterday().unwrap(), TODAY.tomorrow().unwrap()] {
        assert_eq!(disburse(1, day).await, (Code::InvalidArgument, "DATE_OUT_OF_BOUNDS".to_owned()));
    }
    world.stop().await;
}
