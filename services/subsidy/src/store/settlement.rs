//! Settlement batches and their lines.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    id::{GrantId, LineId, PolicyId, SettlementId},
};
use zhirong_runtime::fault;

use crate::error::Error;

/// A batch with the sums of its lines.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The batch.
    pub batch_id: Uuid,
    /// First day.
    pub from_on: jiff_sqlx::Date,
    /// Last day.
    pub to_on: jiff_sqlx::Date,
    /// Only of this policy.
    pub policy_id: Option<Uuid>,
    /// `computed`, `discarded`, `reviewed`, `exported` or `closed`.
    pub state: String,
    /// Who computed it.
    pub computed_by: String,
    /// When.
    pub computed_at: jiff_sqlx::Timestamp,
    /// Who reviewed it.
    pub reviewed_by: Option<String>,
    /// What they said.
    pub review_zh: String,
    /// Its lines.
    pub lines: i64,
    /// Their sum, fen.
    pub total_fen: i64,
    /// Of it paid, fen.
    pub paid_fen: i64,
    /// Of it failed, fen.
    pub failed_fen: i64,
}

/// A line.
#[derive(Debug, Clone)]
pub struct Line {
    /// The line.
    pub line_id: Uuid,
    /// In the batch, from 1.
    pub number: i32,
    /// The grant.
    pub grant_id: Uuid,
    /// The enterprise.
    pub enterprise_id: String,
    /// Its name.
    pub enterprise_name: String,
    /// How much, fen.
    pub amount_fen: i64,
    /// `open`, `paid`, `failed` or `dropped`.
    pub state: String,
    /// Why it failed.
    pub reason_zh: String,
    /// Value date.
    pub paid_on: Option<jiff_sqlx::Date>,
}

macro_rules! batches {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Batch,
            r#"SELECT b.batch_id, b.from_on AS "from_on: _", b.to_on AS "to_on: _", b.policy_id, b.state, b.computed_by,
                      b.computed_at AS "computed_at: _", b.reviewed_by, b.review_zh, s.lines AS "lines!",
                      s.total AS "total_fen!", s.paid AS "paid_fen!", s.failed AS "failed_fen!"
               FROM settlement_batch b
               CROSS JOIN LATERAL (
                   SELECT count(*) AS lines, coalesce(sum(amount_fen), 0)::bigint AS total,
                          coalesce(sum(amount_fen) FILTER (WHERE state = 'paid'), 0)::bigint AS paid,
                          coalesce(sum(amount_fen) FILTER (WHERE state = 'failed'), 0)::bigint AS failed
                   FROM settlement_line l WHERE l.batch_id = b.batch_id) s "# + $tail
            $(, $argument)*
        )
    };
}

/// What is due of one grant and in no batch on its way.
#[derive(Debug, Clone)]
pub struct Due {
    /// The grant.
    pub grant_id: Uuid,
    /// Its loan.
    pub loan_id: Uuid,
    /// The enterprise.
    pub enterprise_id: String,
    /// Its name; empty when it is not known.
    pub enterprise_name: String,
    /// Due, fen.
    pub payable_fen: i64,
    /// Paid, fen.
    pub paid_fen: i64,
}

/// Lets one computation of a batch go on at a time, until its transaction ends: what is due is put into one batch.
pub async fn one_at_a_time(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('settlement', 0))").execute(conn).await.map(drop)
}

macro_rules! due {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Due,
            r#"SELECT g.grant_id, g.loan_id, g.enterprise_id, coalesce(p.name, '') AS "enterprise_name!", g.payable_fen, g.paid_fen
               FROM subsidy_grant g LEFT JOIN profile p ON p.enterprise_id = g.enterprise_id
               WHERE g.payable_fen > 0
                 AND NOT EXISTS (SELECT FROM settlement_line l WHERE l.grant_id = g.grant_id AND l.state = 'open') "# + $tail
            $(, $argument)*
        )
    };
}

