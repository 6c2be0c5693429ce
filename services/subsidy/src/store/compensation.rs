//! Compensations and their parts.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Uscc,
    id::{CompensationId, LoanId, PolicyId},
};
use zhirong_proto::subsidy::v1::{ClaimCompensationRequest, Evidence};

use crate::{
    error::Error,
    loss::{Bearer, Part},
};

/// Where a compensation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not claimed.
    Open,
    /// Waits for its review.
    Claimed,
    /// The parties pay.
    Approved,
    /// May be claimed again.
    Refused,
    /// Every party has paid.
    Paid,
}

impl State {
    const ALL: [Self; 5] = [Self::Open, Self::Claimed, Self::Approved, Self::Refused, Self::Paid];

    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Paid => "paid",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// The loss of one loan.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensation {
    /// The compensation.
    pub compensation_id: CompensationId,
    /// The loan.
    pub loan_id: LoanId,
    /// The borrower.
    pub enterprise_id: Uscc,
    /// The lender.
    pub institution_id: String,
    /// The policy whose pool bears a part, with its version.
    pub policy: Option<(PolicyId, i32)>,
    /// Year of the budget.
    pub budget_year: i32,
    /// Where it stands.
    pub state: State,
    /// The loss.
    pub loss: Fen,
    /// Who bears it.
    pub parts: Vec<Part>,
    /// What came back so far.
    pub recovered: Fen,
    /// Day of the default.
    pub defaulted_on: Date,
    /// First day of a claim.
    pub claimable_from: Date,
    /// What the lender has handed in.
    pub evidence: Vec<Evidence>,
    /// Who reviewed it.
    pub reviewed_by: Option<String>,
    /// What they said.
    pub review_zh: String,
    /// How the parts came about.
    pub calculation_zh: String,
    /// The budget, once money was set aside.
    pub budget_id: Option<Uuid>,
    /// Set aside and due to the lender.
    pub pool_reserved: Fen,
    /// Paid to the lender.
    pub pool_paid: Fen,
    /// Owed back of recoveries.
    pub pool_owed: Fen,
    /// Counts the changes.
    pub version: i64,
    /// When it opened.
    pub opened_at: Timestamp,
}

struct Row {
    compensation_id: Uuid,
    loan_id: Uuid,
    enterprise_id: String,
    institution_id: String,
    policy_id: Option<Uuid>,
    policy_version: Option<i32>,
    budget_year: i32,
    state: String,
    loss_fen: i64,
    recovered_fen: i64,
    defaulted_on: jiff_sqlx::Date,
    claimable_from: jiff_sqlx::Date,
    evidence: Vec<u8>,
    reviewed_by: Option<String>,
    review_zh: String,
    calculation_zh: String,
    budget_id: Option<Uuid>,
    pool_reserved_fen: i64,
    pool_paid_fen: i64,
    pool_owed_fen: i64,
    version: i64,
    opened_at: jiff_sqlx::Timestamp,
}

impl Row {
    fn with(self, parts: Vec<Part>) -> Result<Compensation, Error> {
        let evidence = ClaimCompensationRequest::decode(self.evidence.as_slice());
        Ok(Compensation {
            compensation_id: CompensationId::new(self.compensation_id),
            loan_id: LoanId::new(self.loan_id),
            enterprise_id: self.enterprise_id.parse().map_err(|_| Error::Stored("compensation.enterprise_id"))?,
            institution_id: self.institution_id,
            policy: self.policy_id.map(PolicyId::new).zip(self.policy_version),
            budget_year: self.budget_year,
            state: State::from_word(&self.state).ok_or(Error::Stored("compensation.state"))?,
            loss: Fen::new(self.loss_fen),
            parts,
            recovered: Fen::new(self.recovered_fen),
            defaulted_on: self.defaulted_on.to_jiff(),
            claimable_from: self.claimable_from.to_jiff(),
            evidence: evidence.map_err(|_| Error::Stored("compensation.evidence"))?.evidence,
            reviewed_by: self.reviewed_by,
            review_zh: self.review_zh,
            calculation_zh: self.calculation_zh,
            budget_id: self.budget_id,
            pool_reserved: Fen::new(self.pool_reserved_fen),
            pool_paid: Fen::new(self.pool_paid_fen),
            pool_owed: Fen::new(self.pool_owed_fen),
            version: self.version,
            opened_at: self.opened_at.to_jiff(),
        })
    }
}

macro_rules! compensations {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT compensation_id, loan_id, enterprise_id, institution_id, policy_id, policy_version, budget_year, state,
                      loss_fen, recovered_fen, defaulted_on AS "defaulted_on: _", claimable_from AS "claimable_from: _",
                      evidence, reviewed_by, review_zh, calculation_zh, budget_id, pool_reserved_fen, pool_paid_fen,
                      pool_owed_fen, version, opened_at AS "opened_at: _"
               FROM compensation c "# + $tail
            $(, $argument)*
        )
    };
}

