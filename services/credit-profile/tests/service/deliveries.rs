//! Ends of deliveries: by their answers a sender knows that it has heard every refusal.

use prost::Message as _;
use serde_json::{Value, json};
use zhirong_proto::gov::v1::DeliveryJudged;
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::{
    records::event,
    world::{PATIENCE, RECORD, World, enterprise, record},
};

/// An event of a delivery.
fn of_delivery(delivery: &str, id: &str, record: &Value) -> Event {
    event(RECORD, record).with("ce-delivery", delivery).with("ce-id", &format!("{delivery}-{id}"))
}

/// The answer to the end of a delivery.
async fn judged(world: &World, delivery: &str, end: &str) -> DeliveryJudged {
    let content = json!({ "source": "zhirong-records", "delivery_id": delivery });
    let event = event("cn.zhirong.gov.delivery.ended.v1", &content).with("ce-id", end);
    Deliveries::new([event]).publish(&world.events).await.unwrap();
    eventually(PATIENCE, "the end is answered", || async {
        let stream = world.events.get_stream(streams::GOVREJECTED).await?;
        let answer = stream.direct_get_last_for_subject("gov.data.rejected.zhirong-records").await.ok();
        let answer = answer.map(|message| DeliveryJudged::decode(message.payload.as_ref())).transpose()?;
        Ok(answer.filter(|answer| answer.event_id == end))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_delivery_is_answered_when_all_before_it_was_judged() {
    let world = World::start().await;
    let uscc = enterprise(71);
    let send = async |delivery: &str, rows: usize| {
        let rows = (0..rows).map(|row| {
            let patents = if row % 50 == 0 { -1 } else { 1 };
            of_delivery(delivery, &row.to_string(), &record(&uscc, &format!("r{row}"), 1, patents))
        });
        Deliveries::new(rows).publish(&world.events).await.unwrap();
    };
    // Enough that several lanes are at them while the end comes; those of other deliveries do not count.
    send("other", 51).await;
    send("first", 2_000).await;
    let answer = judged(&world, "first", "end-1").await;
    assert_eq!((answer.refused_count, answer.delivery_id.as_str()), (40, "first"));
    let letters = world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await;
    assert_eq!(letters, [42], "all was judged when it was answered");
    // The same once more, as the broker may do, is no other refusal; and asked again it is said again.
    send("first", 2_000).await;
    assert_eq!(judged(&world, "first", "end-2").await.refused_count, 40);
    // Another delivery of the same rows is refused anew.
    send("second", 51).await;
    assert_eq!(judged(&world, "second", "end-3").await.refused_count, 2);
    assert_eq!(world.rows::<i64>("SELECT count(*) FROM delivery_end").await, [0]);

    // Who ends for another, or without a name, is refused.
    for (number, (delivery, source)) in [("x", "somebody-else"), ("No Name", "zhirong-records")].into_iter().enumerate()
    {
        let content = json!({ "source": "zhirong-records", "delivery_id": delivery });
        let id = format!("bad-{number}");
        let end = event("cn.zhirong.gov.delivery.ended.v1", &content).with("ce-source", source).with("ce-id", &id);
        Deliveries::new([end]).publish(&world.events).await.unwrap();
    }
    let reasons = eventually(PATIENCE, "both are refused", || async {
        let reasons =
            world.rows::<String>("SELECT reason FROM runtime.dead_letter WHERE event_id LIKE 'bad-%' ORDER BY 1").await;
        Ok((reasons.len() == 2).then_some(reasons))
    })
    .await
    .unwrap();
    assert!(reasons[0].contains("`delivery_id` must be") && reasons[1].contains("comes from"), "{reasons:?}");
    world.stop().await;
}