/// Grants that have something due, in order of id, after one; a bounded number, not locked.
pub async fn due_after(
    conn: &mut PgConnection,
    policy: Option<PolicyId>,
    after: Uuid,
    most: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    due!(
        "AND ($1::uuid IS NULL OR g.policy_id = $1) AND g.grant_id > $2 ORDER BY g.grant_id LIMIT $3",
        policy.map(PolicyId::uuid),
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// What is due of some grants, in order of id.
pub async fn due_of(conn: &mut PgConnection, grants: &[Uuid]) -> Result<Vec<Due>, sqlx::Error> {
    due!("AND g.grant_id = ANY($1) ORDER BY g.grant_id", grants).fetch_all(conn).await
}

/// A new batch.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// The batch.
    pub batch_id: SettlementId,
    /// First and last day.
    pub days: (Date, Date),
    /// Only of this policy.
    pub policy: Option<PolicyId>,
    /// Who computed it.
    pub by: &'a str,
}

/// Keeps a batch with its lines, numbered as they come.
pub async fn insert(
    conn: &mut PgConnection,
    new: New<'_>,
    lines: &[(LineId, &Due, Fen)],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO settlement_batch (batch_id, from_on, to_on, policy_id, state, computed_by, computed_at)
         VALUES ($1, $2, $3, $4, 'computed', $5, $6)",
        new.batch_id.uuid(),
        new.days.0.to_sqlx() as _,
        new.days.1.to_sqlx() as _,
        new.policy.map(PolicyId::uuid),
        new.by,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    fault::point("settlement_batch_kept");
    let ids: Vec<Uuid> = lines.iter().map(|(line, ..)| line.uuid()).collect();
    let grants: Vec<Uuid> = lines.iter().map(|(_, due, _)| due.grant_id).collect();
    let enterprises: Vec<String> = lines.iter().map(|(_, due, _)| due.enterprise_id.clone()).collect();
    let names: Vec<String> = lines.iter().map(|(_, due, _)| due.enterprise_name.clone()).collect();
    let amounts: Vec<i64> = lines.iter().map(|(.., amount)| amount.get()).collect();
    sqlx::query!(
        "INSERT INTO settlement_line (line_id, batch_id, number, grant_id, enterprise_id, enterprise_name, amount_fen, state)
         SELECT n.line_id, $1, n.number::int, n.grant_id, n.enterprise_id, n.name, n.amount, 'open'
         FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[])
             WITH ORDINALITY AS n (line_id, grant_id, enterprise_id, name, amount, number)",
        new.batch_id.uuid(),
        &ids,
        &grants,
        &enterprises,
        &names,
        &amounts
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks a batch; none when there is no such batch.
pub async fn lock(conn: &mut PgConnection, batch: SettlementId) -> Result<Option<Batch>, sqlx::Error> {
    batches!("WHERE b.batch_id = $1 FOR UPDATE OF b", batch.uuid()).fetch_optional(conn).await
}

/// Keeps a review.
pub async fn review(
    conn: &mut PgConnection,
    batch: SettlementId,
    state: &str,
    (by, reason_zh): (&str, &str),
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE settlement_batch SET state = $2, reviewed_by = $3, review_zh = $4, reviewed_at = $5 WHERE batch_id = $1",
        batch.uuid(),
        state,
        by,
        reason_zh,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a locked batch holds is due again.
pub async fn drop_lines(conn: &mut PgConnection, batch: SettlementId) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE settlement_line SET state = 'dropped' WHERE batch_id = $1 AND state = 'open'", batch.uuid())
        .execute(conn)
        .await?;
    Ok(())
}

/// The payment file was handed out.
pub async fn export(conn: &mut PgConnection, batch: SettlementId, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE settlement_batch SET state = 'exported', exported_at = $2 WHERE batch_id = $1 AND state = 'reviewed'",
        batch.uuid(),
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Closes a batch once no line is open; says whether it did.
pub async fn close_when_done(conn: &mut PgConnection, batch: SettlementId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE settlement_batch b SET state = 'closed' WHERE batch_id = $1 AND state = 'exported'
         AND NOT EXISTS (SELECT FROM settlement_line l WHERE l.batch_id = b.batch_id AND l.state = 'open')",
        batch.uuid()
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends an open line of a locked batch.
pub async fn end_line(
    conn: &mut PgConnection,
    line: LineId,
    state: &str,
    reason_zh: &str,
    paid_on: Option<Date>,
) -> Result<(), Error> {
    let done = sqlx::query!(
        "UPDATE settlement_line SET state = $2, reason_zh = $3, paid_on = $4 WHERE line_id = $1 AND state = 'open'",
        line.uuid(),
        state,
        reason_zh,
        paid_on.map(|date| date.to_sqlx()) as _
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Stored("settlement_line.state")) }
}

/// Lines of a batch in order of number, after one.
pub async fn lines(
    conn: &mut PgConnection,
    batch: SettlementId,
    after: i32,
    most: i64,
) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"SELECT line_id, number, grant_id, enterprise_id, enterprise_name, amount_fen, state, reason_zh,
                  paid_on AS "paid_on: _"
           FROM settlement_line WHERE batch_id = $1 AND number > $2 ORDER BY number LIMIT $3"#,
        batch.uuid(),
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// Some lines of a batch by id.
pub async fn some_lines(
    conn: &mut PgConnection,
    batch: SettlementId,
    lines: &[Uuid],
) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"SELECT line_id, number, grant_id, enterprise_id, enterprise_name, amount_fen, state, reason_zh,
                  paid_on AS "paid_on: _"
           FROM settlement_line WHERE batch_id = $1 AND line_id = ANY($2)"#,
        batch.uuid(),
        lines
    )
    .fetch_all(conn)
    .await
}

/// What a payment file says of the loans of grants: lender and reference by grant.
pub async fn lenders(
    conn: &mut PgConnection,
    batch: SettlementId,
) -> Result<Vec<(GrantId, String, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT l.grant_id, n.institution_id, n.bank_reference
         FROM settlement_line l JOIN subsidy_grant g ON g.grant_id = l.grant_id JOIN loan n ON n.loan_id = g.loan_id
         WHERE l.batch_id = $1",
        batch.uuid()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (GrantId::new(row.grant_id), row.institution_id, row.bank_reference)).collect())
}

/// The loans of some grants, in order of id.
pub async fn loans_of(conn: &mut PgConnection, grants: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT DISTINCT loan_id FROM subsidy_grant WHERE grant_id = ANY($1) ORDER BY loan_id", grants)
        .fetch_all(conn)
        .await
}

/// Batches in order of computation, after a cursor.
pub async fn list(
    conn: &mut PgConnection,
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Batch>, sqlx::Error> {
    let (at, id) = after.unzip();
    batches!(
        "WHERE $1::timestamptz IS NULL OR (b.computed_at, b.batch_id) > ($1, $2::uuid)
         ORDER BY b.computed_at, b.batch_id LIMIT $3",
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await
}
