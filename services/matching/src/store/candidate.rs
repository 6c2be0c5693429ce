//! Who lets which institution offer it credit, and who was named to it.

use std::collections::{HashMap, HashSet};

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::{matching::v1::Candidate, profile::v1::Consent};

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

/// Notes that enterprises are named as a product's candidates on a day, each by a consent and as it is shown; gives the consents
/// of those for whom that is new. Days past are forgotten.
pub async fn note_named(
    conn: &mut PgConnection,
    today: Date,
    product_id: Uuid,
    named: &[(Given, Candidate)],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    sqlx::query!(
        "DELETE FROM candidate_named WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM candidate_named WHERE named_on < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
        today.to_sqlx() as _,
        FORGOTTEN
    )
    .execute(&mut *conn)
    .await?;
    // In order of the consents, so that two who name the same enterprises wait for each other instead of in a circle. What was
    // told already is left out first: only looked at it is not written, and most of it is the same from call to call.
    let new = sqlx::query_scalar!(
        "INSERT INTO candidate_named AS told
             (named_on, product_id, consent_id, consent_version, profile_version, limit_fen, rate_ppm, disputed)
         SELECT $1, $2, n.* FROM unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bool[])
             AS n (consent_id, consent_version, profile_version, limit_fen, rate_ppm, disputed)
         WHERE NOT EXISTS (SELECT FROM candidate_named before
             WHERE (before.named_on, before.product_id) = ($1, $2)
               AND (before.consent_id, before.consent_version, before.profile_version)
                   = (n.consent_id, n.consent_version, n.profile_version)
               AND (before.limit_fen, before.rate_ppm, before.disputed) = (n.limit_fen, n.rate_ppm, n.disputed))
         ORDER BY n.consent_id
         ON CONFLICT (named_on, product_id, consent_id, consent_version, profile_version) DO UPDATE
             SET limit_fen = excluded.limit_fen, rate_ppm = excluded.rate_ppm, disputed = excluded.disputed
             WHERE (told.limit_fen, told.rate_ppm, told.disputed)
                 IS DISTINCT FROM (excluded.limit_fen, excluded.rate_ppm, excluded.disputed)
         RETURNING consent_id",
        today.to_sqlx() as _,
        product_id,
        &named.iter().map(|(given, _)| given.id).collect::<Vec<_>>(),
        &named.iter().map(|(given, _)| given.version).collect::<Vec<_>>(),
        &named.iter().map(|(_, shown)| shown.profile_version).collect::<Vec<_>>(),
        &named.iter().map(|(_, shown)| shown.limit_fen).collect::<Vec<_>>(),
        &named.iter().map(|(_, shown)| shown.rate_ppm).collect::<Vec<_>>(),
        &named.iter().map(|(_, shown)| shown.disputed).collect::<Vec<_>>()
    )
    .fetch_all(conn)
    .await?;
    Ok(new.into_iter().collect())
}
