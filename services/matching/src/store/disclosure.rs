//! How the consents of orders stand, what was withheld for want of them, and what was shown by them.

use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1::Scope;

use crate::consent::Held;

/// Keeps a consent, unless it belongs to no order or a newer version is known.
pub async fn put_consent(conn: &mut PgConnection, id: Uuid, version: i64, held: &Held) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO order_consent AS kept (consent_id, version, scope, expires_at, revoked)
         SELECT order_id, $2, $3, $4, $5 FROM orders WHERE order_id = $1
         ON CONFLICT (consent_id) DO UPDATE
             SET version = excluded.version, scope = excluded.scope, expires_at = excluded.expires_at,
                 revoked = excluded.revoked
             WHERE kept.version < excluded.version",
        id,
        version,
        held.scope.encode_to_vec(),
        held.expires_at.to_sqlx() as _,
        held.revoked
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that an order's profile was withheld; says whether that is new.
pub async fn refuse(conn: &mut PgConnection, order_id: Uuid, reason: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO disclosure_refused (order_id, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        order_id,
        reason
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes that this part of an order's profile was shown; says whether that is new.
pub async fn show(
    conn: &mut PgConnection,
    order_id: Uuid,
    scope: &Scope,
    profile_version: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO disclosure_made (order_id, scope, profile_version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        order_id,
        scope.encode_to_vec(),
        profile_version
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}
