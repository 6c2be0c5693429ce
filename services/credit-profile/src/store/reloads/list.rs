//! Full reloads as operators see them.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

/// A reload as it stands.
#[derive(Debug, Clone)]
pub struct Row {
    /// Whose.
    pub source: String,
    /// Of which category.
    pub category: String,
    /// Its name.
    pub reload_id: String,
    /// Different records of it that are here; none of one that counts no more.
    pub member_count: i64,
    /// How many there must be; none until its end is here.
    pub record_count: Option<i64>,
    /// The instant whose state it is; none until its end is here.
    pub as_of: Option<jiff_sqlx::Timestamp>,
    /// `receiving`, `applying`, `in_force`, `outdone` or `given_up`.
    pub state: String,
    /// When its first event came.
    pub began_at: jiff_sqlx::Timestamp,
    /// When the last came that was new.
    pub changed_at: jiff_sqlx::Timestamp,
}

/// The last reload of a page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cursor(String, String, String);

impl From<&Row> for Cursor {
    fn from(row: &Row) -> Self {
        Self(row.source.clone(), row.category.clone(), row.reload_id.clone())
    }
}

/// Which reloads are listed.
#[derive(Debug, Clone, Copy)]
pub struct Which<'a> {
    /// Of this source; of all when empty.
    pub source: &'a str,
    /// Of this category; of all when empty.
    pub category: &'a str,
    /// Only those that wait for more records or for their end.
    pub unfinished: bool,
}

/// Reloads in order of source, category and name, after a cursor.
pub async fn list(
    conn: &mut PgConnection,
    which: Which<'_>,
    after: Option<Cursor>,
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let Cursor(source, category, reload_id) =
        after.unwrap_or_else(|| Cursor(String::new(), String::new(), String::new()));
    sqlx::query_as!(
        Row,
        r#"SELECT source AS "source!", category AS "category!", reload_id AS "reload_id!", member_count AS "member_count!",
                  record_count, as_of AS "as_of: jiff_sqlx::Timestamp", state AS "state!",
                  began_at AS "began_at!: jiff_sqlx::Timestamp", changed_at AS "changed_at!: jiff_sqlx::Timestamp"
           FROM reload_state
           WHERE ($1 = '' OR source = $1) AND ($2 = '' OR category = $2) AND (NOT $3 OR state = 'receiving')
             AND (source, category, reload_id) > ($4, $5, $6)
           ORDER BY source, category, reload_id LIMIT $7"#,
        which.source,
        which.category,
        which.unfinished,
        source,
        category,
        reload_id,
        most
    )
    .fetch_all(conn)
    .await
}

/// One reload.
pub async fn get(
    conn: &mut PgConnection,
    (source, category, reload_id): (&str, &str, &str),
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT source AS "source!", category AS "category!", reload_id AS "reload_id!", member_count AS "member_count!",
                  record_count, as_of AS "as_of: jiff_sqlx::Timestamp", state AS "state!",
                  began_at AS "began_at!: jiff_sqlx::Timestamp", changed_at AS "changed_at!: jiff_sqlx::Timestamp"
           FROM reload_state WHERE source = $1 AND category = $2 AND reload_id = $3"#,
        source,
        category,
        reload_id
    )
    .fetch_optional(conn)
    .await
}

/// Reloads that wait for more, and the latest news of the one that has waited longest.
pub async fn waiting(conn: &mut PgConnection) -> Result<(i64, Option<jiff_sqlx::Timestamp>), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "count!", min(changed_at) AS "oldest: jiff_sqlx::Timestamp" FROM reload_state
           WHERE state = 'receiving'"#
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count, row.oldest))
}
