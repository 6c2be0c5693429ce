//! Checks the audit trail of profiles by its rules alone, without the service's own code: the chain of hashes, the signature of
//! each entry and checkpoint, and that nothing known before is missing. For that it asks the broker for the ends that were signed,
//! and remembers where the chain ended and whose keys signed it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use prost::Message as _;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zhirong_kernel::clock::{Clock as _, SystemClock};
use zhirong_proto::profile::v1::{
    AuditCheckpoint, AuditEntry, AuditRecord, ListAuditCheckpointsRequest, ListAuditRecordsRequest,
    audit_service_client::AuditServiceClient,
};

use crate::client::Authorised;

mod anchors;
#[cfg(test)]
mod tests;

pub use anchors::Broker;
use anchors::{Outside, Told};

const PAGE: i32 = 500;
/// Faults shown at most; one change can make many.
const SHOWN: usize = 20;

/// Nothing is wrong with the chain as far as it goes, and nothing outside of the database says how far it went.
#[derive(Debug, thiserror::Error)]
#[error(
    "no fault was found, but the end of the audit trail was not checked against anything outside of the database: {0}"
)]
pub struct EndUnchecked(String);

/// What a run remembers for the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Who signs: public keys by number, in hexadecimal.
    #[serde(default)]
    public_keys: BTreeMap<i32, String>,
    /// The first of them, as a run wrote it when there was one alone.
    #[serde(default, skip_serializing)]
    public_key: Option<String>,
    /// The last entry.
    sequence: i64,
    /// Its hash, in hexadecimal.
    hash: String,
}

/// Public keys by number.
type Keys = BTreeMap<i32, Vec<u8>>;

/// Where a run remembers what it saw of the trail behind this gateway, unless it is told.
pub fn remembered_in(gateway: &str) -> Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.context("there is no home folder to remember in: give --remember FILE, or --no-remember")?;
    let host = gateway.split_once("://").map_or(gateway, |(_, host)| host);
    let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    Ok(home.join(".local/state/zhirong").join(format!("audit-{name}.json")))
}

/// Checks everything; fails when there is a fault, and with [`EndUnchecked`] when nobody but the database knows of the end.
pub async fn verify(channel: &Authorised, remember: Option<&Path>, broker: &Broker) -> Result<()> {
    let known = remember.filter(|file| file.exists()).map(read).transpose()?;
    let remembered = known.is_some();
    // What was signed first: whatever is added meanwhile, the chain that follows must hold all of it.
    let told = broker.told().await;
    let (checkpoints, keys) = checkpoints(channel).await?;
    let last = checkpoints.last().and_then(|last| Some((last.sequence, instant(last)?)));
    let anchors = if let Told::Anchors(anchors) = &told { anchors.as_slice() } else { &[] };
    let mut check = Check::new(checkpoints, anchors, known, keys);
    let mut client = AuditServiceClient::new(channel.clone());
    let mut page_token = String::new();
    loop {
        let page =
            client.list_audit_records(ListAuditRecordsRequest { page_size: PAGE, page_token }).await?.into_inner();
        for record in &page.records {
            check.record(record);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let (faults, end, signed) = check.end();
    for fault in faults.iter().take(SHOWN) {
        println!("FAULT  {fault}");
    }
    if !faults.is_empty() {
        if let Some(file) = remember {
            println!("an earlier run remembered in {} what it saw", file.display());
        }
        bail!("the audit trail is not what it was: {} faults", faults.len());
    }
    println!("{} entries in one unbroken chain, {signed} checkpoints; it ends with {}", end.sequence, end.hash);
    for (number, key) in &end.public_keys {
        println!("signed by key {number}: {key}");
    }
    let outside = Outside { told: &told, remembered, end: end.sequence, last, now: SystemClock.now() };
    if let Some(file) = remember {
        write(file, &end)?;
    }
    match outside.unchecked() {
        Some(why) => Err(EndUnchecked(why).into()),
        None => {
            let by = if remembered { "the run before" } else { "no run before" };
            println!("the end was checked against {by} and {} checkpoints that the broker keeps", anchors.len());
            Ok(())
        }
    }
}

/// In one step, so that a kill leaves the old or the new.
fn write(file: &Path, end: &Remembered) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_string_pretty(end)?).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("writing {}", file.display()))
}

