//! Government data from a file to the broker, as the data platform sends them: one CloudEvent a record.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use async_nats::{Client, ConnectOptions, HeaderMap, jetstream};
use serde_json::Value;

use crate::seed::{bar, derived_id, finish};

/// Records published before their acknowledgements are awaited.
const IN_FLIGHT: usize = 256;

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

/// Publishes a file with one JSON record a line; says how many. A record's event id comes from its content, so that
/// publishing a file again changes nothing.
pub async fn publish(broker: &Broker, file: &Path) -> Result<usize> {
    let context = jetstream::new(broker.connect().await?);
    let lines: Vec<String> = BufReader::new(File::open(file).with_context(|| format!("opening {}", file.display()))?)
        .lines()
        .collect::<Result<_, _>>()?;
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
    let progress = bar("records", lines.len());
    let mut pending = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let record: Value = serde_json::from_str(line)
            .with_context(|| format!("{} line {}", file.display(), number.saturating_add(1)))?;
        let text = |name: &str| {
            record
                .get(name)
                .and_then(Value::as_str)
                .with_context(|| format!("{} line {}: `{name}` is missing", file.display(), number.saturating_add(1)))
        };
        let category = text("category")?;
        let id = derived_id(&[line.as_bytes()]).to_string();
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", id.as_str());
        headers.insert("ce-source", text("source")?);
        headers.insert("ce-type", "cn.zhirong.gov.record.observed.v1");
        headers.insert("ce-time", text("observed_at")?);
        headers.insert("content-type", "application/json");
        headers.insert("Nats-Msg-Id", id.as_str());
        let ack = context
            .publish_with_headers(format!("gov.data.v1.{category}"), headers, line.clone().into_bytes().into())
            .await?;
        pending.push(ack);
        if pending.len() >= IN_FLIGHT {
            for ack in pending.drain(..) {
                ack.await.context("the broker did not take a record")?;
            }
        }
        progress.inc(1);
    }
    for ack in pending {
        ack.await.context("the broker did not take a record")?;
    }
    finish(&progress);
    Ok(lines.len())
}
