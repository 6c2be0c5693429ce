//! SQL of the declarations of features that programs have computed profiles by.

use sqlx::{Connection as _, PgConnection};

/// The number of a declaration. One that is not the latest gets the next number, as does an earlier one that comes back: what was
/// computed by a lower number is computed again, by whoever has a higher one and by nobody the other way round. So releases that
/// run side by side while replicas are being replaced do not undo each other's work for ever.
pub async fn number(conn: &mut PgConnection, fingerprint: &[u8; 32]) -> Result<i64, sqlx::Error> {
    let mut tx = conn.begin().await?;
    // replicas that start at once get one number together
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('declaration', 22))").execute(&mut *tx).await?;
    let latest = sqlx::query!("SELECT number, fingerprint FROM feature_declaration ORDER BY number DESC LIMIT 1")
        .fetch_optional(&mut *tx)
        .await?;
    let number = match latest {
        Some(latest) if latest.fingerprint == fingerprint => latest.number,
        latest => {
            let next = latest.map_or(0, |latest| latest.number).saturating_add(1);
            sqlx::query!(
                "INSERT INTO feature_declaration (number, fingerprint) VALUES ($1, $2)",
                next,
                fingerprint.as_slice()
            )
            .execute(&mut *tx)
            .await?;
            next
        }
    };
    tx.commit().await?;
    Ok(number)
}