fn read(file: &Path) -> Result<Remembered> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what an earlier run wrote", file.display()))
}

/// All checkpoints, and the keys that the service has in its settings.
async fn checkpoints(channel: &Authorised) -> Result<(Vec<AuditCheckpoint>, Keys)> {
    let mut client = AuditServiceClient::new(channel.clone());
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditCheckpointsRequest { page_size: PAGE, page_token };
        let page = client.list_audit_checkpoints(request).await?.into_inner();
        all.extend(page.checkpoints);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok((all, page.signing_keys.into_iter().map(|key| (key.number, key.public_key)).collect()));
        }
    }
}

impl Remembered {
    /// The keys it knows, those that can be read.
    fn keys(&self) -> impl Iterator<Item = (i32, Vec<u8>)> {
        let first = self.public_key.iter().map(|key| (1, key));
        let all = first.chain(self.public_keys.iter().map(|(number, key)| (*number, key)));
        all.filter_map(|(number, key)| Some((number, hex::decode(key).ok()?)))
    }
}

/// The chain as far as it was read.
struct Check {
    checkpoints: BTreeMap<i64, AuditCheckpoint>,
    /// Hashes that the broker keeps, by entry: of one there may be several, when another stood there before.
    anchors: BTreeMap<i64, BTreeSet<Vec<u8>>>,
    signed: usize,
    known: Option<Remembered>,
    keys: Keys,
    sequence: i64,
    hash: Vec<u8>,
    faults: Vec<String>,
}

impl Check {
    /// What an earlier run knows of a key goes before what the service says now.
    fn new(
        checkpoints: Vec<AuditCheckpoint>,
        told: &[AuditCheckpoint],
        known: Option<Remembered>,
        mut keys: Keys,
    ) -> Self {
        let mut faults = Vec::new();
        for (number, key) in known.iter().flat_map(Remembered::keys) {
            if keys.insert(number, key.clone()).is_some_and(|now| now != key) {
                faults.push(format!("key {number} is not the one an earlier run has seen"));
            }
        }
        for checkpoint in &checkpoints {
            if let Err(error) = signed(checkpoint, &keys) {
                faults.push(format!("checkpoint {}: {error}", checkpoint.sequence));
            }
        }
        let mut anchors: BTreeMap<i64, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for anchor in told {
            match signed(anchor, &keys) {
                Ok(()) => _ = anchors.entry(anchor.sequence).or_default().insert(anchor.hash.clone()),
                Err(error) => faults.push(format!("what the broker keeps of entry {}: {error}", anchor.sequence)),
            }
        }
        Self {
            anchors,
            signed: checkpoints.len(),
            checkpoints: checkpoints.into_iter().map(|checkpoint| (checkpoint.sequence, checkpoint)).collect(),
            known,
            keys,
            sequence: 0,
            hash: vec![0; 32],
            faults,
        }
    }

