//! Records that enterprises dispute.

use std::collections::{BTreeMap, HashSet};

use prost::Message as _;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use zhirong_proto::profile::v1::DisputedRecord;

use crate::{consent::Dispute, error::Error};

/// Keeps an objection as open, unless it is known already, be it as decided.
pub async fn raised(
    conn: &mut PgConnection,
    id: Uuid,
    enterprise_id: &str,
    dispute: &Dispute,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO objection (objection_id, enterprise_id, decided, record, computed_values)
         VALUES ($1, $2, false, $3, $4) ON CONFLICT DO NOTHING",
        id,
        enterprise_id,
        dispute.record.encode_to_vec(),
        &dispute.computed_values
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps an objection as decided, also when nothing was heard of it before.
pub async fn decided(conn: &mut PgConnection, id: Uuid, enterprise_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO objection (objection_id, enterprise_id, decided, record, computed_values)
         VALUES ($1, $2, true, '', '{}')
         ON CONFLICT (objection_id) DO UPDATE SET decided = true, record = '', computed_values = '{}'",
        id,
        enterprise_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What these enterprises dispute and nobody has decided on, each in a fixed order. With [`crate::consent::disputed`] it gives what
/// is told beside the part of a profile that is shown.
pub async fn open(conn: &mut PgConnection, enterprises: &[&str]) -> Result<BTreeMap<String, Vec<Dispute>>, Error> {
    if enterprises.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query!(
        "SELECT enterprise_id, record, computed_values FROM objection
         WHERE enterprise_id = ANY($1) AND NOT decided ORDER BY objection_id",
        enterprises as _
    )
    .fetch_all(conn)
    .await?;
    let mut open: BTreeMap<String, Vec<Dispute>> = BTreeMap::new();
    for row in rows {
        let record = DisputedRecord::decode(row.record.as_slice())?;
        open.entry(row.enterprise_id).or_default().push(Dispute { record, computed_values: row.computed_values });
    }
    Ok(open)
}

/// Everybody who disputes something that nobody has decided on.
pub async fn disputing(pool: &PgPool) -> Result<HashSet<String>, sqlx::Error> {
    let found = sqlx::query_scalar!("SELECT DISTINCT enterprise_id FROM objection WHERE NOT decided").fetch_all(pool);
    Ok(found.await?.into_iter().collect())
}
