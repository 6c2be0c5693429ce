//! SQL of scorecards and of the profiles they were used on.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::{self as pb, Profile, ScorecardState, ScorecardStatus};

use super::profiles;
use crate::{error::Error, profile::proto_time, scorecard::Scorecard};

/// Who stands for the card that is there from the start.
const BY_SEEDS: (&str, &str) = ("zhirong", "seeds");

/// Writers of cards wait for each other: versions leave no gap, and one is in force.
pub async fn lock(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('scorecard', 20))").execute(conn).await?;
    Ok(())
}

/// Puts the first card into force where there is none at all.
pub async fn begin(conn: &mut PgConnection, first: &pb::Scorecard, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO scorecard (version, content, state, drafted_by, drafted_at, reviewed_by, reviewed_at, reason)
         SELECT $1, $2, 'in_force', $3, $4, $5, $4, '' WHERE NOT EXISTS (SELECT FROM scorecard)
         ON CONFLICT DO NOTHING",
        first.version,
        first.encode_to_vec(),
        BY_SEEDS.0,
        now.to_sqlx() as _,
        BY_SEEDS.1
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The card in force.
pub async fn in_force(conn: &mut PgConnection) -> Result<Scorecard, Error> {
    let content = sqlx::query_scalar!("SELECT content FROM scorecard WHERE state = 'in_force'").fetch_one(conn).await?;
    Ok(Scorecard::new(pb::Scorecard::decode(content.as_slice())?))
}

/// A card with its standing as it is stored.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its version.
    pub version: i32,
    /// The encoded card.
    pub content: Vec<u8>,
    /// `draft`, `in_force`, `retired` or `refused`.
    pub state: String,
    /// Who wrote it.
    pub drafted_by: String,
    /// When.
    pub drafted_at: jiff_sqlx::Timestamp,
    /// Who reviewed it.
    pub reviewed_by: Option<String>,
    /// When.
    pub reviewed_at: Option<jiff_sqlx::Timestamp>,
    /// Why it was refused.
    pub reason: String,
}

impl Row {
    /// The card.
    pub fn card(&self) -> Result<Scorecard, Error> {
        Ok(Scorecard::new(pb::Scorecard::decode(self.content.as_slice())?))
    }

    /// As it is told.
    pub fn told(self) -> Result<ScorecardStatus, Error> {
        let state = match self.state.as_str() {
            "in_force" => ScorecardState::InForce,
            "retired" => ScorecardState::Retired,
            "refused" => ScorecardState::Refused,
            _ => ScorecardState::Draft,
        };
        Ok(ScorecardStatus {
            scorecard: Some(pb::Scorecard::decode(self.content.as_slice())?),
            state: state.into(),
            drafted_by: self.drafted_by,
            drafted_at: Some(proto_time(self.drafted_at.to_jiff())),
            reviewed_by: self.reviewed_by.unwrap_or_default(),
            reviewed_at: self.reviewed_at.map(|at| proto_time(at.to_jiff())),
            reason: self.reason,
        })
    }
}

/// The card with a version.
pub async fn get(conn: &mut PgConnection, version: i32) -> Result<Row, Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT version, content, state, drafted_by, drafted_at AS "drafted_at: _", reviewed_by,
                  reviewed_at AS "reviewed_at: _", reason
           FROM scorecard WHERE version = $1"#,
        version
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::ScorecardNotFound(version))
}

/// Cards, newest first, after a cursor.
pub async fn list(conn: &mut PgConnection, after: Option<i32>, most: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT version, content, state, drafted_by, drafted_at AS "drafted_at: _", reviewed_by,
                  reviewed_at AS "reviewed_at: _", reason
           FROM scorecard WHERE $1::int IS NULL OR version < $1 ORDER BY version DESC LIMIT $2"#,
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// The version that comes next.
pub async fn next_version(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT coalesce(max(version), 0) + 1 AS "version!" FROM scorecard"#).fetch_one(conn).await
}

/// Keeps a draft.
pub async fn insert(
    conn: &mut PgConnection,
    card: &pb::Scorecard,
    by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO scorecard (version, content, state, drafted_by, drafted_at, reason) VALUES ($1, $2, 'draft', $3, $4, '')",
        card.version,
        card.encode_to_vec(),
        by,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what a reviewer decided. A card that comes into force retires the one before, and all profiles become stale.
pub async fn review(
    conn: &mut PgConnection,
    version: i32,
    approve: bool,
    by: &str,
    now: Timestamp,
    reason: &str,
) -> Result<(), sqlx::Error> {
    if approve {
        profiles::change_rules(&mut *conn).await?;
        sqlx::query!("UPDATE scorecard SET state = 'retired' WHERE state = 'in_force'").execute(&mut *conn).await?;
        // All of them, in order. What is computed by the card before has ended; what comes new waits for this one.
        sqlx::query!(
            "WITH locked AS (SELECT enterprise_id FROM profile ORDER BY enterprise_id FOR NO KEY UPDATE)
             UPDATE profile p SET stale = true FROM locked WHERE p.enterprise_id = locked.enterprise_id AND NOT p.stale"
        )
        .execute(&mut *conn)
        .await?;
    }
    sqlx::query!(
        "UPDATE scorecard SET state = CASE WHEN $2 THEN 'in_force' ELSE 'refused' END, reviewed_by = $3, reviewed_at = $4,
             reason = CASE WHEN $2 THEN '' ELSE $5 END
         WHERE version = $1",
        version,
        approve,
        by,
        now.to_sqlx() as _,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One version of a profile; the newest when none is named.
pub async fn profile_version(
    conn: &mut PgConnection,
    enterprise_id: &str,
    version: Option<i64>,
) -> Result<Option<Profile>, Error> {
    let content = sqlx::query_scalar!(
        "SELECT content FROM profile_version WHERE enterprise_id = $1 AND ($2::bigint IS NULL OR version = $2)
         ORDER BY version DESC LIMIT 1",
        enterprise_id,
        version
    )
    .fetch_optional(conn)
    .await?;
    content.map(|content| Ok(Profile::decode(content.as_slice())?)).transpose()
}

/// Versions of a profile, newest first, before one.
pub async fn profile_versions(
    conn: &mut PgConnection,
    enterprise_id: &str,
    before: Option<i64>,
    most: i64,
) -> Result<Vec<Profile>, Error> {
    let contents = sqlx::query_scalar!(
        "SELECT content FROM profile_version WHERE enterprise_id = $1 AND ($2::bigint IS NULL OR version < $2)
         ORDER BY version DESC LIMIT $3",
        enterprise_id,
        before,
        most
    )
    .fetch_all(conn)
    .await?;
    contents.iter().map(|content| Ok(Profile::decode(content.as_slice())?)).collect()
}

/// Profiles in order of enterprise, after one, of those with records of intellectual property.
pub async fn with_property(conn: &mut PgConnection, after: &str, most: i64) -> Result<Vec<Profile>, Error> {
    let contents = sqlx::query_scalar!(
        "SELECT content FROM profile p
         WHERE enterprise_id > $1 AND version > 0
           AND EXISTS (SELECT FROM record r WHERE r.uscc = p.enterprise_id AND NOT r.withdrawn
                       AND r.category IN ('patent', 'trademark', 'ip_pledge'))
         ORDER BY enterprise_id LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    contents.iter().map(|content| Ok(Profile::decode(content.as_slice())?)).collect()
}
