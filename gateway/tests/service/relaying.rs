//! What a service answers reaches the caller as it was, and what no service answers is said so.

use std::time::Duration;

use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;
use zhirong_proto::{
    catalog::v1::{ListProductsRequest, product_service_client::ProductServiceClient},
    feedback::v1::{
        ListRatingsRequest, SetContactRequest, SubmitRatingRequest, contact_service_client::ContactServiceClient,
        rating_service_client::RatingServiceClient,
    },
    matching::v1::{StreamInboxRequest, bank_order_service_client::BankOrderServiceClient},
};

use crate::{
    support::{IMPATIENT, PATIENCE, World, bank, enterprise, refusal, staff, with},
    upstream::{ANSWER_KEY, SILENCE},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_and_a_rich_error_pass_untouched() {
    let world = World::start().await;
    let mut client = RatingServiceClient::new(world.channel.clone());
    let answer = client.list_ratings(with(&staff(), ListRatingsRequest::default())).await.unwrap();
    assert_eq!(answer.metadata().get(ANSWER_KEY).unwrap(), "stand-in");
    assert_eq!(answer.into_inner().next_page_token, "0");

    let status = client.submit_rating(with(&enterprise(), SubmitRatingRequest::default())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::AlreadyExists, "rated, 已评价"));
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["loan_id"].as_str()), ("ALREADY_RATED", "7"));
    assert!(!info.metadata.contains_key("call_id"), "the gateway adds nothing to a service's words");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "loan_id");
    assert_eq!(details.localized_message().unwrap().message, "这笔贷款已评价过");

    // What the service does not know, it says itself.
    let contact = ContactServiceClient::new(world.channel.clone())
        .set_contact(with(&enterprise(), SetContactRequest::default()))
        .await;
    assert_eq!(contact.unwrap_err().code(), Code::Unimplemented);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_entry_by_entry_without_a_time_limit() {
    let world = World::impatient().await;
    let mut client = BankOrderServiceClient::new(world.channel.clone());
    let request = with(&bank(), StreamInboxRequest { after_position: 40 });
    let mut open = client.stream_inbox(request).await.unwrap().into_inner();
    for position in 41..=43 {
        // The stand-in keeps the stream open, so an entry that were held back would never come.
        let entry = tokio::time::timeout(PATIENCE, open.message()).await.expect("not held back").unwrap().unwrap();
        assert_eq!(entry.entry.unwrap().position, position);
    }
    // Longer than the limit of a single call.
    assert!(
        tokio::time::timeout(IMPATIENT + Duration::from_secs(1), open.message()).await.is_err(),
        "the stream stays open"
    );

    let mut ended =
        client.stream_inbox(with(&bank(), StreamInboxRequest { after_position: -1 })).await.unwrap().into_inner();
    for _ in 0..3 {
        ended.message().await.unwrap().unwrap();
    }
    let status = ended.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "the end"));
    drop((open, ended));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_in_the_middle_of_a_stream_ends_it_with_a_reason() {
    let mut world = World::start().await;
    let mut client = BankOrderServiceClient::new(world.channel.clone());
    let mut stream = client.stream_inbox(with(&bank(), StreamInboxRequest::default())).await.unwrap().into_inner();
    for _ in 0..3 {
        stream.message().await.unwrap().unwrap();
    }
    world.upstream_life.end();
    let status = tokio::time::timeout(PATIENCE, stream.message()).await.expect("the stream ends").unwrap_err();
    let reason = status.get_error_details().error_info().unwrap().reason.clone();
    assert_eq!((status.code(), reason.as_str()), (Code::Unavailable, "SERVICE_UNAVAILABLE"));
    drop(stream);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_or_silent_is_named_so_and_the_others_go_on() {
    let world = World::impatient().await;
    let down = ProductServiceClient::new(world.channel.clone())
        .list_products(with(&staff(), ListProductsRequest::default()))
        .await;
    assert_eq!(refusal(down), (Code::Unavailable, "SERVICE_UNAVAILABLE".to_owned()));

    let mut client = RatingServiceClient::new(world.channel.clone());
    let silent = ListRatingsRequest { page_token: SILENCE.to_owned(), ..ListRatingsRequest::default() };
    let answer = client.list_ratings(with(&staff(), silent)).await;
    assert_eq!(refusal(answer), (Code::DeadlineExceeded, "TIMEOUT".to_owned()));
    client.list_ratings(with(&staff(), ListRatingsRequest::default())).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer_without_a_token() {
    let world = World::start().await;
    let health = HealthClient::new(world.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);

    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut answers = ServerReflectionClient::new(world.channel.clone())
        .server_reflection_info(Request::new(tokio_stream::once(ask)))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("not a list of services");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["zhirong.matching.v1.BankOrderService", "zhirong.subsidy.v1.GrantService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|known| known == name), "{name} is missing in {names:?}");
    }
    world.stop().await;
}
