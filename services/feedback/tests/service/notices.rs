//! The notice that a subsidy is set aside: one a loan, whatever comes how often and in which order.

use zhirong_proto::{
    Fact as _,
    feedback::v1::{GetFeedbackOutcomeRequest, Sms, SmsKind, SmsQueued, SmsState},
    matching::v1::Loan,
    subsidy::v1::{Grant, GrantReserved},
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::{
    provider::{Mood, Provider},
    support::{PATIENCE, World, approved, enterprise, loan, reserved, staff},
};

fn of_kind(messages: &[Sms], kind: SmsKind) -> Vec<&Sms> {
    messages.iter().filter(|message| message.kind() == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subsidised_loan_gets_one_notice_beside_its_rating_message() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let mut world = World::start(&url).await;
    world.add_replica(&url).await;
    let enterprises: Vec<_> = (1..=4).map(enterprise).collect();
    let loans: Vec<Loan> = enterprises.iter().map(loan).collect();
    for uscc in &enterprises {
        world.contact(uscc).await;
    }
    // Two policies add up for each loan but the last, which no policy takes; grants may be heard of before their loan.
    let subsidised = &loans[..3];
    let grants = subsidised.iter().flat_map(|loan| [reserved(loan), reserved(loan)]);
    let events = grants.chain(loans.iter().map(approved));
    Deliveries::new(events).twice().shuffled(5).publish(&world.events).await.unwrap();

    let messages = world.all_become(loans.len() + subsidised.len(), SmsState::Sent).await;
    assert_eq!(of_kind(&messages, SmsKind::RatingRequest).len(), loans.len());
    let notices = of_kind(&messages, SmsKind::GrantNotice);
    for loan in subsidised {
        assert_eq!(notices.iter().filter(|notice| notice.loan_id == loan.loan_id).count(), 1, "one a loan");
    }
    for notice in notices {
        assert!(
            notice.text_zh.contains("免申即享") && !notice.text_zh.contains(char::is_numeric),
            "{}",
            notice.text_zh
        );
    }
    assert_eq!(provider.counts(), vec![1; messages.len()], "each was handed over once");
    let queued = world.announced::<SmsQueued>().await;
    assert_eq!(queued.iter().filter(|fact| fact.kind() == SmsKind::GrantNotice).count(), subsidised.len());

    let period = GetFeedbackOutcomeRequest { from: "2026-01-01".to_owned(), to: "2999-12-31".to_owned() };
    let figures = world.reports().get_feedback_outcome(staff(period)).await.unwrap().into_inner();
    assert_eq!((figures.sms_queued, figures.sms_sent), (4, 4), "the rating messages");
    assert_eq!((figures.grant_notices_queued, figures.grant_notices_sent), (3, 3));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_grants_are_laid_aside_and_old_ones_told_to_nobody() {
    let (_provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (own, other) = (enterprise(1), enterprise(2));
    world.contact(&own).await;
    let lent = loan(&own);
    world.approve(&lent).await;
    world.all_become(1, SmsState::Sent).await;
    let grant = |enterprise_id: &str, loan_id: &str| Grant {
        enterprise_id: enterprise_id.to_owned(),
        loan_id: loan_id.to_owned(),
        ..Grant::default()
    };
    let broken = [
        Some(grant(other.as_str(), &lent.loan_id)),
        Some(grant("short", &lent.loan_id)),
        Some(grant(own.as_str(), "1")),
        None,
    ];
    let mut events: Vec<Event> = broken.into_iter().map(|grant| Event::of("key", &GrantReserved { grant })).collect();
    events.push(Event::new(
        &format!("{}.key", GrantReserved::SUBJECT),
        GrantReserved::TYPE,
        "application/protobuf",
        vec![0xff; 9],
    ));
    let laid_aside = i64::try_from(events.len()).unwrap();
    // Whoever listens for the first time hears of years gone by, which is no news.
    let long_ago = loan(&own);
    world.approve(&long_ago).await;
    world.all_become(2, SmsState::Sent).await;
    events.push(reserved(&long_ago).with("ce-time", "2020-01-01T00:00:00Z"));
    events.push(reserved(&lent));
    Deliveries::new(events).publish(&world.events).await.unwrap();

    let messages = world.all_become(3, SmsState::Sent).await;
    let notices: Vec<&String> =
        of_kind(&messages, SmsKind::GrantNotice).into_iter().map(|notice| &notice.loan_id).collect();
    assert_eq!(notices, [&lent.loan_id], "the good one behind them is served");
    eventually(PATIENCE, "the broken ones are laid aside", || async {
        let letters = world.count("SELECT count(*) FROM runtime.dead_letter WHERE consumer = 'feedback-grants'").await;
        Ok((letters == laid_aside).then_some(()))
    })
    .await
    .unwrap();
    world.stop().await;
}
