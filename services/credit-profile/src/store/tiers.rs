//! SQL of the tiers on the way to a listing.

use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::TierStanding;

use crate::error::Error;

/// Where an enterprise stands; nothing for one that has never been in a tier.
pub async fn standing(conn: &mut PgConnection, enterprise_id: &str) -> Result<Option<TierStanding>, Error> {
    let content = sqlx::query_scalar!("SELECT content FROM tier_standing WHERE enterprise_id = $1", enterprise_id)
        .fetch_optional(conn)
        .await?;
    content.map(|content| Ok(TierStanding::decode(content.as_slice())?)).transpose()
}

/// Keeps where an enterprise stands; a movement also for ever.
pub async fn save(conn: &mut PgConnection, standing: &TierStanding, moved: bool) -> Result<(), sqlx::Error> {
    let content = standing.encode_to_vec();
    sqlx::query!(
        "INSERT INTO tier_standing (enterprise_id, tier, version, content) VALUES ($1, $2, $3, $4)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET tier = excluded.tier, version = excluded.version, content = excluded.content",
        standing.enterprise_id,
        standing.tier,
        standing.version,
        content
    )
    .execute(&mut *conn)
    .await?;
    if moved {
        sqlx::query!(
            "INSERT INTO tier_change (enterprise_id, version, content) VALUES ($1, $2, $3)",
            standing.enterprise_id,
            standing.version,
            content
        )
        .execute(conn)
        .await?;
    }
    Ok(())
}

/// Enterprises of a tier, or of any, in order of USCC after a cursor, and how many there are.
pub async fn list(
    conn: &mut PgConnection,
    tier: Option<&str>,
    after: Option<&str>,
    most: i64,
) -> Result<(Vec<TierStanding>, i64), Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM tier_standing
         WHERE tier <> '' AND ($1::text IS NULL OR tier = $1) AND ($2::text IS NULL OR enterprise_id > $2)
         ORDER BY enterprise_id LIMIT $3",
        tier,
        after,
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM tier_standing WHERE tier <> '' AND ($1::text IS NULL OR tier = $1)"#,
        tier
    )
    .fetch_one(conn)
    .await?;
    Ok((decoded(rows)?, count))
}

/// Movements of an enterprise, oldest first, after a version.
pub async fn changes(
    conn: &mut PgConnection,
    enterprise_id: &str,
    after: i64,
    most: i64,
) -> Result<Vec<TierStanding>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM tier_change WHERE enterprise_id = $1 AND version > $2 ORDER BY version LIMIT $3",
        enterprise_id,
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    decoded(rows)
}

fn decoded(rows: Vec<Vec<u8>>) -> Result<Vec<TierStanding>, Error> {
    rows.into_iter().map(|content| Ok(TierStanding::decode(content.as_slice())?)).collect()
}
