//! An enterprise that is erased: its phone and its words go, what is counted stays, whatever comes in which order.

use jiff::Timestamp;
use zhirong_kernel::{
    clock::{Clock as _, SystemClock},
    uscc::Uscc,
};
use zhirong_proto::{
    Fact as _,
    feedback::v1::{
        GetFeedbackOutcomeRequest, ListRatingsRequest, Rating, RatingLevel, SmsState, SubmitRatingRequest,
        SubmitRatingResponse,
    },
    profile::v1::EnterpriseErased,
};
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event, eventually, heard};

use crate::{
    provider::{Mood, Provider},
    support::{BANK, PATIENCE, World, bank_call, enterprise, enterprise_call, loan, new_id, rating, refusal, staff},
};

fn now() -> Timestamp {
    SystemClock.now()
}

/// The fact that an enterprise was erased, under a new id.
pub fn erased(uscc: &Uscc, version: i64, at: Timestamp) -> Event {
    let erased_at = Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() });
    let fact = EnterpriseErased { enterprise_id: uscc.to_string(), erased_at, profile_version: 1, version };
    Event::of(uscc.as_str(), &fact)
}

/// Announces facts about enterprises and waits until feedback has heard them.
async fn tell(world: &World, deliveries: Deliveries) {
    deliveries.publish(&world.events).await.unwrap();
    eventually(PATIENCE, "the erasures are heard", || async {
        Ok(heard(&world.events, streams::PROFILE, "feedback-erasures").await?.then_some(()))
    })
    .await
    .unwrap();
}

async fn has_contact(world: &World, uscc: &Uscc) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM contact WHERE enterprise_id = $1)")
        .bind(uscc.as_str())
        .fetch_one(&world.pool)
        .await
        .unwrap()
}

async fn ratings(world: &World) -> Vec<Rating> {
    world.ratings().list_ratings(staff(ListRatingsRequest::default())).await.unwrap().into_inner().ratings
}

