//! The broker is killed, or loses everything, under load: nothing is lost and nothing counts twice.

use crate::support::{ORDERS, Orders, effects_table, run, until, world, write};

const EFFECTS: &str = "SELECT count(*) FROM effect";
const UNPUBLISHED: &str = "SELECT count(*) FROM runtime.outbox WHERE published_at IS NULL";

#[tokio::test]
async fn a_broker_killed_or_emptied_under_load_costs_nothing() {
    let mut world = world().await;
    let mut service = world.start("matching").await;
    effects_table(&world.pool).await;
    service.consume(ORDERS, Orders::default());
    let wake = service.outbox();
    let running = run(service);
    let mut written = 0;
    for emptied in [false, true, false, true] {
        for n in 0..100 {
            write(&world.pool, &wake, &format!("order-{written}"), 1).await.unwrap();
            written += 1;
            if n == 50 {
                world.broker.kill().await.unwrap();
                if emptied {
                    world.broker.delete_store().unwrap();
                }
                world.broker.restart().await.unwrap();
            }
        }
        until("every order took effect", || async { world.count(EFFECTS).await >= written }).await;
        until("every event is marked", || async { world.count(UNPUBLISHED).await == 0 }).await;
        assert_eq!(world.count(EFFECTS).await, written);
        assert_eq!(world.count("SELECT count(DISTINCT order_id) FROM effect").await, written);
    }
    running.stop().await;
}
