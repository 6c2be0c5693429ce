//! A repeated request gets the first answer and changes nothing.

use jiff::Timestamp;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;
use zhirong_proto::ops::v1::{DeadLetter, GetDeadLetterRequest};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    problem::Problem,
};

use crate::support::world;

fn caller(subject: &str) -> Caller {
    Caller { role: Role::Bank, subject: subject.to_owned(), institution: None, enterprise: None }
}

fn request(id: &str) -> GetDeadLetterRequest {
    GetDeadLetterRequest { dead_letter_id: id.to_owned() }
}

/// Answers a request with `answer` unless it was answered before. Returns the answer and whether it is new.
async fn call(pool: &PgPool, who: &str, request_id: &str, body: &str, answer: &str) -> Result<(String, bool), Problem> {
    let mut tx = pool.begin().await?;
    let claim = idempotency::claim(&mut tx, &caller(who), "Get", request_id, &request(body), Timestamp::now()).await?;
    match claim {
        Claim::Replay(DeadLetter { reason, .. }) => Ok((reason, false)),
        Claim::Fresh(slot) => {
            let response = DeadLetter { reason: answer.to_owned(), ..DeadLetter::default() };
            slot.complete(&mut tx, &response).await?;
            tx.commit().await?;
            Ok((response.reason, true))
        }
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = world().await;
    let _service = world.start("orders").await;
    let id = Uuid::now_v7().to_string();
    assert_eq!(call(&world.pool, "a", &id, "x", "first").await.unwrap(), ("first".to_owned(), true));
    assert_eq!(call(&world.pool, "a", &id, "x", "second").await.unwrap(), ("first".to_owned(), false));
    assert_eq!(
        call(&world.pool, "b", &id, "x", "other").await.unwrap(),
        ("other".to_owned(), true),
        "another caller's id is another"
    );
}

#[tokio::test]
async fn an_id_used_with_another_body_or_malformed_is_refused() {
    let world = world().await;
    let _service = world.start("orders").await;
    let id = Uuid::now_v7().to_string();
    call(&world.pool, "a", &id, "x", "first").await.unwrap();
    let reused = call(&world.pool, "a", &id, "y", "second").await.unwrap_err();
    assert_eq!((reused.code(), reused.reason()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    for malformed in ["", "7"] {
        let refused = call(&world.pool, "a", malformed, "x", "first").await.unwrap_err();
        assert_eq!((refused.code(), refused.reason()), (Code::InvalidArgument, "REQUEST_ID_INVALID"));
    }
}

#[tokio::test]
async fn a_request_that_failed_may_be_made_again() {
    let world = world().await;
    let _service = world.start("orders").await;
    let id = Uuid::now_v7().to_string();
    let mut tx = world.pool.begin().await.unwrap();
    let claim: Claim<DeadLetter> =
        idempotency::claim(&mut tx, &caller("a"), "Get", &id, &request("x"), Timestamp::now()).await.unwrap();
    assert!(matches!(claim, Claim::Fresh(_)));
    tx.rollback().await.unwrap();
    assert!(call(&world.pool, "a", &id, "x", "first").await.unwrap().1);
}

#[tokio::test]
async fn of_many_at_once_one_is_done_and_all_get_its_answer() {
    let world = world().await;
    let _service = world.start("orders").await;
    let id = Uuid::now_v7().to_string();
    let calls = (0..8).map(|n| {
        let (pool, id) = (world.pool.clone(), id.clone());
        async move { call(&pool, "a", &id, "x", &n.to_string()).await.unwrap() }
    });
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|(_, new)| *new).count(), 1);
    assert!(answers.iter().all(|(answer, _)| *answer == answers[0].0));
}
