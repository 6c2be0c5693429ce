//! The check over a chain made here, by two keys one after the other.

use prost::Message as _;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;

fn pair(number: i32) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[u8::try_from(number).unwrap(); 32]).unwrap()
}

fn public(number: i32) -> Vec<u8> {
    pair(number).public_key().as_ref().to_vec()
}

/// The next entry of a chain, signed with a key.
fn next(chain: &[AuditRecord], key: i32) -> AuditRecord {
    let sequence = i64::try_from(chain.len()).unwrap() + 1;
    let enterprise_id = format!("enterprise {sequence}");
    let content =
        AuditEntry { sequence, enterprise_id: enterprise_id.clone(), ..AuditEntry::default() }.encode_to_vec();
    let before = chain.last().map_or(vec![0; 32], |last| last.hash.clone());
    let hash = Sha256::digest([before, content.clone()].concat()).to_vec();
    let signature = pair(key).sign(&[&b"zhirong.audit.entry.v1\0"[..], &hash].concat()).as_ref().to_vec();
    AuditRecord { sequence, content, hash, signature, signing_key: key, enterprise_id: Some(enterprise_id) }
}

fn chain(keys: &[i32]) -> Vec<AuditRecord> {
    let mut chain = Vec::new();
    for key in keys {
        chain.push(next(&chain, *key));
    }
    chain
}

fn checkpoint(record: &AuditRecord, key: i32) -> AuditCheckpoint {
    let at = prost_types::Timestamp { seconds: 1, nanos: 0 };
    let content = [&record.sequence.to_be_bytes()[..], &record.hash, &1_000_000_i64.to_be_bytes()[..]].concat();
    let signed = [&b"zhirong.audit.checkpoint.v1\0"[..], &content].concat();
    AuditCheckpoint {
        sequence: record.sequence,
        hash: record.hash.clone(),
        at: Some(at),
        public_key: public(key),
        signature: pair(key).sign(&signed).as_ref().to_vec(),
        signing_key: key,
    }
}

fn found(
    chain: &[AuditRecord],
    checkpoints: Vec<AuditCheckpoint>,
    known: Option<Remembered>,
    keys: &[i32],
) -> (Vec<String>, Remembered) {
    held_against(chain, checkpoints, &[], known, keys)
}

fn held_against(
    chain: &[AuditRecord],
    checkpoints: Vec<AuditCheckpoint>,
    anchors: &[AuditCheckpoint],
    known: Option<Remembered>,
    keys: &[i32],
) -> (Vec<String>, Remembered) {
    let keys = keys.iter().map(|number| (*number, public(*number))).collect();
    let mut check = Check::new(checkpoints, anchors, known, keys);
    for record in chain {
        check.record(record);
    }
    let (faults, end, _) = check.end();
    (faults, end)
}

#[test]
fn a_chain_over_two_keys_is_unbroken_and_an_entry_by_an_unknown_one_is_named() {
    let whole = chain(&[1, 1, 2, 2]);
    let checkpoints = vec![checkpoint(&whole[1], 1), checkpoint(&whole[3], 2)];
    assert_eq!(found(&whole, checkpoints.clone(), None, &[1, 2]).0, Vec::<String>::new());
    let (faults, _) = found(&whole, checkpoints, None, &[2]);
    assert!(faults.iter().any(|fault| fault == "checkpoint 2: it was signed with key 1, which nobody knows"));
    let forged = chain(&[1, 2, 3]);
    assert_eq!(found(&forged, vec![], None, &[1, 2]).0, ["entry 3 was signed with key 3, which nobody knows"]);
    // Nor does it help to name a key that is known.
    let mut claimed = forged;
    claimed[2].signing_key = 2;
    assert_eq!(found(&claimed, vec![], None, &[1, 2]).0, ["entry 3 was put in or changed by somebody without the key"]);
}

#[test]
fn an_entry_put_in_between_and_a_forged_checkpoint_are_found() {
    let whole = chain(&[1, 1, 1]);
    // Put in after the first, with its place and its hash as they should be there, by somebody with a key of their own.
    let mut put_in = whole.clone();
    put_in.insert(1, AuditRecord { signing_key: 1, ..next(&whole[..1], 3) });
    let (faults, _) = found(&put_in, vec![checkpoint(&whole[2], 1)], None, &[1]);
    assert!(faults.contains(&"entry 2 was put in or changed by somebody without the key".to_owned()), "{faults:?}");
    // Nor with the key: what comes after no longer follows.
    put_in[1] = AuditRecord {
        content: AuditEntry { sequence: 2, order_id: "x".to_owned(), ..AuditEntry::default() }.encode_to_vec(),
        enterprise_id: None,
        ..put_in[1].clone()
    };
    let (faults, _) = found(&put_in, vec![], None, &[1]);
    assert!(!faults.is_empty());

    let mut forged = checkpoint(&whole[1], 1);
    forged.signature = checkpoint(&whole[1], 3).signature;
    let (faults, _) = found(&whole, vec![forged], None, &[1]);
    assert!(faults.iter().any(|fault| fault.starts_with("checkpoint 2")), "{faults:?}");
    let other = AuditCheckpoint { hash: whole[0].hash.clone(), ..checkpoint(&whole[1], 1) };
    assert!(!found(&whole, vec![other], None, &[1]).0.is_empty());
}

