//! Orders that nobody answered in time.

use tonic::Code;
use zhirong_proto::matching::v1::{LoanApproved, OrderExpired, OrderState, StreamInboxRequest};
use zhirong_testkit::eventually;

use crate::support::{BANK, DUE, PATIENCE, World, acceptance, approval, as_bank, at, reason, rejection};

#[tokio::test]
async fn the_last_working_day_still_counts_and_the_next_is_too_late() {
    let (world, product, enterprise) = World::ready().await;
    let (one, two) = (world.place(&enterprise, &product).await, world.place(&enterprise, &product).await);
    world.clock.set(at(DUE, 23));
    world.approve(approval(&one, "REF-1")).await;
    world.clock.set(at(DUE, 24));
    let expired = (Code::FailedPrecondition, "ORDER_EXPIRED".to_owned());
    let refuse = async || {
        let mut banks = world.banks();
        assert_eq!(reason(banks.approve_loan(as_bank(BANK, approval(&two, "REF-2"))).await), expired);
        assert_eq!(reason(banks.reject_order(as_bank(BANK, rejection(&two))).await), expired);
        assert_eq!(reason(banks.accept_order(as_bank(BANK, acceptance(&two))).await), expired);
    };
    refuse().await;
    eventually(PATIENCE, "the order has expired", || async {
        Ok((world.count("SELECT count(*) FROM orders WHERE state = 'expired'").await == 1).then_some(()))
    })
    .await
    .unwrap();
    // The same answer whether somebody has closed it or not.
    refuse().await;
    let facts = world.announced::<OrderExpired>().await;
    let facts: Vec<_> = facts.into_iter().map(|fact| fact.order.unwrap()).collect();
    assert_eq!(facts.iter().map(|order| (&order.order_id, order.version)).collect::<Vec<_>>(), [(&two.order_id, 2)]);
    assert_eq!(world.announced::<LoanApproved>().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn an_open_inbox_hears_of_it_without_the_profile() {
    let (world, product, enterprise) = World::ready().await;
    let order = world.place(&enterprise, &product).await;
    let request = StreamInboxRequest { after_position: 0 };
    let mut stream = world.banks().stream_inbox(as_bank(BANK, request)).await.unwrap().into_inner();
    let entry = stream.message().await.unwrap().unwrap().entry.unwrap();
    assert_eq!((entry.position, entry.order), (1, Some(order)));
    assert!(entry.profile.is_some());
    world.clock.set(at(DUE, 24));
    let entry = stream.message().await.unwrap().unwrap().entry.unwrap();
    assert_eq!((entry.position, entry.order.unwrap().state()), (2, OrderState::Expired));
    assert!(entry.profile.is_none());
    world.stop().await;
}
