//! Reading the chain, signing it, and the releases it tells of.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1 as pb;

use crate::{error::Error, profile::proto_time};

/// Entries ready for the chain, in columns.
#[derive(Default)]
pub struct Links {
    /// Places in the chain.
    pub sequences: Vec<i64>,
    /// Whose data.
    pub enterprises: Vec<String>,
    /// The encoded entries.
    pub contents: Vec<Vec<u8>>,
    /// The hashes that chain them.
    pub hashes: Vec<Vec<u8>>,
    /// The signatures over those.
    pub signatures: Vec<Vec<u8>>,
    /// The numbers of the keys that made them.
    pub signing_keys: Vec<i32>,
}

/// Locks the end of the chain: its sequence and hash.
pub async fn lock_chain(conn: &mut PgConnection) -> Result<(i64, Vec<u8>), sqlx::Error> {
    let row = sqlx::query!("SELECT sequence, hash FROM audit_head FOR UPDATE").fetch_one(conn).await?;
    Ok((row.sequence, row.hash))
}

/// Adds entries at the end of the locked chain.
pub async fn extend_chain(conn: &mut PgConnection, links: &Links) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH added AS (
             INSERT INTO audit_entry (sequence, enterprise_id, content, hash, signature, signing_key)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::integer[])
             RETURNING sequence, hash)
         UPDATE audit_head SET sequence = last.sequence, hash = last.hash
         FROM (SELECT sequence, hash FROM added ORDER BY sequence DESC LIMIT 1) AS last",
        &links.sequences,
        &links.enterprises,
        &links.contents,
        &links.hashes,
        &links.signatures,
        &links.signing_keys
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The end of the chain unless a checkpoint covers it.
pub async fn unsigned_end(conn: &mut PgConnection) -> Result<Option<(i64, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT sequence, hash FROM audit_head
         WHERE sequence > coalesce((SELECT max(sequence) FROM audit_checkpoint), 0)"
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.sequence, row.hash)))
}

/// Keeps a checkpoint, unless another replica was first; says whether it did.
pub async fn add_checkpoint(
    conn: &mut PgConnection,
    checkpoint: &pb::AuditCheckpoint,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query!(
        "INSERT INTO audit_checkpoint (sequence, hash, at, public_key, signature, signing_key) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
        checkpoint.sequence,
        checkpoint.hash,
        at.to_sqlx() as _,
        checkpoint.public_key,
        checkpoint.signature,
        checkpoint.signing_key
    )
    .execute(conn)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The last checkpoint.
pub async fn last_checkpoint(conn: &mut PgConnection) -> Result<Option<pb::AuditCheckpoint>, sqlx::Error> {
    let before = sqlx::query_scalar!(r#"SELECT max(sequence) - 1 AS "before" FROM audit_checkpoint"#);
    let before = before.fetch_one(&mut *conn).await?;
    let Some(before) = before else { return Ok(None) };
    Ok(checkpoints(conn, before, 1).await?.pop())
}

/// The chain after a sequence.
pub async fn records(conn: &mut PgConnection, after: i64, most: i64) -> Result<Vec<pb::AuditRecord>, sqlx::Error> {
    sqlx::query_as!(
        pb::AuditRecord,
        r#"SELECT sequence, content, hash, signature, signing_key, enterprise_id AS "enterprise_id?"
           FROM audit_entry WHERE sequence > $1 ORDER BY sequence LIMIT $2"#,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// Checkpoints after a sequence.
pub async fn checkpoints(
    conn: &mut PgConnection,
    after: i64,
    most: i64,
) -> Result<Vec<pb::AuditCheckpoint>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT sequence, hash, at, public_key, signature, signing_key FROM audit_checkpoint WHERE sequence > $1
         ORDER BY sequence LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| pb::AuditCheckpoint {
            sequence: row.sequence,
            hash: row.hash,
            at: Some(proto_time(row.at.to_jiff())),
            public_key: row.public_key,
            signature: row.signature,
            signing_key: row.signing_key,
        })
        .collect())
}

/// What concerns an enterprise, newest first, before a sequence.
pub async fn disclosures(
    conn: &mut PgConnection,
    enterprise_id: &str,
    before: Option<i64>,
    most: i64,
) -> Result<Vec<pb::AuditEntry>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM audit_entry WHERE enterprise_id = $1 AND ($2::bigint IS NULL OR sequence < $2)
         ORDER BY sequence DESC LIMIT $3",
        enterprise_id,
        before,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|content| Ok(pb::AuditEntry::decode(content.as_slice())?)).collect()
}

