//! Facts about loans that come together are applied in one transaction, which takes its locks in the order of [`super`].

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Desk, approval,
    course::{self, Happened},
    till::Till,
};
use crate::{error::Error, life::What, store, store::loan::Approved};

/// Applies facts: first the approvals, then what happened, each loan's in its order. Of what happened, gives the places that
/// came too early, and why: they have changed nothing.
///
/// # Errors
/// [`Error`], and the transaction is to be rolled back.
pub async fn apply(
    conn: &mut PgConnection,
    desk: &Desk,
    approved: &[Approved],
    happened: &[Happened],
    now: Timestamp,
) -> Result<Vec<(usize, String)>, Error> {
    hold_erasures(conn, approved).await?;
    let own = lock_loans(conn, happened).await?;
    approval::approve_beside(conn, desk, approved, &own, now).await?;
    if !own.is_empty() {
        // Held already, unless no approval had a budget to lock.
        store::budget::lock_some(conn, &own).await?;
    }
    let mut in_order: Vec<(usize, &Happened)> = happened.iter().enumerate().collect();
    in_order.sort_by_key(|(_, fact)| (fact.loan_id, fact.version));
    let mut early = Vec::new();
    for (place, fact) in in_order {
        match course::happen(conn, desk, fact, now).await {
            Ok(()) => {}
            Err(Error::Early(reason)) => early.push((place, reason)),
            Err(error) => return Err(error),
        }
    }
    Ok(early)
}

/// Locks everything that these facts need, before they are applied one by one in the same transaction.
///
/// # Errors
/// [`Error::Database`], [`Error::Stored`].
pub async fn lock(
    conn: &mut PgConnection,
    desk: &Desk,
    approved: &[Approved],
    happened: &[Happened],
    now: Timestamp,
) -> Result<(), Error> {
    hold_erasures(conn, approved).await?;
    let own = lock_loans(conn, happened).await?;
    let wanted = approval::wanted(conn, desk, approved).await?;
    Till::lock_years(conn, desk, &wanted, &own, now).await.map(drop)
}

async fn hold_erasures(conn: &mut PgConnection, approved: &[Approved]) -> Result<(), Error> {
    if !approved.is_empty() {
        store::known::hold_erasures(conn).await?;
    }
    Ok(())
}

/// Locks the loans that something happened to, as far as they are known, and the compensations of those of which something
/// came back; gives the budgets of both, in order, not locked.
async fn lock_loans(conn: &mut PgConnection, happened: &[Happened]) -> Result<Vec<Uuid>, Error> {
    if happened.is_empty() {
        return Ok(Vec::new());
    }
    let loans: Vec<Uuid> = happened.iter().map(|fact| fact.loan_id.uuid()).collect();
    store::loan::hold(conn, &loans).await?;
    let mut budgets = store::grant::budgets_of_loans(conn, &loans).await?;
    let recovered = happened.iter().filter(|fact| matches!(fact.event.what, What::Recovered { .. }));
    let recovered: Vec<Uuid> = recovered.map(|fact| fact.loan_id.uuid()).collect();
    if !recovered.is_empty() {
        budgets.extend(store::compensation::hold_of_loans(conn, &recovered).await?);
        budgets.sort_unstable();
        budgets.dedup();
    }
    Ok(budgets)
}
