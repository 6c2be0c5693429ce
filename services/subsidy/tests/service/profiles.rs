//! What subsidy keeps of enterprises: the same whatever the order and however often it hears of them.

use zhirong_proto::profile::v1::{FeatureValue, Profile, ProfileUpdated, feature_value::Kind};
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event};

use crate::support::{World, new_id, uscc};

/// Five versions of each profile; names change, and features come and go.
fn versions() -> Vec<Event> {
    let mut events = Vec::new();
    for version in 1..=5_i64 {
        for number in 1..=4 {
            let value = |kind: Kind| FeatureValue { kind: Some(kind), ..FeatureValue::default() };
            let mut features = vec![("employee_count".to_owned(), value(Kind::Integer(version * 10)))];
            if version % 2 == 0 {
                features.push(("is_high_tech".to_owned(), value(Kind::Flag(true))));
            }
            let profile = Profile {
                enterprise_id: uscc(number),
                name: format!("示例企业{number}之{version}"),
                version,
                features: features.into_iter().collect(),
                ..Profile::default()
            };
            events.push(Event::of(&uscc(number), &ProfileUpdated { profile: Some(profile) }));
        }
    }
    events
}

/// All that a new service keeps of what it is told.
async fn told(deliveries: Deliveries) -> Vec<String> {
    let world = World::start(1).await;
    world.deliver(deliveries).await;
    world.drained(streams::PROFILE, "subsidy-profiles").await;
    let query = "SELECT p::text FROM profile p ORDER BY enterprise_id";
    let mut end: Vec<String> = sqlx::query_scalar(query).fetch_all(&world.pool).await.unwrap();
    end.extend(world.dead_letters().await);
    world.stop().await;
    end
}

#[tokio::test]
async fn any_order_of_profiles_ends_the_same() {
    let events = versions();
    let straight = told(Deliveries::new(events.clone())).await;
    assert_eq!(straight.len(), 4, "{straight:?}");
    assert!(straight.iter().all(|row| row.contains("之5")), "{straight:?}");
    for seed in 1..=3 {
        // everything twice, and every third under another id as well
        let again = events.iter().step_by(3).map(|of| of.clone().with("ce-id", &new_id()));
        let all = events.iter().cloned().chain(again);
        assert_eq!(told(Deliveries::new(all).twice().shuffled(seed)).await, straight, "seed {seed}");
    }
}
