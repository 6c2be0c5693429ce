//! Proto to domain and back, one function an RPC.

use std::sync::Arc;

use jiff::{Timestamp, civil::Date};
use sqlx::{PgPool, Postgres, Transaction};
use zhirong_kernel::{clock::Clock, id::ProductId};
use zhirong_proto::catalog::v1::{self as pb, Product, ProductSpec, ProductState};
use zhirong_runtime::{caller::Caller, outbox::OutboxWake, problem::Problem};

use crate::{
    error::Error,
    store::{history::Deed, version::VersionRow},
    validate::Violation,
    workflow::State,
};

mod adjustment;
mod agreement;
mod import;
mod institution;
mod product;
mod reference;
mod report;
mod rule;
mod workflow;

/// Longest reason or comment.
const LONGEST_REASON: usize = 512;

/// The gRPC face of the catalog.
#[derive(Clone)]
pub struct Catalog {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
}

/// Turns violations into one problem that names every field.
fn refuse(violations: Vec<Violation>) -> Result<(), Problem> {
    if violations.is_empty() { Ok(()) } else { Err(refusal(violations)) }
}

/// One problem that names every field.
fn refusal(violations: Vec<Violation>) -> Problem {
    let any_rule = violations.iter().any(|violation| violation.is_rule);
    let problem = if any_rule {
        Problem::invalid("RULE_INVALID", "a rule does not compile; see the fields for line, column and reason")
            .zh("规则有误，请按提示位置修改")
    } else {
        Problem::invalid("FIELDS_INVALID", "some fields are not as they must be; see each of them")
            .zh("填写内容有误，请逐项核对")
    };
    violations.into_iter().fold(problem, |problem, violation| problem.field(violation.field, violation.description))
}

/// A reason or comment that fits the history.
fn reason(field: &str, text: &str, needed: bool) -> Result<(), Problem> {
    let length = text.chars().take(LONGEST_REASON.saturating_add(1)).count();
    let least = usize::from(needed);
    let has_text = !needed || !text.trim().is_empty();
    if (least..=LONGEST_REASON).contains(&length) && has_text && !text.contains('\0') {
        return Ok(());
    }
    Err(Problem::invalid("FIELDS_INVALID", "the reason does not fit")
        .field(field, format!("must have {least} to {LONGEST_REASON} characters"))
        .zh(format!("原因须为 {least} 至 {LONGEST_REASON} 字")))
}

/// Who does something, when and why.
fn deed<'a>(caller: &'a Caller, at: Timestamp, reason: &'a str) -> Deed<'a> {
    Deed { person: &caller.subject, role: caller.role.as_str(), at, reason }
}

/// A day as `YYYY-MM-DD`, in this spelling only.
fn day(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|day| day.to_string() == text)
}

/// One state of the catalog for all statements of a query, so that a list and its total agree.
async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Problem> {
    Ok(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
}

/// Cuts rows that were read with one more than the page holds, and says whether another page follows.
fn cut<R>(rows: &mut Vec<R>, size: i64) -> bool {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    more
}

fn product_id(text: &str) -> Result<ProductId, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("PRODUCT_ID_INVALID", "the product's id is not a UUID")
            .field("product_id", "must be a UUID")
            .zh("产品编号格式有误")
    })
}

/// A version as it is told outside.
pub fn version_of(row: VersionRow) -> Result<Product, Error> {
    let state = match row.state()? {
        State::Draft => ProductState::Draft,
        State::Submitted => ProductState::Submitted,
        State::Reviewed => ProductState::Reviewed,
        State::Published => ProductState::Published,
        State::Suspended => ProductState::Suspended,
        State::Retired => ProductState::Retired,
    };
    Ok(pb::Product {
        product_id: row.product_id.to_string(),
        version: row.version,
        spec: Some(<ProductSpec as prost::Message>::decode(row.spec.as_slice())?),
        state: state.into(),
        published_at: row.published_at.map(|at| proto_time(at.to_jiff())),
        effective_on: row.effective_on.map(|on| on.to_jiff().to_string()).unwrap_or_default(),
    })
}

fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
