//! What orders handed over.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::{matching::v1::Disclosure, profile::v1 as pb};

use super::Past;
use crate::error::Error;

/// Keeps profiles as they are until the transaction ends, so that an erasure comes wholly before or wholly after what is kept of
/// them.
pub async fn keep_profiles(conn: &mut PgConnection, enterprises: &[&str]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT FROM profile WHERE enterprise_id = ANY($1) ORDER BY enterprise_id FOR SHARE",
        enterprises as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// For the rest of the transaction no lock is waited for longer than a tenth of a second, or again as long as usual.
pub async fn wait_little(conn: &mut PgConnection, little: bool) -> Result<(), sqlx::Error> {
    if little {
        sqlx::query!("SET LOCAL lock_timeout = '100ms'").execute(conn).await?;
    } else {
        sqlx::query!("SET LOCAL lock_timeout TO DEFAULT").execute(conn).await?;
    }
    Ok(())
}

/// Notes a refusal of an order; says whether it is new.
pub async fn note_withheld(conn: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("INSERT INTO order_disclosure (disclosure_id) VALUES ($1) ON CONFLICT DO NOTHING", id)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes what an order handed over, with what it is rebuilt from; says whether it is new. Of a version that is erased by now
/// nothing is kept but that it was there. The profile is locked by [`keep_profiles`].
pub async fn note_handed(
    conn: &mut PgConnection,
    id: Uuid,
    told: &Disclosure,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO released_profile (enterprise_id, version, content)
         VALUES ($1, $2, coalesce(
             (SELECT content FROM profile_version WHERE enterprise_id = $1 AND version = $2
                  AND NOT EXISTS (SELECT FROM erasure WHERE enterprise_id = $1 AND erased_at >= $3)), ''))
         ON CONFLICT (enterprise_id, version) DO UPDATE SET content = excluded.content
             WHERE released_profile.content = ''",
        told.enterprise_id,
        told.profile_version,
        at.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    let done = sqlx::query!(
        "INSERT INTO order_disclosure (disclosure_id, enterprise_id, profile_version, disclosed_at, content)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        id,
        told.enterprise_id,
        told.profile_version,
        at.to_sqlx() as _,
        told.encode_to_vec()
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// What an order handed over.
pub async fn handed(conn: &mut PgConnection, id: Uuid) -> Result<Option<Past>, Error> {
    let row = sqlx::query!(
        r#"SELECT d.content AS "told!", p.content
           FROM order_disclosure d JOIN released_profile p ON (p.enterprise_id, p.version) = (d.enterprise_id, d.profile_version)
           WHERE d.disclosure_id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let whole = if row.content.is_empty() { None } else { Some(pb::Profile::decode(row.content.as_slice())?) };
    let told = Disclosure::decode(row.told.as_slice())?;
    let release = pb::Release {
        release_id: told.disclosure_id,
        consent_id: told.consent_id,
        institution_id: told.institution_id,
        purpose: pb::Purpose::LoanApplication.into(),
        scope: Some(told.scope.unwrap_or_default()),
        profile: None,
        released_at: told.at,
        disputed: told.disputed,
        disputed_values: told.disputed_values,
    };
    Ok(Some(Past {
        enterprise_id: told.enterprise_id,
        order_id: told.order_id,
        release,
        whole,
        content_sha256: told.content_sha256,
    }))
}
