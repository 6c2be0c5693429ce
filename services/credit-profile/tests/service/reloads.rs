//! Full reloads as operators see them: what is missing, for how long, and the way out.

use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_proto::profile::v1::{
    GiveUpReloadRequest, GiveUpReloadResponse, ListReloadsRequest, ListReloadsResponse, ReloadState, ReloadStatus,
    category_service_client::CategoryServiceClient,
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::world::{PATIENCE, World, as_staff, count, enterprise, record};

async fn send(world: &World, ce_type: &str, content: &Value) {
    let event = Event::new("gov.data.v1.patent", ce_type, "application/json", content.to_string());
    Deliveries::new([event.with("ce-source", "ip-office")]).publish(&world.events).await.unwrap();
}

async fn member(world: &World, name: &str, reload: &str) {
    let mut record = record(&enterprise(1), name, 2, 1);
    record["reload_id"] = json!(reload);
    send(world, "cn.zhirong.gov.record.observed.v1", &record).await;
}

async fn end(world: &World, reload: &str, day: u32, records: u32) {
    let end = json!({
        "source": "ip-office", "category": "patent", "reload_id": reload, "record_count": records,
        "as_of": format!("2026-03-{day:02}T00:00:00Z"),
    });
    send(world, "cn.zhirong.gov.reload.completed.v1", &end).await;
}

async fn list(world: &World, request: ListReloadsRequest) -> ListReloadsResponse {
    CategoryServiceClient::new(world.channel.clone()).list_reloads(as_staff(request)).await.unwrap().into_inner()
}

async fn when(world: &World, reload: &str, expected: impl Fn(&ReloadStatus) -> bool) -> ReloadStatus {
    eventually(PATIENCE, "the reload stands as expected", || async {
        let all = list(world, ListReloadsRequest::default()).await.reloads;
        Ok(all.into_iter().find(|of| of.reload_id == reload && expected(of)))
    })
    .await
    .unwrap()
}

async fn give_up(world: &World, request_id: &str, reload: &str) -> Result<GiveUpReloadResponse, Status> {
    let request = GiveUpReloadRequest {
        request_id: request_id.to_owned(),
        source: "ip-office".to_owned(),
        category: "patent".to_owned(),
        reload_id: reload.to_owned(),
    };
    let mut client = CategoryServiceClient::new(world.channel.clone());
    Ok(client.give_up_reload(as_staff(request)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_reload_is_seen_and_can_be_given_up() {
    let world = World::start().await;
    for name in ["a", "b"] {
        member(&world, name, "broken").await;
    }
    let begun = when(&world, "broken", |of| of.member_count == 2).await;
    assert_eq!((begun.state(), begun.record_count, begun.as_of), (ReloadState::Receiving, None, None));
    end(&world, "broken", 10, 3).await;
    let short = when(&world, "broken", |of| of.record_count == Some(3)).await;
    assert_eq!((short.state(), short.member_count), (ReloadState::Receiving, 2));
    assert!(short.as_of.is_some() && short.age_s >= short.silent_s && short.changed_at.is_some());

    member(&world, "a", "whole").await;
    end(&world, "whole", 5, 1).await;
    let whole = when(&world, "whole", |of| of.state() == ReloadState::InForce).await;
    assert_eq!((whole.member_count, whole.record_count), (1, Some(1)));
    let profile = world.patents_become(&enterprise(1), Some(1)).await;
    assert_eq!(count(&profile), Some(1), "b does not belong to it");

    // page by page, and the unfinished ones alone
    let first = list(&world, ListReloadsRequest { page_size: 1, ..Default::default() }).await;
    let next = ListReloadsRequest { page_size: 1, page_token: first.next_page_token, ..Default::default() };
    let names = [first.reloads, list(&world, next).await.reloads].concat();
    assert_eq!(names.iter().map(|of| of.reload_id.as_str()).collect::<Vec<_>>(), ["broken", "whole"]);
    let unfinished = ListReloadsRequest { unfinished_only: true, source: "ip-office".to_owned(), ..Default::default() };
    assert_eq!(list(&world, unfinished).await.reloads.len(), 1);
    let elsewhere = ListReloadsRequest { source: "ip-centre".to_owned(), ..Default::default() };
    assert!(list(&world, elsewhere).await.reloads.is_empty());

    let id = Uuid::now_v7().to_string();
    let given_up = give_up(&world, &id, "broken").await.unwrap();
    assert_eq!(given_up.reload.as_ref().unwrap().state(), ReloadState::GivenUp);
    assert_eq!(give_up(&world, &id, "broken").await.unwrap(), given_up, "a repeated request gets the first answer");
    for (name, code, reason) in
        [("whole", Code::FailedPrecondition, "RELOAD_IN_FORCE"), ("nothing", Code::NotFound, "RELOAD_NOT_FOUND")]
    {
        let refused = give_up(&world, &Uuid::now_v7().to_string(), name).await.unwrap_err();
        let info = refused.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        assert_eq!((refused.code(), info.as_str()), (code, reason));
    }
    // what still comes of it changes nothing but its own record
    member(&world, "c", "broken").await;
    world.patents_become(&enterprise(1), Some(1)).await;
    let still = when(&world, "broken", |of| of.state() == ReloadState::GivenUp).await;
    assert_eq!(still.member_count, 0);
    assert_eq!(world.rows::<i64>("SELECT count(*) FROM runtime.dead_letter").await, [0]);
    world.stop().await;
}
