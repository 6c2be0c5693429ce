//! What matching keeps of the other contexts. An older fact never overwrites a newer one; what the calculator computes from
//! raises the catalog's version in the same transaction.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::{
    catalog::v1::{Institution, Product},
    profile::v1::Profile,
};

use super::{catalog::Kind, erasure};
use crate::error::Error;

/// Keeps a profile; it is the one in force unless a newer one is there. An erasure of the enterprise comes wholly before or wholly
/// after it, so that no version stays that was on its way meanwhile.
pub async fn put_profile(conn: &mut PgConnection, profile: &Profile) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH alone AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 13))),
         newest AS (
             INSERT INTO profile AS kept (enterprise_id, version, content)
             SELECT $1, $2::bigint, $3::bytea FROM alone
             ON CONFLICT (enterprise_id) DO UPDATE
                 SET version = excluded.version, content = excluded.content, changed_at = clock_timestamp()
                 WHERE kept.version < excluded.version)
         INSERT INTO profile_log (enterprise_id, version, content)
         SELECT $1, $2, $3 FROM alone ON CONFLICT DO NOTHING",
        profile.enterprise_id,
        profile.version,
        profile.encode_to_vec()
    )
    .execute(&mut *conn)
    .await?;
    erasure::forget_versions(conn, &profile.enterprise_id).await
}

/// A version of an enterprise's profile.
pub async fn profile_at(conn: &mut PgConnection, enterprise_id: &str, version: i64) -> Result<Profile, Error> {
    let content = sqlx::query_scalar!(
        "SELECT content FROM profile_log WHERE enterprise_id = $1 AND version = $2",
        enterprise_id,
        version
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::VersionNotFound { of: "profile", version })?;
    Ok(Profile::decode(content.as_slice())?)
}

/// The profile of an enterprise.
pub async fn profile(conn: &mut PgConnection, enterprise_id: &str) -> Result<Profile, Error> {
    let content = sqlx::query_scalar!("SELECT content FROM profile WHERE enterprise_id = $1", enterprise_id)
        .fetch_optional(conn)
        .await?
        .ok_or(Error::ProfileNotFound)?;
    Ok(Profile::decode(content.as_slice())?)
}

/// Keeps an institution unless a newer one is there.
pub async fn put_institution(conn: &mut PgConnection, institution: &Institution) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO institution AS kept (institution_id, version, name_zh) VALUES ($1, $2, $3)
         ON CONFLICT (institution_id) DO UPDATE SET version = excluded.version, name_zh = excluded.name_zh
             WHERE kept.version < excluded.version",
        institution.institution_id,
        institution.version,
        institution.name_zh
    )
    .execute(&mut *conn)
    .await?;
    let name = Some(institution.name_zh.as_bytes());
    changed(conn, done.rows_affected(), Kind::Institution, &institution.institution_id, name).await
}

/// Keeps a product, or that it has left, unless a newer fact is there.
pub async fn put_product(
    conn: &mut PgConnection,
    product_id: Uuid,
    sequence: i64,
    product: Option<&Product>,
) -> Result<(), sqlx::Error> {
    let content = product.map(prost::Message::encode_to_vec);
    let done = sqlx::query!(
        "INSERT INTO product AS kept (product_id, sequence, content) VALUES ($1, $2, $3)
         ON CONFLICT (product_id) DO UPDATE SET sequence = excluded.sequence, content = excluded.content
             WHERE kept.sequence < excluded.sequence",
        product_id,
        sequence,
        content
    )
    .execute(&mut *conn)
    .await?;
    changed(conn, done.rows_affected(), Kind::Product, &product_id.to_string(), content.as_deref()).await
}

/// Keeps reference data unless newer ones are there.
pub async fn put_reference(
    conn: &mut PgConnection,
    kind: Kind,
    version: i64,
    content: &[u8],
) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO reference AS kept (name, version, content) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, content = excluded.content
             WHERE kept.version < excluded.version",
        kind.word(),
        version,
        content
    )
    .execute(&mut *conn)
    .await?;
    changed(conn, done.rows_affected(), kind, "", Some(content)).await
}

/// Keeps a product's score unless a newer one is there.
pub async fn put_score(
    conn: &mut PgConnection,
    product_id: Uuid,
    version: i64,
    mean_level_ppm: i64,
) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO product_score AS kept (product_id, version, mean_level_ppm) VALUES ($1, $2, $3)
         ON CONFLICT (product_id) DO UPDATE SET version = excluded.version, mean_level_ppm = excluded.mean_level_ppm
             WHERE kept.version < excluded.version",
        product_id,
        version,
        mean_level_ppm
    )
    .execute(&mut *conn)
    .await?;
    let content = mean_level_ppm.to_string();
    changed(conn, done.rows_affected(), Kind::Score, &product_id.to_string(), Some(content.as_bytes())).await
}

/// Raises the catalog's version and keeps what it was at that version, if anything has changed. The row's lock orders changes.
pub(super) async fn changed(
    conn: &mut PgConnection,
    rows: u64,
    kind: Kind,
    key: &str,
    content: Option<&[u8]>,
) -> Result<(), sqlx::Error> {
    if rows == 0 {
        return Ok(());
    }
    sqlx::query!(
        "WITH raised AS (UPDATE catalog_version SET version = version + 1 RETURNING version)
         INSERT INTO catalog_log (version, kind, key, content) SELECT version, $1, $2, $3 FROM raised",
        kind.word(),
        key,
        content
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that an enterprise has computed on a day; the first time of the day counts.
pub async fn note_calculation(
    conn: &mut PgConnection,
    enterprise_id: &str,
    day: Date,
    catalog_version: i64,
    profile_version: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO calculation (enterprise_id, computed_on, catalog_version, profile_version) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
        enterprise_id,
        day.to_sqlx() as _,
        catalog_version,
        profile_version
    )
    .execute(conn)
    .await?;
    Ok(())
}
