//! Government data from a file to the broker, as the data platform sends them: one CloudEvent a record. It goes on after a
//! kill where it was, says which rows were refused and why, and can end a full reload.
//!
//! Each run over a file is a delivery with a name of its own, kept until the run is over, however often it is broken off. At
//! its end credit-profile is asked to say when all was judged and how many events it refused; the refusals themselves stand in
//! a stream and are read from where the delivery began. So the report is whole after a kill, and whole again when the file is
//! sent once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, ConnectOptions, HeaderMap, jetstream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

mod answers;
mod report;
mod resume;
mod rows;
mod unsent;

use answers::Answers;
use report::Refused;
use resume::Progress;
use rows::{Record, Rows};

/// Records published before their acknowledgements are awaited.
const IN_FLIGHT: usize = 256;
/// Largest message that the broker takes less room for headers, bytes.
const LARGEST: usize = 250 * 1024;
const RECORD: &str = "cn.zhirong.gov.record.observed.v1";
const RELOAD: &str = "cn.zhirong.gov.reload.completed.v1";
const ENDED: &str = "cn.zhirong.gov.delivery.ended.v1";
/// Who ends deliveries: rows of several sources may be in one.
const SENDER: &str = "zhirong-records";

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
    /// Prefix of the broker's API; by default the data platform's with a key, else the usual one
    #[arg(long)]
    api_prefix: Option<String>,
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
    /// How long to wait until all was judged, in seconds; 0 sends only and names no row that credit-profile refuses
    #[arg(long, default_value_t = 3600)]
    wait_s: u64,
    /// Begin anew, even if an earlier run was broken off
    #[arg(long)]
    from_start: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that this run has sent.
    pub sent: u64,
    /// Rows that were refused, of the same delivery's broken off runs too.
    pub refused: u64,
    /// Where they are named.
    pub report: PathBuf,
}

impl Broker {
    /// One that lets anybody in.
    pub fn open(url: &str) -> Self {
        Self { url: url.to_owned(), nkey_seed_file: None, inbox_prefix: "_INBOX_gov".to_owned(), api_prefix: None }
    }

    fn api(&self) -> &str {
        let usual = if self.nkey_seed_file.is_some() { "ZHIRONG.API" } else { "$JS.API" };
        self.api_prefix.as_deref().unwrap_or(usual)
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
            wait_s: 0,
            from_start: true,
        }
    }
}

/// Publishes a file. To send a file again changes nothing: of each record the same version counts.
pub async fn publish(options: &Options) -> Result<Outcome> {
    if options.reload.is_some() && options.wait_s == 0 {
        bail!("a reload is ended only when nothing was refused, so it needs --wait-s");
    }
    let client = options.broker.connect().await?;
    let api = options.broker.api();
    let now = async || answers::last(&client, api).await;
    let Options { source, category, reload, as_of, .. } = options;
    let said = json!([source, category, reload, as_of.map(|at| at.to_string())]).to_string();
    let progress = Progress::load(&options.file, said, options.from_start, now).await?;
    let loading = Loading {
        answers: Answers::open(&client, api, progress.delivery(), progress.answers_after()).await?,
        context: jetstream::new(client),
        progress,
        members: BTreeMap::new(),
        unsent: Vec::new(),
        sent: 0,
        bar: bar(&options.file)?,
        options,
    };
    loading.run().await
}

/// A file on its way.
struct Loading<'a> {
    context: jetstream::Context,
    answers: Answers,
    progress: Progress,
    /// The records of a reload by source and category.
    members: BTreeMap<(String, String), BTreeSet<String>>,
    /// Rows that could not be sent at all.
    unsent: Vec<Refused>,
    sent: u64,
    bar: ProgressBar,
    options: &'a Options,
}

/// An event to be sent.
struct Event<'a> {
    id: &'a str,
    ce_type: &'a str,
    source: &'a str,
    category: &'a str,
    text: String,
}

