//! How consents and erasures stand for those who heard of them by events.

use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1 as pb;

use super::ConsentRow;
use crate::{error::Error, profile::proto_time};

/// Those of some consents that have a newer version than was heard of.
pub async fn newer_consents(conn: &mut PgConnection, heard: &[(Uuid, i64)]) -> Result<Vec<pb::Consent>, Error> {
    let (ids, versions): (Vec<Uuid>, Vec<i64>) = heard.iter().copied().unzip();
    sqlx::query_as!(
        ConsentRow,
        "SELECT consent_id, enterprise_id, institution_id, purpose, scope, expires_at, revoked, version, granted_at,
                changed_at
         FROM consent WHERE consent_id = ANY($1)
           AND NOT EXISTS (SELECT FROM unnest($1::uuid[], $2::bigint[]) AS heard (id, at)
                           WHERE heard.id = consent_id AND heard.at >= version)
         ORDER BY consent_id",
        &ids,
        &versions
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(ConsentRow::message)
    .collect()
}

/// The last erasure of those of some enterprises that had one.
pub async fn erasures(
    conn: &mut PgConnection,
    enterprises: &[String],
) -> Result<Vec<pb::EnterpriseErased>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT enterprise_id, version, profile_version, erased_at AS "erased_at: jiff_sqlx::Timestamp"
           FROM erasure WHERE enterprise_id = ANY($1) ORDER BY enterprise_id"#,
        enterprises
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| pb::EnterpriseErased {
            enterprise_id: row.enterprise_id,
            erased_at: Some(proto_time(row.erased_at.to_jiff())),
            profile_version: row.profile_version,
            version: row.version,
        })
        .collect())
}