    fn record(&mut self, record: &AuditRecord) {
        let expected = self.sequence.saturating_add(1);
        if record.sequence > expected {
            let last = record.sequence.saturating_sub(1);
            self.faults.push(format!("entries {expected} to {last} were removed"));
        } else if record.sequence < expected {
            self.faults.push(format!("entry {} was put in before the first or twice", record.sequence));
        }
        let mut hasher = Sha256::new();
        hasher.update(&self.hash);
        hasher.update(&record.content);
        if hasher.finalize().as_slice() != record.hash && record.sequence == expected {
            self.faults.push(format!("entry {expected} was changed, or another one stood before it"));
        }
        match AuditEntry::decode(record.content.as_slice()) {
            Ok(entry) => {
                if entry.sequence != record.sequence {
                    self.faults.push(format!("entry {} was entry {}", record.sequence, entry.sequence));
                }
                // beside the content and outside of the hash: it decides which enterprise is told of the entry
                if record.enterprise_id.as_ref().is_some_and(|stored| *stored != entry.enterprise_id) {
                    self.faults
                        .push(format!("entry {} is stored under another enterprise than its own", record.sequence));
                }
            }
            Err(_) => self.faults.push(format!("entry {} can't be read", record.sequence)),
        }
        match self.keys.get(&record.signing_key) {
            None => {
                let (sequence, key) = (record.sequence, record.signing_key);
                self.faults.push(format!("entry {sequence} was signed with key {key}, which nobody knows"));
            }
            Some(key) if !verifies(key, b"zhirong.audit.entry.v1\0", &record.hash, &record.signature) => {
                self.faults
                    .push(format!("entry {} was put in or changed by somebody without the key", record.sequence));
            }
            Some(_) => {}
        }
        if self.checkpoints.remove(&record.sequence).is_some_and(|checkpoint| checkpoint.hash != record.hash) {
            self.faults.push(format!("entry {} is not the one its checkpoint was signed for", record.sequence));
        }
        if self.anchors.remove(&record.sequence).is_some_and(|hashes| hashes.iter().any(|hash| *hash != record.hash)) {
            self.faults.push(format!("entry {} is not the one that the broker was told of", record.sequence));
        }
        if let Some(known) = &self.known
            && known.sequence == record.sequence
            && known.hash != hex::encode(&record.hash)
        {
            self.faults.push(format!("entry {} is not the one an earlier run has seen", record.sequence));
        }
        self.sequence = record.sequence;
        self.hash.clone_from(&record.hash);
    }

    /// The faults, the end of the chain, the number of checkpoints.
    fn end(mut self) -> (Vec<String>, Remembered, usize) {
        let signed = self.checkpoints.keys().copied().max().unwrap_or_default();
        let seen = self.known.as_ref().map_or(0, |known| known.sequence);
        let first = self.sequence.saturating_add(1);
        let told = self.anchors.keys().copied().max().unwrap_or_default();
        let last = signed.max(seen).max(told);
        if last >= first {
            self.faults.push(format!("entries {first} to {last} were removed from the end"));
        }
        for sequence in self.checkpoints.keys().filter(|sequence| **sequence < first) {
            self.faults.push(format!("checkpoint {sequence} has no entry"));
        }
        let end = Remembered {
            public_keys: self.keys.iter().map(|(number, key)| (*number, hex::encode(key))).collect(),
            public_key: None,
            sequence: self.sequence,
            hash: hex::encode(&self.hash),
        };
        (self.faults, end, self.signed)
    }
}

fn verifies(public_key: &[u8], words: &[u8], content: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(&[words, content].concat(), signature).is_ok()
}

fn instant(checkpoint: &AuditCheckpoint) -> Option<Timestamp> {
    checkpoint.at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
}

fn signed(checkpoint: &AuditCheckpoint, keys: &Keys) -> Result<()> {
    let number = checkpoint.signing_key;
    let public_key =
        keys.get(&number).with_context(|| format!("it was signed with key {number}, which nobody knows"))?;
    ensure!(checkpoint.public_key == *public_key, "it is signed with another key");
    let at = instant(checkpoint).context("it has no time")?.as_microsecond();
    let content = [&checkpoint.sequence.to_be_bytes()[..], &checkpoint.hash, &at.to_be_bytes()[..]].concat();
    let genuine = verifies(public_key, b"zhirong.audit.checkpoint.v1\0", &content, &checkpoint.signature);
    ensure!(genuine, "its signature is not genuine");
    Ok(())
}