async fn with_parts(conn: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Compensation>, Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.compensation_id).collect();
    let found = sqlx::query!(
        r#"SELECT compensation_id, bearer, institution_id, share_ppm, amount_fen, recovered_fen,
                  paid_on AS "paid_on: jiff_sqlx::Date"
           FROM compensation_part WHERE compensation_id = ANY($1) ORDER BY compensation_id, part"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    let mut parts: HashMap<Uuid, Vec<Part>> = HashMap::new();
    for row in found {
        parts.entry(row.compensation_id).or_default().push(Part {
            bearer: Bearer::from_word(&row.bearer).ok_or(Error::Stored("compensation_part.bearer"))?,
            institution_id: row.institution_id,
            share_ppm: row.share_ppm,
            amount: Fen::new(row.amount_fen),
            recovered: Fen::new(row.recovered_fen),
            paid_on: row.paid_on.map(jiff_sqlx::Date::to_jiff),
        });
    }
    rows.into_iter()
        .map(|row| {
            let own = parts.remove(&row.compensation_id).unwrap_or_default();
            row.with(own)
        })
        .collect()
}

/// Keeps a new compensation.
pub async fn insert(conn: &mut PgConnection, new: &Compensation) -> Result<(), sqlx::Error> {
    let (policy, version) = new.policy.unzip();
    sqlx::query!(
        "INSERT INTO compensation (compensation_id, loan_id, enterprise_id, institution_id, policy_id, policy_version,
             budget_year, state, loss_fen, defaulted_on, claimable_from, calculation_zh, version, opened_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        new.compensation_id.uuid(),
        new.loan_id.uuid(),
        new.enterprise_id.as_str(),
        new.institution_id,
        policy.map(PolicyId::uuid),
        version,
        new.budget_year,
        new.state.word(),
        new.loss.get(),
        new.defaulted_on.to_sqlx() as _,
        new.claimable_from.to_sqlx() as _,
        new.calculation_zh,
        new.version,
        new.opened_at.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    for (place, part) in new.parts.iter().enumerate() {
        sqlx::query!(
            "INSERT INTO compensation_part (compensation_id, part, bearer, institution_id, share_ppm, amount_fen)
             VALUES ($1, $2, $3, $4, $5, $6)",
            new.compensation_id.uuid(),
            i32::try_from(place).unwrap_or(i32::MAX),
            part.bearer.word(),
            part.institution_id,
            part.share_ppm,
            part.amount.get()
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Keeps a changed compensation; only the version before may be replaced.
pub async fn update(conn: &mut PgConnection, changed: &Compensation, loaded_version: i64) -> Result<(), Error> {
    let evidence =
        ClaimCompensationRequest { evidence: changed.evidence.clone(), ..ClaimCompensationRequest::default() };
    let done = sqlx::query!(
        "UPDATE compensation SET state = $3, recovered_fen = $4, evidence = $5, reviewed_by = $6, review_zh = $7, budget_id = $8,
             pool_reserved_fen = $9, pool_paid_fen = $10, pool_owed_fen = $11, version = $12
         WHERE compensation_id = $1 AND version = $2",
        changed.compensation_id.uuid(),
        loaded_version,
        changed.state.word(),
        changed.recovered.get(),
        evidence.encode_to_vec(),
        changed.reviewed_by,
        changed.review_zh,
        changed.budget_id,
        changed.pool_reserved.get(),
        changed.pool_paid.get(),
        changed.pool_owed.get(),
        changed.version
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() != 1 {
        return Err(Error::Stored("compensation.version"));
    }
    for (place, part) in changed.parts.iter().enumerate() {
        sqlx::query!(
            "UPDATE compensation_part SET recovered_fen = $3, paid_on = $4 WHERE compensation_id = $1 AND part = $2",
            changed.compensation_id.uuid(),
            i32::try_from(place).unwrap_or(i32::MAX),
            part.recovered.get(),
            part.paid_on.map(|date| date.to_sqlx()) as _
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Locks a compensation.
pub async fn lock(conn: &mut PgConnection, id: CompensationId) -> Result<Option<Compensation>, Error> {
    let rows = compensations!("WHERE compensation_id = $1 FOR UPDATE", id.uuid()).fetch_all(&mut *conn).await?;
    Ok(with_parts(conn, rows).await?.pop())
}

/// Locks the compensation of a loan.
pub async fn lock_of_loan(conn: &mut PgConnection, loan: LoanId) -> Result<Option<Compensation>, Error> {
    let rows = compensations!("WHERE loan_id = $1 FOR UPDATE", loan.uuid()).fetch_all(&mut *conn).await?;
    Ok(with_parts(conn, rows).await?.pop())
}

/// Locks the compensations of some loans in order of id; gives the budgets that they have money of.
pub async fn hold_of_loans(conn: &mut PgConnection, loans: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    let held = sqlx::query_scalar!(
        "SELECT budget_id FROM compensation WHERE loan_id = ANY($1) ORDER BY compensation_id FOR UPDATE",
        loans
    )
    .fetch_all(conn)
    .await?;
    Ok(held.into_iter().flatten().collect())
}

/// Compensations in order of opening, after a cursor; those that an institution lent for or bears a part of, and of one
/// enterprise, when given.
pub async fn list(
    conn: &mut PgConnection,
    (institution, enterprise): (Option<&str>, Option<&str>),
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Compensation>, Error> {
    let (at, id) = after.unzip();
    let rows = compensations!(
        "WHERE ($1::text IS NULL OR institution_id = $1 OR EXISTS (SELECT FROM compensation_part p
                WHERE p.compensation_id = c.compensation_id AND p.institution_id = $1))
           AND ($2::text IS NULL OR enterprise_id = $2)
           AND ($3::timestamptz IS NULL OR (opened_at, compensation_id) > ($3, $4::uuid))
         ORDER BY opened_at, compensation_id LIMIT $5",
        institution,
        enterprise,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    with_parts(conn, rows).await
}
