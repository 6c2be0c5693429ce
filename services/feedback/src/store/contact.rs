//! Contacts.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use zhirong_kernel::uscc::Uscc;

use crate::{
    contact::{Kept, SealedPhone},
    error::Error,
};

/// The columns of a contact that hold its phone; none is there without a contact.
#[derive(Clone, Default)]
pub struct Columns {
    /// In clear, from before phones were sealed.
    pub phone: Option<String>,
    /// Which master key sealed the data key.
    pub key_version: Option<i32>,
    /// The sealed data key.
    pub data_key: Option<Vec<u8>>,
    /// The sealed number.
    pub sealed_phone: Option<Vec<u8>>,
}

impl Columns {
    /// The phone, if there is a contact.
    pub fn kept(self) -> Result<Option<Kept>, Error> {
        match (self.phone, self.key_version, self.data_key, self.sealed_phone) {
            (None, None, None, None) => Ok(None),
            (Some(phone), None, None, None) => Ok(Some(Kept::Plain(phone))),
            (None, Some(key_version), Some(data_key), Some(phone)) => {
                Ok(Some(Kept::Sealed(SealedPhone { key_version, data_key, phone })))
            }
            _ => Err(Error::Stored("contact.sealed_phone".to_owned())),
        }
    }
}

/// The phone of an enterprise.
pub async fn phone(conn: &mut PgConnection, enterprise_id: &str) -> Result<Option<Kept>, Error> {
    let columns = sqlx::query_as!(
        Columns,
        "SELECT phone, key_version, data_key, sealed_phone FROM contact WHERE enterprise_id = $1",
        enterprise_id
    )
    .fetch_optional(conn)
    .await?;
    columns.unwrap_or_default().kept()
}

/// Sets the phone of an enterprise and queues what waited for it; says how many messages that were.
pub async fn set(
    conn: &mut PgConnection,
    enterprise: &Uscc,
    phone: &SealedPhone,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "INSERT INTO contact (enterprise_id, key_version, data_key, sealed_phone, updated_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET phone = NULL, key_version = excluded.key_version, data_key = excluded.data_key,
                 sealed_phone = excluded.sealed_phone, updated_at = excluded.updated_at",
        enterprise.as_str(),
        phone.key_version,
        phone.data_key,
        phone.phone,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    let queued = sqlx::query!(
        "UPDATE sms SET state = 'queued', due_at = $2, version = version + 1
         WHERE enterprise_id = $1 AND state = 'waiting_contact'",
        enterprise.as_str(),
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(queued.rows_affected())
}

/// Waits for whoever changes this enterprise's contact, messages or ratings at the moment.
pub async fn lock(conn: &mut PgConnection, enterprise_id: &str) -> Result<(), sqlx::Error> {
    lock_all(conn, &[enterprise_id.to_owned()]).await
}

/// As [`lock`], for several: always in the same order, so that two that do so never wait for each other.
pub async fn lock_all(conn: &mut PgConnection, enterprises: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(key)
         FROM (SELECT DISTINCT hashtextextended(id, 1) AS key FROM unnest($1::text[]) AS id ORDER BY key) AS keys",
        enterprises
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Some after this enterprise, in order, whose phone is not sealed, or sealed by another master key than the one that seals now,
/// one that the settings still have; locked.
pub async fn to_seal(
    conn: &mut PgConnection,
    seals: i32,
    known: &[i32],
    after: &str,
    most: i64,
) -> Result<Vec<(String, Kept)>, Error> {
    let rows = sqlx::query!(
        "SELECT enterprise_id, phone, key_version, data_key, sealed_phone
         FROM contact
         WHERE enterprise_id > $3 AND (phone IS NOT NULL OR (key_version <> $1 AND key_version = ANY($2)))
         ORDER BY enterprise_id LIMIT $4 FOR UPDATE SKIP LOCKED",
        seals,
        known,
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let columns = Columns {
            phone: row.phone,
            key_version: row.key_version,
            data_key: row.data_key,
            sealed_phone: row.sealed_phone,
        };
        if let Some(kept) = columns.kept()? {
            found.push((row.enterprise_id, kept));
        }
    }
    Ok(found)
}

/// Keeps the same phone as it is sealed now.
pub async fn sealed(conn: &mut PgConnection, enterprise_id: &str, phone: &SealedPhone) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE contact SET phone = NULL, key_version = $2, data_key = $3, sealed_phone = $4 WHERE enterprise_id = $1",
        enterprise_id,
        phone.key_version,
        phone.data_key,
        phone.phone
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many phones the master key that seals now keeps, and how many it does not.
pub async fn rotation(conn: &mut PgConnection, seals: i32) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE key_version = $1) AS "done!",
                  count(*) FILTER (WHERE key_version IS DISTINCT FROM $1) AS "left!"
           FROM contact"#,
        seals
    )
    .fetch_one(conn)
    .await?;
    Ok((row.done, row.left))
}