/// Keeps what a release is rebuilt from.
pub async fn add_release(
    conn: &mut PgConnection,
    release: &pb::Release,
    id: Uuid,
    consent_id: Uuid,
    whole: &pb::Profile,
    at: Timestamp,
    content_sha256: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO released_profile (enterprise_id, version, content) VALUES ($1, $2, $3)
         ON CONFLICT (enterprise_id, version) DO UPDATE SET content = excluded.content
             WHERE released_profile.content = ''",
        whole.enterprise_id,
        whole.version,
        whole.encode_to_vec()
    )
    .execute(&mut *conn)
    .await?;
    let disputed = pb::Release {
        disputed: release.disputed.clone(),
        disputed_values: release.disputed_values.clone(),
        ..pb::Release::default()
    };
    sqlx::query!(
        "INSERT INTO release
             (release_id, consent_id, enterprise_id, institution_id, purpose, scope, profile_version, disputed, released_at,
              content_sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        id,
        consent_id,
        whole.enterprise_id,
        release.institution_id,
        release.purpose,
        release.scope.clone().unwrap_or_default().encode_to_vec(),
        whole.version,
        disputed.encode_to_vec(),
        at.to_sqlx() as _,
        content_sha256
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A release of the past.
pub struct Past {
    /// Whose profile.
    pub enterprise_id: String,
    /// The order that handed it over; empty when it was none.
    pub order_id: String,
    /// All but the profile.
    pub release: pb::Release,
    /// The whole profile of that version; none when it was erased.
    pub whole: Option<pb::Profile>,
    /// The hash of what left.
    pub content_sha256: Vec<u8>,
}

/// A past release.
pub async fn release(conn: &mut PgConnection, id: Uuid) -> Result<Option<Past>, Error> {
    let row = sqlx::query!(
        "SELECT r.consent_id, r.enterprise_id, r.institution_id, r.purpose, r.scope, r.disputed, r.released_at,
                r.content_sha256, p.content
         FROM release r JOIN released_profile p ON (p.enterprise_id, p.version) = (r.enterprise_id, r.profile_version)
         WHERE r.release_id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let whole = if row.content.is_empty() { None } else { Some(pb::Profile::decode(row.content.as_slice())?) };
    // what was disputed is kept, the rest has columns
    let release = pb::Release {
        release_id: id.to_string(),
        consent_id: row.consent_id.to_string(),
        institution_id: row.institution_id,
        purpose: row.purpose,
        scope: Some(pb::Scope::decode(row.scope.as_slice())?),
        released_at: Some(proto_time(row.released_at.to_jiff())),
        ..pb::Release::decode(row.disputed.as_slice())?
    };
    Ok(Some(Past {
        enterprise_id: row.enterprise_id,
        order_id: String::new(),
        release,
        whole,
        content_sha256: row.content_sha256,
    }))
}

/// Erases what no release since an instant was made from; says how many versions.
pub async fn erase_old_released(conn: &mut PgConnection, before: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE released_profile AS p SET content = ''
         WHERE p.content <> '' AND NOT EXISTS (
             SELECT FROM release r
             WHERE (r.enterprise_id, r.profile_version) = (p.enterprise_id, p.version) AND r.released_at >= $1)
           AND NOT EXISTS (
             SELECT FROM order_disclosure d
             WHERE (d.enterprise_id, d.profile_version) = (p.enterprise_id, p.version) AND d.disclosed_at >= $1)",
        before.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
