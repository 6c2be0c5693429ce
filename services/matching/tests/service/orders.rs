//! One-click orders: what is taken, what is refused, and the way of one from placing to the money.

use tonic::Code;
use zhirong_proto::matching::v1::{
    GetLoanRequest, GetOrderRequest, LoanApproved, LoanDisbursed, LoanState, OrderAccepted, OrderPlaced, OrderRejected,
    OrderState, OrderWithdrawn, PlaceOrderRequest, get_loan_request::Key,
};
use zhirong_testkit::Deliveries;

use crate::support::{
    BANK, DUE, LIMIT_FEN, OTHER_BANK, TODAY, World, acceptance, approval, as_bank, as_enterprise, as_staff,
    disbursement, new_id, order, profile, published, reason, refusal, rejection, uscc, withdrawal,
};

fn get(order_id: &str) -> GetOrderRequest {
    GetOrderRequest { order_id: order_id.to_owned() }
}

#[tokio::test]
async fn an_order_is_accepted_approved_and_paid_out() {
    let (world, product, enterprise) = World::ready().await;
    let placed = world.place(&enterprise, &product).await;
    assert_eq!((placed.state(), placed.version), (OrderState::Routed, 1));
    assert_eq!((placed.institution_id.as_str(), placed.answer_due_on.as_str()), (BANK, "2031-03-12"));
    assert_eq!(DUE.to_string(), placed.answer_due_on);
    let quote = placed.quote.unwrap();
    assert_eq!((quote.limit_fen, quote.rate_ppm, quote.profile_version), (LIMIT_FEN, 35_000, 1));

    let accepted = world.banks().accept_order(as_bank(BANK, acceptance(&placed))).await.unwrap().into_inner();
    let accepted = accepted.order.unwrap();
    assert_eq!((accepted.state(), accepted.version), (OrderState::Accepted, 2));
    let again = reason(world.banks().accept_order(as_bank(BANK, acceptance(&placed))).await);
    assert_eq!(again, (Code::FailedPrecondition, "ORDER_ALREADY_ACCEPTED".to_owned()));

    let loan = world.approve(approval(&placed, "REF-1")).await;
    assert_eq!((loan.state(), loan.version, loan.amount_fen), (LoanState::Approved, 1, 8_000_000));
    assert_eq!((loan.product_name_zh.as_str(), loan.institution_name_zh.as_str()), ("示例贷1", "示例银行1"));
    assert_eq!(
        (loan.product_tags.as_slice(), loan.enterprise_class.as_str()),
        (&["ip_pledge".to_owned()][..], "micro")
    );
    let stands = world.orders().get_order(as_enterprise(&enterprise, get(&placed.order_id))).await.unwrap();
    let stands = stands.into_inner().order.unwrap();
    assert_eq!((stands.state(), stands.version, &stands.loan_id), (OrderState::Approved, 3, &loan.loan_id));

    let paid = world.banks().record_disbursement(as_bank(BANK, disbursement(&loan, 7_000_000, TODAY))).await.unwrap();
    let paid = paid.into_inner().loan.unwrap();
    assert_eq!((paid.state(), paid.version, paid.disbursed_fen), (LoanState::Disbursed, 2, 7_000_000));
    assert_eq!(paid.matures_on, "2032-03-05");
    let again = reason(world.banks().record_disbursement(as_bank(BANK, disbursement(&loan, 1, TODAY))).await);
    assert_eq!(again, (Code::FailedPrecondition, "LOAN_ALREADY_DISBURSED".to_owned()));

    for key in [Key::LoanId(loan.loan_id.clone()), Key::BankReference("REF-1".to_owned())] {
        let request = GetLoanRequest { key: Some(key) };
        let found = world.banks().get_loan(as_bank(BANK, request.clone())).await.unwrap().into_inner().loan.unwrap();
        assert_eq!(found, paid);
        let hidden = reason(world.banks().get_loan(as_bank(OTHER_BANK, request)).await);
        assert_eq!(hidden, (Code::NotFound, "LOAN_NOT_FOUND".to_owned()));
    }
    assert_eq!(world.announced::<OrderPlaced>().await, [OrderPlaced { order: Some(placed) }]);
    assert_eq!(world.announced::<OrderAccepted>().await, [OrderAccepted { order: Some(accepted) }]);
    let told = world.announced::<LoanApproved>().await;
    assert_eq!(told.iter().map(|fact| fact.loan.clone()).collect::<Vec<_>>(), [Some(loan)]);
    let of_order = |fact: &LoanApproved| (fact.features.contains_key("patent_count"), fact.profile_version > 0);
    assert_eq!(of_order(&told[0]), (true, true), "with what was known when it was ordered");
    assert_eq!(world.announced::<LoanDisbursed>().await, [LoanDisbursed { loan: Some(paid) }]);
    world.stop().await;
}

