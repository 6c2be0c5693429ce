//! Strategic agreements, and what they come to beside products in force.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// One agreement.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub agreement_id: Uuid,
    /// The institution.
    pub institution_id: String,
    /// Chinese name.
    pub name_zh: String,
    /// What it intends to lend, fen.
    pub intent_fen: i64,
    /// First day.
    pub signed_on: jiff_sqlx::Date,
    /// Last day.
    pub ends_on: jiff_sqlx::Date,
    /// The day on which it was ended before its time.
    pub ended_on: Option<jiff_sqlx::Date>,
    /// Why.
    pub ended_reason: String,
}

/// A new agreement.
#[derive(Debug, Clone)]
pub struct New<'a> {
    /// Its id.
    pub id: Uuid,
    /// The institution.
    pub institution_id: &'a str,
    /// Chinese name.
    pub name_zh: &'a str,
    /// What it intends to lend, fen.
    pub intent_fen: i64,
    /// First and last day.
    pub days: (Date, Date),
}

/// Keeps an agreement; says whether there was none with this id. The institution is there: its row is locked.
pub async fn insert(conn: &mut PgConnection, new: &New<'_>, by: &str, now: Timestamp) -> Result<bool, Error> {
    let known =
        sqlx::query_scalar!("SELECT 1 FROM institution WHERE institution_id = $1 FOR SHARE", new.institution_id)
            .fetch_optional(&mut *conn)
            .await?;
    if known.is_none() {
        return Err(Error::InstitutionNotFound(new.institution_id.to_owned()));
    }
    let done = sqlx::query!(
        "INSERT INTO agreement
             (agreement_id, institution_id, name_zh, intent_fen, signed_on, ends_on, registered_by, registered_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        new.id,
        new.institution_id,
        new.name_zh,
        new.intent_fen,
        new.days.0.to_sqlx() as _,
        new.days.1.to_sqlx() as _,
        by,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// One agreement, locked.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<Row, Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT agreement_id, institution_id, name_zh, intent_fen, signed_on AS "signed_on: _", ends_on AS "ends_on: _",
                  ended_on AS "ended_on: _", ended_reason
           FROM agreement WHERE agreement_id = $1 FOR UPDATE"#,
        id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::AgreementNotFound(id))
}

/// Ends an agreement.
pub async fn end(conn: &mut PgConnection, id: Uuid, on: Date, by: &str, reason: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE agreement SET ended_on = $2, ended_by = $3, ended_reason = $4 WHERE agreement_id = $1",
        id,
        on.to_sqlx() as _,
        by,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Agreements in order of id, after a cursor; of one institution when it is given, and of another one when that is given too.
pub async fn list(
    conn: &mut PgConnection,
    (institution, visible_to): (Option<&str>, Option<&str>),
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT agreement_id, institution_id, name_zh, intent_fen, signed_on AS "signed_on: _", ends_on AS "ends_on: _",
                  ended_on AS "ended_on: _", ended_reason
           FROM agreement
           WHERE ($1::uuid IS NULL OR agreement_id > $1) AND ($2::text IS NULL OR institution_id = $2)
             AND ($3::text IS NULL OR institution_id = $3)
           ORDER BY agreement_id LIMIT $4"#,
        after,
        institution,
        visible_to,
        most
    )
    .fetch_all(conn)
    .await
}

/// What one institution intends.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The institution.
    pub institution_id: String,
    /// Its Chinese name.
    pub name_zh: String,
    /// Its agreements.
    pub agreements: i64,
    /// Sum of what they intend, fen; nothing when it does not fit into 64 bits.
    pub intent_fen: Option<i64>,
}

/// Agreements in force on at least one day of a period, by institution.
pub async fn intents(conn: &mut PgConnection, (first, last): (Date, Date)) -> Result<Vec<Intent>, sqlx::Error> {
    sqlx::query_as!(
        Intent,
        r#"SELECT institution_id, i.name_zh, count(*) AS "agreements!",
                  CASE WHEN sum(intent_fen) <= 9223372036854775807 THEN sum(intent_fen)::bigint END AS intent_fen
           FROM agreement a JOIN institution i USING (institution_id)
           WHERE signed_on <= $2 AND ends_on >= $1 AND (ended_on IS NULL OR (ended_on > $1 AND ended_on > signed_on))
           GROUP BY institution_id, i.name_zh ORDER BY institution_id"#,
        first.to_sqlx() as _,
        last.to_sqlx() as _
    )
    .fetch_all(conn)
    .await
}

/// How many institutions, credit products in force and service products in force there are.
pub async fn counts(conn: &mut PgConnection) -> Result<(i64, i64, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM institution) AS "institutions!",
                  count(*) FILTER (WHERE is_credit) AS "credit!", count(*) FILTER (WHERE NOT is_credit) AS "service!"
           FROM product_version WHERE state = 'published'"#
    )
    .fetch_one(conn)
    .await?;
    Ok((row.institutions, row.credit, row.service))
}
