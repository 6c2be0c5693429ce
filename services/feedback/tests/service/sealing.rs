//! Phones: sealed where they are kept, whatever was there before, their keys changed while messages are sent.

use tokio_util::sync::CancellationToken;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::feedback::v1::{GetKeyRotationResponse, Sms, SmsState};
use zhirong_runtime::{Error, config::Settings};
use zhirong_testkit::{Kept, TestBroker, TestDatabase, eventually};

use crate::{
    provider::{Mood, Provider},
    support::{KEYS, PATIENCE, World, enterprise, loan, own},
};

const PHONE: &str = "13800001234";

/// Contacts as a release of before has left them.
async fn left_plain(world: &World, enterprises: impl Iterator<Item = Uscc>) {
    let enterprises: Vec<String> = enterprises.map(|uscc| uscc.to_string()).collect();
    let insert =
        "INSERT INTO contact (enterprise_id, phone, updated_at) SELECT id, $2, now() FROM unnest($1::text[]) AS id";
    sqlx::query(insert).bind(enterprises).bind(PHONE).execute(&world.pool).await.unwrap();
}

/// Waits until nothing remains to be sealed.
async fn all_sealed(world: &World, many: i64) -> GetKeyRotationResponse {
    eventually(PATIENCE, "nothing remains", || async {
        let rotation = world.rotation().await;
        assert_eq!(rotation.done + rotation.remaining, many);
        Ok((rotation.remaining == 0).then_some(rotation))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_in_no_table_and_yet_its_messages_reach_it() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let uscc = enterprise(1);
    world.contact(&uscc).await;
    world.approve(&loan(&uscc)).await;
    world.all_become(1, SmsState::Sent).await;
    assert_eq!(provider.phones(), [PHONE]);

    let kept = Kept::in_database(world.database.url()).await.unwrap();
    assert!(kept.has_text(uscc.as_str()), "the tables were looked at");
    assert!(kept.has_bytes("138****1234"), "and what is in bytes in them: the answer that was kept");
    assert!(!kept.has(PHONE), "the phone is in the database in clear");
    assert_eq!(world.rotation().await, GetKeyRotationResponse { newest_version: 1, done: 1, remaining: 0 });
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_of_before_are_used_as_they_are_and_sealed_by_and_by() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let many: i64 = 230;
    // The first pass is over; the next comes in a minute.
    world.contact(&enterprise(0)).await;
    left_plain(&world, (1..230).map(enterprise)).await;
    let uscc = enterprise(1);
    world.approve(&loan(&uscc)).await;
    let sent = world.all_become(1, SmsState::Sent).await;
    assert_eq!((provider.phones(), sent[0].phone_masked.as_str()), (vec![PHONE.to_owned()], "138****1234"));

    let world = world.again(KEYS).await;
    assert_eq!(all_sealed(&world, many).await.newest_version, 1);
    assert_eq!(world.count("SELECT count(*) FROM contact WHERE phone IS NOT NULL").await, 0);
    assert!(!Kept::in_database(world.database.url()).await.unwrap().has(PHONE));
    world.approve(&loan(&uscc)).await;
    world.all_become(2, SmsState::Sent).await;
    assert_eq!(provider.phones(), [PHONE], "the same as before");
    // One that is set anew before it was sealed is sealed then.
    left_plain(&world, [enterprise(500)].into_iter()).await;
    world.contact(&enterprise(500)).await;
    assert_eq!(world.count("SELECT count(*) FROM contact WHERE phone IS NOT NULL").await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_while_messages_are_sent_and_the_old_one_can_be_thrown_away() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    for number in 1..=3 {
        world.contact(&enterprise(number)).await;
    }
    let world = world.again("seal=1,1=ONE,2=TWO").await;
    world.contact(&enterprise(4)).await;
    assert_eq!(world.rotation().await, GetKeyRotationResponse { newest_version: 1, done: 4, remaining: 0 });
    let mut world = world.again("1=ONE,2=TWO").await;
    world.approve(&loan(&enterprise(1))).await;
    world.all_become(1, SmsState::Sent).await;
    assert_eq!(all_sealed(&world, 4).await.newest_version, 2);
    // A key can be gone back to, should the new one be no good.
    for (keys, seals) in [("seal=1,1=ONE,2=TWO", 1), ("1=ONE,2=TWO", 2)] {
        world = world.again(keys).await;
        assert_eq!(all_sealed(&world, 4).await.newest_version, seals);
    }
    let world = world.again("2=TWO").await;
    world.approve(&loan(&enterprise(4))).await;
    let sent = world.all_become(2, SmsState::Sent).await;
    assert!(sent.iter().all(|message| message.phone_masked == "138****1234"), "{sent:?}");
    assert_eq!((provider.counts(), provider.phones()), (vec![1, 1], vec![PHONE.to_owned()]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_wrong_key_messages_wait_and_say_why_until_it_is_right() {
    let (provider, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let uscc = enterprise(1);
    world.contact(&uscc).await;
    let world = world.again("1=TWO").await;
    world.approve(&loan(&uscc)).await;
    let waits: Sms = eventually(PATIENCE, "the message was tried", || async {
        let message = world.messages().await.into_iter().next();
        Ok(message.filter(|message| !message.last_error.is_empty()))
    })
    .await
    .unwrap();
    assert!(waits.last_error.contains("personal.data_keys"), "{}", waits.last_error);
    assert!(matches!(waits.state(), SmsState::Queued | SmsState::Sending), "{waits:?}");
    assert_eq!((waits.phone_masked.as_str(), provider.handed_over()), ("***********", 0));

    let world = world.again(KEYS).await;
    let sent = world.all_become(1, SmsState::Sent).await;
    assert_eq!((sent[0].last_error.as_str(), provider.phones()), ("", vec![PHONE.to_owned()]));
    assert_eq!((provider.counts(), provider.asked()), (vec![1], 0), "nothing of it had left");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_it_does_not_start_and_says_what_is_missing() {
    let (database, broker) = (TestDatabase::empty().await.unwrap(), TestBroker::start().await.unwrap());
    let folder = zhirong_testkit::folder().unwrap();
    let common = zhirong_testkit::settings(&database, &broker, &folder.path().join("grpc")).unwrap();
    let settings = Settings { common, own: own("http://127.0.0.1:1", String::new()) };
    let refused = feedback::serve(settings, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&refused, Error::Config(why) if why.starts_with("personal.data_keys must be like")), "{refused}");
}
