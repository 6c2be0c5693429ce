//! Facts as a broker may bring them: twice, in any order, and broken.

use std::collections::BTreeSet;

use zhirong_proto::{
    Fact as _,
    feedback::v1::{SmsDelivered, SmsQueued, SmsState},
    matching::v1::{Loan, LoanApproved, LoanDisbursed},
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::{
    provider::{Mood, Provider},
    support::{PATIENCE, World, approved, enterprise, loan},
};

#[tokio::test(flavor = "multi_thread")]
async fn loans_announced_often_in_any_order_to_two_replicas_get_one_message_each() {
    for seed in [1, 2] {
        let (provider, url) = Provider::start(Mood::Takes).await;
        let mut world = World::start(&url).await;
        world.add_replica(&url).await;
        // Two loans an enterprise; half of the enterprises have a contact before, half only after.
        let enterprises: Vec<_> = (1..=6).map(enterprise).collect();
        let loans: Vec<Loan> = enterprises.iter().flat_map(|uscc| [loan(uscc), loan(uscc)]).collect();
        let (early, late) = enterprises.split_at(3);
        for uscc in early {
            world.contact(uscc).await;
        }
        // Each under one id twice, and again under another id, as after a loss of the broker's memory.
        let events = loans.iter().flat_map(|loan| [approved(loan), approved(loan)]);
        Deliveries::new(events).twice().shuffled(seed).publish(&world.events).await.unwrap();
        for uscc in late {
            world.contact(uscc).await;
        }
        let messages = world.all_become(loans.len(), SmsState::Sent).await;
        assert_eq!(provider.counts(), vec![1; loans.len()], "each message was handed over once; seed {seed}");

        let wanted: BTreeSet<&str> = loans.iter().map(|loan| loan.loan_id.as_str()).collect();
        let got: BTreeSet<&str> = messages.iter().map(|message| message.loan_id.as_str()).collect();
        assert_eq!(got, wanted, "seed {seed}");
        let (queued, delivered) = (world.announced::<SmsQueued>().await, world.announced::<SmsDelivered>().await);
        assert_eq!((queued.len(), delivered.len()), (loans.len(), loans.len()), "one fact each; seed {seed}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_fact_is_laid_aside_and_stops_nothing() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let uscc = enterprise(20);
    world.contact(&uscc).await;
    let good = loan(&uscc);
    let before_the_calendar = prost_types::Timestamp { seconds: -219_000_000_000, nanos: 0 };
    let broken = [
        Loan { loan_id: "1".to_owned(), ..good.clone() },
        Loan { enterprise_id: "91331102MA2W000010".to_owned(), ..good.clone() },
        Loan { enterprise_id: "short\0".to_owned(), ..good.clone() },
        Loan { institution_id: "Sample Bank".to_owned(), ..good.clone() },
        Loan { product_id: String::new(), ..good.clone() },
        Loan { approved_at: None, ..good.clone() },
        Loan { approved_at: Some(before_the_calendar), ..good.clone() },
        Loan { approved_at: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), ..good.clone() },
    ];
    // The subject's last token stays one that a broker takes.
    let fact = |loan: Loan| Event::of("key", &LoanApproved { loan: Some(loan), ..LoanApproved::default() });
    let subject = format!("{}.key", LoanApproved::SUBJECT);
    let mut events: Vec<Event> = broken.into_iter().map(fact).collect();
    events.push(Event::of("key", &LoanApproved::default()));
    events.push(Event::new(&subject, LoanDisbursed::TYPE, "application/protobuf", ""));
    events.push(Event::new(&subject, LoanApproved::TYPE, "application/protobuf", vec![0xff; 40]));
    let laid_aside = i64::try_from(events.len()).unwrap();
    // A name that can't be stored as it is costs nobody the message.
    let named = Loan { institution_name_zh: "示例\0银行\n".to_owned(), ..good };
    events.push(approved(&named));
    Deliveries::new(events).publish(&world.events).await.unwrap();

    let messages = world.all_become(1, SmsState::Sent).await;
    assert_eq!(messages[0].loan_id, named.loan_id);
    assert!(messages[0].text_zh.contains("在示例银行申请"), "{}", messages[0].text_zh);
    eventually(PATIENCE, "what is broken is laid aside", || async {
        let letters = world.count("SELECT count(*) FROM runtime.dead_letter WHERE consumer = 'feedback-loans'").await;
        Ok((letters == laid_aside).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(world.count("SELECT count(*) FROM loan").await, 1);
    assert_eq!(provider.counts(), [1]);
    world.stop().await;
}
