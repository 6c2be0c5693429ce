//! The line in which those who release by a consent and those who change it stand.
//!
//! PostgreSQL lets row locks of readers pass a writer that waits, for as long as one reader overlaps the next: a bank that reads
//! without a pause could keep an enterprise from taking its consent back. These locks are granted in the order of asking.

use sqlx::PgConnection;
use uuid::Uuid;

/// Waits until nobody changes a consent, and nobody who wants to has asked before.
pub(super) async fn to_release(conn: &mut PgConnection, consent: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock_shared(hashtextextended($1::uuid::text, 22))", consent)
        .execute(conn)
        .await?;
    Ok(())
}

/// Waits until all who have asked before have released.
pub(super) async fn to_change(conn: &mut PgConnection, consent: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 22))", consent).execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use zhirong_proto::profile::v1::{ConsentState, Purpose, Scope};
    use zhirong_testkit::{PATIENCE, eventually};

    use crate::{
        fixture::Fixture,
        trust::store::{NewConsent, add_consent, change_consent, consent_for_share, consent_for_update},
    };

    const ENTERPRISE: &str = "91331102MA2X000010";

    /// Whoever asks after the enterprise that takes its consent back waits, and finds it taken back.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_release_does_not_pass_a_revocation_that_waits() {
        let fixture = Fixture::new(&[]).await;
        let (pool, now) = (fixture.pool.clone(), jiff::Timestamp::UNIX_EPOCH);
        let new = NewConsent {
            id: uuid::Uuid::now_v7(),
            enterprise_id: ENTERPRISE,
            institution_id: "bank-a",
            purpose: Purpose::LoanApplication,
            scope: &Scope::default(),
            expires_at: now + jiff::SignedDuration::from_hours(1),
        };
        let id = new.id;
        add_consent(&mut pool.acquire().await.unwrap(), &new, now).await.unwrap();
        let waiting = async |count: i64| {
            eventually(PATIENCE, &format!("{count} wait"), || async {
                let found: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
                )
                .fetch_one(&pool)
                .await?;
                Ok((found == count).then_some(()))
            })
            .await
            .unwrap();
        };

        let mut first = pool.begin().await.unwrap();
        consent_for_share(&mut first, id).await.unwrap();
        let revocation = tokio::spawn({
            let pool = pool.clone();
            async move {
                let mut tx = pool.begin().await.unwrap();
                consent_for_update(&mut tx, id, ENTERPRISE).await.unwrap().unwrap();
                change_consent(&mut tx, id, &Scope::default(), now, true, now).await.unwrap();
                tx.commit().await.unwrap();
            }
        });
        waiting(1).await;
        let second = tokio::spawn({
            let pool = pool.clone();
            async move { consent_for_share(&mut pool.begin().await.unwrap(), id).await.unwrap().unwrap().state() }
        });
        waiting(2).await;
        first.commit().await.unwrap();
        revocation.await.unwrap();
        assert_eq!(second.await.unwrap(), ConsentState::Revoked);
    }
}
