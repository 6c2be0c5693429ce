//! What is known of enterprises.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use sqlx::PgConnection;
use zhirong_kernel::feature::{FeatureValue, Features};
use zhirong_proto::profile::v1::{FeatureValue as Told, Profile, feature_value::Kind};

use crate::error::Error;

/// Keeps a profile, unless a later one is known.
pub async fn put(conn: &mut PgConnection, profile: &Profile) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO profile AS p (enterprise_id, name, version, content) VALUES ($1, $2, $3, $4)
         ON CONFLICT (enterprise_id) DO UPDATE SET name = EXCLUDED.name, version = EXCLUDED.version, content = EXCLUDED.content
         WHERE p.version < EXCLUDED.version",
        profile.enterprise_id,
        profile.name,
        profile.version,
        profile.encode_to_vec()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The features of some enterprises; who is not known is missing.
pub async fn features(conn: &mut PgConnection, enterprises: &[String]) -> Result<HashMap<String, Features>, Error> {
    let rows = sqlx::query!("SELECT enterprise_id, content FROM profile WHERE enterprise_id = ANY($1)", enterprises)
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(|row| Ok((row.enterprise_id, read(&row.content)?))).collect()
}

/// The names of some enterprises.
pub async fn names(conn: &mut PgConnection, enterprises: &[String]) -> Result<HashMap<String, String>, sqlx::Error> {
    let rows = sqlx::query!("SELECT enterprise_id, name FROM profile WHERE enterprise_id = ANY($1)", enterprises)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.enterprise_id, row.name)).collect())
}

/// Enterprises with their features in order of id, after one.
pub async fn page(conn: &mut PgConnection, after: &str, most: i64) -> Result<Vec<(String, Features)>, Error> {
    let rows = sqlx::query!(
        "SELECT enterprise_id, content FROM profile WHERE enterprise_id > $1 ORDER BY enterprise_id LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Ok((row.enterprise_id, read(&row.content)?))).collect()
}

pub(super) fn read(content: &[u8]) -> Result<Features, Error> {
    Ok(known(Profile::decode(content).map_err(|_| Error::Stored("profile.content"))?.features))
}

/// The features that a message tells.
#[must_use]
pub fn known(told: BTreeMap<String, Told>) -> Features {
    let known = told.into_iter().filter_map(|(name, value)| {
        Some((
            name,
            match value.kind? {
                Kind::Integer(number) => FeatureValue::Int(number),
                Kind::Flag(flag) => FeatureValue::Bool(flag),
                Kind::Text(text) => FeatureValue::Text(text),
            },
        ))
    });
    known.collect()
}
