//! Waits until nothing is on its way in a district: what was told has been heard, and what follows from it is computed.

use std::collections::BTreeMap;

use anyhow::Result;
use async_nats::jetstream;
use futures::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection};
use zhirong_testkit::heard_by_all;

use crate::district::{District, eventually};

/// What there is to do in each database: events to publish, profiles and pre-approvals to compute.
const WORK: [(&str, &str); 7] = [
    ("profile", OUTBOX),
    ("catalog", OUTBOX),
    ("matching", OUTBOX),
    ("subsidy", OUTBOX),
    ("feedback", OUTBOX),
    ("profile", "SELECT EXISTS (SELECT FROM profile WHERE stale OR changed IS NOT NULL)"),
    ("matching", "SELECT EXISTS (SELECT FROM preapproval_due)"),
];
const OUTBOX: &str = "SELECT EXISTS (SELECT FROM runtime.outbox WHERE published_at IS NULL)";

/// The answers to the data platform, which nobody here reads.
const OF_OTHERS: &str = "GOVREJECTED";

/// Waits until every service has heard all that the others told. A story that looks at one service for what it did at another
/// either awaits the very thing or begins with this.
pub async fn quiet(district: &District) -> Result<()> {
    let broker = jetstream::new(async_nats::connect(district.nats()).await?);
    eventually("nothing is on its way", || async {
        // Twice the same: what one look saw in the outbox may be on a stream whose consumers it had looked at before.
        let Some(first) = heard(district, &broker).await? else { return Ok(None) };
        Ok((heard(district, &broker).await?.as_ref() == Some(&first)).then_some(()))
    })
    .await
}

/// How far each stream has come; none while something is to be told, heard or computed.
async fn heard(district: &District, broker: &jetstream::Context) -> Result<Option<BTreeMap<String, u64>>> {
    for (database, query) in WORK {
        let mut connection = PgConnection::connect(&district.postgres(database)).await?;
        let is_left: bool = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
        connection.close().await?;
        if is_left {
            return Ok(None);
        }
    }
    let mut last = BTreeMap::new();
    let mut streams = broker.streams();
    while let Some(found) = streams.try_next().await? {
        if found.config.name != OF_OTHERS && !heard_by_all(broker, &found.config.name).await? {
            return Ok(None);
        }
        last.insert(found.config.name, found.state.last_sequence);
    }
    Ok(Some(last))
}
