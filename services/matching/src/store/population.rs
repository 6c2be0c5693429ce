//! Profiles as they come in.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::profile::v1::Profile;

use crate::error::Error;

/// Since when a change may not be visible yet: the beginning of the oldest transaction that writes, or now. A change is stamped
/// within its transaction. Ten minutes are longer than any that writes profiles takes; one that somebody forgot to end must not
/// make this look at ever more.
pub async fn unsettled_since(conn: &mut PgConnection) -> Result<Timestamp, sqlx::Error> {
    let since = sqlx::query_scalar!(
        r#"SELECT greatest(least(statement_timestamp(), min(xact_start)), statement_timestamp() - interval '10 minutes')
                      AS "since!: jiff_sqlx::Timestamp"
           FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"#
    )
    .fetch_one(conn)
    .await?;
    Ok(since.to_jiff())
}

/// Profiles in order of enterprise, after one.
pub async fn page(conn: &mut PgConnection, after: &str, most: i64) -> Result<Vec<Profile>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM profile WHERE enterprise_id > $1 ORDER BY enterprise_id LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    decoded(&rows)
}

/// Profiles that have changed at a time or later.
pub async fn changed_since(conn: &mut PgConnection, at: Timestamp) -> Result<Vec<Profile>, Error> {
    let rows = sqlx::query_scalar!("SELECT content FROM profile WHERE changed_at >= $1", at.to_sqlx() as _)
        .fetch_all(conn)
        .await?;
    decoded(&rows)
}

fn decoded(rows: &[Vec<u8>]) -> Result<Vec<Profile>, Error> {
    rows.iter().map(|content| Ok(Profile::decode(content.as_slice())?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{read_model::put_profile, tests};

    fn profile(version: i64) -> Profile {
        Profile { enterprise_id: "91331102MA2X000010".to_owned(), version, ..Profile::default() }
    }

    /// However long a transaction takes: who began to look while it was open finds later what it wrote.
    #[tokio::test]
    async fn what_a_long_transaction_has_written_is_found_once_it_is_there() {
        let (_database, pool) = tests::database().await;
        let mut looks = pool.acquire().await.unwrap();
        let mut long = pool.begin().await.unwrap();
        put_profile(&mut long, &profile(1)).await.unwrap();
        let since = unsettled_since(&mut looks).await.unwrap();
        assert_eq!(changed_since(&mut looks, since).await.unwrap(), []);
        let again = unsettled_since(&mut looks).await.unwrap();
        assert_eq!(again, since, "it does not move on before that transaction ends");
        long.commit().await.unwrap();
        assert_eq!(changed_since(&mut looks, since).await.unwrap(), [profile(1)]);
        let after = unsettled_since(&mut looks).await.unwrap();
        assert!(after > since);
        assert_eq!(changed_since(&mut looks, after).await.unwrap(), [], "and once only");
    }
}
