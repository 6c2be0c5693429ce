//! What is told of policies, in the transaction of the change, under the lock of the policy.

use jiff::Timestamp;
use sqlx::PgConnection;
use zhirong_kernel::id::PolicyId;
use zhirong_proto::subsidy::v1::{Policy, PolicyPublished, PolicyRetired};
use zhirong_runtime::outbox::{self, Aggregate};

use crate::error::Error;

/// A policy version is in force. Each version is published once and ended once, so that two numbers a version order the facts.
pub async fn published(conn: &mut PgConnection, policy: &Policy, now: Timestamp) -> Result<(), Error> {
    let aggregate = Aggregate { kind: "policy", id: &policy.policy_id, version: number(policy.version, 0) };
    outbox::append(conn, aggregate, &policy.policy_id, &PolicyPublished { policy: Some(policy.clone()) }, now).await?;
    Ok(())
}

/// A policy has ended.
pub async fn retired(conn: &mut PgConnection, policy: PolicyId, version: i32, now: Timestamp) -> Result<(), Error> {
    let policy_id = policy.to_string();
    let aggregate = Aggregate { kind: "policy", id: &policy_id, version: number(version, 1) };
    outbox::append(conn, aggregate, &policy_id, &PolicyRetired { policy_id: policy_id.clone(), version }, now).await?;
    Ok(())
}

fn number(version: i32, step: i64) -> i64 {
    i64::from(version).saturating_mul(2).saturating_add(step)
}
