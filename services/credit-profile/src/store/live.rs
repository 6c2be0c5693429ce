//! SQL of the records that profiles are computed from: those that are neither withdrawn nor gone.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};

use crate::{features::LiveRecord, record::Key};

/// Live records by enterprise.
pub type LiveRecords = BTreeMap<String, Vec<LiveRecord>>;

/// All of enterprises.
pub async fn of_enterprises(conn: &mut PgConnection, enterprises: &[&str]) -> Result<LiveRecords, sqlx::Error> {
    if enterprises.is_empty() {
        return Ok(LiveRecords::new());
    }
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT uscc, source, category, record_id, observed_at AS "observed_at: _", revision, data AS "data: _"
           FROM record WHERE uscc = ANY($1) AND NOT withdrawn AND NOT gone"#,
        enterprises as _
    )
    .fetch_all(conn)
    .await?;
    Ok(by_enterprise(rows))
}

/// Those of some categories alone: pairs of enterprise and category, each once.
pub async fn of_categories(conn: &mut PgConnection, pairs: &[(&str, &str)]) -> Result<LiveRecords, sqlx::Error> {
    if pairs.is_empty() {
        return Ok(LiveRecords::new());
    }
    let (enterprises, categories): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT r.uscc, r.source, r.category, r.record_id, r.observed_at AS "observed_at: _", r.revision, r.data AS "data: _"
           FROM unnest($1::text[], $2::text[]) AS wanted (uscc, category) JOIN record r USING (uscc, category)
           WHERE NOT r.withdrawn AND NOT r.gone"#,
        &enterprises as _,
        &categories as _
    )
    .fetch_all(conn)
    .await?;
    Ok(by_enterprise(rows))
}

/// As it is stored.
struct Row {
    uscc: String,
    source: String,
    category: String,
    record_id: String,
    observed_at: jiff_sqlx::Timestamp,
    revision: i32,
    data: Json<Map<String, Value>>,
}

fn by_enterprise(rows: Vec<Row>) -> LiveRecords {
    let mut found = LiveRecords::new();
    for row in rows {
        let key = Key { source: row.source, category: row.category, record_id: row.record_id };
        let observed_at = row.observed_at.to_jiff();
        let record = LiveRecord { key, observed_at, revision: row.revision, data: row.data.0 };
        found.entry(row.uscc).or_default().push(record);
    }
    found
}
