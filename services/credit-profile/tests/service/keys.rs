//! Keys change while replicas serve: each is known everywhere before it is used anywhere.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use credit_profile::trust::{
    audit::{chained, checkpoint_content},
    keys::{Kind, SigningKeys},
};
use jiff::Timestamp;
use tonic::transport::Channel;
use zhirong_kernel::Uscc;
use zhirong_proto::profile::v1::{
    AuditRecord, FindByPhoneRequest, GetKeyRotationRequest, GetLegalRepresentativeRequest, IssueEnterpriseCodeRequest,
    LegalRepresentative, ListAuditCheckpointsRequest, ListAuditCheckpointsResponse, Purpose,
    PutLegalRepresentativeRequest, ReleaseProfileRequest, ResolveEnterpriseCodeRequest,
    audit_service_client::AuditServiceClient, enterprise_code_service_client::EnterpriseCodeServiceClient,
    personal_data_service_client::PersonalDataServiceClient, release_service_client::ReleaseServiceClient,
};
use zhirong_testkit::eventually;

use crate::trusted::whole;
use crate::world::{PATIENCE, World, as_bank, as_enterprise, as_operator, as_staff, enterprise, id};

const BANK: &str = "bank-a";

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

/// The public half of a seed.
fn public(byte: u8) -> String {
    let keys = SigningKeys::read(&format!("1={}", key(byte)).into(), "").unwrap();
    format!("public:{}", STANDARD.encode(keys.public_key()))
}

/// Signs with what the tests' settings have, key 1 of the seed 7, or what stands here.
fn signing(text: &str) -> credit_profile::Own {
    let mut own = credit_profile::Own::for_tests();
    own.trust.signing_keys = text.to_owned().into();
    own
}

async fn release(channel: &Channel, uscc: &Uscc) {
    let purpose = Purpose::LoanApplication.into();
    let request = ReleaseProfileRequest { enterprise_id: uscc.to_string(), purpose, scope: None };
    ReleaseServiceClient::new(channel.clone()).release_profile(as_bank(BANK, request)).await.unwrap();
}

async fn issue(channel: &Channel, uscc: &Uscc, consent_id: &str) -> String {
    let request = IssueEnterpriseCodeRequest { request_id: id(), consent_id: consent_id.to_owned(), valid_for_s: 300 };
    let mut codes = EnterpriseCodeServiceClient::new(channel.clone());
    codes.issue_enterprise_code(as_enterprise(uscc, request)).await.unwrap().into_inner().code
}

async fn resolve(channel: &Channel, code: String) {
    let request = ResolveEnterpriseCodeRequest { request_id: id(), code };
    let mut codes = EnterpriseCodeServiceClient::new(channel.clone());
    codes.resolve_enterprise_code(as_bank(BANK, request)).await.unwrap();
}

/// The first entry that is not chained, or not signed by the key that it names.
fn broken(records: &[AuditRecord], keys: &SigningKeys) -> Option<i64> {
    let mut before = vec![0; 32];
    let wrong = records.iter().find(|record| {
        let hash = chained(&before, &record.content);
        before.clone_from(&record.hash);
        hash != record.hash || !keys.signed(record.signing_key, Kind::Entry, &record.hash, &record.signature)
    });
    wrong.map(|record| record.sequence)
}

