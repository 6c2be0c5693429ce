//! What was known of borrowers when they ordered their loans, as the approvals told it: loans are judged by it for good, unless
//! the enterprise is erased. It says how an enterprise stood and holds nothing of a person.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::feature::Features;
use zhirong_proto::{
    matching::v1::LoanApproved,
    profile::v1::{EnterpriseErased, FeatureValue},
};

use super::profile;
use crate::error::Error;

/// What an approval told of the borrower.
#[derive(Debug, Clone)]
pub struct Known {
    /// The features.
    pub features: Features,
    /// The version of the profile that they come from.
    pub(super) version: i64,
    /// As they are kept: an approval without its loan.
    pub(super) content: Vec<u8>,
}

impl Known {
    /// Reads an approval; none when it tells nothing, as those did of before there were any.
    #[must_use]
    pub fn told(features: BTreeMap<String, FeatureValue>, profile_version: i64) -> Option<Self> {
        if profile_version < 1 {
            return None;
        }
        let told = LoanApproved { loan: None, features, profile_version };
        Some(Self { version: profile_version, content: told.encode_to_vec(), features: profile::known(told.features) })
    }
}

/// By what some loans are judged: what their approvals told; where they told nothing, or where it was erased, what is known of
/// the borrowers now. Missing where neither is there.
pub async fn of_loans(conn: &mut PgConnection, loans: &[Uuid]) -> Result<HashMap<Uuid, Features>, Error> {
    let rows = sqlx::query!(
        r#"SELECT l.loan_id AS "loan_id!", l.known, p.content AS "profile?"
           FROM loan l LEFT JOIN profile p ON l.known IS NULL AND p.enterprise_id = l.enterprise_id
           WHERE l.loan_id = ANY($1)"#,
        loans
    )
    .fetch_all(conn)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        if let Some(content) = row.known {
            let told = LoanApproved::decode(content.as_slice()).map_err(|_| Error::Stored("loan.known"))?;
            found.insert(row.loan_id, profile::known(told.features));
        } else if let Some(content) = row.profile {
            found.insert(row.loan_id, profile::read(&content)?);
        }
    }
    Ok(found)
}

/// Lets nobody be erased until the end of the transaction, which adds loans: an erasure comes wholly before or wholly after it.
/// Whoever needs it takes it before every other lock.
pub async fn hold_erasures(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock_shared(hashtextextended('erasure', 0))").execute(conn).await.map(drop)
}

/// Erases what is kept with the loans of some enterprises, of all profiles up to the version that the erasure names. Amounts and
/// what was granted stay: they are the books. A second time there is nothing to do. It is seldom, and reads through the loans:
/// an index for it would cost every approval.
pub async fn erase(conn: &mut PgConnection, facts: &[EnterpriseErased]) -> Result<(), sqlx::Error> {
    if facts.is_empty() {
        return Ok(());
    }
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('erasure', 0))").execute(&mut *conn).await?;
    let (enterprises, versions): (Vec<String>, Vec<i64>) =
        facts.iter().map(|fact| (fact.enterprise_id.clone(), fact.profile_version)).unzip();
    sqlx::query!(
        "INSERT INTO erasure AS kept (enterprise_id, profile_version)
         SELECT enterprise_id, max(version) FROM unnest($1::text[], $2::bigint[]) AS e (enterprise_id, version)
         GROUP BY enterprise_id ORDER BY enterprise_id
         ON CONFLICT (enterprise_id) DO UPDATE SET profile_version = greatest(kept.profile_version, excluded.profile_version)",
        &enterprises,
        &versions
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE loan SET known = NULL, known_version = NULL
         FROM (SELECT l.loan_id FROM loan l JOIN erasure e ON e.enterprise_id = l.enterprise_id
               WHERE l.enterprise_id = ANY($1) AND l.known_version <= e.profile_version
               ORDER BY l.loan_id FOR UPDATE OF l) AS erased
         WHERE loan.loan_id = erased.loan_id",
        &enterprises
    )
    .execute(conn)
    .await?;
    Ok(())
}
