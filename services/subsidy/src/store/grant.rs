//! Grants.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm, Uscc,
    id::{GrantId, InstitutionId, LoanId, PolicyId},
};

use crate::{
    error::Error,
    grant::{Grant, Money, State},
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
    reserved_fen: i64,
    accrued_fen: i64,
    payable_fen: i64,
    paid_fen: i64,
    clawed_back_fen: i64,
    cap_fen: i64,
    rate_e12: i64,
    taken_e12: i64,
    lpr_ppm: Option<i64>,
    principal_fen: i64,
    from_on: jiff_sqlx::Date,
    until_on: jiff_sqlx::Date,
    accrued_until: Option<jiff_sqlx::Date>,
    disbursed: bool,
    short: bool,
    calculation_zh: String,
    explained_fen: Option<i64>,
    combination_zh: String,
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
            money: Money {
                reserved: Fen::new(row.reserved_fen),
                accrued: Fen::new(row.accrued_fen),
                payable: Fen::new(row.payable_fen),
                paid: Fen::new(row.paid_fen),
                clawed_back: Fen::new(row.clawed_back_fen),
            },
            cap: Fen::new(row.cap_fen),
            rate: ExactRate::new(row.rate_e12),
            taken: ExactRate::new(row.taken_e12),
            lpr: row.lpr_ppm.map(Ppm::new),
            principal: Fen::new(row.principal_fen),
            from: row.from_on.to_jiff(),
            until: row.until_on.to_jiff(),
            accrued_until: row.accrued_until.map(jiff_sqlx::Date::to_jiff),
            disbursed: row.disbursed,
            short: row.short,
            calculation_zh: row.calculation_zh,
            explained: row.explained_fen.map(Fen::new),
            combination_zh: row.combination_zh,
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
                      g.budget_id, b.year AS budget_year, g.state, g.planned_fen, g.reserved_fen, g.accrued_fen, g.payable_fen,
                      g.paid_fen, g.clawed_back_fen, g.cap_fen, g.rate_e12, g.taken_e12, g.lpr_ppm, g.principal_fen,
                      g.from_on AS "from_on: _", g.until_on AS "until_on: _", g.accrued_until AS "accrued_until: _", g.disbursed, g.short,
                      g.calculation_zh, g.explained_fen, g.combination_zh, g.version, g.approved_at AS "approved_at: _", g.created_at AS "created_at: _"
               FROM subsidy_grant g
               JOIN policy_version v ON v.policy_id = g.policy_id AND v.version = g.policy_version
               JOIN budget b ON b.budget_id = g.budget_id "# + $tail
            $(, $argument)*
        )
    };
}

