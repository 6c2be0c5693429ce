//! One SMS a loan, whatever the provider does.

use tonic::Code;
use zhirong_proto::feedback::v1::{SetContactRequest, Sms, SmsDelivered, SmsFailed, SmsState};
use zhirong_testkit::eventually;

use crate::{
    provider::{Mood, Provider},
    support::{PATIENCE, World, enterprise, enterprise_call, loan, new_id, refusal, staff},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_its_contact_and_names_the_institution() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (early, late) = (enterprise(1), enterprise(2));
    world.contact(&early).await;
    for uscc in [&early, &late] {
        world.approve(&loan(uscc)).await;
    }
    eventually(PATIENCE, "one is sent and one waits", || async {
        let mut states: Vec<SmsState> = world.messages().await.iter().map(Sms::state).collect();
        states.sort();
        Ok((states == [SmsState::WaitingContact, SmsState::Sent]).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(provider.handed_over(), 1);
    world.contact(&late).await;
    let messages = world.all_become(2, SmsState::Sent).await;
    for message in messages {
        assert!(message.text_zh.starts_with("【智融】") && message.text_zh.contains("示例银行"), "{}", message.text_zh);
        assert_eq!(message.phone_masked, "138****1234");
        assert_eq!(message.provider_message_id, format!("provider-{}", message.sms_id));
        assert!(message.sent_at.is_some());
    }
    assert_eq!(provider.counts(), [1, 1], "the provider got each message once");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_unknown_fate_is_asked_about_and_not_sent_again() {
    let (provider, url) = Provider::start(Mood::TakesAndFallsSilent).await;
    let world = World::start(&url).await;
    let uscc = enterprise(3);
    world.contact(&uscc).await;
    world.approve(&loan(&uscc)).await;
    let messages = world.all_become(1, SmsState::Sent).await;
    assert_eq!(provider.counts(), [1], "taken once, although the first answer never came");
    assert_eq!(provider.handed_over(), 1);
    assert!(provider.asked() >= 1);
    assert!(messages[0].provider_message_id.starts_with("provider-"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_sender_died_is_asked_about_before_it_is_sent() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (reached, lost) = (enterprise(4), enterprise(5));
    world.approve_all(&[loan(&reached), loan(&lost)]).await;
    let taken = world.messages().await.into_iter().find(|message| message.enterprise_id == reached.as_str()).unwrap();
    // Two senders died with a claim that has run out: one after the provider took the message, one before.
    provider.note_taken(&taken.sms_id);
    sqlx::query(
        "WITH contacts AS (
             INSERT INTO contact SELECT enterprise_id, '13800001234', now() FROM sms ORDER BY enterprise_id)
         UPDATE sms SET state = 'sending', attempts = 1, due_at = now() - interval '1 second', version = version + 1",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    world.all_become(2, SmsState::Sent).await;
    assert_eq!(provider.counts(), [1, 1], "none twice, none never");
    assert_eq!((provider.asked(), provider.handed_over()), (2, 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_provider_is_asked_and_tried_again_and_a_refusal_is_final() {
    let (provider, url) = Provider::start(Mood::Fails).await;
    let world = World::start(&url).await;
    let (patient, refused) = (enterprise(6), enterprise(7));
    world.contact(&patient).await;
    world.approve(&loan(&patient)).await;
    world.all_become(1, SmsState::Unknown).await;
    provider.is_now(Mood::Takes);
    let sent = world.all_become(1, SmsState::Sent).await;
    assert_eq!(provider.counts(), [1]);
    assert!(provider.asked() >= 1, "a failure says nothing of the message's fate");

    provider.is_now(Mood::Refuses);
    world.contact(&refused).await;
    let hopeless = loan(&refused);
    world.approve(&hopeless).await;
    let failed = eventually(PATIENCE, "the second one is refused for good", || async {
        Ok(world.messages().await.into_iter().find(|message| message.state() == SmsState::Failed))
    })
    .await
    .unwrap();
    assert!(failed.last_error.contains("400"), "{}", failed.last_error);
    assert_eq!(failed.attempts, 1);
    let delivered = world.announced::<SmsDelivered>().await;
    assert_eq!(delivered, [SmsDelivered { sms_id: sent[0].sms_id.clone(), loan_id: sent[0].loan_id.clone() }]);
    let reason = failed.last_error.clone();
    let fact = SmsFailed { sms_id: failed.sms_id.clone(), loan_id: hopeless.loan_id.clone(), reason };
    assert_eq!(world.announced::<SmsFailed>().await, [fact]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_provider_surely_did_not_take_it() {
    let (provider, url) = Provider::start(Mood::IsBusy).await;
    let world = World::start(&url).await;
    let uscc = enterprise(8);
    world.contact(&uscc).await;
    world.approve(&loan(&uscc)).await;
    eventually(PATIENCE, "one try", || async { Ok((provider.handed_over() > 0).then_some(())) }).await.unwrap();
    provider.is_now(Mood::Takes);
    world.all_become(1, SmsState::Sent).await;
    assert_eq!((provider.counts(), provider.asked()), (vec![1], 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_set_by_its_enterprise_or_by_staff() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let (own, other) = (enterprise(9), enterprise(10));
    let set = |enterprise_id: &str, phone: &str| SetContactRequest {
        request_id: new_id(),
        enterprise_id: enterprise_id.to_owned(),
        phone: phone.to_owned(),
    };
    let mut contacts = world.contacts();
    let refused = refusal(contacts.set_contact(enterprise_call(&own, set(other.as_str(), "13800001234"))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::PermissionDenied, "NOT_YOURS"));
    let refused = refusal(contacts.set_contact(enterprise_call(&own, set("", "057188888888"))).await);
    assert_eq!((refused.reason.as_str(), refused.fields), ("PHONE_INVALID", vec!["phone".to_owned()]));
    let refused = refusal(contacts.set_contact(staff(set("91331102MA2W000010", "13800001234"))).await);
    assert_eq!((refused.reason.as_str(), refused.fields), ("USCC_INVALID", vec!["enterprise_id".to_owned()]));
    assert_eq!(world.count("SELECT count(*) FROM contact").await, 0);

    let request = set(other.as_str(), "13800001234");
    let first = contacts.set_contact(staff(request.clone())).await.unwrap().into_inner();
    contacts.set_contact(staff(set(other.as_str(), "13900005678"))).await.unwrap();
    assert_eq!((first.phone_masked.as_str(), first.enterprise_id.as_str()), ("138****1234", other.as_str()));
    let again = contacts.set_contact(staff(request.clone())).await.unwrap().into_inner();
    assert_eq!(again, first, "the first answer");
    // Not even one of which no more is shown is taken for the same.
    let other_number = SetContactRequest { phone: "13855551234".to_owned(), ..request };
    let refused = refusal(contacts.set_contact(staff(other_number)).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    world.approve(&loan(&other)).await;
    world.all_become(1, SmsState::Sent).await;
    assert_eq!(provider.phones(), ["13900005678"], "repeating an old request changes nothing");
    world.stop().await;
}