#[tokio::test(flavor = "multi_thread")]
async fn phone_and_words_go_and_what_is_counted_stays() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (gone, other) = (enterprise(1), enterprise(2));
    let loans = [loan(&gone), loan(&other)];
    let rate = async |uscc: &Uscc, request: SubmitRatingRequest| {
        world.ratings().submit_rating(enterprise_call(uscc, request)).await.map(tonic::Response::into_inner)
    };
    for uscc in [&gone, &other] {
        world.contact(uscc).await;
    }
    world.approve_all(&loans).await;
    world.all_become(2, SmsState::Sent).await;
    let request = SubmitRatingRequest {
        comment_zh: "示例法人很满意".to_owned(),
        ..rating(&loans[0], RatingLevel::Satisfied)
    };
    rate(&gone, request.clone()).await.unwrap();
    rate(&other, rating(&loans[1], RatingLevel::Satisfied)).await.unwrap();
    let period = || GetFeedbackOutcomeRequest { from: "2026-01-01".to_owned(), to: "2999-12-31".to_owned() };
    let figures = async || world.reports().get_feedback_outcome(staff(period())).await.unwrap().into_inner();
    let before = figures().await;
    assert_eq!((before.ratings, before.ratings_satisfied), (2, 2));

    tell(&world, Deliveries::new([erased(&gone, 1, now())])).await;
    assert!(!has_contact(&world, &gone).await && has_contact(&world, &other).await);
    let left = ratings(&world).await;
    assert_eq!(left.iter().map(|rating| &rating.loan_id).collect::<Vec<_>>(), [&loans[1].loan_id]);
    let banks =
        world.ratings().list_ratings(bank_call(BANK, ListRatingsRequest::default())).await.unwrap().into_inner();
    assert_eq!(banks.ratings, left, "the bank sees it no longer either");
    assert_eq!(world.count("SELECT count(*) FROM rating WHERE comment_zh LIKE '%法人%'").await, 0);
    assert_eq!(rate(&gone, request.clone()).await.unwrap(), SubmitRatingResponse::default(), "the kept answer too");
    let masked = "SELECT count(*) FROM runtime.request_log
                  WHERE caller LIKE 'enterprise:%' AND position(convert_to('138****1234', 'UTF8') IN response) > 0";
    assert_eq!(world.count(masked).await, 1, "and the other's stays");

    assert_eq!(figures().await, before, "what was counted");
    assert_eq!(world.count("SELECT sum(rating_count)::bigint FROM product_score").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM loan").await, 2);
    let again = SubmitRatingRequest { request_id: new_id(), ..request };
    assert_eq!(refusal(rate(&gone, again).await).reason, "ALREADY_RATED");

    // It goes on like an enterprise that has told no phone yet.
    world.approve(&loan(&gone)).await;
    eventually(PATIENCE, "the new loan's message waits", || async {
        let waits = world.messages().await.into_iter().find(|message| message.state() == SmsState::WaitingContact);
        Ok(waits.filter(|message| message.phone_masked.is_empty()))
    })
    .await
    .unwrap();
    world.contact(&gone).await;
    world.all_become(3, SmsState::Sent).await;
    assert_eq!(provider.counts(), [1, 1, 1]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_waits_for_another_contact() {
    // Of the one the provider says that it did not take it, of the other it says nothing.
    for (mood, state) in [(Mood::IsBusy, SmsState::Queued), (Mood::Fails, SmsState::Unknown)] {
        let (provider, url) = Provider::start(mood).await;
        let world = World::start(&url).await;
        let uscc = enterprise(1);
        world.contact(&uscc).await;
        world.approve(&loan(&uscc)).await;
        eventually(PATIENCE, &format!("one try left it {state:?}"), || async {
            Ok(world
                .messages()
                .await
                .iter()
                .any(|message| message.state() == state && message.attempts > 0)
                .then_some(()))
        })
        .await
        .unwrap();
        tell(&world, Deliveries::new([erased(&uscc, 1, now())])).await;
        world.all_become(1, SmsState::WaitingContact).await;
        provider.is_now(Mood::Takes);
        world.contact(&uscc).await;
        world.all_become(1, SmsState::Sent).await;
        assert_eq!(provider.counts(), [1], "{state:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn erasures_told_often_and_in_any_order_take_what_was_there_and_leave_what_came_after() {
    for seed in [1, 2, 3] {
        let (_provider, url) = Provider::start(Mood::Takes).await;
        let mut world = World::start(&url).await;
        world.add_replica(&url).await;
        let (gone, stays, back) = (enterprise(1), enterprise(2), enterprise(3));
        let loans = [loan(&gone), loan(&stays)];
        world.approve_all(&loans).await;
        let rate = async |number: usize, uscc: &Uscc| {
            let request = enterprise_call(uscc, rating(&loans[number], RatingLevel::Satisfied));
            world.ratings().submit_rating(request).await.unwrap();
        };
        let long_ago: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        world.contact(&gone).await;
        world.contact(&back).await;
        rate(0, &gone).await;
        let erased_at = now();
        world.contact(&stays).await;
        rate(1, &stays).await;
        // Each twice under one id, and the second erasure once more under another, as after a loss of the broker's memory.
        let events = [&gone, &stays, &back]
            .map(|uscc| [erased(uscc, 1, long_ago), erased(uscc, 2, erased_at), erased(uscc, 2, erased_at)]);
        tell(&world, Deliveries::new(events.concat()).twice().shuffled(seed)).await;
        assert!(!has_contact(&world, &gone).await && has_contact(&world, &stays).await, "seed {seed}");
        let left = ratings(&world).await;
        assert_eq!(left.iter().map(|rating| &rating.loan_id).collect::<Vec<_>>(), [&loans[1].loan_id], "seed {seed}");

        // Told once more, with a clock that goes ahead of this one, it takes nothing that was said since.
        world.contact(&back).await;
        let ahead = erased(&back, 2, "2999-01-01T00:00:00Z".parse().unwrap());
        tell(&world, Deliveries::new([ahead, erased(&back, 1, long_ago)])).await;
        assert!(has_contact(&world, &back).await, "seed {seed}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_erasure_is_laid_aside_and_stops_nothing() {
    let (_provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let uscc = enterprise(1);
    world.contact(&uscc).await;
    let fact = |fact: EnterpriseErased| Event::of("key", &fact);
    let good = EnterpriseErased {
        enterprise_id: uscc.to_string(),
        erased_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        profile_version: 0,
        version: 1,
    };
    let broken = [
        fact(EnterpriseErased { enterprise_id: "91331102MA2W000010".to_owned(), ..good.clone() }),
        fact(EnterpriseErased { erased_at: None, ..good.clone() }),
        fact(EnterpriseErased {
            erased_at: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            ..good.clone()
        }),
        fact(EnterpriseErased { version: 0, ..good }),
        Event::new(
            &format!("{}.key", EnterpriseErased::SUBJECT),
            EnterpriseErased::TYPE,
            "application/protobuf",
            vec![0xff; 9],
        ),
    ];
    let laid_aside = i64::try_from(broken.len()).unwrap();
    let events = broken.into_iter().chain([erased(&uscc, 1, now())]);
    tell(&world, Deliveries::new(events)).await;
    assert!(!has_contact(&world, &uscc).await);
    let letters = world.count("SELECT count(*) FROM runtime.dead_letter WHERE consumer = 'feedback-erasures'").await;
    assert_eq!(letters, laid_aside);
    world.stop().await;
}
