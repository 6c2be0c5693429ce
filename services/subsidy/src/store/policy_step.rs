//! Who did what to a policy.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::PolicyId;

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// The step.
    pub step_id: Uuid,
    /// The version.
    pub version: i32,
    /// `drafted`, `submitted`, `returned`, `published` or `retired`.
    pub step: String,
    /// Who.
    pub taken_by: String,
    /// When.
    pub taken_at: jiff_sqlx::Timestamp,
    /// Why, in Chinese.
    pub reason_zh: String,
}

/// A step that is taken now.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// The policy.
    pub policy: PolicyId,
    /// The version.
    pub version: i32,
    /// What; see [`Step::step`].
    pub step: &'static str,
    /// Who.
    pub by: &'a str,
    /// Why, in Chinese.
    pub reason_zh: &'a str,
}

/// Keeps a step.
pub async fn insert(
    conn: &mut PgConnection,
    step_id: Uuid,
    taken: Taken<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO policy_step (step_id, policy_id, version, step, taken_by, taken_at, reason_zh)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        step_id,
        taken.policy.uuid(),
        taken.version,
        taken.step,
        taken.by,
        now.to_sqlx() as _,
        taken.reason_zh
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The steps of a policy, oldest first, after a cursor.
pub async fn list(
    conn: &mut PgConnection,
    policy: PolicyId,
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Step>, sqlx::Error> {
    let (at, id) = after.unzip();
    sqlx::query_as!(
        Step,
        r#"SELECT step_id, version, step, taken_by, taken_at AS "taken_at: _", reason_zh FROM policy_step
           WHERE policy_id = $1 AND ($2::timestamptz IS NULL OR (taken_at, step_id) > ($2, $3::uuid))
           ORDER BY taken_at, step_id LIMIT $4"#,
        policy.uuid(),
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await
}
