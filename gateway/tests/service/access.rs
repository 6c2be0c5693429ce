//! Who gets through, and as whom.

use serde_json::json;
use tonic::{Code, Request};
use zhirong_proto::{
    feedback::v1::{ListRatingsRequest, ListSmsRequest, rating_service_client::RatingServiceClient},
    matching::v1::{ListInboxRequest, bank_order_service_client::BankOrderServiceClient},
    ops::v1::{ListDeadLettersRequest, dead_letter_service_client::DeadLetterServiceClient},
};

use crate::support::{
    BANK, World, bank, enterprise, forged_token, in_seconds, refusal, staff, strangers_token, token, uscc, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_is_refused_with_its_reason_and_reaches_no_service() {
    let world = World::start().await;
    let mut client = RatingServiceClient::new(world.channel.clone());
    let nobody = client.list_sms(ListSmsRequest::default()).await;
    assert_eq!(refusal(nobody), (Code::Unauthenticated, "TOKEN_MISSING".to_owned()));
    let mut basic = Request::new(ListSmsRequest::default());
    basic.metadata_mut().insert("authorization", "Basic c3RhZmY6c3RhZmY=".parse().unwrap());
    assert_eq!(refusal(client.list_sms(basic).await), (Code::Unauthenticated, "TOKEN_MISSING".to_owned()));

    // The header of an unsigned token, as an attacker would try: {"alg":"none","kid":"test-key"}
    let unsigned = "eyJhbGciOiJub25lIiwia2lkIjoidGVzdC1rZXkifQ.eyJzdWIiOiJjb3JlIn0.";
    let refused = [
        ("not.a.token".to_owned(), "TOKEN_MALFORMED"),
        (unsigned.to_owned(), "TOKEN_MALFORMED"),
        ("a".repeat(5000), "TOKEN_MALFORMED"),
        (token(json!({ "sub": "two words" })), "TOKEN_MALFORMED"),
        (token(json!({ "exp": null })), "TOKEN_MALFORMED"),
        (forged_token(), "TOKEN_NOT_TRUSTED"),
        (strangers_token(), "TOKEN_NOT_TRUSTED"),
        (token(json!({ "exp": in_seconds(-60) })), "TOKEN_EXPIRED"),
        (token(json!({ "nbf": in_seconds(600) })), "TOKEN_NOT_YET_VALID"),
        (token(json!({ "aud": "another-platform" })), "TOKEN_WRONG_AUDIENCE"),
        (token(json!({ "iss": "another-issuer" })), "TOKEN_WRONG_AUDIENCE"),
        (token(json!({ "role": "emperor" })), "TOKEN_ROLE_UNUSABLE"),
        (token(json!({ "role": "bank" })), "TOKEN_ROLE_UNUSABLE"),
        (token(json!({ "role": "enterprise", "uscc": "1" })), "TOKEN_ROLE_UNUSABLE"),
    ];
    for (bearer, reason) in refused {
        let answer = client.list_sms(with(&bearer, ListSmsRequest::default())).await;
        assert_eq!(refusal(answer), (Code::Unauthenticated, reason.to_owned()), "{bearer}");
    }
    assert_eq!(world.upstream.calls(), 0, "no refused call reached the service");
    client.list_sms(with(&staff(), ListSmsRequest::default())).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_calls_its_own_methods_only() {
    let world = World::start().await;
    let mut inbox = BankOrderServiceClient::new(world.channel.clone());
    for other in [staff(), enterprise(), token(json!({ "role": "operator" }))] {
        let answer = inbox.list_inbox(with(&other, ListInboxRequest::default())).await;
        assert_eq!(refusal(answer), (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned()));
    }
    assert_eq!(world.upstream.calls(), 0);
    inbox.list_inbox(with(&bank(), ListInboxRequest::default())).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_learns_who_calls_from_the_token_and_from_nothing_else() {
    let world = World::start().await;
    let mut client = RatingServiceClient::new(world.channel.clone());
    let uscc = uscc();
    let callers = [
        (staff(), "staff", None, None),
        (bank(), "bank", Some(BANK), None),
        (enterprise(), "enterprise", None, Some(uscc.as_str())),
    ];
    for (bearer, role, institution, enterprise) in callers {
        let mut request = with(&bearer, ListRatingsRequest::default());
        for (name, lie) in [
            ("zr-role", "operator"),
            ("zr-subject", "root"),
            ("zr-institution", "other-bank"),
            ("zr-enterprise", "913311020000000000"),
            ("zr-new", "anything"),
        ] {
            request.metadata_mut().append(name, lie.parse().unwrap());
        }
        request.metadata_mut().insert("x-request-id", "my-own-call-1".parse().unwrap());
        request
            .metadata_mut()
            .insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
        let answer = client.list_ratings(request).await.unwrap();
        assert_eq!(answer.metadata().get("x-request-id").unwrap(), "my-own-call-1");

        let told = world.upstream.last();
        let values =
            |name: &str| told.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(values("zr-role"), [role]);
        assert_eq!(values("zr-subject"), ["core"]);
        assert_eq!(values("zr-institution"), institution.map(str::to_owned).into_iter().collect::<Vec<_>>());
        assert_eq!(values("zr-enterprise"), enterprise.map(str::to_owned).into_iter().collect::<Vec<_>>());
        assert!(values("zr-new").is_empty(), "our prefix is ours");
        assert!(values("authorization").is_empty(), "the token stays at the door");
        assert_eq!(values("x-request-id"), ["my-own-call-1"]);
        assert_eq!(values("traceparent").len(), 1, "the caller's trace goes on");
    }
    // An id that could break a log line is replaced.
    let mut request = with(&staff(), ListRatingsRequest::default());
    request.metadata_mut().insert("x-request-id", "a b".parse().unwrap());
    let answer = client.list_ratings(request).await.unwrap();
    let id = answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    assert!(uuid::Uuid::try_parse(&id).is_ok(), "{id}");
    assert_eq!(world.upstream.last().get("x-request-id").unwrap(), id.as_str());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_of_every_service_needs_the_service_named() {
    let world = World::start().await;
    let operator = token(json!({ "role": "operator" }));
    let mut client = DeadLetterServiceClient::new(world.channel.clone());
    for name in [None, Some("treasury")] {
        let mut request = with(&operator, ListDeadLettersRequest::default());
        if let Some(name) = name {
            request.metadata_mut().insert("zr-service", name.parse().unwrap());
        }
        let answer = client.list_dead_letters(request).await;
        assert_eq!(refusal(answer), (Code::InvalidArgument, "SERVICE_NOT_NAMED".to_owned()));
    }
    // The stand-in does not offer it, which only it can say.
    let mut request = with(&operator, ListDeadLettersRequest::default());
    request.metadata_mut().insert("zr-service", "feedback".parse().unwrap());
    let status = client.list_dead_letters(request).await.unwrap_err();
    assert_eq!((status.code(), status.details().len()), (Code::Unimplemented, 0));
    world.stop().await;
}
