//! Government data from a file to the broker, as the data platform sends them: one CloudEvent a record. It goes on after a
//! kill where it was, says which rows were refused and why, and can end a full reload.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber, jetstream};
use futures::{FutureExt as _, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use prost::Message as _;
use serde_json::json;
use zhirong_proto::gov::v1::RecordRejected;

use crate::seed::derived_id;

mod report;
mod resume;
mod rows;

use report::{Refused, Report};
use resume::Progress;
use rows::{Record, Rows};

/// Records published before their acknowledgements are awaited.
const IN_FLIGHT: usize = 256;
/// Largest message that the broker takes less room for headers, bytes.
const LARGEST: usize = 250 * 1024;
const RECORD: &str = "cn.zhirong.gov.record.observed.v1";
const RELOAD: &str = "cn.zhirong.gov.reload.completed.v1";

/// The broker, and as whom to speak to it.
#[derive(Debug, Clone, clap::Args)]
pub struct Broker {
    /// The broker
    #[arg(long = "nats", value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    url: String,
    /// File with the seed (nkey) of the data platform's user; none where the broker lets anybody in
    #[arg(long, value_name = "FILE")]
    nkey_seed_file: Option<PathBuf>,
    /// Where the broker's answers come in; a broker with users lets each listen under its own prefix only
    #[arg(long, default_value = "_INBOX_gov")]
    inbox_prefix: String,
}

/// What to send, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    broker: Broker,
    /// The file: `.csv` with a head line (record_id, uscc, observed_at, the category's fields; source and category may be
    /// columns too), else one JSON record a line
    file: PathBuf,
    /// Source of the rows that name none
    #[arg(long)]
    source: Option<String>,
    /// Category of the rows that name none
    #[arg(long)]
    category: Option<String>,
    /// Folder with the categories' declarations, by which a CSV's cells are read
    #[arg(long, default_value = "seeds/categories")]
    categories: PathBuf,
    /// The file is a full reload of its sources and categories, under this name: records that it leaves out count as withdrawn
    #[arg(long, value_name = "NAME", requires = "as_of")]
    reload: Option<String>,
    /// The instant whose state the reload has, such as 2026-03-01T00:00:00+08:00
    #[arg(long, value_name = "TIME")]
    as_of: Option<Timestamp>,
    /// How long nothing more must be refused before the end is reported, in seconds
    #[arg(long, default_value_t = 3)]
    quiet_s: u64,
    /// Begin anew, even if an earlier run was broken off
    #[arg(long)]
    from_start: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that this run has sent.
    pub sent: u64,
    /// Rows that were refused, of an earlier, broken off run too.
    pub refused: u64,
    /// Where they are named.
    pub report: PathBuf,
}

impl Broker {
    /// One that lets anybody in.
    pub fn open(url: &str) -> Self {
        Self { url: url.to_owned(), nkey_seed_file: None, inbox_prefix: "_INBOX_gov".to_owned() }
    }

    async fn connect(&self) -> Result<Client> {
        let mut options = ConnectOptions::new().name("zhirong records").custom_inbox_prefix(&self.inbox_prefix);
        if let Some(file) = &self.nkey_seed_file {
            let seed = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            options = options.nkey(seed.trim().to_owned());
        }
        options.connect(&self.url).await.with_context(|| format!("no broker lets us in at {}", self.url))
    }
}

impl Options {
    /// A file of records as it stands, without waiting for what is refused.
    pub fn plain(broker: &Broker, file: &Path) -> Self {
        Self {
            broker: broker.clone(),
            file: file.to_owned(),
            source: None,
            category: None,
            categories: PathBuf::from("seeds/categories"),
            reload: None,
            as_of: None,
            quiet_s: 0,
            from_start: true,
        }
    }
}

/// Publishes a file. A record's event id comes from its content, so that publishing a file again changes nothing.
pub async fn publish(options: &Options) -> Result<Outcome> {
    let client = options.broker.connect().await?;
    let loading = Loading {
        context: jetstream::new(client.clone()),
        answers: client.subscribe("gov.data.rejected.>").await.context("listening for refusals")?,
        sent_rows: HashMap::new(),
        members: BTreeMap::new(),
        report: Report::open(&options.file)?,
        sent: 0,
        options,
    };
    client.flush().await.context("listening for refusals")?;
    loading.run().await
}

/// A file on its way.
struct Loading<'a> {
    context: jetstream::Context,
    answers: Subscriber,
    /// Row and record id by event id.
    sent_rows: HashMap<String, (u64, String)>,
    /// The records of a reload by source and category.
    members: BTreeMap<(String, String), BTreeSet<String>>,
    report: Report,
    sent: u64,
    options: &'a Options,
}

