//! Whatever the order in which the other services are heard, and however often: what is kept in the end is the same, byte for byte.
//!
//! Who is erased after telling a phone has no loan whose approval is still to be heard of: whether its message went out before, nobody
//! can undo.

use jiff::{SignedDuration, Timestamp};
use zhirong_kernel::{
    clock::{Clock as _, SystemClock},
    uscc::Uscc,
};
use zhirong_proto::{feedback::v1::RatingLevel, matching::v1::Loan};
use zhirong_runtime::streams;
use zhirong_testkit::{Aside, Event, State, any_order_ends_the_same, eventually, heard};

use crate::{
    erasures::erased,
    provider::{Mood, Provider},
    support::{PATIENCE, World, approved, enterprise, enterprise_call, loan, rating, reserved},
};

/// What depends on the way.
const ASIDES: [Aside; 2] = [
    Aside::columns("sms", &["sms_id", "provider_message_id"], "made when the loan or its grant comes"),
    Aside::columns("sms", &["queued_at", "due_at", "sent_at"], "the clock's stamps"),
];

/// Enterprises that told a phone, and those among them that are erased later.
const KNOWN: [u32; 4] = [1, 2, 3, 4];
const GONE: [u32; 2] = [3, 4];
/// Enterprises that told none; the last one is erased.
const SILENT: [u32; 3] = [5, 6, 7];

/// Who has told a phone has rated a loan; the rest is still to be heard of.
async fn beginning(world: &World) -> Vec<Loan> {
    let loans: Vec<Loan> = KNOWN.iter().map(|number| loan(&enterprise(*number))).collect();
    world.approve_all(&loans).await;
    for (number, loan) in KNOWN.iter().zip(&loans) {
        let uscc = enterprise(*number);
        world.contact(&uscc).await;
        let request = enterprise_call(&uscc, rating(loan, RatingLevel::Satisfied));
        world.ratings().submit_rating(request).await.unwrap();
    }
    settled(world).await;
    loans
}

/// Some of every kind of fact that feedback hears of, in the order in which it happened.
fn history(rated: &[Loan], now: Timestamp) -> Vec<Event> {
    let mut all: Vec<Event> = rated.iter().map(approved).collect();
    let later = |hours| now + SignedDuration::from_hours(hours);
    let stay: Vec<Uscc> =
        KNOWN.iter().filter(|number| !GONE.contains(number)).chain(&SILENT).map(|number| enterprise(*number)).collect();
    for uscc in &stay {
        for number in 0..5 {
            let loan = loan(uscc);
            all.push(approved(&loan));
            // none, one, two that add up, one that came too late to tell of, and one of either
            let old = || reserved(&loan).with("ce-time", "2020-01-01T00:00:00Z");
            match number {
                0 => {}
                1 => all.push(reserved(&loan)),
                2 => all.extend([reserved(&loan), reserved(&loan)]),
                3 => all.push(old()),
                _ => all.extend([old(), reserved(&loan)]),
            }
        }
        // of before anything was told
        all.push(erased(uscc, 1, later(-24 * 365)));
    }
    for number in GONE {
        all.extend([erased(&enterprise(number), 1, later(1)), erased(&enterprise(number), 2, later(2))]);
    }
    all.extend([erased(&enterprise(SILENT[2]), 2, later(1)), erased(&enterprise(9), 1, later(1))]);
    all
}

/// Until every fact was taken, and every message is where it stays.
async fn settled(world: &World) {
    eventually(PATIENCE, "all is taken and sent", || async {
        for (stream, durable) in [
            (streams::MATCHING, "feedback-loans"),
            (streams::SUBSIDY, "feedback-grants"),
            (streams::PROFILE, "feedback-erasures"),
        ] {
            if !heard(&world.events, stream, durable).await? {
                return Ok(None);
            }
        }
        let moving = "SELECT count(*) FROM sms WHERE state NOT IN ('sent', 'waiting_contact')";
        Ok((world.count(moving).await == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_ends_the_same_for_all_that_is_heard() {
    let (_provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let rated = beginning(&world).await;
    let left = world.stop().await;
    any_order_ends_the_same(&history(&rated, SystemClock.now()), async |deliveries| {
        let world = World::after(&left, &url).await;
        deliveries.publish(&world.events).await?;
        settled(&world).await;
        let end = State::of(&world.pool, &ASIDES).await?;
        world.stop().await;
        Ok(end)
    })
    .await
    .unwrap();
}
