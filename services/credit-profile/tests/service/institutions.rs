//! What the profile keeps of the catalog's institutions: the same whatever the order and however often it hears of them.

use std::sync::Arc;

use zhirong_kernel::clock::SystemClock;
use zhirong_proto::catalog::v1::{Institution, InstitutionKind, InstitutionRegistered};
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::world::{PATIENCE, World, id};

/// Each institution is registered, and changed three times.
fn registrations() -> Vec<Event> {
    let mut events = Vec::new();
    for version in 1..=4 {
        for number in 0..6 {
            let institution_id = format!("sample-{number}-bank");
            let institution = Institution {
                institution_id: institution_id.clone(),
                name_zh: format!("示例银行{number}之{version}"),
                kind: InstitutionKind::Bank.into(),
                version,
            };
            events.push(Event::of(&institution_id, &InstitutionRegistered { institution: Some(institution) }));
        }
    }
    events
}

/// All that a new service keeps of what it is told.
async fn told(deliveries: Deliveries) -> Vec<String> {
    let world = World::bare_by(Arc::new(SystemClock)).await;
    deliveries.publish(&world.events).await.unwrap();
    eventually(PATIENCE, "all is heard", || async {
        Ok(zhirong_testkit::heard(&world.events, streams::CATALOG, "profile-institutions").await?.then_some(()))
    })
    .await
    .unwrap();
    let mut end = world.rows::<String>("SELECT i::text FROM institution i ORDER BY institution_id").await;
    end.extend(world.dead_letters().await);
    world.stop().await;
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_registrations_ends_the_same() {
    let events = registrations();
    let straight = told(Deliveries::new(events.clone())).await;
    assert_eq!(straight.len(), 6, "{straight:?}");
    for seed in 1..=2 {
        // everything twice, and every third under another id as well
        let again = events.iter().step_by(3).map(|of| of.clone().with("ce-id", &id()));
        let all = events.iter().cloned().chain(again);
        assert_eq!(told(Deliveries::new(all).twice().shuffled(seed)).await, straight, "seed {seed}");
    }
}