#[tokio::test]
async fn the_amount_lies_within_the_calculators_limit() {
    let (world, product, enterprise) = World::ready().await;
    let place =
        async |amount_fen| world.orders().place_order(as_enterprise(&enterprise, order(&product, amount_fen))).await;
    for amount_fen in [0, -1, i64::MIN] {
        let refused = refusal(place(amount_fen).await);
        assert_eq!((refused.code, refused.fields), (Code::InvalidArgument, vec!["amount_fen".to_owned()]));
    }
    for amount_fen in [LIMIT_FEN + 1, i64::MAX] {
        let above = (Code::FailedPrecondition, "AMOUNT_ABOVE_LIMIT".to_owned());
        assert_eq!(reason(place(amount_fen).await), above);
    }
    assert_eq!(reason(place(999_999).await).1, "AMOUNT_BELOW_MINIMUM");
    assert!(world.announced::<OrderPlaced>().await.is_empty());
    assert!(world.inbox(BANK).await.is_empty());
    place(LIMIT_FEN).await.unwrap();
    place(1_000_000).await.unwrap();
    assert_eq!(world.inbox(BANK).await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn an_order_that_can_not_be_taken_says_why() {
    let (world, product, enterprise) = World::ready().await;
    let (poor, unknown) = (uscc(2), uscc(3));
    world.deliver(Deliveries::new([profile(&poor, 1, 0)])).await;
    let place = async |who, change: &dyn Fn(&mut PlaceOrderRequest)| {
        let mut request = order(&product, 10_000_000);
        change(&mut request);
        refusal(world.orders().place_order(as_enterprise(who, request)).await)
    };
    let reason = async |who, change: &dyn Fn(&mut PlaceOrderRequest)| place(who, change).await.reason;
    assert_eq!(reason(&poor, &|_| {}).await, "NOT_ELIGIBLE");
    assert_eq!(reason(&unknown, &|_| {}).await, "PROFILE_NOT_FOUND");
    assert_eq!(reason(&enterprise, &|request| request.product_id = new_id()).await, "PRODUCT_NOT_FOUND");
    assert_eq!(reason(&enterprise, &|request| request.term_months = 37).await, "TERM_OUT_OF_BOUNDS");
    assert_eq!(reason(&enterprise, &|request| request.consent = None).await, "CONSENT_MISSING");
    assert_eq!(reason(&enterprise, &|request| request.request_id = "1".to_owned()).await, "REQUEST_ID_INVALID");
    let all_at_once = place(&enterprise, &|request| {
        (request.product_id, request.term_months, request.purpose_zh) = (String::new(), 0, " ".to_owned());
        let consent = request.consent.as_mut().unwrap();
        (consent.scopes, consent.text_version, consent.expires_on) = (vec![9], String::new(), "2031-03-04".to_owned());
    });
    let fields =
        ["product_id", "term_months", "purpose_zh", "consent.scopes", "consent.text_version", "consent.expires_on"];
    assert_eq!(all_at_once.await.fields, fields);
    assert!(world.inbox(BANK).await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let (world, product, enterprise) = World::ready().await;
    let request = order(&product, 10_000_000);
    let place = async |who, request| world.orders().place_order(as_enterprise(who, request)).await;
    let (one, two) = tokio::join!(place(&enterprise, request.clone()), place(&enterprise, request.clone()));
    let one = one.unwrap().into_inner();
    assert_eq!(one, two.unwrap().into_inner(), "at the same time");
    assert_eq!(one, place(&enterprise, request.clone()).await.unwrap().into_inner(), "and later");
    let other = PlaceOrderRequest { amount_fen: 10_000_001, ..request };
    assert_eq!(reason(place(&enterprise, other).await), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));

    let order = one.order.unwrap();
    let approval = approval(&order, "REF-1");
    let loan = world.approve(approval.clone()).await;
    assert_eq!(world.approve(approval).await, loan);
    assert_eq!(world.announced::<OrderPlaced>().await.len(), 1);
    assert_eq!(world.announced::<LoanApproved>().await.len(), 1);
    assert_eq!(world.inbox(BANK).await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn anothers_order_does_not_exist() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let missing = (Code::NotFound, "ORDER_NOT_FOUND".to_owned());
    let mut banks = world.banks();
    assert_eq!(reason(banks.accept_order(as_bank(OTHER_BANK, acceptance(&order))).await), missing);
    assert_eq!(reason(banks.reject_order(as_bank(OTHER_BANK, rejection(&order))).await), missing);
    assert_eq!(reason(banks.approve_loan(as_bank(OTHER_BANK, approval(&order, "REF-1"))).await), missing);
    assert!(world.inbox(OTHER_BANK).await.is_empty());
    let (mut orders, stranger) = (world.orders(), uscc(2));
    assert_eq!(reason(orders.get_order(as_enterprise(&stranger, get(&order.order_id))).await), missing);
    assert_eq!(reason(orders.withdraw_order(as_enterprise(&stranger, withdrawal(&order))).await), missing);
    let seen = orders.get_order(as_staff(get(&order.order_id))).await.unwrap().into_inner().order.unwrap();
    assert_eq!(seen, order, "nobody has changed it");
    world.stop().await;
}

#[tokio::test]
async fn a_withdrawn_order_takes_no_answer() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let withdrawn = world.orders().withdraw_order(as_enterprise(&enterprise, withdrawal(&order))).await.unwrap();
    let withdrawn = withdrawn.into_inner().order.unwrap();
    assert_eq!((withdrawn.state(), withdrawn.reason_zh.as_str()), (OrderState::Withdrawn, "暂不需要"));
    let refused = reason(world.banks().approve_loan(as_bank(BANK, approval(&order, "REF-1"))).await);
    assert_eq!(refused, (Code::FailedPrecondition, "ORDER_CLOSED".to_owned()));
    let again = world.orders().withdraw_order(as_enterprise(&enterprise, withdrawal(&order))).await;
    assert_eq!(reason(again).1, "ORDER_CLOSED");
    assert_eq!(world.announced::<OrderWithdrawn>().await, [OrderWithdrawn { order: Some(withdrawn) }]);
    assert!(world.announced::<OrderRejected>().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn an_order_is_computed_on_the_newest_catalog_whichever_replica_takes_it() {
    let world = World::with_reference(2).await;
    let (product, enterprise) = (new_id(), uscc(1));
    world.deliver(Deliveries::new([profile(&enterprise, 1, 5)])).await;
    for version in 1..=10 {
        // One replica has taken it in; the other would look only within half a second.
        world.deliver(Deliveries::new([published(&product, BANK, version)])).await;
        for replica in 0..2 {
            let request = as_enterprise(&enterprise, order(&product, 10_000_000));
            let order = world.orders_at(replica).place_order(request).await.unwrap().into_inner().order.unwrap();
            assert_eq!(order.product_version, version, "replica {replica}");
        }
    }
    world.stop().await;
}
