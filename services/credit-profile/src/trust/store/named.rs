//! SQL of candidates named.

use sqlx::PgConnection;
use uuid::Uuid;

/// Notes that a naming stands on the trail; says whether that is new.
pub async fn note_named(conn: &mut PgConnection, naming_id: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("INSERT INTO candidates_named (naming_id) VALUES ($1) ON CONFLICT DO NOTHING", naming_id)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}
