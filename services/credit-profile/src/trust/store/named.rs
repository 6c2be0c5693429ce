//! SQL of candidates named, and of many entries at once.

use sqlx::PgConnection;
use uuid::Uuid;

use super::super::keys::Signature;

/// Notes that a naming stands on the trail; says whether that is new.
pub async fn note_named(conn: &mut PgConnection, naming_id: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("INSERT INTO candidates_named (naming_id) VALUES ($1) ON CONFLICT DO NOTHING", naming_id)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// An entry that is ready to be added to the chain.
pub struct Link {
    /// Its place.
    pub sequence: i64,
    /// Whose data.
    pub enterprise_id: String,
    /// The encoded entry.
    pub content: Vec<u8>,
    /// Over the hash before it and the content.
    pub hash: Vec<u8>,
    /// Over the hash.
    pub signature: Signature,
}

/// Adds entries at the end of the locked chain, in order.
pub async fn extend_chain_by(conn: &mut PgConnection, links: &[Link]) -> Result<(), sqlx::Error> {
    fn each<'a, T>(links: &'a [Link], of: impl Fn(&'a Link) -> T) -> Vec<T> {
        links.iter().map(of).collect()
    }
    sqlx::query!(
        "WITH added AS (
             INSERT INTO audit_entry (sequence, enterprise_id, content, hash, signature, signing_key)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::integer[])
             RETURNING sequence, hash)
         UPDATE audit_head SET sequence = last.sequence, hash = last.hash
         FROM (SELECT sequence, hash FROM added ORDER BY sequence DESC LIMIT 1) last",
        &each(links, |link| link.sequence),
        &each(links, |link| link.enterprise_id.as_str()) as _,
        &each(links, |link| link.content.as_slice()) as _,
        &each(links, |link| link.hash.as_slice()) as _,
        &each(links, |link| link.signature.bytes.as_slice()) as _,
        &each(links, |link| link.signature.key)
    )
    .execute(conn)
    .await?;
    Ok(())
}
