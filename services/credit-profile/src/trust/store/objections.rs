//! Objections, and erasure.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1 as pb;

use crate::profile::proto_time;

/// Open, as the column says it.
const OPEN: i32 = 1;

struct Row {
    objection_id: Uuid,
    enterprise_id: String,
    source: String,
    category: String,
    record_id: String,
    statement: String,
    state: i32,
    raised_at: jiff_sqlx::Timestamp,
    due_on: jiff_sqlx::Date,
    decided_at: Option<jiff_sqlx::Timestamp>,
    answer: String,
}

impl Row {
    fn message(self, today: Date) -> pb::Objection {
        let due_on = self.due_on.to_jiff();
        pb::Objection {
            objection_id: self.objection_id.to_string(),
            enterprise_id: self.enterprise_id,
            source: self.source,
            category: self.category,
            record_id: self.record_id,
            statement: self.statement,
            state: self.state,
            raised_at: Some(proto_time(self.raised_at.to_jiff())),
            due_on: due_on.to_string(),
            overdue: self.state == OPEN && today > due_on,
            decided_at: self.decided_at.map(|at| proto_time(at.to_jiff())),
            answer: self.answer,
        }
    }
}

/// Whether a live record is about this enterprise; locked, so that it is not decided on twice at once.
pub async fn is_about(
    conn: &mut PgConnection,
    enterprise_id: &str,
    source: &str,
    category: &str,
    record_id: &str,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "SELECT record_id FROM record
         WHERE source = $1 AND category = $2 AND record_id = $3 AND uscc = $4 AND NOT withdrawn FOR SHARE",
        source,
        category,
        record_id,
        enterprise_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.is_some())
}

/// Keeps a new objection; none when the record is disputed already.
pub async fn add_objection(
    conn: &mut PgConnection,
    enterprise_id: &str,
    request: &pb::RaiseObjectionRequest,
    now: Timestamp,
    today: Date,
    due_on: Date,
) -> Result<Option<pb::Objection>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO objection
             (objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on)
         VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8)
         ON CONFLICT (source, category, record_id) WHERE state = 1 DO NOTHING
         RETURNING objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, decided_at,
                   answer",
        Uuid::now_v7(),
        enterprise_id,
        request.source,
        request.category,
        request.record_id,
        request.statement,
        now.to_sqlx() as _,
        due_on.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| row.message(today)))
}

/// An objection, locked.
pub async fn objection_for_update(
    conn: &mut PgConnection,
    id: Uuid,
    today: Date,
) -> Result<Option<pb::Objection>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, decided_at,
                answer
         FROM objection WHERE objection_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| row.message(today)))
}

/// Decides an objection.
pub async fn decide(
    conn: &mut PgConnection,
    id: Uuid,
    state: pb::ObjectionState,
    answer: &str,
    now: Timestamp,
    today: Date,
) -> Result<pb::Objection, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE objection SET state = $2, answer = $3, decided_at = $4 WHERE objection_id = $1
         RETURNING objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, decided_at,
                   answer",
        id,
        i32::from(state),
        answer,
        now.to_sqlx() as _
    )
    .fetch_one(conn)
    .await?;
    Ok(row.message(today))
}

/// Takes a disputed record out of features and profile. It stays as a tombstone at its observation, so that the same version
/// delivered again does not bring it back, and a newer one does.
pub async fn take_out(conn: &mut PgConnection, objection: &pb::Objection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE record SET withdrawn = true, data = '{}'
         WHERE source = $1 AND category = $2 AND record_id = $3 AND uscc = $4",
        objection.source,
        objection.category,
        objection.record_id,
        objection.enterprise_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE profile SET stale = true WHERE enterprise_id = $1", objection.enterprise_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Objections of an enterprise or of all, newest first, after a cursor.
pub async fn list_objections(
    conn: &mut PgConnection,
    enterprise_id: Option<&str>,
    open_only: bool,
    after: Option<Uuid>,
    most: i64,
    today: Date,
) -> Result<Vec<pb::Objection>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, decided_at,
                answer
         FROM objection
         WHERE ($1::text IS NULL OR enterprise_id = $1) AND (NOT $2 OR state = 1) AND ($3::uuid IS NULL OR objection_id < $3)
         ORDER BY objection_id DESC LIMIT $4",
        enterprise_id,
        open_only,
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.message(today)).collect())
}

/// Erases what no release since an instant was made from; says how many versions.
pub async fn erase_old_released(conn: &mut PgConnection, before: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE released_profile AS p SET content = ''
         WHERE p.content <> '' AND NOT EXISTS (
             SELECT FROM release r
             WHERE (r.enterprise_id, r.profile_version) = (p.enterprise_id, p.version) AND r.released_at >= $1)
           AND NOT EXISTS (
             SELECT FROM order_disclosure d
             WHERE (d.enterprise_id, d.profile_version) = (p.enterprise_id, p.version) AND d.disclosed_at >= $1)",
        before.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
