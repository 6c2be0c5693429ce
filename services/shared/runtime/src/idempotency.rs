//! A repeated request changes nothing and gets the first answer.
//!
//! The claim is a row in the transaction of the change. Of two requests with one id at the same time the second waits for
//! the first to commit, then replays it, or takes its place if it failed.

use jiff::Timestamp;
use prost::Message;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{caller::Caller, problem::Problem};

/// Whether the request is new.
#[derive(Debug)]
pub enum Claim<R> {
    /// It was answered before; this is the answer.
    Replay(R),
    /// It is new: do it, then [`Slot::complete`].
    Fresh(Slot),
}

/// The place that waits for the answer.
#[derive(Debug)]
#[must_use = "without the answer the request can't be repeated"]
pub struct Slot {
    caller: String,
    method: &'static str,
    request_id: Uuid,
}

/// Claims a request id for a caller and method, in the caller's transaction. Call it first in the transaction.
///
/// # Errors
/// `INVALID_ARGUMENT` when the id is not a UUID (`REQUEST_ID_INVALID`) or was used with another body
/// (`REQUEST_ID_REUSED`); `ABORTED` when the first request is still at work after the lock timeout.
pub async fn claim<Q: Message, R: Message + Default>(
    tx: &mut PgConnection,
    caller: &Caller,
    method: &'static str,
    request_id: &str,
    request: &Q,
    now: Timestamp,
) -> Result<Claim<R>, Problem> {
    claim_by_forms(tx, caller, method, request_id, std::slice::from_ref(request), now).await
}

/// Claims a request id for a request that is kept in another form than it came in, because of what it says: the first of the
/// forms is kept, and by each of them the request is known again.
///
/// # Errors
/// As [`claim`].
pub async fn claim_by_forms<Q: Message, R: Message + Default>(
    tx: &mut PgConnection,
    caller: &Caller,
    method: &'static str,
    request_id: &str,
    forms: &[Q],
    now: Timestamp,
) -> Result<Claim<R>, Problem> {
    let request_id = parse(request_id)?;
    let caller = caller.key();
    let hashes: Vec<Vec<u8>> = forms.iter().map(|form| Sha256::digest(form.encode_to_vec()).to_vec()).collect();
    let hash = hashes.first().ok_or_else(|| Problem::internal("a request without a form"))?;
    let inserted = sqlx::query!(
        "INSERT INTO runtime.request_log (caller, method, request_id, request_hash, created_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        caller,
        method,
        request_id,
        hash,
        jiff_sqlx::Timestamp::from(now) as _,
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Claim::Fresh(Slot { caller, method, request_id }));
    }
    let first = sqlx::query!(
        "SELECT request_hash, response FROM runtime.request_log WHERE caller = $1 AND method = $2 AND request_id = $3",
        caller,
        method,
        request_id,
    )
    .fetch_one(tx)
    .await?;
    if !hashes.contains(&first.request_hash) {
        return Err(Problem::invalid("REQUEST_ID_REUSED", "this request id was used with another request")
            .field("request_id", "must be new for a new request")
            .zh("请求编号已用于其他请求"));
    }
    let answer = first.response.ok_or_else(|| Problem::internal("a request was committed without its answer"))?;
    let answer = R::decode(answer.as_slice()).map_err(Problem::internal)?;
    Ok(Claim::Replay(answer))
}

impl Slot {
    /// Keeps the answer, in the same transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn complete<R: Message>(self, tx: &mut PgConnection, response: &R) -> Result<(), Problem> {
        sqlx::query!(
            "UPDATE runtime.request_log SET response = $4 WHERE caller = $1 AND method = $2 AND request_id = $3",
            self.caller,
            self.method,
            self.request_id,
            response.encode_to_vec(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Blanks the kept answers of these methods that name somebody, whoever called, in the transaction of their erasure: the ids
/// stay taken, and whoever repeats such a request gets an empty answer.
///
/// # Errors
/// When the database fails.
pub async fn forget_answers(tx: &mut PgConnection, methods: &[&str], named: &str) -> Result<(), Problem> {
    sqlx::query!(
        "UPDATE runtime.request_log SET response = ''
         WHERE method = ANY($1) AND position(convert_to($2, 'UTF8') IN response) > 0",
        methods as _,
        named,
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn parse(request_id: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(request_id).map_err(|_| {
        Problem::invalid("REQUEST_ID_INVALID", "the request id is not a UUID")
            .field("request_id", "must be a UUID chosen by the caller")
            .zh("请求编号必须为 UUID")
    })
}
