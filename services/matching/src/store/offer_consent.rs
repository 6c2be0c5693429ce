//! Who lets which institution see it among the candidates of a product.

use std::collections::HashSet;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use zhirong_proto::matching::v1::OfferConsent;

use crate::grpc::proto_time;

/// Gives or takes back a consent; gives it as it then stands.
pub async fn set(
    conn: &mut PgConnection,
    enterprise_id: &str,
    institution_id: &str,
    expires_on: Option<Date>,
    text_version: &str,
    now: Timestamp,
) -> Result<OfferConsent, sqlx::Error> {
    let version = sqlx::query_scalar!(
        "INSERT INTO offer_consent AS kept (enterprise_id, institution_id, version, expires_on, text_version, changed_at)
         VALUES ($1, $2, 1, $3, $4, $5)
         ON CONFLICT (enterprise_id, institution_id) DO UPDATE
             SET version = kept.version + 1, expires_on = excluded.expires_on,
                 text_version = excluded.text_version, changed_at = excluded.changed_at
         RETURNING version",
        enterprise_id,
        institution_id,
        expires_on.map(jiff::civil::Date::to_sqlx) as _,
        text_version,
        now.to_sqlx() as _
    )
    .fetch_one(conn)
    .await?;
    Ok(OfferConsent {
        institution_id: institution_id.to_owned(),
        expires_on: expires_on.map(|day| day.to_string()).unwrap_or_default(),
        text_version: text_version.to_owned(),
        version,
        changed_at: Some(proto_time(now)),
    })
}

/// An enterprise's consents after an institution, in order.
pub async fn list(
    conn: &mut PgConnection,
    enterprise_id: &str,
    after: Option<&str>,
    most: i64,
) -> Result<Vec<OfferConsent>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT institution_id, version, expires_on AS "expires_on: jiff_sqlx::Date", text_version,
                  changed_at AS "changed_at: jiff_sqlx::Timestamp"
           FROM offer_consent WHERE enterprise_id = $1 AND ($2::text IS NULL OR institution_id > $2)
           ORDER BY institution_id LIMIT $3"#,
        enterprise_id,
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    let consent = rows.into_iter().map(|row| OfferConsent {
        institution_id: row.institution_id,
        expires_on: row.expires_on.map(|day| day.to_jiff().to_string()).unwrap_or_default(),
        text_version: row.text_version,
        version: row.version,
        changed_at: Some(proto_time(row.changed_at.to_jiff())),
    });
    Ok(consent.collect())
}

/// Who lets an institution see it on a day. A word on one institution outweighs the word on all.
pub async fn consenting(
    conn: &mut PgConnection,
    institution_id: &str,
    today: Date,
) -> Result<HashSet<String>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        "SELECT enterprise_id FROM (
             SELECT DISTINCT ON (enterprise_id) enterprise_id, expires_on FROM offer_consent
             WHERE institution_id IN ($1, '') ORDER BY enterprise_id, institution_id DESC) AS strongest
         WHERE expires_on >= $2",
        institution_id,
        today.to_sqlx() as _
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().collect())
}
