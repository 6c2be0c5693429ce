//! The audit trail: appends to the chain.

use jiff::Timestamp;
use prost::Message as _;
use ring::digest::{Context, SHA256, digest};
use sqlx::PgConnection;
use zhirong_proto::profile::v1::AuditEntry;

use super::{
    keys::{Kind, SigningKeys},
    store,
};
use crate::{error::Error, profile::proto_time};

/// SHA-256 of content, as an entry names it.
#[must_use]
pub fn content_hash(content: &[u8]) -> Vec<u8> {
    digest(&SHA256, content).as_ref().to_vec()
}

/// The hash that chains content to the hash before it.
#[must_use]
pub fn chained(before: &[u8], content: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(content);
    context.finish().as_ref().to_vec()
}

/// What a checkpoint signs, after the words of its kind.
#[must_use]
pub fn checkpoint_content(sequence: i64, hash: &[u8], at: Timestamp) -> Vec<u8> {
    [&sequence.to_be_bytes()[..], hash, &at.as_microsecond().to_be_bytes()[..]].concat()
}

/// Adds an entry; see [`append_all`].
///
/// # Errors
/// When the database fails.
pub async fn append(
    conn: &mut PgConnection,
    keys: &SigningKeys,
    entry: AuditEntry,
    now: Timestamp,
) -> Result<(), Error> {
    append_all(conn, keys, vec![entry], now).await
}

/// Adds entries in their order; `sequence` and `at` are set here. Call it last in the transaction, once: the chain is locked
/// until its end, and whoever holds it waits for no other lock.
///
/// # Errors
/// When the database fails.
pub async fn append_all(
    conn: &mut PgConnection,
    keys: &SigningKeys,
    entries: Vec<AuditEntry>,
    now: Timestamp,
) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let (mut sequence, mut before) = store::lock_chain(conn).await?;
    let mut links = store::Links::default();
    for mut entry in entries {
        sequence = sequence.saturating_add(1);
        entry.sequence = sequence;
        entry.at = Some(proto_time(now));
        let content = entry.encode_to_vec();
        before = chained(&before, &content);
        links.sequences.push(sequence);
        let signature = keys.sign(Kind::Entry, &before);
        links.signatures.push(signature.bytes);
        links.signing_keys.push(signature.key);
        links.hashes.push(before.clone());
        links.contents.push(content);
        links.enterprises.push(entry.enterprise_id);
    }
    store::extend_chain(conn, &links).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_sha256_over_the_hash_before_and_the_content() {
        // printf '%064d' 0 | xxd -r -p | cat - <(printf abc) | sha256sum
        let hash = chained(&[0; 32], b"abc");
        assert_eq!(hash, content_hash(&[&[0; 32][..], b"abc"].concat()));
        assert_ne!(hash, chained(&[1; 32], b"abc"));
        assert_eq!(checkpoint_content(1, &[2; 32], Timestamp::UNIX_EPOCH).len(), 48);
    }
}
