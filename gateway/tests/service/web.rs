//! Browsers: gRPC-Web over HTTP/1.1.

use prost::Message as _;
use reqwest::{Client, Method, Response, StatusCode, Version};
use zhirong_proto::feedback::v1::{ListRatingsRequest, ListRatingsResponse};

use crate::support::{ORIGIN, World, staff};

const PATH: &str = "/zhirong.feedback.v1.RatingService/ListRatings";

/// A message behind one byte of flags and four of length.
fn framed(message: &ListRatingsRequest) -> Vec<u8> {
    let payload = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    framed.extend(payload);
    framed
}

async fn call(world: &World, token: Option<&str>, origin: &str) -> Response {
    let message = ListRatingsRequest { page_token: "seven..".to_owned(), ..ListRatingsRequest::default() };
    let mut request = Client::builder()
        .http1_only()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}{PATH}", world.address))
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .header("origin", origin)
        .body(framed(&message));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_calls_over_http_1() {
    let world = World::start().await;
    let response = call(&world, Some(&staff()), ORIGIN).await;
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
    let body = response.bytes().await.unwrap();
    let length = usize::try_from(u32::from_be_bytes(body[1..5].try_into().unwrap())).unwrap();
    let answer = ListRatingsResponse::decode(&body[5..5 + length]).unwrap();
    assert_eq!(answer.next_page_token, "7");
    let trailers = &body[5 + length..];
    assert_eq!(trailers[0], 0x80, "the trailers come in the body, marked by their flag");
    let trailers = String::from_utf8(trailers[5..].to_vec()).unwrap();
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    assert_eq!(world.upstream.last().get("zr-role").unwrap(), "staff");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_why_it_is_refused() {
    let world = World::start().await;
    let response = call(&world, None, ORIGIN).await;
    assert_eq!(response.status(), StatusCode::OK, "a refusal is a gRPC status, not one of HTTP");
    assert_eq!(response.headers()["grpc-status"], "16");
    assert!(response.headers().contains_key("grpc-status-details-bin"));
    let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("grpc-status-details-bin"), "a page may read it: {exposed}");
    assert_eq!(world.upstream.calls(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_named_origins_may_call() {
    let world = World::start().await;
    let client = Client::builder().http1_only().no_proxy().build().unwrap();
    for (origin, allowed) in [(ORIGIN, true), ("https://evil.example", false)] {
        let preflight = client
            .request(Method::OPTIONS, format!("{}{PATH}", world.address))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,x-grpc-web")
            .send()
            .await
            .unwrap();
        let answer = preflight.headers().get("access-control-allow-origin");
        assert_eq!(answer.is_some_and(|value| value == origin), allowed, "{origin}");
    }
    let response = call(&world, Some(&staff()), "https://evil.example").await;
    assert!(!response.headers().contains_key("access-control-allow-origin"), "the page can't read the answer");
    world.stop().await;
}
