//! When an enterprise is erased its orders lose their profile and keep what they themselves say.

use zhirong_kernel::Clock as _;
use zhirong_proto::{
    matching::v1::{DisclosureRefused, InboxEntry},
    profile::v1::EnterpriseErased,
};
use zhirong_testkit::{Deliveries, Event};

use crate::{
    audit::calculations,
    support::{BANK, World, approval, as_bank, as_enterprise, at, profile, reason, rejection, wish},
};

fn erased(enterprise: &zhirong_kernel::Uscc, at: jiff::Timestamp) -> (Event, Option<prost_types::Timestamp>) {
    let erased_at = Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 });
    let fact = EnterpriseErased { enterprise_id: enterprise.to_string(), erased_at, profile_version: 1, version: 1 };
    (Event::of(enterprise.as_str(), &fact), erased_at)
}

#[tokio::test]
async fn orders_of_an_erased_enterprise_lose_their_profile_and_stay_orders() {
    for seed in 1..=2 {
        let (world, product, enterprise) = World::ready().await;
        let (open, lent, lost) = (
            world.place(&enterprise, &product).await,
            world.place(&enterprise, &product).await,
            world.place(&enterprise, &product).await,
        );
        world.approve(approval(&lent, "REF-1")).await;
        world.banks().reject_order(as_bank(BANK, rejection(&lost))).await.unwrap();
        world.calculator().calculate(as_enterprise(&enterprise, wish())).await.unwrap();
        assert_eq!(calculations(&world, &enterprise, None).await.len(), 1);
        let before = world.inbox(BANK).await;
        assert!(before.iter().any(|entry| entry.profile.is_some()));

        let (fact, erased_at) = erased(&enterprise, world.clock.now());
        let facts = [fact, profile(&enterprise, 1, 5), profile(&enterprise, 2, 6)];
        world.deliver(Deliveries::new(facts).twice().shuffled(seed)).await;
        let after = world.inbox(BANK).await;
        let says = |entry: &InboxEntry| (entry.profile.clone(), entry.profile_erased_at);
        assert!(after.iter().all(|entry| says(entry) == (None, erased_at)), "seed {seed}");
        let told: Vec<_> = after[before.len()..].iter().map(|entry| entry.order.clone().unwrap()).collect();
        let mut told: Vec<_> = told.iter().map(|order| (order.order_id.as_str(), order.amount_fen)).collect();
        told.sort_unstable();
        let mut expected = [(open.order_id.as_str(), open.amount_fen), (lent.order_id.as_str(), lent.amount_fen)];
        expected.sort_unstable();
        assert_eq!(told, expected, "banks are told once of those they may work with, seed {seed}");
        let kept = "SELECT count(*) FROM orders WHERE position('patent_count'::bytea IN profile) > 0";
        assert_eq!(world.count(kept).await, 0);
        assert_eq!(world.count("SELECT count(*) FROM profile_log WHERE version = 1").await, 0, "seed {seed}");
        assert!(calculations(&world, &enterprise, None).await.is_empty(), "what rests on it is forgotten, seed {seed}");
        let refused = world.announced::<DisclosureRefused>().await;
        let refused: Vec<_> =
            refused.into_iter().map(|fact| (fact.disclosure.unwrap().order_id, fact.reason)).collect();
        assert_eq!(refused, [(lost.order_id, "ORDER_ENDED".to_owned())], "of before; erased is not refused");

        // The order is still answered, and the next one has a profile again.
        world.approve(approval(&open, "REF-2")).await;
        world.clock.set(at(crate::support::TODAY, 23));
        let next = world.place(&enterprise, &product).await;
        let entries = world.inbox(BANK).await;
        let last = entries.last().unwrap();
        assert_eq!(last.order.as_ref().unwrap().order_id, next.order_id);
        assert!(last.profile.is_some() && last.profile_erased_at.is_none());
        world.stop().await;
    }
}

#[tokio::test]
async fn an_order_that_comes_after_the_news_of_a_later_erasure_is_erased_too() {
    let (world, product, enterprise) = World::ready().await;
    let (fact, erased_at) = erased(&enterprise, at(crate::support::TODAY, 23));
    world.deliver(Deliveries::new([fact]).twice()).await;
    world.place(&enterprise, &product).await;
    let entries = world.inbox(BANK).await;
    assert_eq!(entries.len(), 1);
    assert_eq!((&entries[0].profile, entries[0].profile_erased_at), (&None, erased_at));
    let unknown = as_bank(crate::support::OTHER_BANK, approval(entries[0].order.as_ref().unwrap(), "REF-1"));
    assert_eq!(reason(world.banks().approve_loan(unknown).await).1, "ORDER_NOT_FOUND");
    world.stop().await;
}
