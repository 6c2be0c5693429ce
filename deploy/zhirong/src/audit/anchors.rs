//! The ends of the audit trail that credit-profile has signed, as the broker keeps them: outside of the database, in a stream that
//! nobody may delete from. And what the end that was found can be held against.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, ConnectOptions};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use serde_json::json;
use zhirong_proto::profile::v1::{AuditCheckpoint, AuditCheckpointed};

/// What a user that may read the stream, and nothing else, asks on.
const GET: &str = "$JS.API.DIRECT.GET.AUDIT";
/// Where that user may be answered.
const INBOX: &str = "_INBOX_audit";
/// Asked for at once.
const BATCH: usize = 500;
const PATIENCE: Duration = Duration::from_secs(20);
/// A checkpoint reaches the broker in seconds; by then something is wrong.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// The broker, which keeps the signed ends of the trail.
#[derive(Debug, Clone, clap::Args)]
pub struct Broker {
    /// The broker, which keeps the signed ends of the trail outside of the database, and is asked for them
    #[arg(long = "nats", value_name = "URL", env = "ZHIRONG_AUDIT_NATS")]
    url: Option<String>,
    /// File with the seed (nkey) of the broker's user `audit`; none where the broker lets anybody in
    #[arg(long, value_name = "FILE", env = "ZHIRONG_AUDIT_NATS_SEED_FILE")]
    nkey_seed_file: Option<PathBuf>,
    /// Leave out what the broker keeps from before this time, when the database was restored to an earlier moment, such as
    /// 2026-03-01T00:00:00+08:00
    #[arg(long, value_name = "TIME", env = "ZHIRONG_AUDIT_SINCE")]
    since: Option<Timestamp>,
}

/// What the broker says.
#[derive(Debug)]
pub enum Told {
    /// It was not asked.
    NotAsked,
    /// It was, and does not answer.
    Silent(String),
    /// What it keeps.
    Anchors(Vec<AuditCheckpoint>),
}

impl Broker {
    /// What the broker keeps.
    pub async fn told(&self) -> Told {
        match &self.url {
            None => Told::NotAsked,
            Some(url) => self.anchors(url).await.map_or_else(|error| Told::Silent(format!("{error:#}")), Told::Anchors),
        }
    }

    async fn anchors(&self, url: &str) -> Result<Vec<AuditCheckpoint>> {
        let mut options = ConnectOptions::new().name("zhirong audit").custom_inbox_prefix(INBOX);
        if let Some(file) = &self.nkey_seed_file {
            let seed = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            options = options.nkey(seed.trim().to_owned());
        }
        let client = options.connect(url).await.with_context(|| format!("no broker lets us in at {url}"))?;
        let (mut anchors, mut next) = (Vec::new(), 1_u64);
        loop {
            let before = anchors.len();
            next = batch(&client, next, &mut anchors).await?.saturating_add(1);
            if anchors.len().saturating_sub(before) < BATCH {
                break;
            }
        }
        if let Some(since) = self.since {
            anchors.retain(|anchor| super::instant(anchor).is_none_or(|at| at >= since));
        }
        Ok(anchors)
    }
}

/// Adds what stands from a place in the stream on, as much as is asked for at once; gives the place of the last.
async fn batch(client: &Client, from: u64, anchors: &mut Vec<AuditCheckpoint>) -> Result<u64> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let wanted = json!({ "seq": from, "batch": BATCH, "next_by_subj": ">" }).to_string();
    client.publish_with_reply(GET, inbox, wanted.into()).await?;
    let mut last = from;
    loop {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.context("the broker does not answer")?;
        let answer = answer.context("the connection was lost")?;
        match answer.status.map(|status| status.as_u16()) {
            None => {
                let place = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
                last = place.context("an answer without its place")?.as_str().parse()?;
                // one that can't be read has no signature, which is told like any that is not genuine
                let anchor = AuditCheckpointed::decode(answer.payload).unwrap_or_default();
                anchors.push(anchor.checkpoint.unwrap_or_default());
            }
            // the end of what was asked for, or nothing there
            Some(204 | 404) => return Ok(last),
            Some(503) => bail!("it has no stream AUDIT; is credit-profile older than this program?"),
            Some(status) => bail!("it answers {status}"),
        }
    }
}

/// What the end is held against.
#[derive(Debug)]
pub struct Outside<'a> {
    /// What the broker says.
    pub told: &'a Told,
    /// Whether a run before remembers an end.
    pub remembered: bool,
    /// The last entry that was found.
    pub end: i64,
    /// The last checkpoint in the database.
    pub last: Option<(i64, Timestamp)>,
    /// Now.
    pub now: Timestamp,
}

impl Outside<'_> {
    /// Why the end was not checked against anything outside of the database; none when it was.
    pub fn unchecked(&self) -> Option<String> {
        match self.told {
            Told::Silent(why) => return Some(format!("the broker was asked in vain: {why}")),
            Told::Anchors(anchors) => {
                let newest = anchors.iter().map(|anchor| anchor.sequence).max().unwrap_or_default();
                // what stops it on its way is no better than what takes it away
                if let Some((sequence, at)) = self.last
                    && sequence > newest
                    && self.now.duration_since(at) > LATE
                {
                    return Some(format!(
                        "entry {sequence} was signed at {at}, and the broker has heard of no end after entry {newest}"
                    ));
                }
                if newest == 0 && !self.remembered && self.end > 0 {
                    return Some("the broker has heard of no end yet; try again in a minute".to_owned());
                }
            }
            Told::NotAsked if !self.remembered && self.end > 0 => {
                return Some("no broker was named (--nats), and no run before has remembered one".to_owned());
            }
            Told::NotAsked => {}
        }
        None
    }
}
