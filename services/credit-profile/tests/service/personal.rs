//! Personal data: sealed where they are kept, masked for whoever need not know them, found by phone, their keys changed while
//! they are used.

use tonic::Code;
use zhirong_kernel::Uscc;
use zhirong_proto::profile::v1::{
    AuditEntry, AuditKind, FindByPhoneRequest, GetKeyRotationRequest, GetLegalRepresentativeRequest,
    LegalRepresentative, Purpose, PutLegalRepresentativeRequest, Scope,
    personal_data_service_client::PersonalDataServiceClient,
};
use zhirong_testkit::{Kept, eventually};

use crate::keys::sealing;
use crate::trusted::named;
use crate::world::{PATIENCE, World, as_bank, as_enterprise, as_operator, as_staff, enterprise, fields, id, reason};

const NAME: &str = "示例法人";
/// The example of GB 11643.
const ID_NUMBER: &str = "11010519491231002X";
const PHONE: &str = "13800000001";

fn person(uscc: &Uscc) -> LegalRepresentative {
    LegalRepresentative {
        enterprise_id: uscc.to_string(),
        name: NAME.to_owned(),
        id_number: ID_NUMBER.to_owned(),
        phone: PHONE.to_owned(),
        masked: false,
    }
}

fn put(person: LegalRepresentative) -> PutLegalRepresentativeRequest {
    PutLegalRepresentativeRequest { request_id: id(), legal_representative: Some(person) }
}

