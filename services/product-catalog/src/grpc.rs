//! Proto to domain and back, one function an RPC.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{PgPool, Postgres, Transaction};
use zhirong_kernel::{clock::Clock, id::ProductId};
use zhirong_proto::catalog::v1::{self as pb, Product, ProductSpec, ProductState};
use zhirong_runtime::{outbox::OutboxWake, problem::Problem};

use crate::{error::Error, store::VersionRow, validate::Violation};

mod institution;
mod product;
mod reference;

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
    if violations.is_empty() {
        return Ok(());
    }
    let any_rule = violations.iter().any(|violation| violation.is_rule);
    let problem = if any_rule {
        Problem::invalid("RULE_INVALID", "a rule does not compile; see the fields for line, column and reason")
            .zh("规则有误，请按提示位置修改")
    } else {
        Problem::invalid("FIELDS_INVALID", "some fields are not as they must be; see each of them")
            .zh("填写内容有误，请逐项核对")
    };
    Err(violations
        .into_iter()
        .fold(problem, |problem, violation| problem.field(violation.field, violation.description)))
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

fn version_of(row: VersionRow) -> Result<Product, Error> {
    let state = match row.state.as_str() {
        "published" => ProductState::Published,
        "retired" => ProductState::Retired,
        _ => ProductState::Draft,
    };
    Ok(pb::Product {
        product_id: row.product_id.to_string(),
        version: row.version,
        spec: Some(<ProductSpec as prost::Message>::decode(row.spec.as_slice())?),
        state: state.into(),
        published_at: row.published_at.map(|at| proto_time(at.to_jiff())),
    })
}

fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
