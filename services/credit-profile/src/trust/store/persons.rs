//! Legal representatives, sealed.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;

/// A row: everything but who is concerned is sealed.
pub struct SealedPerson {
    /// The enterprise.
    pub enterprise_id: String,
    /// Which master key sealed the data key.
    pub key_version: i32,
    /// The sealed data key.
    pub data_key: Vec<u8>,
    /// The sealed name.
    pub name: Vec<u8>,
    /// The sealed id number.
    pub id_number: Vec<u8>,
    /// The sealed phone.
    pub phone: Vec<u8>,
    /// Which index key made what finds the phone.
    pub index_version: i32,
    /// What finds the phone.
    pub phone_index: Vec<u8>,
}

/// Keeps a person in place of the one before.
pub async fn put_person(conn: &mut PgConnection, row: &SealedPerson, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO legal_representative
             (enterprise_id, key_version, data_key, name, id_number, phone, index_version, phone_index, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET key_version = excluded.key_version, data_key = excluded.data_key, name = excluded.name,
                 id_number = excluded.id_number, phone = excluded.phone, index_version = excluded.index_version,
                 phone_index = excluded.phone_index, changed_at = excluded.changed_at",
        row.enterprise_id,
        row.key_version,
        row.data_key,
        row.name,
        row.id_number,
        row.phone,
        row.index_version,
        row.phone_index,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Who represents an enterprise.
pub async fn person(conn: &mut PgConnection, enterprise_id: &str) -> Result<Option<SealedPerson>, sqlx::Error> {
    sqlx::query_as!(
        SealedPerson,
        "SELECT enterprise_id, key_version, data_key, name, id_number, phone, index_version, phone_index
         FROM legal_representative WHERE enterprise_id = $1",
        enterprise_id
    )
    .fetch_optional(conn)
    .await
}

/// Whom a phone represents.
pub async fn persons_by_phone(
    conn: &mut PgConnection,
    phone_indexes: &[Vec<u8>],
    most: i64,
) -> Result<Vec<SealedPerson>, sqlx::Error> {
    sqlx::query_as!(
        SealedPerson,
        "SELECT enterprise_id, key_version, data_key, name, id_number, phone, index_version, phone_index
         FROM legal_representative WHERE phone_index = ANY($1) ORDER BY enterprise_id LIMIT $2",
        phone_indexes,
        most
    )
    .fetch_all(conn)
    .await
}

/// Some after this enterprise, in order, whose data key is sealed, or whose phone is indexed, with another key than the one of now,
/// and whose data key can be opened by a key of the settings; locked.
pub async fn to_rotate(
    conn: &mut PgConnection,
    [seals, blinds]: [i32; 2],
    known: &[i32],
    after: &str,
    most: i64,
) -> Result<Vec<SealedPerson>, sqlx::Error> {
    sqlx::query_as!(
        SealedPerson,
        "SELECT enterprise_id, key_version, data_key, name, id_number, phone, index_version, phone_index
         FROM legal_representative WHERE enterprise_id > $4 AND (key_version <> $1 OR index_version <> $2) AND key_version = ANY($3)
         ORDER BY enterprise_id LIMIT $5 FOR UPDATE SKIP LOCKED",
        seals,
        blinds,
        known,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// Keeps what was made anew by other keys.
pub async fn renew_person(conn: &mut PgConnection, row: &SealedPerson) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE legal_representative SET key_version = $2, data_key = $3, index_version = $4, phone_index = $5
         WHERE enterprise_id = $1",
        row.enterprise_id,
        row.key_version,
        row.data_key,
        row.index_version,
        row.phone_index
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How far a change of keys has come.
pub struct KeyProgress {
    /// Made with the key that is used now.
    pub done: i64,
    /// Made with another one.
    pub remaining: i64,
}

/// Of the data keys, and of the indexes of phones.
pub async fn rotation(conn: &mut PgConnection, seals: i32, blinds: i32) -> Result<[KeyProgress; 2], sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE key_version = $1) AS "sealed!", count(*) FILTER (WHERE key_version <> $1) AS "unsealed!",
                  count(*) FILTER (WHERE index_version = $2) AS "indexed!",
                  count(*) FILTER (WHERE index_version <> $2) AS "unindexed!"
           FROM legal_representative"#,
        seals,
        blinds
    )
    .fetch_one(conn)
    .await?;
    Ok([
        KeyProgress { done: row.sealed, remaining: row.unsealed },
        KeyProgress { done: row.indexed, remaining: row.unindexed },
    ])
}