fn get(uscc: &Uscc) -> GetLegalRepresentativeRequest {
    GetLegalRepresentativeRequest { enterprise_id: uscc.to_string(), purpose: Purpose::LoanApplication.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_what_is_theirs_to_see_and_the_database_nothing() {
    let world = World::trusted().await;
    let uscc = enterprise(1);
    world.known(&uscc, 1).await;
    let mut client = PersonalDataServiceClient::new(world.channel.clone());
    let request = put(person(&uscc));
    let kept = client.put_legal_representative(as_enterprise(&uscc, request.clone())).await.unwrap().into_inner();
    let again = client.put_legal_representative(as_enterprise(&uscc, request)).await.unwrap().into_inner();
    assert_eq!(kept, again);
    let kept = kept.legal_representative.unwrap();
    assert_eq!((kept.name.as_str(), kept.phone.as_str(), kept.masked), ("示***", "138****0001", true));

    let own = client.get_legal_representative(as_enterprise(&uscc, get(&uscc))).await.unwrap().into_inner();
    assert_eq!(own.legal_representative.unwrap(), person(&uscc));
    let staff = client.get_legal_representative(as_staff(get(&uscc))).await.unwrap().into_inner();
    assert_eq!(staff.legal_representative.unwrap(), kept);
    let other = client.get_legal_representative(as_enterprise(&enterprise(2), get(&uscc))).await.unwrap_err();
    assert_eq!(reason(&other), "PERSONAL_DATA_NOT_FOUND");

    // A bank: by consent to personal data, not by consent to anything else.
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, named(&["patent"]), 3600).await;
    let refused = client.get_legal_representative(as_bank("bank-a", get(&uscc))).await.unwrap_err();
    assert_eq!(reason(&refused), "CONSENT_REQUIRED");
    let scope = Scope { personal_data: true, ..Scope::default() };
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, scope, 3600).await;
    let bank = client.get_legal_representative(as_bank("bank-a", get(&uscc))).await.unwrap().into_inner();
    assert_eq!(bank.legal_representative.unwrap(), person(&uscc));
    let kinds: Vec<AuditKind> = world.trail().await.iter().map(AuditEntry::kind).collect();
    assert_eq!(kinds, [AuditKind::PersonalRead, AuditKind::PersonalRefused, AuditKind::PersonalReleased]);

    // In no table of the database, neither as text nor as bytes.
    let kept = Kept::in_database(world.database.url()).await.unwrap();
    assert!(kept.has_text(uscc.as_str()), "the tables were looked at");
    assert!(kept.has_bytes("138****0001"), "and what is in bytes in them: the answer that was kept");
    for secret in [NAME, ID_NUMBER, PHONE] {
        assert!(!kept.has(secret), "{secret} is in the database in clear");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_found_without_being_readable() {
    let world = World::trusted().await;
    let mut client = PersonalDataServiceClient::new(world.channel.clone());
    for number in [3, 4] {
        client.put_legal_representative(as_staff(put(person(&enterprise(number))))).await.unwrap();
    }
    let other = LegalRepresentative { phone: "13900000002".to_owned(), ..person(&enterprise(5)) };
    client.put_legal_representative(as_staff(put(other))).await.unwrap();
    let find = |phone: &str| as_staff(FindByPhoneRequest { phone: phone.to_owned() });
    let found = client.find_by_phone(find(PHONE)).await.unwrap().into_inner().legal_representatives;
    let mut expected = [3, 4].map(|number| enterprise(number).to_string());
    expected.sort();
    assert_eq!(found.iter().map(|one| one.enterprise_id.clone()).collect::<Vec<_>>(), expected);
    assert!(found.iter().all(|one| one.masked && one.phone == "138****0001"));
    assert!(client.find_by_phone(find("13700000000")).await.unwrap().into_inner().legal_representatives.is_empty());
    assert_eq!(reason(&client.find_by_phone(find("１3800000001")).await.unwrap_err()), "PHONE_INVALID");

    // Whom staff wrote, found, and looked for in vain is on the trail; the number is not.
    let trail = world.chain().await;
    let told: Vec<_> = trail.iter().map(|entry| (entry.kind(), entry.enterprise_id.as_str())).collect();
    let [third, fourth, fifth] = [3, 4, 5].map(|number| enterprise(number).to_string());
    assert_eq!(told[..3], [&third, &fourth, &fifth].map(|of| (AuditKind::PersonalWritten, of.as_str())));
    assert_eq!(told[3..5], [&expected[0], &expected[1]].map(|of| (AuditKind::PersonalRead, of.as_str())));
    assert_eq!(told[5..], [(AuditKind::PersonalRead, "")]);
    assert!(trail.iter().all(|entry| entry.caller == "staff:test"
        && ![PHONE, "****"].iter().any(|number| format!("{entry:?}").contains(number))));

    // What is wrong is named, and not repeated.
    let wrong = LegalRepresentative { id_number: "110105194912310021".to_owned(), ..person(&enterprise(6)) };
    let status = client.put_legal_representative(as_staff(put(wrong))).await.unwrap_err();
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::InvalidArgument, vec!["legal_representative.id_number".into()])
    );
    assert!(!format!("{status:?}").contains("110105194912310021"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn master_keys_change_while_the_data_are_used_and_the_old_one_can_be_thrown_away() {
    let world = World::trusted().await;
    let many = 230;
    let mut client = PersonalDataServiceClient::new(world.channel.clone());
    for number in 0..many {
        client.put_legal_representative(as_staff(put(person(&enterprise(number))))).await.unwrap();
    }
    let world = world.again(sealing("1=ONE,2=TWO")).await;
    let uscc = enterprise(0);
    let read = async |world: &World| {
        let mut client = PersonalDataServiceClient::new(world.channel.clone());
        client.get_legal_representative(as_enterprise(&uscc, get(&uscc))).await
    };
    let rotation = eventually(PATIENCE, "nothing remains", || async {
        // It can be read at any moment of the change.
        assert!(read(&world).await.is_ok());
        let mut client = PersonalDataServiceClient::new(world.channel.clone());
        let rotation = client.get_key_rotation(as_operator(GetKeyRotationRequest {})).await.unwrap().into_inner();
        assert_eq!(rotation.done + rotation.remaining, i64::from(many));
        Ok((rotation.remaining == 0).then_some(rotation))
    })
    .await
    .unwrap();
    assert_eq!((rotation.newest_version, rotation.done), (2, i64::from(many)));
    let world = world.again(sealing("2=TWO")).await;
    assert_eq!(read(&world).await.unwrap().into_inner().legal_representative.unwrap(), person(&uscc));
    let mut client = PersonalDataServiceClient::new(world.channel.clone());
    let request = FindByPhoneRequest { phone: PHONE.to_owned() };
    let found = client.find_by_phone(as_staff(request)).await.unwrap().into_inner().legal_representatives;
    assert_eq!(found.len(), 100, "as many as are shown");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_can_not_be_opened_keep_nobody_waiting_and_a_key_can_be_gone_back_to() {
    let world = World::trusted().await;
    let (many, broken): (u32, i64) = (105, 101);
    let mut client = PersonalDataServiceClient::new(world.channel.clone());
    for number in 0..many {
        client.put_legal_representative(as_staff(put(person(&enterprise(number))))).await.unwrap();
    }
    // More than are taken at once, and they come first.
    let spoilt = "UPDATE legal_representative SET data_key = '\\x00' WHERE enterprise_id IN (
                      SELECT enterprise_id FROM legal_representative ORDER BY enterprise_id LIMIT $1)";
    sqlx::query(spoilt).bind(broken).execute(&world.pool().await).await.unwrap();
    let rotation = async |world: &World, newest: i32, done: i64| {
        eventually(PATIENCE, &format!("{done} are sealed with key {newest}"), || async {
            let mut client = PersonalDataServiceClient::new(world.channel.clone());
            let now = client.get_key_rotation(as_operator(GetKeyRotationRequest {})).await.unwrap().into_inner();
            Ok(((now.newest_version, now.done) == (newest, done)).then_some(now))
        })
        .await
        .unwrap()
    };
    let world = world.again(sealing("1=ONE,2=TWO")).await;
    let others = i64::from(many) - broken;
    assert_eq!(rotation(&world, 2, others).await.remaining, broken);
    let deleted = "DELETE FROM legal_representative WHERE data_key = '\\x00'";
    sqlx::query(deleted).execute(&world.pool().await).await.unwrap();
    // Key 2 was no good: what it has sealed goes back to key 1.
    let world = world.again(sealing("seal=1,1=ONE,2=TWO")).await;
    assert_eq!(rotation(&world, 1, others).await.remaining, 0);
    world.stop().await;
}
