//! Grants in order of their last change. Transactions commit in another order than they begin, so that only changes of
//! transactions before the oldest that is still at work are shown: nothing can come to stand behind a cursor later.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{Uscc, id::InstitutionId};

use crate::{error::Error, grant::Grant, store};

/// Where the changes go on: the transaction of the last one read, and its grant.
pub type Cursor = (i64, Uuid);

struct Place {
    grant_id: Uuid,
    changed_in: i64,
}

/// Whether a list can go on after a cursor: not after one that this database has never given.
pub async fn may_follow(conn: &mut PgConnection, after: Cursor) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) AS "may!""#,
        after.0.to_string()
    )
    .fetch_one(conn)
    .await
}

/// Grants in order of their last change, after a cursor, each with its cursor.
pub async fn list(
    conn: &mut PgConnection,
    of: &store::grant::Wanted<'_>,
    after: Option<Cursor>,
    most: i64,
) -> Result<Vec<(Cursor, Grant)>, Error> {
    let (transaction, id) = after.unwrap_or((0, Uuid::nil()));
    let rows = sqlx::query_as!(
        Place,
        r#"SELECT g.grant_id, g.changed_in::text::bigint AS "changed_in!" FROM subsidy_grant g
           WHERE (g.changed_in, g.grant_id) > ($1::text::xid8, $2) AND g.changed_in < pg_snapshot_xmin(pg_current_snapshot())
             AND ($3::text IS NULL OR g.enterprise_id = $3)
             AND ($4::text IS NULL
                  OR EXISTS (SELECT FROM loan l WHERE l.loan_id = g.loan_id AND l.institution_id = $4))
           ORDER BY g.changed_in, g.grant_id LIMIT $5"#,
        transaction.to_string(),
        id,
        of.enterprise.map(Uscc::as_str),
        of.institution.map(InstitutionId::as_str),
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.grant_id).collect();
    let found = store::grant::some(conn, &ids).await?;
    let mut found: HashMap<Uuid, Grant> = found.into_iter().map(|grant| (grant.grant_id.uuid(), grant)).collect();
    let known = |row: Place| Some(((row.changed_in, row.grant_id), found.remove(&row.grant_id)?));
    Ok(rows.into_iter().filter_map(known).collect())
}

/// After the database was rebuilt from a dump in another cluster, its transactions may count from below those that the rows
/// name: such changes count as new ones.
pub async fn renumber(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE subsidy_grant SET changed_in = pg_current_xact_id() WHERE changed_in > pg_snapshot_xmax(pg_current_snapshot())"
    )
    .execute(conn)
    .await
    .map(drop)
}
