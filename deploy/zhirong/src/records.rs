//! Government data from a file to the broker, as the data platform sends them: one CloudEvent a record.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context as _, Result};
use async_nats::{HeaderMap, jetstream};
use serde_json::Value;

use crate::seed::{bar, derived_id, finish};

/// Records published before their acknowledgements are awaited.
const IN_FLIGHT: usize = 256;

/// Publishes a file with one JSON record a line; says how many. A record's event id comes from its content, so that
/// publishing a file again changes nothing.
pub async fn publish(nats: &str, file: &Path) -> Result<usize> {
    let client = async_nats::connect(nats).await.with_context(|| format!("no broker answers at {nats}"))?;
    let context = jetstream::new(client);
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