async fn checkpoints(channel: &Channel) -> ListAuditCheckpointsResponse {
    let request = ListAuditCheckpointsRequest { page_size: 500, page_token: String::new() };
    AuditServiceClient::new(channel.clone()).list_audit_checkpoints(as_staff(request)).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signing_key_changes_between_releases_and_the_old_seed_can_be_dropped() {
    let world = World::trusted().await;
    let uscc = enterprise(1);
    world.known(&uscc, 1).await;
    let consent = world.grant(&uscc, BANK, Purpose::LoanApplication, whole(), 3600).await.consent_id;
    release(&world.channel, &uscc).await;
    let (early, late) = (issue(&world.channel, &uscc, &consent).await, issue(&world.channel, &uscc, &consent).await);
    assert!(early.starts_with("ZR1."), "{early}");
    eventually(PATIENCE, "key 1 signs a checkpoint", || async {
        Ok((!checkpoints(&world.channel).await.checkpoints.is_empty()).then_some(()))
    })
    .await
    .unwrap();

    // Known everywhere, and still signed with the old one; then one replica signs with the new one, the other not yet.
    let mut world = world.again(signing(&format!("1={},2={}", key(7), public(9)))).await;
    release(&world.channel, &uscc).await;
    let new = world.beside(signing(&format!("1={},2={}", key(7), key(9)))).await;
    release(&new, &uscc).await;
    release(&world.channel, &uscc).await;
    release(&new, &uscc).await;
    let code = issue(&new, &uscc, &consent).await;
    assert!(code.starts_with("ZR2."), "{code}");
    resolve(&world.channel, code).await;
    resolve(&new, early).await;

    // The old seed is gone; what it signed verifies, and its codes hold for their minutes.
    let world = world.again(signing(&format!("1={},2={}", public(7), key(9)))).await;
    release(&world.channel, &uscc).await;
    resolve(&world.channel, late).await;

    let records = world.records().await;
    let keys: Vec<i32> = records.iter().map(|record| record.signing_key).collect();
    assert_eq!(keys, [1, 1, 2, 1, 2, 1, 2, 2, 2]);
    let public_keys = SigningKeys::read(&format!("1={},2={}", public(7), key(9)).into(), "").unwrap();
    assert_eq!(broken(&records, &public_keys), None);
    let told = eventually(PATIENCE, "key 2 signs the end", || async {
        let told = checkpoints(&world.channel).await;
        Ok(told.checkpoints.iter().any(|checkpoint| checkpoint.sequence == 9).then_some(told))
    })
    .await
    .unwrap();
    let of: Vec<(i32, Vec<u8>)> = told.signing_keys.into_iter().map(|key| (key.number, key.public_key)).collect();
    assert_eq!(of, public_keys.public().clone().into_iter().collect::<Vec<_>>());
    for checkpoint in &told.checkpoints {
        let at = checkpoint.at.unwrap();
        let at = Timestamp::new(at.seconds, at.nanos).unwrap();
        let content = checkpoint_content(checkpoint.sequence, &checkpoint.hash, at);
        assert!(public_keys.signed(checkpoint.signing_key, Kind::Checkpoint, &content, &checkpoint.signature));
        assert_eq!(public_keys.public()[&checkpoint.signing_key], checkpoint.public_key);
    }
    assert_eq!(told.checkpoints.last().unwrap().signing_key, 2);

    // Whoever can write the database and has a key of their own is found.
    let forger = SigningKeys::read(&format!("3={}", key(3)).into(), "").unwrap();
    let hash = chained(&records[8].hash, b"");
    let signature = forger.sign(Kind::Entry, &hash);
    let forgery = "INSERT INTO audit_entry (sequence, enterprise_id, content, hash, signature, signing_key)
                   VALUES (10, '', '', $1, $2, $3)";
    let pool = world.pool().await;
    for claimed in [3, 2] {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query(forgery).bind(&hash).bind(&signature.bytes).bind(claimed).execute(&mut *tx).await.unwrap();
        let row: (i64, Vec<u8>, Vec<u8>, Vec<u8>, i32) = sqlx::query_as(
            "SELECT sequence, content, hash, signature, signing_key FROM audit_entry WHERE sequence = 10",
        )
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        let (sequence, content, hash, signature, signing_key) = row;
        let forged = AuditRecord { sequence, content, hash, signature, signing_key, enterprise_id: None };
        assert_eq!(broken(&[records.clone(), vec![forged]].concat(), &public_keys), Some(10), "as key {claimed}");
    }
    world.stop().await;
}

/// Seals personal data with these keys; ONE is what the tests' settings have.
pub fn sealing(text: &str) -> credit_profile::Own {
    keeping(&format!("index=ONE,{text}"))
}

/// Seals personal data and finds phones with these keys.
fn keeping(text: &str) -> credit_profile::Own {
    let mut own = credit_profile::Own::for_tests();
    own.trust.data_keys = text.replace("ONE", &key(8)).replace("TWO", &key(9)).into();
    own
}

async fn put(channel: &Channel, uscc: &Uscc) {
    put_by(channel, uscc, id()).await;
}

async fn put_by(channel: &Channel, uscc: &Uscc, request_id: String) -> LegalRepresentative {
    let person = LegalRepresentative {
        enterprise_id: uscc.to_string(),
        name: "示例法人".to_owned(),
        id_number: "11010519491231002X".to_owned(),
        phone: "13800000001".to_owned(),
        masked: false,
    };
    let request = PutLegalRepresentativeRequest { request_id, legal_representative: Some(person) };
    let mut client = PersonalDataServiceClient::new(channel.clone());
    let kept = client.put_legal_representative(as_enterprise(uscc, request)).await.unwrap().into_inner();
    kept.legal_representative.unwrap()
}

/// Whom the phone of all of them finds.
async fn find(channel: &Channel) -> Vec<String> {
    let request = FindByPhoneRequest { phone: "13800000001".to_owned() };
    let mut client = PersonalDataServiceClient::new(channel.clone());
    let found = client.find_by_phone(as_staff(request)).await.unwrap().into_inner().legal_representatives;
    found.into_iter().map(|of| of.enterprise_id).collect()
}

/// Until so many data keys are sealed with key 2 and so many are not.
async fn progresses(channel: &Channel, done: i64, remaining: i64) {
    eventually(PATIENCE, &format!("{done} are sealed with key 2, {remaining} are not"), || async {
        let mut client = PersonalDataServiceClient::new(channel.clone());
        let rotation = client.get_key_rotation(as_operator(GetKeyRotationRequest {})).await.unwrap().into_inner();
        Ok(((rotation.newest_version, rotation.done, rotation.remaining) == (2, done, remaining)).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_while_all_are_found_and_the_progress_is_told() {
    let world = World::trusted().await;
    let all = [enterprise(1), enterprise(2), enterprise(3)];
    for uscc in &all {
        put(&world.channel, uscc).await;
    }
    // Somebody is changing one of them, for as long as it takes to look.
    let mut change = world.pool().await.begin().await.unwrap();
    sqlx::query("SELECT FROM legal_representative WHERE enterprise_id = $1 FOR UPDATE")
        .bind(all[1].as_str())
        .execute(&mut *change)
        .await
        .unwrap();
    let mut world = world.again(sealing("1=ONE,2=TWO")).await;
    progresses(&world.channel, 2, 1).await;
    let expected: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(find(&world.channel).await, expected, "those of either key are found");
    change.commit().await.unwrap();
    // the next look takes the last one, here at once by a replica that begins
    let new = world.beside(sealing("1=ONE,2=TWO")).await;
    progresses(&new, 3, 0).await;
    let world = world.again(sealing("2=TWO")).await;
    assert_eq!(find(&world.channel).await, expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_still_seal_with_the_old_key_read_what_the_new_one_seals() {
    let read = async |channel: &Channel, uscc: &Uscc| {
        let request = GetLegalRepresentativeRequest { enterprise_id: String::new(), purpose: 0 };
        let mut client = PersonalDataServiceClient::new(channel.clone());
        let answer = client.get_legal_representative(as_enterprise(uscc, request)).await.unwrap().into_inner();
        assert_eq!(answer.legal_representative.unwrap().name, "示例法人");
    };
    // One after the other learns of key 2 and goes on sealing with key 1: who has not learned of it reads that.
    let mut world = World::trusted().await;
    let (one, two) = (enterprise(1), enterprise(2));
    let new = world.beside(sealing("seal=1,1=ONE,2=TWO")).await;
    put(&new, &one).await;
    read(&world.channel, &one).await;
    // Then one after the other seals with it: all can read that.
    let mut world = world.again(sealing("seal=1,1=ONE,2=TWO")).await;
    let new = world.beside(sealing("1=ONE,2=TWO")).await;
    put(&new, &two).await;
    read(&world.channel, &two).await;
    progresses(&new, 2, 0).await;
    read(&world.channel, &one).await;
    let world = world.again(sealing("2=TWO")).await;
    read(&world.channel, &one).await;
    read(&world.channel, &two).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_that_finds_phones_changes_while_all_are_found_and_repeated_requests_are_known() {
    let mut world = World::trusted().await;
    let all = [1, 2, 3, 4].map(enterprise);
    for uscc in &all[..2] {
        put(&world.channel, uscc).await;
    }
    let (early, late) = (id(), id());
    let first = put_by(&world.channel, &all[2], early.clone()).await;
    let mut expected: Vec<String> = all.iter().map(ToString::to_string).collect();
    expected.sort();

    // Known everywhere, and used by one replica already.
    world = world.again(keeping("index=ONE,index2=TWO,blind=1,1=ONE")).await;
    let new = world.beside(keeping("index=ONE,index2=TWO,1=ONE")).await;
    let second = put_by(&new, &all[3], late.clone()).await;
    for channel in [&world.channel, &new] {
        assert_eq!(find(channel).await, expected, "those of either key are found");
        assert_eq!(put_by(channel, &all[2], early.clone()).await, first);
        assert_eq!(put_by(channel, &all[3], late.clone()).await, second);
    }

    // Used everywhere: what the old one indexed is indexed anew.
    world = world.again(keeping("index=ONE,index2=TWO,1=ONE")).await;
    eventually(PATIENCE, "all phones are indexed with key 2", || async {
        assert_eq!(find(&world.channel).await, expected, "at any moment of the change");
        let mut client = PersonalDataServiceClient::new(world.channel.clone());
        let now = client.get_key_rotation(as_operator(GetKeyRotationRequest {})).await.unwrap().into_inner();
        assert_eq!((now.newest_version, now.done, now.remaining), (1, 4, 0), "data keys stay");
        assert_eq!((now.index_version, now.indexed + now.index_remaining), (2, 4));
        Ok((now.index_remaining == 0).then_some(()))
    })
    .await
    .unwrap();
    world = world.again(keeping("index2=TWO,1=ONE")).await;
    assert_eq!(find(&world.channel).await, expected);
    assert_eq!(put_by(&world.channel, &all[3], late).await, second);
    world.stop().await;
}