impl Loading<'_> {
    async fn run(mut self) -> Result<Outcome> {
        let options = self.options;
        let mut progress = Progress::load(&options.file, options.from_start)?;
        if progress.rows() == 0 {
            self.report.clear()?;
        }
        let mut rows = Rows::open(options)?;
        let bar = bar(&options.file)?;
        let mut pending = Vec::new();
        let mut last = 0;
        while let Some((number, row)) = rows.next()? {
            last = number;
            let skip = number <= progress.rows();
            match row {
                Ok(record) => {
                    if options.reload.is_some() {
                        let of = (record.source.clone(), record.category.clone());
                        self.members.entry(of).or_default().insert(record.record_id.clone());
                    }
                    if !skip {
                        pending.push(self.send(number, &record).await?);
                    }
                }
                Err(_) if skip => {}
                Err(refused) => self.report.add(&Refused { row: number, ..refused })?,
            }
            if pending.len() >= IN_FLIGHT {
                self.settle(&mut pending).await?;
                progress.reached(number)?;
                bar.set_position(rows.position());
                bar.set_message(format!("{number} rows, {} refused", self.report.count()));
            }
        }
        self.settle(&mut pending).await?;
        progress.reached(last)?;
        self.listen().await?;
        if options.reload.is_some() {
            self.end_reload().await?;
            self.listen().await?;
        }
        progress.done()?;
        bar.finish_and_clear();
        println!("  {:22} {} sent, {} refused", "records", self.sent, self.report.count());
        Ok(Outcome { sent: self.sent, refused: self.report.count(), report: self.report.path().to_owned() })
    }

    async fn send(&mut self, number: u64, record: &Record) -> Result<jetstream::context::PublishAckFuture> {
        let id = derived_id(&[record.text.as_bytes()]).to_string();
        if self.options.quiet_s > 0 {
            self.sent_rows.insert(id.clone(), (number, record.record_id.clone()));
        }
        self.sent = self.sent.saturating_add(1);
        self.event(RECORD, &record.source, &record.category, &id, &record.text).await
    }

    async fn event(
        &self,
        ce_type: &str,
        source: &str,
        category: &str,
        id: &str,
        text: &str,
    ) -> Result<jetstream::context::PublishAckFuture> {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", id);
        headers.insert("ce-source", source);
        headers.insert("ce-type", ce_type);
        headers.insert("content-type", "application/json");
        headers.insert("Nats-Msg-Id", id);
        let subject = format!("gov.data.v1.{category}");
        Ok(self.context.publish_with_headers(subject, headers, text.to_owned().into()).await?)
    }

    /// Until the broker has all; then what was refused meanwhile.
    async fn settle(&mut self, pending: &mut Vec<jetstream::context::PublishAckFuture>) -> Result<()> {
        for ack in pending.drain(..) {
            ack.await.context("the broker did not take a record; run it again, it goes on where it was")?;
        }
        while let Some(Some(message)) = self.answers.next().now_or_never() {
            self.note(&message.payload)?;
        }
        Ok(())
    }

    /// Until nothing more is refused.
    async fn listen(&mut self) -> Result<()> {
        let quiet = Duration::from_secs(self.options.quiet_s);
        while let Ok(Some(message)) = tokio::time::timeout(quiet, self.answers.next()).await {
            self.note(&message.payload)?;
        }
        Ok(())
    }

    fn note(&mut self, payload: &[u8]) -> Result<()> {
        let answer = RecordRejected::decode(payload).context("an answer that is none")?;
        // others may send as well
        let Some((row, record_id)) = self.sent_rows.remove(&answer.event_id) else {
            return Ok(());
        };
        let code = answer.code().as_str_name().trim_start_matches("REJECTION_CODE_").to_owned();
        let RecordRejected { field, reason, reason_zh, .. } = answer;
        self.report.add(&Refused { row, record_id, code, field, reason, reason_zh })
    }

    async fn end_reload(&mut self) -> Result<()> {
        let (Some(name), Some(as_of)) = (&self.options.reload, self.options.as_of) else {
            return Ok(());
        };
        if self.report.count() > 0 {
            bail!(
                "{} rows were refused ({}): the reload was not ended, so that what they replace is not withdrawn; put them \
                 right and run it again under the same name",
                self.report.count(),
                self.report.path().display()
            );
        }
        for ((source, category), members) in &self.members {
            let end = json!({
                "source": source, "category": category, "reload_id": name, "as_of": as_of.to_string(),
                "record_count": members.len(),
            })
            .to_string();
            let id = derived_id(&[end.as_bytes()]).to_string();
            let ack = self.event(RELOAD, source, category, &id, &end).await?;
            ack.await.context("the broker did not take the end of the reload")?;
            self.sent_rows.insert(id, (0, String::new()));
        }
        Ok(())
    }
}

fn bar(file: &Path) -> Result<ProgressBar> {
    let length = fs::metadata(file).with_context(|| format!("opening {}", file.display()))?.len();
    let bar = ProgressBar::new(length);
    bar.set_style(ProgressStyle::with_template("  {prefix:22} {bar:30} {bytes}/{total_bytes} {eta} {msg}")?);
    bar.set_prefix("records");
    Ok(bar)
}

#[cfg(test)]
mod tests;
