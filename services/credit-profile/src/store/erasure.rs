//! SQL of erasure: an enterprise's past beside its records. Each statement gives the same end state whatever comes first, the
//! erasure or a fact of before it.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::{EnterpriseErased, QualityStanding, TierStanding};

use super::{quality, tiers};
use crate::{error::Error, profile::proto_time};

/// Notes an erasure under the lock of the profile, which whoever keeps a fact of the enterprise takes first.
pub async fn note(
    conn: &mut PgConnection,
    enterprise_id: &str,
    now: Timestamp,
) -> Result<EnterpriseErased, sqlx::Error> {
    let standing = sqlx::query_scalar!(
        "UPDATE profile SET stale = true WHERE enterprise_id = $1 RETURNING version",
        enterprise_id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let row = sqlx::query!(
        r#"INSERT INTO erasure AS kept (enterprise_id, version, erased_at, profile_version) VALUES ($1, 1, $2, $3)
           ON CONFLICT (enterprise_id) DO UPDATE
               SET version = kept.version + 1, erased_at = greatest(kept.erased_at, excluded.erased_at),
                   profile_version = excluded.profile_version
           RETURNING version, profile_version, erased_at AS "erased_at: jiff_sqlx::Timestamp""#,
        enterprise_id,
        now.to_sqlx() as _,
        standing.unwrap_or(0)
    )
    .fetch_one(conn)
    .await?;
    Ok(EnterpriseErased {
        enterprise_id: enterprise_id.to_owned(),
        erased_at: Some(proto_time(row.erased_at.to_jiff())),
        profile_version: row.profile_version,
        version: row.version,
    })
}

/// Erases what came of loans, orders and ratings, and every movement. Where the enterprise stands now remains, without what
/// it was judged by, until it is computed again.
pub async fn history(conn: &mut PgConnection, enterprise_id: &str) -> Result<(), Error> {
    loans(conn, enterprise_id).await?;
    sqlx::query!("DELETE FROM financing_demand WHERE enterprise_id = $1", enterprise_id).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM enterprise_rating WHERE enterprise_id = $1", enterprise_id).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM quality_change WHERE enterprise_id = $1", enterprise_id).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM tier_change WHERE enterprise_id = $1", enterprise_id).execute(&mut *conn).await?;
    if let Some(standing) = quality::standing(conn, enterprise_id).await? {
        let since_on = if standing.listed { standing.since_on.clone() } else { String::new() };
        quality::save(conn, &QualityStanding { criteria: Vec::new(), since_on, ..standing }, false).await?;
    }
    if let Some(standing) = tiers::standing(conn, enterprise_id).await? {
        let since_on = if standing.tier.is_empty() { String::new() } else { standing.since_on.clone() };
        let bare = TierStanding { families: Vec::new(), from_tier: String::new(), since_on, ..standing };
        tiers::save(conn, &bare, false).await?;
    }
    Ok(())
}

/// Erases the history of loans settled by the time of the enterprise's erasure, if there was one. What was repaid late in the
/// five years before stays: 征信业管理条例, article 16, lets it stand as long, and nobody rids themselves of it by asking.
pub async fn loans(conn: &mut PgConnection, enterprise_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO erased_loan (loan_id)
         SELECT latest.loan_id
         FROM (SELECT DISTINCT ON (loan_id) loan_id, state, happened_on FROM loan_step WHERE enterprise_id = $1
               ORDER BY loan_id, version DESC) AS latest
             JOIN erasure ON erasure.enterprise_id = $1
         WHERE latest.state = 'settled' AND latest.happened_on <= (erasure.erased_at AT TIME ZONE 'Asia/Shanghai')::date
         ON CONFLICT DO NOTHING",
        enterprise_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM loan_step AS step USING erased_loan, erasure
         WHERE step.enterprise_id = $1 AND erased_loan.loan_id = step.loan_id AND erasure.enterprise_id = $1
           AND (NOT (step.overdue OR step.kind = 'defaulted')
                OR step.happened_on < ((erasure.erased_at AT TIME ZONE 'Asia/Shanghai') - interval '5 years')::date)",
        enterprise_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE loan_step AS step SET state = 'settled', outstanding_fen = 0, matures_on = NULL FROM erased_loan
         WHERE step.enterprise_id = $1 AND erased_loan.loan_id = step.loan_id AND step.state <> 'settled'",
        enterprise_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the versions of profiles that were erased, but for those that still stand.
pub async fn versions(conn: &mut PgConnection, enterprises: &[&str]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM profile_version AS v USING erasure, profile
         WHERE erasure.enterprise_id = ANY($1) AND v.enterprise_id = erasure.enterprise_id
           AND profile.enterprise_id = erasure.enterprise_id
           AND v.version <= erasure.profile_version AND v.version < profile.version",
        enterprises as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Erases an enterprise's personal data; says whether there were any.
pub async fn person(conn: &mut PgConnection, enterprise_id: &str) -> Result<bool, sqlx::Error> {
    let done =
        sqlx::query!("DELETE FROM legal_representative WHERE enterprise_id = $1", enterprise_id).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}

/// Erases what an enterprise's releases were made from; says how many versions of its profile.
pub async fn released(conn: &mut PgConnection, enterprise_id: &str) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE released_profile SET content = '' WHERE enterprise_id = $1 AND content <> ''",
        enterprise_id
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Erases the words of objections that are decided; those of open ones are needed, and go with the decision.
pub async fn objections(conn: &mut PgConnection, enterprise_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE objection SET statement = '', answer = '' WHERE enterprise_id = $1 AND state <> 1",
        enterprise_id
    )
    .execute(conn)
    .await?;
    Ok(())
}
