//! How large a request may be.

use tonic::Code;
use zhirong_proto::{
    feedback::v1::{ListRatingsRequest, rating_service_client::RatingServiceClient},
    matching::v1::{StreamInboxRequest, bank_order_service_client::BankOrderServiceClient},
};

use crate::support::{LARGEST, World, bank, refusal, staff, with};

fn of_size(bytes: usize) -> ListRatingsRequest {
    ListRatingsRequest { page_token: "a".repeat(bytes), ..ListRatingsRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_message_is_refused_and_the_connection_stays_usable() {
    let world = World::start().await;
    // Another call on the same connection must not feel it.
    let mut inbox = BankOrderServiceClient::new(world.channel.clone())
        .stream_inbox(with(&bank(), StreamInboxRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let mut client = RatingServiceClient::new(world.channel.clone()).max_encoding_message_size(usize::MAX);
    let calls = world.upstream.calls();
    for bytes in [LARGEST, 1_000_000, 100_000_000] {
        let answer = client.list_ratings(with(&staff(), of_size(bytes))).await;
        assert_eq!(refusal(answer), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()), "{bytes} bytes");
    }
    assert_eq!(world.upstream.calls(), calls, "none reached the service");
    assert_eq!(inbox.message().await.unwrap().unwrap().entry.unwrap().position, 1);

    // A token costs four bytes besides its own: a tag, and a length of three.
    let largest = LARGEST - 4;
    let answer = client.list_ratings(with(&staff(), of_size(largest))).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, largest.to_string(), "the largest message comes whole");
    drop(inbox);
    world.stop().await;
}
