//! SQL of profiles that are to be computed: marked, taken in the order of their marks, kept, or set aside.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use zhirong_proto::profile::v1::{GetProfileResponse, Profile};

use super::erasure;
use crate::{features::LiveRecord, record::Key};

/// Keeps categories and the scorecard as they are until the transaction ends. Whoever computes profiles comes here before it reads
/// them, and whoever changes them before it marks profiles: so a profile that begins meanwhile, which the change can't see to
/// mark, is computed after it by what is new.
pub async fn use_rules(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock_shared(hashtextextended('rules', 21))").execute(conn).await?;
    Ok(())
}

/// Waits until nobody computes profiles, and keeps them waiting until the transaction ends; before any profile is marked.
pub async fn change_rules(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('rules', 21))").execute(conn).await?;
    Ok(())
}

/// A profile that is to be computed again, locked.
pub struct Stale {
    /// The enterprise.
    pub enterprise_id: String,
    /// Its version so far.
    pub version: i64,
    /// The encoded profile so far.
    pub content: Vec<u8>,
    /// Tries that failed since the last that did not.
    pub failures: i32,
}

/// Marks profiles, in order of enterprise, as to be computed again; one that is not there yet begins.
pub async fn mark_stale(conn: &mut PgConnection, enterprises: &[String], today: Date) -> Result<(), sqlx::Error> {
    if enterprises.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO profile AS p (enterprise_id, version, content, computed_on, stale)
         SELECT uscc, 0, ''::bytea, $2::date, true FROM unnest($1::text[]) AS concerned (uscc)
         ON CONFLICT (enterprise_id) DO UPDATE SET stale = true WHERE NOT p.stale",
        enterprises,
        today.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes profiles that are stale, the oldest mark first, or else of an earlier day; those that somebody else works on are left to
/// them, so that nobody who holds profiles waits for more. What is set aside is not among them.
pub async fn take_stale(conn: &mut PgConnection, today: Date, most: i64) -> Result<Vec<Stale>, sqlx::Error> {
    let stale = sqlx::query_as!(
        Stale,
        "SELECT enterprise_id, version, content, failures FROM profile WHERE stale AND retry_at IS NULL
         ORDER BY mark LIMIT $1 FOR UPDATE SKIP LOCKED",
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    if !stale.is_empty() {
        return Ok(stale);
    }
    sqlx::query_as!(
        Stale,
        "SELECT enterprise_id, version, content, failures FROM profile WHERE computed_on < $1 AND retry_at IS NULL
         ORDER BY computed_on LIMIT $2 FOR UPDATE SKIP LOCKED",
        today.to_sqlx() as _,
        most
    )
    .fetch_all(conn)
    .await
}

/// Takes one profile that is stale or of an earlier day, unless somebody else works on it.
pub async fn take_one(conn: &mut PgConnection, enterprise_id: &str, today: Date) -> Result<Option<Stale>, sqlx::Error> {
    sqlx::query_as!(
        Stale,
        "SELECT enterprise_id, version, content, failures FROM profile
         WHERE enterprise_id = $1 AND (stale OR computed_on < $2) FOR UPDATE SKIP LOCKED",
        enterprise_id,
        today.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await
}

/// Sets a profile aside that can't be computed: until the next try 1 s, then twice as long each time, 5 min at most. Gives how
/// often it failed.
pub async fn set_aside(conn: &mut PgConnection, enterprise_id: &str, now: Timestamp) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE profile
         SET stale = true, failures = least(failures, 1000000) + 1,
             retry_at = $2::timestamptz + least(interval '1 second' * 2 ^ least(failures, 20), interval '5 minutes')
         WHERE enterprise_id = $1 RETURNING failures",
        enterprise_id,
        now.to_sqlx() as _
    )
    .fetch_one(conn)
    .await
}

/// The profile set aside whose next try is due first, if one is.
pub async fn due(conn: &mut PgConnection, now: Timestamp) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT enterprise_id FROM profile WHERE retry_at <= $1 ORDER BY retry_at LIMIT 1 FOR UPDATE SKIP LOCKED",
        now.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await
}

/// How many profiles are set aside.
pub async fn aside(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM profile WHERE retry_at IS NOT NULL"#).fetch_one(conn).await
}

/// The live records of enterprises, each with its enterprise.
pub async fn live_records(
    conn: &mut PgConnection,
    enterprises: &[String],
) -> Result<BTreeMap<String, Vec<LiveRecord>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT uscc, source, category, record_id, observed_at AS "observed_at: jiff_sqlx::Timestamp", revision,
                  data AS "data: Json<Map<String, Value>>"
           FROM record WHERE uscc = ANY($1) AND NOT withdrawn AND NOT gone"#,
        enterprises
    )
    .fetch_all(conn)
    .await?;
    let mut found: BTreeMap<String, Vec<LiveRecord>> = BTreeMap::new();
    for row in rows {
        let key = Key { source: row.source, category: row.category, record_id: row.record_id };
        let observed_at = row.observed_at.to_jiff();
        let record = LiveRecord { key, observed_at, revision: row.revision, data: row.data.0 };
        found.entry(row.uscc).or_default().push(record);
    }
    Ok(found)
}

/// A profile that was computed, with where it comes from.
pub struct Computed {
    /// The profile in its version.
    pub profile: Profile,
    /// All of the answer but the profile.
    pub provenance: GetProfileResponse,
}

/// Keeps profiles that were computed.
pub async fn save(conn: &mut PgConnection, computed: &[Computed], today: Date) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = computed.iter().map(|computed| computed.profile.enterprise_id.as_str()).collect();
    let versions: Vec<i64> = computed.iter().map(|computed| computed.profile.version).collect();
    let contents: Vec<Vec<u8>> = computed.iter().map(|computed| computed.profile.encode_to_vec()).collect();
    let provenances: Vec<Vec<u8>> = computed.iter().map(|computed| computed.provenance.encode_to_vec()).collect();
    sqlx::query!(
        "UPDATE profile p
         SET version = i.version, content = i.content, provenance = i.provenance, computed_on = $5, stale = false,
             failures = 0, retry_at = NULL
         FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[]) AS i (enterprise_id, version, content, provenance)
         WHERE p.enterprise_id = i.enterprise_id",
        &ids as _,
        &versions,
        &contents,
        &provenances,
        today.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    erasure::versions(conn, &ids).await
}
