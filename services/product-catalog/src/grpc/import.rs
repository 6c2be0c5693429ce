//! Many products in one step: all or nothing, unless asked otherwise.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::id::ProductId;
use zhirong_proto::catalog::v1::{
    FieldChange, ImportAction, ImportMistake, ImportProductsRequest, ImportProductsResponse, ImportResult, ImportRow,
    ProductSpec, product_import_service_server::ProductImportService,
};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    problem::Problem,
};

use super::{Catalog, deed, product::draft, workflow::take};
use crate::{
    differences::differences,
    error::Error,
    store::{
        history::Deed,
        import::{self, Newest},
    },
    validate,
    workflow::State,
};

/// Most products of one import.
const MOST_ROWS: usize = 1000;

#[tonic::async_trait]
impl ProductImportService for Catalog {
    async fn import_products(
        &self,
        request: Request<ImportProductsRequest>,
    ) -> Result<Response<ImportProductsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.import_products(&caller, request.into_inner()).await?))
    }
}

/// A row that has been looked at by itself.
struct Looked {
    place: String,
    /// None makes a new product.
    product: Option<Uuid>,
    spec: ProductSpec,
    /// It is what the product's newest version was, and was not checked again.
    is_known: bool,
    mistakes: Vec<ImportMistake>,
}

impl Catalog {
    async fn import_products(
        &self,
        caller: &Caller,
        request: ImportProductsRequest,
    ) -> Result<ImportProductsResponse, Problem> {
        if request.rows.is_empty() || request.rows.len() > MOST_ROWS {
            return Err(Problem::invalid("FIELDS_INVALID", "there must be 1 to 1000 products")
                .field("rows", format!("must be 1 to {MOST_ROWS}"))
                .zh(format!("每次须导入 1 至 {MOST_ROWS} 个产品")));
        }
        let rows = request.rows.clone();
        let known = self.known(&rows).await?;
        // Thousands of rules are compiled here, which must not hold up other calls.
        let looked = tokio::task::spawn_blocking(move || look(rows, &known)).await.map_err(Problem::internal)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductImportService/ImportProducts";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let (mut results, todo) = judge(&mut tx, looked).await?;
        let bad = results.iter().filter(|result| result.action() == ImportAction::Bad).count();
        let bad_count = i32::try_from(bad).unwrap_or(i32::MAX);
        if request.dry_run || todo.is_empty() || (bad > 0 && !request.skip_bad) {
            // Nothing is kept, not even that the request was there: it may come again when its rows are good.
            tx.rollback().await?;
            return Ok(ImportProductsResponse { results, applied: false, bad_count });
        }
        let deed = deed(caller, now, "");
        for (at, product, spec) in todo {
            let version = write(&mut tx, product, &spec, deed, request.submit).await?;
            if let Some(result) = results.get_mut(at) {
                result.product_id = product.to_string();
                result.version = version;
            }
        }
        let response = ImportProductsResponse { results, applied: true, bad_count };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// The newest version of each product that is there.
    async fn known(&self, rows: &[ImportRow]) -> Result<BTreeMap<Uuid, ProductSpec>, Error> {
        let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.product_id.parse().ok()).collect();
        let mut tx = self.pool.begin().await?;
        let newest = import::newest(&mut tx, &ids).await?;
        tx.rollback().await?;
        newest
            .into_iter()
            .map(|newest| Ok((newest.product_id, <ProductSpec as prost::Message>::decode(newest.spec.as_slice())?)))
            .collect()
    }
}

async fn write(
    conn: &mut PgConnection,
    product: ProductId,
    spec: &ProductSpec,
    deed: Deed<'_>,
    submit: bool,
) -> Result<i32, Error> {
    let version = draft(&mut *conn, product, spec, deed).await?.version;
    if submit {
        take(conn, product, version, State::Submitted, deed).await?;
    }
    Ok(version)
}

