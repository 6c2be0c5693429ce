//! Budgets and their ledger.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    id::{CompensationId, GrantId, LineId, PolicyId},
};

use crate::budget::{Budget, Entry};

struct Row {
    budget_id: Uuid,
    policy_id: Uuid,
    year: i32,
    appropriated_fen: i64,
    available_fen: i64,
    reserved_fen: i64,
    accrued_fen: i64,
    payable_fen: i64,
    paid_fen: i64,
    clawed_back_fen: i64,
    low_at_ppm: i64,
    low_told: bool,
    funded_told: bool,
    kept: bool,
}

impl From<Row> for Budget {
    fn from(row: Row) -> Self {
        Self {
            budget_id: row.budget_id,
            policy_id: PolicyId::new(row.policy_id),
            year: row.year,
            appropriated: Fen::new(row.appropriated_fen),
            available: Fen::new(row.available_fen),
            reserved: Fen::new(row.reserved_fen),
            accrued: Fen::new(row.accrued_fen),
            payable: Fen::new(row.payable_fen),
            paid: Fen::new(row.paid_fen),
            clawed_back: Fen::new(row.clawed_back_fen),
            low_at: Ppm::new(row.low_at_ppm),
            low_told: row.low_told,
            funded_told: row.funded_told,
            kept: row.kept,
        }
    }
}

macro_rules! budgets {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT budget_id, policy_id, year, appropriated_fen, available_fen, reserved_fen, accrued_fen, payable_fen, paid_fen,
                      clawed_back_fen, low_told, funded_told, kept, coalesce((SELECT v.low_budget_ppm FROM policy_version v
                          WHERE v.policy_id = budget.policy_id AND v.state = 'published'), 100000) AS "low_at_ppm!"
               FROM budget "# + $tail
            $(, $argument)*
        )
    };
}

/// Locks the budgets of some policies for their years and some others beside them, all in order of id, making those that are
/// missing: an empty budget is what a grant waits at. They are made before any is locked, because whoever makes the same ones
/// is waited for. Each pair stands once.
pub async fn lock_all(
    conn: &mut PgConnection,
    wanted: &[(PolicyId, i32)],
    new_ids: &[Uuid],
    beside: &[Uuid],
) -> Result<Vec<Budget>, sqlx::Error> {
    let policies: Vec<Uuid> = wanted.iter().map(|(policy, _)| policy.uuid()).collect();
    let years: Vec<i32> = wanted.iter().map(|(_, year)| *year).collect();
    if look_at(conn, wanted).await?.len() < wanted.len() {
        sqlx::query!(
            "INSERT INTO budget (budget_id, policy_id, year)
             SELECT n.budget_id, n.policy_id, n.year
             FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS n (budget_id, policy_id, year)
             ORDER BY n.policy_id, n.year ON CONFLICT (policy_id, year) DO NOTHING",
            new_ids,
            &policies,
            &years
        )
        .execute(&mut *conn)
        .await?;
    }
    let rows = budgets!(
        "WHERE budget_id = ANY($3) OR (policy_id, year) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
         ORDER BY budget_id FOR UPDATE",
        &policies,
        &years,
        beside
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Budget::from).collect())
}

/// The budgets of some policies for their years, as they stand, without a lock; those that are missing are left out.
pub async fn look_at(conn: &mut PgConnection, wanted: &[(PolicyId, i32)]) -> Result<Vec<Budget>, sqlx::Error> {
    let policies: Vec<Uuid> = wanted.iter().map(|(policy, _)| policy.uuid()).collect();
    let years: Vec<i32> = wanted.iter().map(|(_, year)| *year).collect();
    let rows = budgets!("WHERE (policy_id, year) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))", &policies, &years)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(Budget::from).collect())
}

/// Locks some budgets, in order of id.
pub async fn lock_some(conn: &mut PgConnection, budgets: &[Uuid]) -> Result<Vec<Budget>, sqlx::Error> {
    let rows = budgets!("WHERE budget_id = ANY($1) ORDER BY budget_id FOR UPDATE", budgets).fetch_all(conn).await?;
    Ok(rows.into_iter().map(Budget::from).collect())
}

