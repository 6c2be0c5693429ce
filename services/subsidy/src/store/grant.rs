//! Grants.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    id::{GrantId, LoanId, PolicyId},
};

use crate::{
    error::Error,
    grant::{Grant, State},
    plan::ExactRate,
};

struct Row {
    grant_id: Uuid,
    loan_id: Uuid,
    enterprise_id: String,
    policy_id: Uuid,
    policy_version: i32,
    policy_name_zh: String,
    budget_id: Uuid,
    budget_year: i32,
    state: String,
    planned_fen: i64,
    rate_e12: i64,
    lpr_ppm: Option<i64>,
    principal_fen: i64,
    from_on: jiff_sqlx::Date,
    until_on: jiff_sqlx::Date,
    disbursed: bool,
    calculation_zh: String,
    version: i64,
    approved_at: jiff_sqlx::Timestamp,
    created_at: jiff_sqlx::Timestamp,
}

impl TryFrom<Row> for Grant {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            grant_id: GrantId::new(row.grant_id),
            loan_id: LoanId::new(row.loan_id),
            enterprise_id: row.enterprise_id.parse().map_err(|_| Error::Stored("subsidy_grant.enterprise_id"))?,
            policy_id: PolicyId::new(row.policy_id),
            policy_version: row.policy_version,
            policy_name_zh: row.policy_name_zh,
            budget_id: row.budget_id,
            budget_year: row.budget_year,
            state: State::from_word(&row.state).ok_or(Error::Stored("subsidy_grant.state"))?,
            planned: Fen::new(row.planned_fen),
            rate: ExactRate::new(row.rate_e12),
            lpr: row.lpr_ppm.map(Ppm::new),
            principal: Fen::new(row.principal_fen),
            from: row.from_on.to_jiff(),
            until: row.until_on.to_jiff(),
            disbursed: row.disbursed,
            calculation_zh: row.calculation_zh,
            version: row.version,
            approved_at: row.approved_at.to_jiff(),
            created_at: row.created_at.to_jiff(),
        })
    }
}

macro_rules! grants {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT g.grant_id, g.loan_id, g.enterprise_id, g.policy_id, g.policy_version, v.name_zh AS policy_name_zh,
                      g.budget_id, b.year AS budget_year, g.state, g.planned_fen, g.rate_e12, g.lpr_ppm, g.principal_fen,
                      g.from_on AS "from_on: _", g.until_on AS "until_on: _", g.disbursed, g.calculation_zh, g.version,
                      g.approved_at AS "approved_at: _", g.created_at AS "created_at: _"
               FROM subsidy_grant g
               JOIN policy_version v ON v.policy_id = g.policy_id AND v.version = g.policy_version
               JOIN budget b ON b.budget_id = g.budget_id "# + $tail
            $(, $argument)*
        )
    };
}

/// Keeps a new grant.
pub async fn insert(conn: &mut PgConnection, grant: &Grant) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO subsidy_grant (grant_id, loan_id, enterprise_id, policy_id, policy_version, budget_id, state, planned_fen,
             rate_e12, lpr_ppm, principal_fen, from_on, until_on, disbursed, calculation_zh, version, approved_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        grant.grant_id.uuid(),
        grant.loan_id.uuid(),
        grant.enterprise_id.as_str(),
        grant.policy_id.uuid(),
        grant.policy_version,
        grant.budget_id,
        grant.state.word(),
        grant.planned.get(),
        grant.rate.get(),
        grant.lpr.map(Ppm::get),
        grant.principal.get(),
        grant.from.to_sqlx() as _,
        grant.until.to_sqlx() as _,
        grant.disbursed,
        grant.calculation_zh,
        grant.version,
        grant.approved_at.to_sqlx() as _,
        grant.created_at.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps a changed grant; only the version before may be replaced.
pub async fn update(conn: &mut PgConnection, grant: &Grant, loaded_version: i64) -> Result<(), Error> {
    let done = sqlx::query!(
        "UPDATE subsidy_grant SET state = $3, planned_fen = $4, principal_fen = $5, from_on = $6, until_on = $7, disbursed = $8,
             calculation_zh = $9, version = $10
         WHERE grant_id = $1 AND version = $2",
        grant.grant_id.uuid(),
        loaded_version,
        grant.state.word(),
        grant.planned.get(),
        grant.principal.get(),
        grant.from.to_sqlx() as _,
        grant.until.to_sqlx() as _,
        grant.disbursed,
        grant.calculation_zh,
        grant.version
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Stored("subsidy_grant.version")) }
}

/// The budget of a loan's grant, which never changes; none when the loan has no grant.
pub async fn budget_of(conn: &mut PgConnection, loan: LoanId) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT budget_id FROM subsidy_grant WHERE loan_id = $1", loan.uuid())
        .fetch_optional(conn)
        .await
}

/// Locks the grant of a loan.
pub async fn lock_of_loan(conn: &mut PgConnection, loan: LoanId) -> Result<Grant, Error> {
    grants!("WHERE g.loan_id = $1 FOR UPDATE OF g", loan.uuid()).fetch_one(conn).await?.try_into()
}

/// Whether somebody waits at a locked budget for no more than this.
pub async fn somebody_waits_for(conn: &mut PgConnection, budget_id: Uuid, at_most: Fen) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM subsidy_grant WHERE budget_id = $1 AND state = 'waiting' AND planned_fen <= $2) AS "waits!""#,
        budget_id,
        at_most.get()
    )
    .fetch_one(conn)
    .await
}

/// Locks the first grant in order of approval that waits at a locked budget for no more than this.
pub async fn lock_next_waiting(conn: &mut PgConnection, budget_id: Uuid, at_most: Fen) -> Result<Option<Grant>, Error> {
    let row = grants!(
        "WHERE g.budget_id = $1 AND g.state = 'waiting' AND g.planned_fen <= $2
         ORDER BY g.approved_at, g.loan_id LIMIT 1 FOR UPDATE OF g",
        budget_id,
        at_most.get()
    )
    .fetch_optional(conn)
    .await?;
    row.map(Grant::try_from).transpose()
}

/// Grants in order of creation, after a cursor; of one enterprise when given.
pub async fn list(
    conn: &mut PgConnection,
    enterprise: Option<&str>,
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Grant>, Error> {
    let (at, id) = after.unzip();
    let rows = grants!(
        "WHERE ($1::text IS NULL OR g.enterprise_id = $1)
           AND ($2::timestamptz IS NULL OR (g.created_at, g.grant_id) > ($2, $3::uuid))
         ORDER BY g.created_at, g.grant_id LIMIT $4",
        enterprise,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Grant::try_from).collect()
}
