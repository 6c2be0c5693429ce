//! Objections.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1 as pb;

use crate::{marks::Marks, profile::proto_time, store::mark, trust::scope::Dispute};

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
    taken_out: bool,
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
            taken_out: self.taken_out,
        }
    }
}

/// What tells the versions of a record apart.
pub struct RecordVersion {
    observed_at: jiff_sqlx::Timestamp,
    revision: i32,
    tie_break: String,
}

/// The version of a live record about this enterprise that counts; locked, so that it is the one that is disputed.
pub async fn live_version(
    conn: &mut PgConnection,
    enterprise_id: &str,
    request: &pb::RaiseObjectionRequest,
) -> Result<Option<RecordVersion>, sqlx::Error> {
    sqlx::query_as!(
        RecordVersion,
        "SELECT observed_at, revision, tie_break FROM record
         WHERE source = $1 AND category = $2 AND record_id = $3 AND uscc = $4 AND NOT withdrawn AND NOT gone FOR SHARE",
        request.source,
        request.category,
        request.record_id,
        enterprise_id
    )
    .fetch_optional(conn)
    .await
}

/// A new objection.
pub struct NewObjection<'a> {
    /// Who raises it.
    pub enterprise_id: &'a str,
    /// Against what, and why.
    pub request: &'a pb::RaiseObjectionRequest,
    /// The version that is disputed.
    pub version: RecordVersion,
    /// Computed features that rest on the record's category.
    pub computed_values: Vec<String>,
    /// The last day to decide.
    pub due_on: Date,
}

/// Keeps a new objection, told of as raised; none when the record is disputed already.
pub async fn add_objection(
    conn: &mut PgConnection,
    new: &NewObjection<'_>,
    now: Timestamp,
    today: Date,
) -> Result<Option<pb::Objection>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO objection
             (objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, observed_at,
              revision, tie_break, computed_values, version)
         VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, $9, $10, $11, $12, 1)
         ON CONFLICT (source, category, record_id) WHERE state = 1 DO NOTHING
         RETURNING objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, decided_at,
                   answer, taken_out",
        Uuid::now_v7(),
        new.enterprise_id,
        new.request.source,
        new.request.category,
        new.request.record_id,
        new.request.statement,
        now.to_sqlx() as _,
        new.due_on.to_sqlx() as _,
        new.version.observed_at as _,
        new.version.revision,
        new.version.tie_break,
        &new.computed_values
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
                answer, taken_out
         FROM objection WHERE objection_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| row.message(today)))
}

/// Decides an objection. The words of one whose enterprise was erased in the meantime go with it.
pub async fn decide(
    conn: &mut PgConnection,
    id: Uuid,
    state: pb::ObjectionState,
    taken_out: bool,
    answer: &str,
    now: Timestamp,
    today: Date,
) -> Result<pb::Objection, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE objection AS o
         SET state = $2, answer = $3, decided_at = $4, taken_out = $5, version = 3,
             statement = CASE WHEN EXISTS (SELECT FROM erasure e
                                           WHERE e.enterprise_id = o.enterprise_id AND e.erased_at >= o.raised_at)
                              THEN '' ELSE statement END
         WHERE objection_id = $1
         RETURNING objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, decided_at,
                   answer, taken_out",
        id,
        i32::from(state),
        answer,
        now.to_sqlx() as _,
        taken_out
    )
    .fetch_one(conn)
    .await?;
    Ok(row.message(today))
}

