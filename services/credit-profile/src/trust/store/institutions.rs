//! SQL of the institutions of the catalog.

use sqlx::PgConnection;

/// Keeps that there is an institution.
pub async fn put_institution(conn: &mut PgConnection, institution_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("INSERT INTO institution (institution_id) VALUES ($1) ON CONFLICT DO NOTHING", institution_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether there is an institution.
pub async fn has_institution(conn: &mut PgConnection, institution_id: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM institution WHERE institution_id = $1) AS "there!""#,
        institution_id
    )
    .fetch_one(conn)
    .await
}