/// Keeps new grants, all in one statement. The arrays are unnested in the list of columns, where PostgreSQL takes a row from each;
/// in FROM it would first copy each into a table of its own.
pub async fn insert_all(conn: &mut PgConnection, grants: &[Grant]) -> Result<(), sqlx::Error> {
    fn each<T>(grants: &[Grant], of: impl Fn(&Grant) -> T) -> Vec<T> {
        grants.iter().map(of).collect()
    }
    sqlx::query!(
        "INSERT INTO subsidy_grant (grant_id, loan_id, enterprise_id, policy_id, policy_version, budget_id, state, planned_fen,
             reserved_fen, cap_fen, rate_e12, taken_e12, lpr_ppm, principal_fen, from_on, until_on, disbursed, calculation_zh,
             version, approved_at, created_at, explained_fen, combination_zh)
         SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::uuid[]), unnest($5::int[]),
             unnest($6::uuid[]), unnest($7::text[]), unnest($8::bigint[]), unnest($9::bigint[]), unnest($10::bigint[]),
             unnest($11::bigint[]), unnest($12::bigint[]), unnest($13::bigint[]), unnest($14::bigint[]), unnest($15::date[]),
             unnest($16::date[]), false, unnest($17::text[]), unnest($18::bigint[]), unnest($19::timestamptz[]),
             unnest($20::timestamptz[]), unnest($21::bigint[]), unnest($22::text[])",
        &each(grants, |grant| grant.grant_id.uuid()),
        &each(grants, |grant| grant.loan_id.uuid()),
        &each(grants, |grant| grant.enterprise_id.to_string()),
        &each(grants, |grant| grant.policy_id.uuid()),
        &each(grants, |grant| grant.policy_version),
        &each(grants, |grant| grant.budget_id),
        &each(grants, |grant| grant.state.word().to_owned()),
        &each(grants, |grant| grant.planned.get()),
        &each(grants, |grant| grant.money.reserved.get()),
        &each(grants, |grant| grant.cap.get()),
        &each(grants, |grant| grant.rate.get()),
        &each(grants, |grant| grant.taken.get()),
        &each(grants, |grant| grant.lpr.map(Ppm::get)) as _,
        &each(grants, |grant| grant.principal.get()),
        &each(grants, |grant| grant.from.to_sqlx()) as _,
        &each(grants, |grant| grant.until.to_sqlx()) as _,
        &each(grants, |grant| grant.calculation_zh.clone()),
        &each(grants, |grant| grant.version),
        &each(grants, |grant| grant.approved_at.to_sqlx()) as _,
        &each(grants, |grant| grant.created_at.to_sqlx()) as _,
        &each(grants, |grant| grant.explained.map(Fen::get)) as _,
        &each(grants, |grant| grant.combination_zh.clone())
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps a changed grant; only the version before may be replaced.
pub async fn update(conn: &mut PgConnection, grant: &Grant, loaded_version: i64) -> Result<(), Error> {
    let done = sqlx::query!(
        "UPDATE subsidy_grant SET state = $3, planned_fen = $4, principal_fen = $5, from_on = $6, until_on = $7, disbursed = $8,
             calculation_zh = $9, version = $10, reserved_fen = $11, accrued_fen = $12, payable_fen = $13, paid_fen = $14,
             clawed_back_fen = $15, rate_e12 = $16, accrued_until = $17, short = $18, explained_fen = $19
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
        grant.version,
        grant.money.reserved.get(),
        grant.money.accrued.get(),
        grant.money.payable.get(),
        grant.money.paid.get(),
        grant.money.clawed_back.get(),
        grant.rate.get(),
        grant.accrued_until.map(|day| day.to_sqlx()) as _,
        grant.short,
        grant.explained.map(Fen::get)
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Stored("subsidy_grant.version")) }
}

/// Counts a change of some grants whose loans are locked, and gives them as they are then, in order of id.
pub async fn count_change(conn: &mut PgConnection, grants: &[Uuid]) -> Result<Vec<Grant>, Error> {
    sqlx::query!("UPDATE subsidy_grant SET version = version + 1 WHERE grant_id = ANY($1)", grants)
        .execute(&mut *conn)
        .await?;
    some(conn, grants).await
}

/// Some grants in order of id, not locked.
pub async fn some(conn: &mut PgConnection, grants: &[Uuid]) -> Result<Vec<Grant>, Error> {
    let rows = grants!("WHERE g.grant_id = ANY($1) ORDER BY g.grant_id", grants).fetch_all(conn).await?;
    rows.into_iter().map(Grant::try_from).collect()
}

/// The budgets of a loan's grants, which never change, in order of id.
pub async fn budgets_of(conn: &mut PgConnection, loan: LoanId) -> Result<Vec<Uuid>, sqlx::Error> {
    budgets_of_loans(conn, &[loan.uuid()]).await
}

/// The budgets of the grants of some loans, in order of id.
pub async fn budgets_of_loans(conn: &mut PgConnection, loans: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT budget_id FROM subsidy_grant WHERE loan_id = ANY($1) ORDER BY budget_id",
        loans
    )
    .fetch_all(conn)
    .await
}

/// Locks the grants of a loan; they come in the order in which they take of the loan's rate.
pub async fn lock_of_loan(conn: &mut PgConnection, loan: LoanId) -> Result<Vec<Grant>, Error> {
    let rows = grants!("WHERE g.loan_id = $1 ORDER BY g.grant_id FOR UPDATE OF g", loan.uuid()).fetch_all(conn).await?;
    let mut found = rows.into_iter().map(Grant::try_from).collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|grant| (grant.taken, grant.grant_id));
    Ok(found)
}

/// The grants of some loans, not locked, each loan's in the order in which they take of the loan's rate.
pub async fn of_loans(conn: &mut PgConnection, loans: &[Uuid]) -> Result<HashMap<Uuid, Vec<Grant>>, Error> {
    let rows = grants!("WHERE g.loan_id = ANY($1) ORDER BY g.taken_e12, g.grant_id", loans).fetch_all(conn).await?;
    let mut found: HashMap<Uuid, Vec<Grant>> = HashMap::new();
    for row in rows {
        found.entry(row.loan_id).or_default().push(row.try_into()?);
    }
    Ok(found)
}

