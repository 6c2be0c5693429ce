//! Pre-approved limits, and whom to compute next.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::{matching::v1::Preapproval, profile::v1::Profile};

use crate::error::Error;

/// Marks enterprises as due. Who is due already is locked: it must not be taken before the change that makes it due again can
/// be seen.
pub async fn due(conn: &mut PgConnection, enterprises: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO preapproval_due (enterprise_id) SELECT id FROM unnest($1::text[]) AS id ORDER BY id
         ON CONFLICT (enterprise_id) DO UPDATE SET enterprise_id = excluded.enterprise_id",
        enterprises
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks every enterprise as due, as [`due`] does.
pub async fn all_due(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO preapproval_due (enterprise_id) SELECT enterprise_id FROM profile ORDER BY enterprise_id
         ON CONFLICT (enterprise_id) DO UPDATE SET enterprise_id = excluded.enterprise_id"
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes some who are due. Rows that another replica has taken are left to it.
pub async fn take_due(conn: &mut PgConnection, most: i64) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "DELETE FROM preapproval_due WHERE enterprise_id IN (
             SELECT enterprise_id FROM preapproval_due ORDER BY enterprise_id LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING enterprise_id",
        most
    )
    .fetch_all(conn)
    .await
}

/// The profiles of enterprises, each with its pre-approval as it stands.
pub async fn with_kept(
    conn: &mut PgConnection,
    enterprises: &[String],
) -> Result<Vec<(Profile, Option<Preapproval>)>, Error> {
    let rows = sqlx::query!(
        r#"SELECT profile.content AS profile, preapproval.content AS "kept?"
           FROM profile LEFT JOIN preapproval USING (enterprise_id)
           WHERE enterprise_id = ANY($1) ORDER BY enterprise_id"#,
        enterprises
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kept = row.kept.map(|kept| Preapproval::decode(kept.as_slice())).transpose()?;
            Ok((Profile::decode(row.profile.as_slice())?, kept))
        })
        .collect()
}

/// Keeps a pre-approval.
pub async fn put(conn: &mut PgConnection, preapproval: &Preapproval) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO preapproval (enterprise_id, version, content, largest_limit_fen) VALUES ($1, $2, $3, $4)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET version = excluded.version, content = excluded.content, largest_limit_fen = excluded.largest_limit_fen",
        preapproval.enterprise_id,
        preapproval.version,
        preapproval.encode_to_vec(),
        preapproval.limits.first().map(|largest| largest.limit_fen)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What an enterprise is pre-approved for, if that has been computed.
pub async fn get(conn: &mut PgConnection, enterprise_id: &str) -> Result<Option<Preapproval>, Error> {
    let content = sqlx::query_scalar!("SELECT content FROM preapproval WHERE enterprise_id = $1", enterprise_id)
        .fetch_optional(conn)
        .await?;
    Ok(content.map(|content| Preapproval::decode(content.as_slice())).transpose()?)
}

/// Up to which catalog and day changes have been followed.
pub async fn followed(conn: &mut PgConnection) -> Result<Option<(i64, Date)>, sqlx::Error> {
    let row = sqlx::query!(r#"SELECT catalog_version, day AS "day: jiff_sqlx::Date" FROM preapproval_followed"#)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| (row.catalog_version, row.day.to_jiff())))
}

/// As [`followed`], and nobody else follows until the end of the transaction.
pub async fn lock_followed(conn: &mut PgConnection) -> Result<Option<(i64, Date)>, sqlx::Error> {
    sqlx::query!("LOCK TABLE preapproval_followed IN SHARE ROW EXCLUSIVE MODE").execute(&mut *conn).await?;
    followed(conn).await
}

/// Notes up to where changes have been followed.
pub async fn set_followed(conn: &mut PgConnection, catalog_version: i64, day: Date) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO preapproval_followed (catalog_version, day) VALUES ($1, $2)
         ON CONFLICT (single) DO UPDATE SET catalog_version = excluded.catalog_version, day = excluded.day",
        catalog_version,
        day.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
