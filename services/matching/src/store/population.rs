//! Profiles as they come in.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::Profile;

use crate::error::Error;

/// The database's time, by which changes are stamped.
pub async fn now(conn: &mut PgConnection) -> Result<Timestamp, sqlx::Error> {
    let now =
        sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!: jiff_sqlx::Timestamp""#).fetch_one(conn).await?;
    Ok(now.to_jiff())
}

/// Profiles in order of enterprise, after one.
pub async fn page(conn: &mut PgConnection, after: &str, most: i64) -> Result<Vec<Profile>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM profile WHERE enterprise_id > $1 ORDER BY enterprise_id LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    decoded(&rows)
}

/// Profiles that have changed at a time or later.
pub async fn changed_since(conn: &mut PgConnection, at: Timestamp) -> Result<Vec<Profile>, Error> {
    let rows = sqlx::query_scalar!("SELECT content FROM profile WHERE changed_at >= $1", at.to_sqlx() as _)
        .fetch_all(conn)
        .await?;
    decoded(&rows)
}

fn decoded(rows: &[Vec<u8>]) -> Result<Vec<Profile>, Error> {
    rows.iter().map(|content| Ok(Profile::decode(content.as_slice())?)).collect()
}
