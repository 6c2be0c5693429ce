//! SQL of profiles that are to be computed: marked, taken in the order of their marks, kept, or set aside.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::{GetProfileResponse, Profile};

use super::erasure;
use crate::{error::Error, extent::Standing, marks::Marks};

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
    /// How it stands.
    pub standing: Standing,
    /// The encoded profile so far.
    pub content: Vec<u8>,
    /// Tries that failed since the last that did not.
    pub failures: i32,
}

/// As it is stored.
struct Row {
    enterprise_id: String,
    version: i64,
    content: Vec<u8>,
    stale: bool,
    changed: Option<Vec<String>>,
    computed_on: jiff_sqlx::Date,
    declaration: i64,
    failures: i32,
}

impl From<Row> for Stale {
    fn from(row: Row) -> Self {
        let standing = Standing {
            version: row.version,
            stale: row.stale,
            changed: row.changed.map(|categories| categories.into_iter().collect()),
            computed_on: row.computed_on.to_jiff(),
            declaration: row.declaration,
        };
        Self { enterprise_id: row.enterprise_id, standing, content: row.content, failures: row.failures }
    }
}

/// Most changed categories that a profile is computed again by; with more, from all its records.
const MOST_PARTS: i32 = 4;

/// Marks profiles, in order of enterprise, as to be computed again; one that is not there yet begins. A mark that adds nothing writes
/// nothing, but waits for whoever computes the profile: they have not seen what it stands for. Where much has changed, as while a file
/// is taken in, all is computed, so that what comes after need not be marked any more.
pub async fn mark(conn: &mut PgConnection, marks: &Marks, today: Date) -> Result<(), sqlx::Error> {
    if marks.is_empty() {
        return Ok(());
    }
    // slugs have no comma; an array of arrays would need as many in each
    let (enterprises, categories): (Vec<&str>, Vec<String>) = marks
        .iter()
        .map(|(enterprise, categories)| (enterprise, Vec::from_iter(categories.iter().map(String::as_str)).join(",")))
        .unzip();
    sqlx::query!(
        "INSERT INTO profile AS p (enterprise_id, version, content, computed_on, stale, changed)
         SELECT uscc, 0, ''::bytea, $3::date, true, string_to_array(categories, ',')
         FROM unnest($1::text[], $2::text[]) AS concerned (uscc, categories)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET changed = ARRAY(SELECT DISTINCT unnest(coalesce(p.changed, '{}') || excluded.changed) ORDER BY 1),
                 stale = coalesce(cardinality(p.changed), 0) + cardinality(excluded.changed) > $4
             WHERE NOT p.stale AND (p.changed @> excluded.changed) IS NOT TRUE",
        &enterprises as _,
        &categories,
        today.to_sqlx() as _,
        MOST_PARTS
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes profiles that are marked, the oldest mark first, or else of an earlier day, or else of today by an earlier declaration of
/// features; those that somebody else works on are left to them, so that nobody who holds profiles waits for more. What is set aside
/// is not among them.
pub async fn take_stale(
    conn: &mut PgConnection,
    today: Date,
    declaration: i64,
    most: i64,
) -> Result<Vec<Stale>, sqlx::Error> {
    let marked = sqlx::query_as!(
        Row,
        r#"SELECT enterprise_id, version, content, stale, changed, computed_on AS "computed_on: _", declaration, failures
           FROM profile WHERE (stale OR changed IS NOT NULL) AND retry_at IS NULL
           ORDER BY mark LIMIT $1 FOR UPDATE SKIP LOCKED"#,
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    if !marked.is_empty() {
        return Ok(marked.into_iter().map(Stale::from).collect());
    }
    let outdone = sqlx::query_as!(
        Row,
        r#"SELECT enterprise_id, version, content, stale, changed, computed_on AS "computed_on: _", declaration, failures
           FROM profile WHERE (computed_on, declaration) < ($1::date, $2::bigint) AND retry_at IS NULL
           ORDER BY computed_on, declaration LIMIT $3 FOR UPDATE SKIP LOCKED"#,
        today.to_sqlx() as _,
        declaration,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(outdone.into_iter().map(Stale::from).collect())
}

/// Takes one profile that is marked, of an earlier day or by an earlier declaration, unless somebody else works on it.
pub async fn take_one(
    conn: &mut PgConnection,
    enterprise_id: &str,
    today: Date,
    declaration: i64,
) -> Result<Option<Stale>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT enterprise_id, version, content, stale, changed, computed_on AS "computed_on: _", declaration, failures
           FROM profile
           WHERE enterprise_id = $1
             AND (stale OR changed IS NOT NULL OR (computed_on, declaration) < ($2::date, $3::bigint))
           FOR UPDATE SKIP LOCKED"#,
        enterprise_id,
        today.to_sqlx() as _,
        declaration
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Stale::from))
}

/// Sets a profile aside that can't be computed, to be tried again as a whole: until the next try 1 s, then twice as long each time, 5 min at most. Gives how
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

/// Where the features of profiles come from, as it was kept.
pub async fn provenance(
    conn: &mut PgConnection,
    enterprises: &[&str],
) -> Result<BTreeMap<String, GetProfileResponse>, Error> {
    let rows =
        sqlx::query!("SELECT enterprise_id, provenance FROM profile WHERE enterprise_id = ANY($1)", enterprises as _)
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(|row| Ok((row.enterprise_id, GetProfileResponse::decode(row.provenance.as_slice())?)))
        .collect()
}

/// A profile that was computed, with where it comes from.
pub struct Computed {
    /// The profile in its version.
    pub profile: Profile,
    /// All of the answer but the profile.
    pub provenance: GetProfileResponse,
}

/// Keeps profiles that were computed.
pub async fn save(
    conn: &mut PgConnection,
    computed: &[Computed],
    today: Date,
    declaration: i64,
) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = computed.iter().map(|computed| computed.profile.enterprise_id.as_str()).collect();
    let versions: Vec<i64> = computed.iter().map(|computed| computed.profile.version).collect();
    let contents: Vec<Vec<u8>> = computed.iter().map(|computed| computed.profile.encode_to_vec()).collect();
    let provenances: Vec<Vec<u8>> = computed.iter().map(|computed| computed.provenance.encode_to_vec()).collect();
    sqlx::query!(
        "UPDATE profile p
         SET version = i.version, content = i.content, provenance = i.provenance, computed_on = $5, declaration = $6,
             stale = false, changed = NULL, failures = 0, retry_at = NULL
         FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bytea[]) AS i (enterprise_id, version, content, provenance)
         WHERE p.enterprise_id = i.enterprise_id",
        &ids as _,
        &versions,
        &contents,
        &provenances,
        today.to_sqlx() as _,
        declaration
    )
    .execute(&mut *conn)
    .await?;
    erasure::versions(conn, &ids).await
}
