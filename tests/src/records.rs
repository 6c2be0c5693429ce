//! Records of government data made up by a story, and their way to the broker.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use zhirong_kernel::uscc::Uscc;

use crate::{district::District, quiet::quiet};

/// A record of an enterprise in a category, observed at the beginning of a day.
pub fn record(uscc: &Uscc, category: &str, day: &str, data: &Value) -> Value {
    json!({
        "source": format!("sample-{}", category.replace('_', "-")),
        "category": category,
        "record_id": format!("{uscc}-{category}"),
        "uscc": uscc,
        "observed_at": format!("{day}T00:00:00Z"),
        "operation": "OPERATION_UPSERT",
        "data": data,
    })
}

/// Publishes records as the data platform does, and waits until everybody has what follows from them: while they arrive, answers
/// rest on a part of them. Each call needs a name of its own.
pub async fn publish(district: &District, name: &str, records: &[Value]) -> Result<()> {
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    let file = district.folder().join(format!("{name}.ndjson"));
    fs::write(&file, lines.join("\n"))?;
    district.zhirong(&["records", "--wait-s", "0", "--nats", district.nats(), &file.display().to_string()]).await?;
    quiet(district).await
}
