//! Who lets which institution offer it credit, and who was named to it.

use std::collections::{HashMap, HashSet};

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1::Consent;

use crate::consent::Held;

/// Rows of days past that are deleted at a time.
const FORGOTTEN: i64 = 10_000;

/// Keeps a consent to offer credit, unless a newer version is known.
pub async fn put_consent(conn: &mut PgConnection, id: Uuid, consent: &Consent, held: &Held) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO preapproval_consent AS kept
             (consent_id, version, enterprise_id, institution_id, score, expires_at, revoked)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (consent_id) DO UPDATE
             SET version = excluded.version, score = excluded.score, expires_at = excluded.expires_at,
                 revoked = excluded.revoked
             WHERE kept.version < excluded.version",
        id,
        consent.version,
        consent.enterprise_id,
        consent.institution_id,
        held.scope.score,
        held.expires_at.to_sqlx() as _,
        held.revoked
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A consent by which an enterprise may be named.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// Its id.
    pub id: Uuid,
    /// As it stands.
    pub version: i64,
}

/// Who lets an institution offer it credit now, each by the newest consent that holds.
pub async fn consenting(
    conn: &mut PgConnection,
    institution_id: &str,
    now: Timestamp,
) -> Result<HashMap<String, Given>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (enterprise_id) enterprise_id, consent_id, version FROM preapproval_consent
         WHERE institution_id = $1 AND expires_at > $2 AND score AND NOT revoked
         ORDER BY enterprise_id, consent_id DESC",
        institution_id,
        now.to_sqlx() as _
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.enterprise_id, Given { id: row.consent_id, version: row.version })).collect())
}

/// Notes that enterprises are named as a product's candidates on a day, each by a consent and with the version of its profile;
/// gives the consents of those for whom that is new. Days past are forgotten.
pub async fn note_named(
    conn: &mut PgConnection,
    today: Date,
    product_id: Uuid,
    named: &[(Given, i64)],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    sqlx::query!(
        "DELETE FROM candidate_named WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM candidate_named WHERE named_on < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
        today.to_sqlx() as _,
        FORGOTTEN
    )
    .execute(&mut *conn)
    .await?;
    // In order of the consents, so that two who name the same enterprises wait for each other instead of in a circle.
    let new = sqlx::query_scalar!(
        "INSERT INTO candidate_named (named_on, product_id, consent_id, consent_version, profile_version)
         SELECT $1, $2, consent_id, consent_version, profile_version
         FROM unnest($3::uuid[], $4::bigint[], $5::bigint[]) AS n (consent_id, consent_version, profile_version)
         ORDER BY consent_id
         ON CONFLICT DO NOTHING
         RETURNING consent_id",
        today.to_sqlx() as _,
        product_id,
        &named.iter().map(|(given, _)| given.id).collect::<Vec<_>>(),
        &named.iter().map(|(given, _)| given.version).collect::<Vec<_>>(),
        &named.iter().map(|(_, profile)| *profile).collect::<Vec<_>>()
    )
    .fetch_all(conn)
    .await?;
    Ok(new.into_iter().collect())
}