/// Takes the version of a record that an objection disputes out of features and profile; says whether it was still the one that
/// counts. It stays as a tombstone at its observation, so that the same version delivered again does not bring it back, and a
/// newer one does.
pub async fn take_out(conn: &mut PgConnection, id: Uuid, today: Date) -> Result<bool, sqlx::Error> {
    let taken_out = sqlx::query!(
        "UPDATE record AS r SET withdrawn = true, data = '{}' FROM objection o
         WHERE o.objection_id = $1 AND NOT r.withdrawn AND r.uscc = o.enterprise_id
           AND (r.source, r.category, r.record_id) = (o.source, o.category, o.record_id)
           AND (r.observed_at, r.revision, r.tie_break) = (o.observed_at, o.revision, o.tie_break)
         RETURNING r.uscc, r.category",
        id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(record) = taken_out else { return Ok(false) };
    let mut marks = Marks::default();
    marks.record(&record.uscc, &record.category);
    mark(conn, &marks, today).await?;
    Ok(true)
}

/// Records of an enterprise that it disputes and nobody has decided on, in a fixed order.
pub async fn disputes(conn: &mut PgConnection, enterprise_id: &str) -> Result<Vec<Dispute>, sqlx::Error> {
    let open = open_objections(conn, &[enterprise_id.to_owned()]).await?;
    let dispute =
        |raised: pb::ObjectionRaised| Some(Dispute { record: raised.record?, computed_values: raised.computed_values });
    Ok(open.into_iter().filter_map(dispute).collect())
}

/// The objections of some enterprises that nobody has decided, in a fixed order, as they were raised.
pub async fn open_objections(
    conn: &mut PgConnection,
    enterprises: &[String],
) -> Result<Vec<pb::ObjectionRaised>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT objection_id, enterprise_id, category, source, record_id, computed_values,
                  raised_at AS "raised_at: jiff_sqlx::Timestamp", due_on AS "due_on: jiff_sqlx::Date"
           FROM objection WHERE enterprise_id = ANY($1) AND state = 1 ORDER BY objection_id"#,
        enterprises
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| pb::ObjectionRaised {
            enterprise_id: row.enterprise_id,
            record: Some(pb::DisputedRecord {
                objection_id: row.objection_id.to_string(),
                category: row.category,
                source: row.source,
                record_id: row.record_id,
                raised_at: Some(proto_time(row.raised_at.to_jiff())),
            }),
            computed_values: row.computed_values,
            due_on: row.due_on.to_jiff().to_string(),
        })
        .collect())
}

/// Which objections are listed.
pub struct Which<'a> {
    /// Of this enterprise; of all when there is none.
    pub enterprise: Option<&'a str>,
    /// Only those that nobody has decided.
    pub open: bool,
    /// Of those only the ones whose last day is over.
    pub overdue: bool,
}

/// Objections, newest first, after a cursor.
pub async fn list_objections(
    conn: &mut PgConnection,
    which: Which<'_>,
    after: Option<Uuid>,
    most: i64,
    today: Date,
) -> Result<Vec<pb::Objection>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT objection_id, enterprise_id, source, category, record_id, statement, state, raised_at, due_on, decided_at,
                answer, taken_out
         FROM objection
         WHERE ($1::text IS NULL OR enterprise_id = $1) AND (NOT $2 OR state = 1) AND ($3::uuid IS NULL OR objection_id < $3)
           AND (NOT $4 OR (state = 1 AND due_on < $5))
         ORDER BY objection_id DESC LIMIT $6",
        which.enterprise,
        which.open,
        after,
        which.overdue,
        today.to_sqlx() as _,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.message(today)).collect())
}

/// An objection of which something is to be told, locked.
pub struct Untold {
    /// As it stands.
    pub objection: pb::Objection,
    /// Whether nothing was told of it yet: it is older than the facts.
    pub raised: bool,
    /// Computed features that rest on the record's category.
    pub computed_values: Vec<String>,
}

/// An open objection that was never told of, or whose last day is over and nobody was told; what others work on is left to them.
pub async fn untold(conn: &mut PgConnection, today: Date) -> Result<Option<Untold>, sqlx::Error> {
    let found = sqlx::query!(
        "SELECT objection_id, version, computed_values FROM objection
         WHERE state = 1 AND (version = 0 OR (version = 1 AND due_on < $1))
         ORDER BY due_on LIMIT 1 FOR UPDATE SKIP LOCKED",
        today.to_sqlx() as _
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let objection = objection_for_update(conn, found.objection_id, today).await?;
    Ok(objection.map(|objection| Untold {
        objection,
        raised: found.version == 0,
        computed_values: found.computed_values,
    }))
}

/// Notes which fact of an objection was told last.
pub async fn told(conn: &mut PgConnection, id: &str, version: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE objection SET version = $2 WHERE objection_id = $1::text::uuid", id, version)
        .execute(conn)
        .await?;
    Ok(())
}

/// How many objections are overdue.
pub async fn overdue(conn: &mut PgConnection, today: Date) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM objection WHERE state = 1 AND due_on < $1"#,
        today.to_sqlx() as _
    )
    .fetch_one(conn)
    .await
}