/// Looks at each row by itself. What is known already was checked when it was written.
fn look(rows: Vec<ImportRow>, known: &BTreeMap<Uuid, ProductSpec>) -> Vec<Looked> {
    let mut seen = BTreeSet::new();
    rows.into_iter()
        .map(|row| {
            let mut mistakes = Vec::new();
            let mut wrong =
                |field: &str, message: String| mistakes.push(ImportMistake { field: field.to_owned(), message });
            let place: String = row.place.chars().take(64).collect();
            let product = match row.product_id.as_str() {
                "" => None,
                given => match given.parse::<Uuid>() {
                    Ok(id) => {
                        if !seen.insert(id) {
                            wrong("product_id", "stands in an earlier row too".to_owned());
                        }
                        Some(id)
                    }
                    Err(_) => {
                        wrong("product_id", "must be a UUID, or empty for a new product".to_owned());
                        None
                    }
                },
            };
            let is_known = product.is_some_and(|id| known.get(&id) == row.spec.as_ref()) && row.spec.is_some();
            let spec = match row.spec {
                Some(spec) if is_known => spec,
                None => {
                    wrong("spec", "is missing".to_owned());
                    ProductSpec::default()
                }
                Some(spec) => match validate::completed(spec) {
                    Ok(spec) => spec,
                    Err(violations) => {
                        for violation in violations {
                            wrong(&violation.field, violation.description);
                        }
                        ProductSpec::default()
                    }
                },
            };
            Looked { place, product, spec, is_known, mistakes }
        })
        .collect()
}

/// What is to be written: which row, which product, what.
type Todo = Vec<(usize, ProductId, ProductSpec)>;

/// Compares rows with what is there; gives what comes of each, and what is to be written.
async fn judge(conn: &mut PgConnection, looked: Vec<Looked>) -> Result<(Vec<ImportResult>, Todo), Error> {
    let ids: Vec<Uuid> = looked.iter().filter_map(|row| row.product).collect();
    let newest: BTreeMap<Uuid, Newest> =
        import::newest(&mut *conn, &ids).await?.into_iter().map(|newest| (newest.product_id, newest)).collect();
    let asked: BTreeSet<String> = looked.iter().map(|row| row.spec.institution_id.clone()).collect();
    let asked: Vec<String> = asked.into_iter().collect();
    let known: BTreeSet<String> = import::institutions(conn, &asked).await?.into_iter().collect();

    let (mut results, mut todo) = (Vec::new(), Vec::new());
    for (at, mut row) in looked.into_iter().enumerate() {
        let before = row.product.and_then(|id| newest.get(&id));
        if row.mistakes.is_empty() {
            row.mistakes.extend(fits(&row.spec, before, &known));
        }
        let product_id = before.map(|before| before.product_id.to_string()).unwrap_or_default();
        let mut result = ImportResult { place: row.place, product_id, ..ImportResult::default() };
        let action = if row.mistakes.is_empty() {
            let changes = match before {
                None => Vec::<FieldChange>::new(),
                Some(before) => {
                    differences(&<ProductSpec as prost::Message>::decode(before.spec.as_slice())?, &row.spec)
                }
            };
            let action = match before {
                None => ImportAction::Create,
                Some(_) if changes.is_empty() => ImportAction::Unchanged,
                Some(_) => ImportAction::NewVersion,
            };
            // Somebody was quicker: the row is the version before theirs, and nobody has checked that it may come back.
            if row.is_known && action != ImportAction::Unchanged {
                return Err(Error::ChangedMeanwhile);
            }
            if action != ImportAction::Unchanged {
                todo.push((at, ProductId::new(row.product.unwrap_or_else(Uuid::now_v7)), row.spec));
            }
            result.changes = changes;
            action
        } else {
            result.mistakes = row.mistakes;
            ImportAction::Bad
        };
        result.set_action(action);
        results.push(result);
    }
    // In order of id, as every import locks them.
    todo.sort_by_key(|(_, product, _)| *product);
    Ok((results, todo))
}

/// What is wrong with a row beside what is there.
fn fits(spec: &ProductSpec, before: Option<&Newest>, known: &BTreeSet<String>) -> Option<ImportMistake> {
    let field = "spec.institution_id".to_owned();
    if !known.contains(&spec.institution_id) {
        let message = format!("there is no institution `{}`; register it first", spec.institution_id);
        return Some(ImportMistake { field, message });
    }
    let owner = before.map(|before| before.institution_id.as_str());
    if owner.is_some_and(|owner| owner != spec.institution_id) {
        let message = "the product belongs to another institution".to_owned();
        return Some(ImportMistake { field, message });
    }
    None
}
