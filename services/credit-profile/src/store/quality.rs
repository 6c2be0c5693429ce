//! SQL of loans' history and of the quality-enterprise pool.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::clock::business_date;
use zhirong_proto::profile::v1::QualityStanding;

use super::erasure;
use crate::{error::Error, quality::History};

/// One fact of a loan's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The loan.
    pub loan_id: Uuid,
    /// The loan's version after it.
    pub version: i64,
    /// The borrower.
    pub enterprise_id: String,
    /// `approved`, `disbursed`, `repaid`, `settled`, `defaulted` or `other`.
    pub kind: &'static str,
    /// When.
    pub happened_on: Date,
    /// Whether it is a repayment that came late.
    pub overdue: bool,
    /// `approved`, `disbursed`, `settled` or `defaulted`.
    pub state: &'static str,
    /// Principal owed after it.
    pub outstanding_fen: i64,
    /// The loan's maturity.
    pub matures_on: Option<Date>,
}

/// Keeps a fact once, unless it belongs to what was erased.
pub async fn put_step(conn: &mut PgConnection, step: &Step) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO loan_step (loan_id, version, enterprise_id, kind, happened_on, overdue, state, outstanding_fen, matures_on)
         SELECT $1, $2, $3, $4, $5, $6, CASE WHEN erased THEN 'settled' ELSE $7 END,
                CASE WHEN erased THEN 0 ELSE $8::bigint END, CASE WHEN erased THEN NULL ELSE $9::date END
         FROM (SELECT EXISTS (SELECT FROM erased_loan WHERE loan_id = $1) AS erased) AS loan
         WHERE NOT erased OR $6 OR $4 = 'defaulted'
         ON CONFLICT DO NOTHING",
        step.loan_id,
        step.version,
        step.enterprise_id,
        step.kind,
        step.happened_on.to_sqlx() as _,
        step.overdue,
        step.state,
        step.outstanding_fen,
        step.matures_on.map(|day| day.to_sqlx()) as _
    )
    .execute(&mut *conn)
    .await?;
    erasure::loans(conn, &step.enterprise_id).await
}