/// Locks one budget.
pub async fn lock(conn: &mut PgConnection, budget_id: Uuid) -> Result<Budget, sqlx::Error> {
    budgets!("WHERE budget_id = $1 FOR UPDATE", budget_id).fetch_one(conn).await.map(Budget::from)
}

/// Budgets in order of policy and year, after a cursor.
pub async fn list(conn: &mut PgConnection, after: Option<(Uuid, i32)>, most: i64) -> Result<Vec<Budget>, sqlx::Error> {
    let (policy, year) = after.unzip();
    let rows = budgets!(
        "WHERE $1::uuid IS NULL OR (policy_id, year) > ($1, $2::int) ORDER BY policy_id, year LIMIT $3",
        policy,
        year,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Budget::from).collect())
}

/// Counts the facts about a locked budget up; gives the count afterwards.
pub async fn count_facts(conn: &mut PgConnection, budget_id: Uuid, more: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE budget SET fact_version = fact_version + $2 WHERE budget_id = $1 RETURNING fact_version",
        budget_id,
        more
    )
    .fetch_one(conn)
    .await
}

/// Keeps what was last told of a locked budget: that little is left, that there is money, that it is kept for who waits.
pub async fn keep_told(conn: &mut PgConnection, budget: &Budget) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE budget SET low_told = $2, funded_told = $3, kept = $4 WHERE budget_id = $1",
        budget.budget_id,
        budget.low_told,
        budget.funded_told,
        budget.kept
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The treasury's own.
    Treasury,
    /// A grant.
    Grant(GrantId),
    /// The payment of a line of a settlement.
    Line(GrantId, LineId),
    /// A compensation.
    Compensation(CompensationId),
}

/// The paper that money from outside comes with, and who entered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paper {
    /// The document, in Chinese.
    pub document_zh: String,
    /// Who entered it.
    pub entered_by: String,
}

/// An entry to post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The transaction.
    pub transaction_id: Uuid,
    /// The locked budget.
    pub budget_id: Uuid,
    /// What moves.
    pub entry: Entry,
    /// Whose it is.
    pub owner: Owner,
    /// Where the reason asks for one.
    pub paper: Option<Paper>,
}

/// Posts entries of locked budgets, in one statement. The database moves the balances with them.
pub async fn post_all(conn: &mut PgConnection, postings: &[Posting], now: Timestamp) -> Result<(), sqlx::Error> {
    fn each<T>(postings: &[Posting], of: impl Fn(&Posting) -> T) -> Vec<T> {
        postings.iter().map(of).collect()
    }
    if postings.is_empty() {
        return Ok(());
    }
    let ids = each(postings, |posting| posting.transaction_id);
    let budgets = each(postings, |posting| posting.budget_id);
    let grants = each(postings, |posting| match posting.owner {
        Owner::Grant(grant) | Owner::Line(grant, _) => Some(grant.uuid()),
        Owner::Treasury | Owner::Compensation(_) => None,
    });
    let lines = each(postings, |posting| match posting.owner {
        Owner::Line(_, line) => Some(line.uuid()),
        _ => None,
    });
    let compensations = each(postings, |posting| match posting.owner {
        Owner::Compensation(compensation) => Some(compensation.uuid()),
        _ => None,
    });
    sqlx::query!(
        "INSERT INTO ledger_transaction (transaction_id, budget_id, reason, grant_id, settlement_line_id, compensation_id,
             document_zh, entered_by, loses, gains, amount_fen, posted_at)
         SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::uuid[]), unnest($5::uuid[]),
             unnest($6::uuid[]), unnest($7::text[]), unnest($8::text[]), unnest($9::text[]), unnest($10::text[]),
             unnest($11::bigint[]), $12",
        &ids,
        &budgets,
        &each(postings, |posting| posting.entry.reason.word().to_owned()),
        &grants as _,
        &lines as _,
        &compensations as _,
        &each(postings, |posting| posting.paper.as_ref().map(|paper| paper.document_zh.clone())) as _,
        &each(postings, |posting| posting.paper.as_ref().map(|paper| paper.entered_by.clone())) as _,
        &each(postings, |posting| posting.entry.reason.accounts().0.word().to_owned()),
        &each(postings, |posting| posting.entry.reason.accounts().1.word().to_owned()),
        &each(postings, |posting| posting.entry.amount.get()),
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