#[test]
fn a_truncated_tail_is_missed_by_who_remembers_also_over_a_change_of_keys() {
    let whole = chain(&[1, 1, 2]);
    let (faults, end) = found(&whole, vec![], None, &[1, 2]);
    assert!(faults.is_empty());
    let text = serde_json::to_string(&end).unwrap();
    let end: Remembered = serde_json::from_str(&text).unwrap();
    assert!(found(&whole[..2], vec![], None, &[1, 2]).0.is_empty(), "without a memory nobody sees it");
    assert_eq!(found(&whole[..2], vec![], Some(end.clone()), &[1, 2]).0, ["entries 3 to 3 were removed from the end"]);
    // The settings may forget a key; an earlier run does not, nor does it take another one for it.
    assert!(found(&whole, vec![], Some(end.clone()), &[2]).0.is_empty());
    let mut other = end.clone();
    other.public_keys.insert(2, hex::encode(public(3)));
    assert!(
        found(&whole, vec![], Some(other), &[1, 2]).0.contains(&"key 2 is not the one an earlier run has seen".into())
    );
    // What an earlier version remembered: one key alone.
    let before = format!(
        r#"{{"public_key":"{}","sequence":2,"hash":"{}"}}"#,
        hex::encode(public(1)),
        hex::encode(&whole[1].hash)
    );
    let before: Remembered = serde_json::from_str(&before).unwrap();
    assert!(found(&whole, vec![], Some(before.clone()), &[1, 2]).0.is_empty());
    assert_eq!(found(&whole[..1], vec![], Some(before), &[1, 2]).0, ["entries 2 to 2 were removed from the end"]);
}

#[test]
fn an_entry_that_is_stored_under_another_enterprise_is_found() {
    let mut whole = chain(&[1, 1]);
    whole[1].enterprise_id = Some(String::new());
    assert_eq!(found(&whole, vec![], None, &[1]).0, ["entry 2 is stored under another enterprise than its own"]);
    // A service from before says nothing of it.
    whole[1].enterprise_id = None;
    assert!(found(&whole, vec![], None, &[1]).0.is_empty());
}

#[test]
fn what_the_broker_keeps_tells_of_a_truncated_tail_and_of_another_one_in_its_place() {
    let whole = chain(&[1, 1, 1]);
    let anchors = [checkpoint(&whole[0], 1), checkpoint(&whole[2], 1)];
    let against =
        |chain: &[AuditRecord], anchors: &[AuditCheckpoint]| held_against(chain, vec![], anchors, None, &[1]).0;
    assert!(against(&whole, &anchors).is_empty());
    assert_eq!(against(&whole[..1], &anchors), ["entries 2 to 3 were removed from the end"]);
    // The service has gone on from there, and signs.
    let mut other = whole[..1].to_vec();
    for order_id in ["x", "y", "z"] {
        let mut record = next(&other, 1);
        let entry = AuditEntry { order_id: order_id.to_owned(), ..AuditEntry::decode(&*record.content).unwrap() };
        record.content = entry.encode_to_vec();
        record.hash = Sha256::digest([other.last().unwrap().hash.clone(), record.content.clone()].concat()).to_vec();
        let words = [&b"zhirong.audit.entry.v1\0"[..], &record.hash].concat();
        record.signature = pair(1).sign(&words).as_ref().to_vec();
        other.push(record);
    }
    assert!(against(&other, &[]).is_empty(), "without the broker nobody sees it");
    let later = [anchors.to_vec(), vec![checkpoint(&other[2], 1), checkpoint(&other[3], 1)]].concat();
    assert_eq!(against(&other, &later), ["entry 3 is not the one that the broker was told of"]);
    // Who has no key says nothing.
    let forged = AuditCheckpoint { signature: checkpoint(&whole[2], 2).signature, ..checkpoint(&whole[2], 1) };
    assert_eq!(against(&whole, &[forged]), ["what the broker keeps of entry 3: its signature is not genuine"]);
    assert_eq!(against(&whole, &[AuditCheckpoint::default()]).len(), 1, "what can't be read");
}

#[test]
fn the_end_is_checked_against_the_broker_or_a_run_before() {
    let last = checkpoint(&chain(&[1])[0], 1);
    let at = instant(&last).unwrap();
    let unchecked = |told: &Told, remembered: bool, later_s: i64| {
        let now = at.saturating_add(jiff::SignedDuration::from_secs(later_s)).unwrap();
        Outside { told, remembered, end: 1, last: Some((1, at)), now }.unchecked()
    };
    assert!(unchecked(&Told::NotAsked, false, 0).unwrap().contains("--nats"));
    assert_eq!(unchecked(&Told::NotAsked, true, 0), None);
    assert!(unchecked(&Told::Silent("no".to_owned()), true, 0).is_some(), "who asks wants to be answered");
    assert_eq!(unchecked(&Told::Anchors(vec![last]), false, 10_000), None);
    let none = Told::Anchors(vec![]);
    assert!(unchecked(&none, false, 0).unwrap().contains("no end yet"));
    assert_eq!(unchecked(&none, true, 3_600), None, "it may be on its way");
    assert!(unchecked(&none, true, 3_601).unwrap().contains("no end after entry 0"));
    let empty = Outside { told: &none, remembered: false, end: 0, last: None, now: at };
    assert_eq!(empty.unchecked(), None, "of nothing nothing is missing");
}

#[test]
fn each_gateway_is_remembered_in_a_file_of_its_own() {
    let (one, other) =
        (remembered_in("http://127.0.0.1:7000").unwrap(), remembered_in("https://district.example").unwrap());
    assert!(one.ends_with(".local/state/zhirong/audit-127.0.0.1-7000.json"), "{}", one.display());
    assert!(other.ends_with("audit-district.example.json"));
}
