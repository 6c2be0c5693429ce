//! What goes when an enterprise is erased: the profiles of its orders and the versions before the present one. Orders keep what
//! they themselves say, which the bank has accepted and accounts for.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::{
    matching::v1::Order,
    profile::v1::{EnterpriseErased, Profile},
};

use super::{kept, order::add_to_inbox};
use crate::error::Error;

/// What an approval and its subsidy still go by.
const KEPT: &str = "enterprise_class";

/// What stays of the profile of an order.
#[must_use]
pub fn reduced(mut profile: Profile) -> Profile {
    profile.features.retain(|name, _| name == KEPT);
    Profile { version: profile.version, features: profile.features, ..Profile::default() }
}

/// When an order placed at this time had its profile erased. Called in the transaction that adds the order: an erasure comes
/// wholly before or wholly after it.
pub async fn since(
    conn: &mut PgConnection,
    enterprise_id: &str,
    placed_at: Timestamp,
) -> Result<Option<Timestamp>, sqlx::Error> {
    lock_to_add(conn, &[enterprise_id.to_owned()]).await?;
    let at = sqlx::query_scalar!(
        r#"SELECT erased_at AS "at: jiff_sqlx::Timestamp" FROM erasure WHERE enterprise_id = $1 AND erased_at >= $2"#,
        enterprise_id,
        placed_at.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await?;
    Ok(at.map(|at| at.to_jiff()))
}

/// Lets nothing be added for some enterprises until the end of the transaction; always in the same order, so that two that do so
/// never wait for each other.
pub async fn lock(conn: &mut PgConnection, enterprises: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(key)
         FROM (SELECT DISTINCT hashtextextended(id, 13) AS key FROM unnest($1::text[]) AS id ORDER BY key) AS keys",
        enterprises
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// As [`lock`], for what is added: others may add too.
pub async fn lock_to_add(conn: &mut PgConnection, enterprises: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock_shared(key)
         FROM (SELECT DISTINCT hashtextextended(id, 13) AS key FROM unnest($1::text[]) AS id ORDER BY key) AS keys",
        enterprises
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Erases; banks find each order that they may work with once more in their inbox. A second time there is nothing to do, except that
/// an order lost its profile to the first erasure after it, also where that is heard of after a later one.
pub async fn erase(conn: &mut PgConnection, fact: &EnterpriseErased, at: Timestamp) -> Result<(), Error> {
    let enterprise = fact.enterprise_id.as_str();
    lock(conn, &[enterprise.to_owned()]).await?;
    sqlx::query!(
        "INSERT INTO erasure AS kept (enterprise_id, erased_at, profile_version) VALUES ($1, $2, $3)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET erased_at = greatest(kept.erased_at, excluded.erased_at),
                 profile_version = greatest(kept.profile_version, excluded.profile_version)",
        enterprise,
        at.to_sqlx() as _,
        fact.profile_version
    )
    .execute(&mut *conn)
    .await?;
    let rows = sqlx::query!(
        r#"SELECT order_id, state, content, profile, profile_erased_at IS NULL AS "first!" FROM orders
         WHERE enterprise_id = $1 AND placed_at <= $2 AND (profile_erased_at IS NULL OR profile_erased_at > $2)
         ORDER BY institution_id, order_id FOR UPDATE"#,
        enterprise,
        at.to_sqlx() as _
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in rows {
        let profile = reduced(Profile::decode(row.profile.as_slice())?);
        sqlx::query!(
            "UPDATE orders SET profile = $2, profile_erased_at = $3 WHERE order_id = $1",
            row.order_id,
            profile.encode_to_vec(),
            at.to_sqlx() as _
        )
        .execute(&mut *conn)
        .await?;
        if row.first && matches!(row.state.as_str(), "routed" | "accepted" | "approved") {
            add_to_inbox(conn, row.order_id, &Order::decode(row.content.as_slice())?).await?;
        }
    }
    Ok(forget_versions(conn, enterprise).await?)
}

/// Forgets the versions of a profile that were erased, but for the one that still stands.
pub async fn forget_versions(conn: &mut PgConnection, enterprise_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM profile_log log USING erasure, profile
         WHERE log.enterprise_id = $1 AND erasure.enterprise_id = $1 AND profile.enterprise_id = $1
           AND log.version <= erasure.profile_version AND log.version < profile.version",
        enterprise_id
    )
    .execute(&mut *conn)
    .await?;
    kept::forget(conn, enterprise_id).await
}

#[cfg(test)]
mod tests {
    use zhirong_testkit::{PATIENCE, eventually};

    use super::*;
    use crate::store::{read_model::put_profile, tests};

    const ENTERPRISE: &str = "91331102MA2X000010";

    fn profile(version: i64) -> Profile {
        Profile { enterprise_id: ENTERPRISE.to_owned(), version, ..Profile::default() }
    }

    /// A version that another transaction is adding while the enterprise is erased is seen by one of the two.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_erasure_waits_for_a_version_that_is_being_added() {
        let (_database, pool) = tests::database().await;
        put_profile(&mut pool.acquire().await.unwrap(), &profile(3)).await.unwrap();
        let mut adds = pool.begin().await.unwrap();
        put_profile(&mut adds, &profile(1)).await.unwrap();
        let erases = tokio::spawn({
            let pool = pool.clone();
            async move {
                let fact = EnterpriseErased {
                    enterprise_id: ENTERPRISE.to_owned(),
                    profile_version: 2,
                    version: 1,
                    ..EnterpriseErased::default()
                };
                let mut tx = pool.begin().await.unwrap();
                erase(&mut tx, &fact, Timestamp::UNIX_EPOCH).await.unwrap();
                tx.commit().await.unwrap();
            }
        });
        eventually(PATIENCE, "the erasure waits", || async {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity
                                WHERE datname = current_database() AND wait_event = 'advisory')",
            )
            .fetch_one(&pool)
            .await?;
            Ok(waits.then_some(()))
        })
        .await
        .unwrap();
        adds.commit().await.unwrap();
        tokio::time::timeout(PATIENCE, erases).await.unwrap().unwrap();
        let left: Vec<i64> =
            sqlx::query_scalar("SELECT version FROM profile_log ORDER BY version").fetch_all(&pool).await.unwrap();
        assert_eq!(left, [3], "the version before the erasure is gone, the newest stands");
    }
}
