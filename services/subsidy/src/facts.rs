//! What is emitted, each fact in the transaction of its change, under the lock of its aggregate.

use jiff::Timestamp;
use sqlx::PgConnection;
use zhirong_proto::{
    Fact,
    subsidy::v1::{BudgetExhausted, GrantActivated, GrantQueued, GrantReserved},
};
use zhirong_runtime::outbox::{self, Aggregate};

use crate::{budget::Budget, error::Error, grant::Grant, store, wire};

/// Money is set aside.
pub async fn reserved(conn: &mut PgConnection, grant: &Grant, now: Timestamp) -> Result<(), Error> {
    about_grant(conn, grant, &GrantReserved { grant: Some(wire::grant(grant)) }, now).await
}

/// The loan is paid out.
pub async fn activated(conn: &mut PgConnection, grant: &Grant, now: Timestamp) -> Result<(), Error> {
    about_grant(conn, grant, &GrantActivated { grant: Some(wire::grant(grant)) }, now).await
}

/// The grant waits.
pub async fn queued(conn: &mut PgConnection, grant: &Grant, now: Timestamp) -> Result<(), Error> {
    about_grant(conn, grant, &GrantQueued { grant: Some(wire::grant(grant)) }, now).await
}

/// The budget could not serve a grant in full.
pub async fn exhausted(conn: &mut PgConnection, budget: &Budget, now: Timestamp) -> Result<(), Error> {
    let version = store::budget::next_fact(conn, budget.budget_id).await?;
    let key = format!("{}-{}", budget.policy_id, budget.year);
    let fact = BudgetExhausted { budget: Some(wire::budget(budget)), version };
    outbox::append(conn, Aggregate { kind: "budget", id: &key, version }, &key, &fact, now).await?;
    Ok(())
}

async fn about_grant<F: Fact>(conn: &mut PgConnection, grant: &Grant, fact: &F, now: Timestamp) -> Result<(), Error> {
    let key = grant.grant_id.to_string();
    outbox::append(conn, Aggregate { kind: "grant", id: &key, version: grant.version }, &key, fact, now).await?;
    Ok(())
}
