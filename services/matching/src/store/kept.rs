//! What answers of the past were computed from.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use ring::digest::{SHA256, digest};
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::clock::{business_date, start_of_business_date};
use zhirong_proto::matching::v1::{Calculation, Preapproval, PreapprovalVersion, RecalculateRequest};

use crate::{error::Error, grpc::proto_time};

/// Most questions of an enterprise that are kept of a day: nobody fills the disk by asking.
const MOST_A_DAY: i64 = 1_000;

/// The SHA-256 of a message as it is encoded here.
#[must_use]
pub fn sha256(message: &impl prost::Message) -> Vec<u8> {
    digest(&SHA256, &message.encode_to_vec()).as_ref().to_vec()
}

/// Keeps a question with its answer's hash, unless it was asked before, or too many others were since the day began.
pub async fn keep_calculation(
    conn: &mut PgConnection,
    question: &RecalculateRequest,
    answer_sha256: &[u8],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO calculation_kept
             (calculation_id, enterprise_id, question, question_sha256, answer_sha256, profile_version, answered_at)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE NOT EXISTS (
             SELECT FROM (SELECT answered_at FROM calculation_kept WHERE enterprise_id = $2
                          ORDER BY calculation_id DESC OFFSET $8 LIMIT 1) AS last
             WHERE last.answered_at >= $9)
         ON CONFLICT DO NOTHING",
        Uuid::now_v7(),
        question.enterprise_id,
        question.encode_to_vec(),
        sha256(question),
        answer_sha256,
        question.profile_version,
        now.to_sqlx() as _,
        MOST_A_DAY - 1,
        start_of_business_date(business_date(now)).map(|start| start.to_sqlx()) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Questions of an enterprise answered by a time, newest first, after a cursor.
pub async fn calculations(
    conn: &mut PgConnection,
    enterprise_id: &str,
    answered_by: Option<Timestamp>,
    before: Option<Uuid>,
    most: i64,
) -> Result<Vec<Calculation>, Error> {
    let rows = sqlx::query!(
        r#"SELECT calculation_id, question, answer_sha256, answered_at AS "answered_at: jiff_sqlx::Timestamp"
           FROM calculation_kept
           WHERE enterprise_id = $1 AND ($2::timestamptz IS NULL OR answered_at <= $2)
             AND ($3::uuid IS NULL OR calculation_id < $3)
           ORDER BY calculation_id DESC LIMIT $4"#,
        enterprise_id,
        answered_by.map(|at| at.to_sqlx()) as _,
        before,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Calculation {
                calculation_id: row.calculation_id.to_string(),
                question: Some(RecalculateRequest::decode(row.question.as_slice())?),
                answered_at: Some(proto_time(row.answered_at.to_jiff())),
                answer_sha256: row.answer_sha256,
            })
        })
        .collect()
}

/// Keeps what a new version of a pre-approval rests on.
pub async fn keep_preapproval(
    conn: &mut PgConnection,
    preapproval: &Preapproval,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO preapproval_version
             (enterprise_id, version, profile_version, catalog_version, computed_at, content_sha256)
         VALUES ($1, $2, $3, $4, $5, $6)",
        preapproval.enterprise_id,
        preapproval.version,
        preapproval.profile_version,
        preapproval.catalog_version,
        now.to_sqlx() as _,
        sha256(preapproval)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Versions of an enterprise's pre-approval, newest first, before one.
pub async fn preapprovals(
    conn: &mut PgConnection,
    enterprise_id: &str,
    before: Option<i64>,
    most: i64,
) -> Result<Vec<PreapprovalVersion>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT version, profile_version, catalog_version, content_sha256,
                  computed_at AS "computed_at: jiff_sqlx::Timestamp"
           FROM preapproval_version WHERE enterprise_id = $1 AND ($2::bigint IS NULL OR version < $2)
           ORDER BY version DESC LIMIT $3"#,
        enterprise_id,
        before,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| PreapprovalVersion {
            version: row.version,
            profile_version: row.profile_version,
            catalog_version: row.catalog_version,
            computed_at: Some(proto_time(row.computed_at.to_jiff())),
            content_sha256: row.content_sha256,
        })
        .collect())
}

/// Forgets what rests on versions of a profile that were erased, but for the pre-approval that still stands.
pub async fn forget(conn: &mut PgConnection, enterprise_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM calculation_kept AS kept USING erasure
         WHERE kept.enterprise_id = $1 AND erasure.enterprise_id = $1 AND kept.profile_version <= erasure.profile_version",
        enterprise_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM preapproval_version AS kept USING erasure, preapproval
         WHERE kept.enterprise_id = $1 AND erasure.enterprise_id = $1 AND preapproval.enterprise_id = $1
           AND kept.profile_version <= erasure.profile_version AND kept.version < preapproval.version",
        enterprise_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::database;

    #[tokio::test]
    async fn of_a_day_so_many_different_questions_are_kept_and_no_more() {
        let (_database, pool) = database().await;
        let mut tx = pool.begin().await.unwrap();
        let (today, tomorrow): (Timestamp, Timestamp) =
            ("2031-03-05T23:00:00+08:00".parse().unwrap(), "2031-03-06T00:00:00+08:00".parse().unwrap());
        let mut ask = async |enterprise: &str, catalog_version, now| {
            let question = RecalculateRequest {
                enterprise_id: enterprise.to_owned(),
                catalog_version,
                ..RecalculateRequest::default()
            };
            keep_calculation(&mut tx, &question, &[0; 32], now).await.unwrap();
            let query = "SELECT count(*) FROM calculation_kept WHERE enterprise_id = $1";
            sqlx::query_scalar::<_, i64>(query).bind(enterprise).fetch_one(&mut *tx).await.unwrap()
        };
        for version in 1..=MOST_A_DAY {
            assert_eq!(ask("a", version, today).await, version);
            assert_eq!(ask("a", version, today).await, version, "asked again it is the same");
        }
        assert_eq!(ask("a", MOST_A_DAY + 1, today).await, MOST_A_DAY);
        assert_eq!(ask("b", 1, today).await, 1, "another one's are not counted");
        assert_eq!(ask("a", MOST_A_DAY + 1, tomorrow).await, MOST_A_DAY + 1);
    }
}
