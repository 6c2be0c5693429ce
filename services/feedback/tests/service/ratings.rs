//! One rating a loan, by its borrower, and what ratings say of a product.

use tonic::Code;
use zhirong_proto::{
    feedback::v1::{ProductScored, RatingLevel, RatingReceived, SubmitRatingRequest},
    matching::v1::Loan,
};

use crate::{
    provider::{Mood, Provider},
    support::{BANK, World, enterprise, enterprise_call, loan, new_id, rating, refusal},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_is_rated_once_and_by_its_borrower() {
    let (_, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (own, other) = (enterprise(1), enterprise(2));
    let loan = loan(&own);
    world.approve_all(std::slice::from_ref(&loan)).await;
    let request = rating(&loan, RatingLevel::Satisfied);
    let client = world.ratings();
    let rate = async |uscc, request| {
        client.clone().submit_rating(enterprise_call(uscc, request)).await.map(tonic::Response::into_inner)
    };

    let refused = refusal(rate(&other, request.clone()).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::NotFound, "LOAN_NOT_FOUND"), "another's loan");
    let stranger = SubmitRatingRequest { loan_id: new_id(), ..request.clone() };
    assert_eq!(refusal(rate(&own, stranger).await).reason, "LOAN_NOT_FOUND", "said in the same words");
    let bad =
        SubmitRatingRequest { loan_id: "1".to_owned(), level: 6, comment_zh: "长".repeat(501), ..request.clone() };
    let refused = refusal(rate(&own, bad).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "RATING_INVALID"));
    assert_eq!(refused.fields, ["loan_id", "level", "comment_zh"], "all of them at once");
    let unstorable = SubmitRatingRequest { comment_zh: "\0".to_owned(), ..request.clone() };
    assert_eq!(refusal(rate(&own, unstorable).await).fields, ["comment_zh"]);
    let nameless = SubmitRatingRequest { request_id: "1".to_owned(), ..request.clone() };
    assert_eq!(refusal(rate(&own, nameless).await).reason, "REQUEST_ID_INVALID");
    assert_eq!(world.count("SELECT count(*) FROM rating").await, 0);

    let first = rate(&own, request.clone()).await.unwrap();
    assert_eq!(rate(&own, request.clone()).await.unwrap(), first, "the same request, the same answer");
    let again = SubmitRatingRequest { request_id: new_id(), ..request.clone() };
    let refused = refusal(rate(&own, again).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::AlreadyExists, "ALREADY_RATED"));
    let other_body = SubmitRatingRequest { level: RatingLevel::VeryDissatisfied.into(), ..request };
    let refused = refusal(rate(&own, other_body).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));

    let kept = first.rating.unwrap();
    assert_eq!((kept.institution_id.as_str(), kept.product_id.as_str()), (BANK, loan.product_id.as_str()));
    assert_eq!((kept.level(), kept.comment_zh.as_str()), (RatingLevel::Satisfied, "很好"));
    assert_eq!(world.announced::<RatingReceived>().await, [RatingReceived { rating: Some(kept) }], "announced once");
    assert_eq!(world.announced::<ProductScored>().await.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ratings_at_the_same_moment_count_all_and_are_announced_in_order() {
    let (_, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let uscc = enterprise(3);
    let product_id = new_id();
    let loans: Vec<Loan> = (0..8).map(|_| Loan { product_id: product_id.clone(), ..loan(&uscc) }).collect();
    world.approve_all(&loans).await;
    let tasks: Vec<_> = loans
        .iter()
        .enumerate()
        .map(|(number, loan)| {
            let level = if number < 3 { RatingLevel::VerySatisfied } else { RatingLevel::VeryDissatisfied };
            let (mut client, request) = (world.ratings(), enterprise_call(&uscc, rating(loan, level)));
            tokio::spawn(async move { client.submit_rating(request).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let scored = world.announced::<ProductScored>().await;
    let versions: Vec<(i64, i64)> = scored.iter().map(|fact| (fact.version, fact.rating_count)).collect();
    assert_eq!(versions, (1..=8).map(|number| (number, number)).collect::<Vec<_>>());
    let last = scored.last().unwrap();
    // (3 × 5 + 5 × 1) / 8
    assert_eq!((last.product_id.as_str(), last.mean_level_ppm), (product_id.as_str(), 2_500_000));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_ratings_of_one_loan_at_the_same_moment_one_stays() {
    let (_, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let uscc = enterprise(4);
    let loan = loan(&uscc);
    world.approve_all(std::slice::from_ref(&loan)).await;
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (mut client, request) =
                (world.ratings(), enterprise_call(&uscc, rating(&loan, RatingLevel::Satisfied)));
            tokio::spawn(async move { client.submit_rating(request).await })
        })
        .collect();
    let mut kept = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => kept += 1,
            refused => assert_eq!(refusal(refused).reason, "ALREADY_RATED"),
        }
    }
    assert_eq!(kept, 1);
    let scored = world.announced::<ProductScored>().await;
    assert_eq!((scored.len(), scored[0].rating_count, scored[0].mean_level_ppm), (1, 1, 4_000_000));
    world.stop().await;
}