impl Loading<'_> {
    async fn run(mut self) -> Result<Outcome> {
        let options = self.options;
        let last = self.send_rows().await?;
        if last == 0 {
            self.progress.done()?;
            bail!("{} holds no record", options.file.display());
        }
        let waits = options.wait_s > 0;
        if waits {
            self.judged().await?;
        }
        let mut refused = self.report()?;
        if options.reload.is_some() && waits {
            if refused > 0 {
                self.progress.done()?;
                bail!(
                    "{refused} rows were refused ({}): the reload was not ended, so that what they replace is not withdrawn; \
                     put them right and run it again under the same name",
                    report::path(&options.file).display()
                );
            }
            self.end_reload().await?;
            self.judged().await?;
            refused = self.report()?;
        }
        self.progress.done()?;
        self.bar.finish_and_clear();
        println!("  {:22} {} sent, {refused} refused", "records", self.sent);
        Ok(Outcome { sent: self.sent, refused, report: report::path(&options.file) })
    }

    /// Sends what was not sent; gives the number of the last row.
    async fn send_rows(&mut self) -> Result<u64> {
        let options = self.options;
        let mut rows = Rows::open(options)?;
        let mut pending = Vec::new();
        let mut last = 0;
        while let Some((number, row)) = rows.next()? {
            last = number;
            match row {
                Ok(record) => {
                    if options.reload.is_some() {
                        let of = (record.source.clone(), record.category.clone());
                        self.members.entry(of).or_default().insert(record.record_id.clone());
                    }
                    if number > self.progress.rows() {
                        pending.push(self.send(number, record).await?);
                    }
                }
                Err(why) => self.unsent.push(Refused { row: number, ..why.into() }),
            }
            if pending.len() >= IN_FLIGHT {
                settle(&mut pending).await?;
                self.progress.reached(number)?;
                self.bar.set_position(rows.position());
                self.bar.set_message(format!("{number} rows"));
            }
        }
        settle(&mut pending).await?;
        self.progress.reached(last)?;
        self.bar.set_position(rows.position());
        Ok(last)
    }

    async fn send(&mut self, number: u64, record: Record) -> Result<jetstream::context::PublishAckFuture> {
        self.sent = self.sent.saturating_add(1);
        let id = answers::event_id(self.progress.delivery(), number);
        let Record { source, category, text, .. } = record;
        self.event(Event { id: &id, ce_type: RECORD, source: &source, category: &category, text }).await
    }

    async fn event(&self, event: Event<'_>) -> Result<jetstream::context::PublishAckFuture> {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", event.id);
        headers.insert("ce-source", event.source);
        headers.insert("ce-type", event.ce_type);
        headers.insert("ce-delivery", self.progress.delivery());
        headers.insert("content-type", "application/json");
        headers.insert("Nats-Msg-Id", event.id);
        let subject = format!("gov.data.v1.{}", event.category);
        Ok(self.context.publish_with_headers(subject, headers, event.text.into()).await?)
    }

    /// Until everything that was sent was judged and every refusal is here.
    async fn judged(&mut self) -> Result<()> {
        let delivery = self.progress.delivery().to_owned();
        // of its own each time: one that was sent before the last rows tells nothing of them
        let id = format!("{delivery}-end-{}", Uuid::now_v7().simple());
        let text = json!({ "source": SENDER, "delivery_id": delivery }).to_string();
        let end = Event { id: &id, ce_type: ENDED, source: SENDER, category: "delivery", text };
        self.event(end).await?.await.context("the broker did not take the end of the delivery")?;
        let (begin, limit) = (Instant::now(), Duration::from_secs(self.options.wait_s));
        loop {
            self.answers.wait().await?;
            if self.answers.whole(&id)? {
                return Ok(());
            }
            let seconds = begin.elapsed().as_secs();
            self.bar
                .set_message(format!("waiting for {seconds} s until all is judged, {} refused", self.answers.count()));
            if begin.elapsed() > limit {
                self.report()?;
                bail!(
                    "all rows were sent, but after {seconds} s not all were judged; {} holds the refusals so far. See whether \
                     credit-profile runs and what its log says, then run the same command again: it sends no row twice and goes on \
                     waiting (--wait-s)",
                    report::path(&self.options.file).display()
                );
            }
        }
    }

    /// Writes down which rows were refused; gives their number.
    fn report(&self) -> Result<u64> {
        let mut refused: Vec<Refused> = self.unsent.iter().cloned().chain(self.answers.rows()).collect();
        refused.sort_by_key(|refused| refused.row);
        report::write(&report::path(&self.options.file), &refused)?;
        Ok(u64::try_from(refused.len())?)
    }

    async fn end_reload(&self) -> Result<()> {
        let (Some(name), Some(as_of)) = (&self.options.reload, self.options.as_of) else {
            return Ok(());
        };
        for ((source, category), members) in &self.members {
            let text = json!({
                "source": source, "category": category, "reload_id": name, "as_of": as_of.to_string(),
                "record_count": members.len(),
            })
            .to_string();
            let id = format!("{}-reload-{source}-{category}-end", self.progress.delivery());
            let event = Event { id: &id, ce_type: RELOAD, source, category, text };
            self.event(event).await?.await.context("the broker did not take the end of the reload")?;
        }
        Ok(())
    }
}

/// Until the broker has all.
async fn settle(pending: &mut Vec<jetstream::context::PublishAckFuture>) -> Result<()> {
    for ack in pending.drain(..) {
        ack.await.context("the broker did not take a record; run it again, it goes on where it was")?;
    }
    Ok(())
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