/// One grant, not locked; none when there is no such grant.
pub async fn find(conn: &mut PgConnection, grant: GrantId) -> Result<Option<Grant>, Error> {
    grants!("WHERE g.grant_id = $1", grant.uuid()).fetch_optional(conn).await?.map(Grant::try_from).transpose()
}

/// Loans with a grant whose days are not all accrued before a day; a bounded number.
pub async fn loans_to_accrue(conn: &mut PgConnection, day: Date, most: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT loan_id FROM (
             SELECT loan_id FROM subsidy_grant
             WHERE state = 'active' AND (accrued_until IS NULL OR accrued_until < $1)
             ORDER BY accrued_until NULLS FIRST, grant_id LIMIT $2) due",
        day.to_sqlx() as _,
        most
    )
    .fetch_all(conn)
    .await
}

/// What is on its way of a grant in a settlement.
pub async fn on_its_way(conn: &mut PgConnection, grant: GrantId) -> Result<Fen, sqlx::Error> {
    let sum = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(amount_fen), 0)::bigint AS "sum!" FROM settlement_line WHERE grant_id = $1 AND state = 'open'"#,
        grant.uuid()
    )
    .fetch_one(conn)
    .await?;
    Ok(Fen::new(sum))
}

/// What an enterprise has of a locked budget, waiting or not.
pub async fn of_enterprises(
    conn: &mut PgConnection,
    budgets: &[Uuid],
    enterprises: &[String],
) -> Result<Vec<(Uuid, String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT budget_id, enterprise_id, sum(planned_fen)::bigint AS "planned!" FROM subsidy_grant
           WHERE budget_id = ANY($1) AND enterprise_id = ANY($2) AND state <> 'reversed' GROUP BY budget_id, enterprise_id"#,
        budgets,
        enterprises
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.budget_id, row.enterprise_id, row.planned)).collect())
}

/// What some loans have in all, by loan.
pub async fn planned_of_loans(conn: &mut PgConnection, loans: &[Uuid]) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT loan_id, sum(planned_fen)::bigint AS "planned!" FROM subsidy_grant
           WHERE loan_id = ANY($1) AND state NOT IN ('waiting', 'reversed') GROUP BY loan_id"#,
        loans
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.loan_id, row.planned)).collect())
}

/// The first in line at a locked budget: of those that it held short, then of those that wait, in order of approval.
pub async fn first_in_line(conn: &mut PgConnection, budget_id: Uuid) -> Result<Option<Grant>, Error> {
    let row = grants!(
        "WHERE g.grant_id = coalesce(
             (SELECT s.grant_id FROM subsidy_grant s
              WHERE s.budget_id = $1 AND s.short AND s.state IN ('active', 'ended')
              ORDER BY s.approved_at, s.loan_id LIMIT 1),
             (SELECT w.grant_id FROM subsidy_grant w WHERE w.budget_id = $1 AND w.state = 'waiting'
              ORDER BY w.approved_at, w.loan_id LIMIT 1))",
        budget_id
    )
    .fetch_optional(conn)
    .await?;
    row.map(Grant::try_from).transpose()
}

/// Which grants are asked for; what is not said means any.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// The borrower.
    pub enterprise: Option<&'a Uscc>,
    /// The lender.
    pub institution: Option<&'a InstitutionId>,
    /// The loan.
    pub loan: Option<LoanId>,
}

/// Grants in order of creation, which is that of their ids, after a cursor; of one enterprise when given.
pub async fn list(
    conn: &mut PgConnection,
    of: &Wanted<'_>,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<Grant>, Error> {
    let rows = grants!(
        "WHERE ($1::text IS NULL OR g.enterprise_id = $1)
           AND ($2::uuid IS NULL OR g.grant_id > $2)
           AND ($4::uuid IS NULL OR g.loan_id = $4)
           AND ($5::text IS NULL
                OR EXISTS (SELECT FROM loan l WHERE l.loan_id = g.loan_id AND l.institution_id = $5))
         ORDER BY g.grant_id LIMIT $3",
        of.enterprise.map(Uscc::as_str),
        after,
        most,
        of.loan.map(LoanId::uuid),
        of.institution.map(InstitutionId::as_str)
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Grant::try_from).collect()
}
