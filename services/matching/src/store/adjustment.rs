//! Adjustments of products, as the catalog has approved or ended them.

use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::catalog::v1::{Adjustment, AdjustmentState};

use super::{catalog::Kind, read_model::changed};

/// Keeps an adjustment, or that it has ended, unless a newer fact is there.
pub async fn put(conn: &mut PgConnection, id: Uuid, sequence: i64, adjustment: &Adjustment) -> Result<(), sqlx::Error> {
    let content = (adjustment.state() == AdjustmentState::Approved).then(|| adjustment.encode_to_vec());
    let done = sqlx::query!(
        "INSERT INTO adjustment AS kept (adjustment_id, sequence, content) VALUES ($1, $2, $3)
         ON CONFLICT (adjustment_id) DO UPDATE SET sequence = excluded.sequence, content = excluded.content
             WHERE kept.sequence < excluded.sequence",
        id,
        sequence,
        content
    )
    .execute(&mut *conn)
    .await?;
    changed(conn, done.rows_affected(), Kind::Adjustment, &id.to_string(), content.as_deref()).await
}
