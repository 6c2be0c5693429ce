//! What is emitted, each fact in the transaction of its change, under the lock of its aggregate.

use jiff::Timestamp;
use sqlx::PgConnection;
use zhirong_proto::{
    Fact,
    subsidy::v1::{
        BudgetAppropriated, BudgetExhausted, GrantActivated, GrantQueued, GrantReserved, Policy, PolicyPublished,
    },
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

/// The treasury has given money.
pub async fn appropriated(conn: &mut PgConnection, budget: &Budget, now: Timestamp) -> Result<(), Error> {
    let version = store::budget::next_fact(conn, budget.budget_id).await?;
    let key = format!("{}-{}", budget.policy_id, budget.year);
    let fact = BudgetAppropriated { budget: Some(wire::budget(budget)), version };
    outbox::append(conn, Aggregate { kind: "budget", id: &key, version }, &key, &fact, now).await?;
    Ok(())
}

/// A policy version is in force.
pub async fn published(conn: &mut PgConnection, policy: &Policy, now: Timestamp) -> Result<(), Error> {
    let aggregate = Aggregate { kind: "policy", id: &policy.policy_id, version: policy.version.into() };
    outbox::append(conn, aggregate, &policy.policy_id, &PolicyPublished { policy: Some(policy.clone()) }, now).await?;
    Ok(())
}

async fn about_grant<F: Fact>(conn: &mut PgConnection, grant: &Grant, fact: &F, now: Timestamp) -> Result<(), Error> {
    let key = grant.grant_id.to_string();
    outbox::append(conn, Aggregate { kind: "grant", id: &key, version: grant.version }, &key, fact, now).await?;
    Ok(())
}
