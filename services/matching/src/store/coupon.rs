//! Rate coupons of enterprises.

use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::subsidy::v1::{Coupon, CouponState, ListCouponsResponse};

use crate::{coupon::Held, error::Error};

/// Keeps a coupon unless a newer version is there; the enterprise's holding gets its next version.
pub async fn put(conn: &mut PgConnection, coupon_id: Uuid, coupon: &Coupon) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO coupon AS kept (coupon_id, enterprise_id, version, held, content) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (coupon_id) DO UPDATE
             SET version = excluded.version, held = excluded.held, content = excluded.content
             WHERE kept.version < excluded.version",
        coupon_id,
        coupon.enterprise_id,
        coupon.version,
        coupon.state() == CouponState::Held,
        coupon.encode_to_vec()
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    // The holder's row orders its changes.
    let version = sqlx::query_scalar!(
        "INSERT INTO coupon_holder AS h (enterprise_id, version) VALUES ($1, 1)
         ON CONFLICT (enterprise_id) DO UPDATE SET version = h.version + 1 RETURNING version",
        coupon.enterprise_id
    )
    .fetch_one(&mut *conn)
    .await?;
    let held = sqlx::query_scalar!(
        "SELECT content FROM coupon WHERE enterprise_id = $1 AND held ORDER BY coupon_id",
        coupon.enterprise_id
    )
    .fetch_all(&mut *conn)
    .await?;
    let coupons = held.iter().filter_map(|content| Coupon::decode(content.as_slice()).ok()).collect();
    let content = ListCouponsResponse { coupons, next_page_token: String::new() }.encode_to_vec();
    sqlx::query!(
        "INSERT INTO coupon_log (enterprise_id, version, content) VALUES ($1, $2, $3)",
        coupon.enterprise_id,
        version,
        content
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What an enterprise holds; nothing at version 0 when it never held a coupon.
pub async fn held(conn: &mut PgConnection, enterprise_id: &str) -> Result<Held, Error> {
    let row = sqlx::query!(
        "SELECT version, content FROM coupon_log WHERE enterprise_id = $1 ORDER BY version DESC LIMIT 1",
        enterprise_id
    )
    .fetch_optional(conn)
    .await?;
    row.map_or_else(|| Ok(Held::default()), |row| read(row.version, &row.content))
}

/// What it held at a version.
pub async fn held_at(conn: &mut PgConnection, enterprise_id: &str, version: i64) -> Result<Held, Error> {
    if version == 0 {
        return Ok(Held::default());
    }
    let content = sqlx::query_scalar!(
        "SELECT content FROM coupon_log WHERE enterprise_id = $1 AND version = $2",
        enterprise_id,
        version
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::VersionNotFound { of: "coupons", version })?;
    read(version, &content)
}

fn read(version: i64, content: &[u8]) -> Result<Held, Error> {
    Ok(Held { version, coupons: ListCouponsResponse::decode(content)?.coupons })
}
