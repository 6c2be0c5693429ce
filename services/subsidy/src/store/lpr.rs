//! The LPR as product-catalog published it.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use zhirong_kernel::{
    Ppm,
    lpr::{Change, LprHistory},
};

use crate::error::Error;

/// Keeps a table unless a newer one is here.
pub async fn replace(conn: &mut PgConnection, version: i64, table: &LprHistory) -> Result<(), sqlx::Error> {
    let known_through: Date = table.known_through();
    let newer = sqlx::query!(
        "INSERT INTO lpr_table AS t (version, known_through) VALUES ($1, $2)
         ON CONFLICT (one) DO UPDATE SET version = excluded.version, known_through = excluded.known_through
         WHERE t.version < excluded.version",
        version,
        known_through.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    if newer.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!("DELETE FROM lpr_change").execute(&mut *conn).await?;
    for change in table.changes() {
        sqlx::query!(
            "INSERT INTO lpr_change (published_on, one_year_ppm, five_year_ppm) VALUES ($1, $2, $3)",
            change.published_on.to_sqlx() as _,
            change.one_year.get(),
            change.five_year.get()
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// The table, once one has come. One statement, so that it is one table.
pub async fn load(conn: &mut PgConnection) -> Result<Option<LprHistory>, Error> {
    let rows = sqlx::query!(
        r#"SELECT known_through AS "known_through: jiff_sqlx::Date", published_on AS "published_on: jiff_sqlx::Date",
                  one_year_ppm, five_year_ppm
           FROM lpr_table CROSS JOIN lpr_change ORDER BY published_on"#
    )
    .fetch_all(conn)
    .await?;
    let Some(known_through) = rows.first().map(|row| row.known_through.to_jiff()) else {
        return Ok(None);
    };
    let changes = rows
        .iter()
        .map(|row| Change {
            published_on: row.published_on.to_jiff(),
            one_year: Ppm::new(row.one_year_ppm),
            five_year: Ppm::new(row.five_year_ppm),
        })
        .collect();
    LprHistory::try_new(changes, known_through).map(Some).map_err(|_| Error::Stored("lpr_change"))
}