/// Keeps once that an enterprise asked for money, unless its past until then was erased.
pub async fn put_demand(
    conn: &mut PgConnection,
    order_id: Uuid,
    enterprise_id: &str,
    placed_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO financing_demand (order_id, enterprise_id, placed_on)
         SELECT $1, $2, $3
         WHERE NOT EXISTS (SELECT FROM erasure WHERE enterprise_id = $2 AND erased_at >= $4)
         ON CONFLICT DO NOTHING",
        order_id,
        enterprise_id,
        business_date(placed_at).to_sqlx() as _,
        placed_at.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps a rating once, unless the enterprise's past until then was erased.
pub async fn put_rating(
    conn: &mut PgConnection,
    rating_id: Uuid,
    enterprise_id: &str,
    level: i32,
    received_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO enterprise_rating (rating_id, enterprise_id, level, received_on)
         SELECT $1, $2, $3, $4
         WHERE NOT EXISTS (SELECT FROM erasure WHERE enterprise_id = $2 AND erased_at >= $5)
         ON CONFLICT DO NOTHING",
        rating_id,
        enterprise_id,
        level,
        business_date(received_at).to_sqlx() as _,
        received_at.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What the facts say on a day; nothing for an enterprise without a loan.
pub async fn history(
    conn: &mut PgConnection,
    enterprise_id: &str,
    from: Date,
    today: Date,
) -> Result<Option<History>, sqlx::Error> {
    let row = sqlx::query!(
        r#"WITH step AS (SELECT * FROM loan_step WHERE enterprise_id = $1),
                latest AS (SELECT DISTINCT ON (loan_id) * FROM step ORDER BY loan_id, version DESC),
                repaid AS (SELECT overdue FROM step WHERE kind = 'repaid' AND happened_on >= $2),
                rated AS (SELECT level FROM enterprise_rating WHERE enterprise_id = $1 AND received_on >= $2)
           SELECT (SELECT count(*) FROM latest) AS "loans!",
                  (SELECT count(*) FROM repaid) AS "repayments!",
                  (SELECT count(*) FROM repaid WHERE overdue) AS "late!",
                  (SELECT count(*) FROM latest WHERE state = 'defaulted'
                      OR (state = 'disbursed' AND outstanding_fen > 0 AND matures_on < $3)) AS "losses!",
                  greatest((SELECT max(placed_on) FROM financing_demand WHERE enterprise_id = $1),
                           (SELECT max(happened_on) FROM step WHERE kind = 'approved')) AS "last_demand: jiff_sqlx::Date",
                  (SELECT count(*) FROM rated) AS "ratings!",
                  (SELECT coalesce(sum(level), 0) FROM rated) AS "levels!""#,
        enterprise_id,
        from.to_sqlx() as _,
        today.to_sqlx() as _
    )
    .fetch_one(conn)
    .await?;
    Ok((row.loans > 0).then_some(History {
        repayments: row.repayments,
        late: row.late,
        losses: row.losses,
        last_demand: row.last_demand.map(|day| day.to_jiff()),
        ratings: row.ratings,
        levels: row.levels,
    }))
}

/// Where an enterprise stands.
pub async fn standing(conn: &mut PgConnection, enterprise_id: &str) -> Result<Option<QualityStanding>, Error> {
    let content = sqlx::query_scalar!("SELECT content FROM quality_standing WHERE enterprise_id = $1", enterprise_id)
        .fetch_optional(conn)
        .await?;
    content.map(|content| Ok(QualityStanding::decode(content.as_slice())?)).transpose()
}

/// Keeps where an enterprise stands; a change of membership also for ever.
pub async fn save(conn: &mut PgConnection, standing: &QualityStanding, changed: bool) -> Result<(), sqlx::Error> {
    let content = standing.encode_to_vec();
    sqlx::query!(
        "INSERT INTO quality_standing (enterprise_id, listed, version, content) VALUES ($1, $2, $3, $4)
         ON CONFLICT (enterprise_id) DO UPDATE
             SET listed = excluded.listed, version = excluded.version, content = excluded.content",
        standing.enterprise_id,
        standing.listed,
        standing.version,
        content
    )
    .execute(&mut *conn)
    .await?;
    if changed {
        sqlx::query!(
            "INSERT INTO quality_change (enterprise_id, version, content) VALUES ($1, $2, $3)",
            standing.enterprise_id,
            standing.version,
            content
        )
        .execute(conn)
        .await?;
    }
    Ok(())
}

/// The pool in order of USCC, after a cursor, and how many there are.
pub async fn members(
    conn: &mut PgConnection,
    after: Option<&str>,
    most: i64,
) -> Result<(Vec<QualityStanding>, i64), Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM quality_standing WHERE listed AND ($1::text IS NULL OR enterprise_id > $1)
         ORDER BY enterprise_id LIMIT $2",
        after,
        most
    )
    .fetch_all(&mut *conn)
    .await?;
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM quality_standing WHERE listed"#)
        .fetch_one(conn)
        .await?;
    Ok((decoded(rows)?, count))
}

/// Entries and exits of an enterprise, oldest first, after a version.
pub async fn changes(
    conn: &mut PgConnection,
    enterprise_id: &str,
    after: i64,
    most: i64,
) -> Result<Vec<QualityStanding>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM quality_change WHERE enterprise_id = $1 AND version > $2 ORDER BY version LIMIT $3",
        enterprise_id,
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    decoded(rows)
}

fn decoded(rows: Vec<Vec<u8>>) -> Result<Vec<QualityStanding>, Error> {
    rows.into_iter().map(|content| Ok(QualityStanding::decode(content.as_slice())?)).collect()
}
