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
    /// What finds the phone.
    pub phone_index: Vec<u8>,
}

/// Keeps a person in place of the one before.
pub async fn put_person(conn: &mut PgConnection, row: &SealedPerson, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO legal_representative
             (enterprise_id, key_version, data_key, name, id_number, phone, phone_index, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET key_version = excluded.key_version, data_key = excluded.data_key, name = excluded.name,
                 id_number = excluded.id_number, phone = excluded.phone, phone_index = excluded.phone_index,
                 changed_at = excluded.changed_at",
        row.enterprise_id,
        row.key_version,
        row.data_key,
        row.name,
        row.id_number,
        row.phone,
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
        "SELECT enterprise_id, key_version, data_key, name, id_number, phone, phone_index
         FROM legal_representative WHERE enterprise_id = $1",
        enterprise_id
    )
    .fetch_optional(conn)
    .await
}

/// Whom a phone represents.
pub async fn persons_by_phone(
    conn: &mut PgConnection,
    phone_index: &[u8],
    most: i64,
) -> Result<Vec<SealedPerson>, sqlx::Error> {
    sqlx::query_as!(
        SealedPerson,
        "SELECT enterprise_id, key_version, data_key, name, id_number, phone, phone_index
         FROM legal_representative WHERE phone_index = $1 ORDER BY enterprise_id LIMIT $2",
        phone_index,
        most
    )
    .fetch_all(conn)
    .await
}

/// Some after this enterprise, in order, whose data key is sealed with another master key than the one that seals now, one that
/// the settings still have; locked.
pub async fn to_rotate(
    conn: &mut PgConnection,
    seals: i32,
    known: &[i32],
    after: &str,
    most: i64,
) -> Result<Vec<SealedPerson>, sqlx::Error> {
    sqlx::query_as!(
        SealedPerson,
        "SELECT enterprise_id, key_version, data_key, name, id_number, phone, phone_index
         FROM legal_representative WHERE enterprise_id > $3 AND key_version <> $1 AND key_version = ANY($2)
         ORDER BY enterprise_id LIMIT $4 FOR UPDATE SKIP LOCKED",
        seals,
        known,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// Keeps a data key sealed anew.
pub async fn rotated(
    conn: &mut PgConnection,
    enterprise_id: &str,
    version: i32,
    data_key: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE legal_representative SET key_version = $2, data_key = $3 WHERE enterprise_id = $1",
        enterprise_id,
        version,
        data_key
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many data keys are sealed with the master key that seals now, and how many are not.
pub async fn rotation(conn: &mut PgConnection, seals: i32) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE key_version = $1) AS "done!", count(*) FILTER (WHERE key_version <> $1) AS "left!"
           FROM legal_representative"#,
        seals
    )
    .fetch_one(conn)
    .await?;
    Ok((row.done, row.left))
}
