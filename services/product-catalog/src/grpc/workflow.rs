//! The way of a product version, and who went it.

use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::id::ProductId;
use zhirong_proto::catalog::v1::{
    ListProductHistoryRequest, ListProductHistoryResponse, ListProductVersionsRequest, ListProductVersionsResponse,
    ProductAction, ProductHistoryEntry, ProductResumed, ProductState, ProductSuspended, ResumeProductRequest,
    ResumeProductResponse, ReviewDecision, ReviewProductRequest, ReviewProductResponse, SubmitProductRequest,
    SubmitProductResponse, SuspendProductRequest, SuspendProductResponse,
    product_workflow_service_server::ProductWorkflowService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Catalog, cut, deed, product_id, proto_time, reason, version_of};
use crate::{
    error::Error,
    store::{
        self, Head,
        history::{self, Deed, Entry},
        search::{self, Versions},
        version,
    },
    workflow::{Command, State, decide},
};

#[tonic::async_trait]
impl ProductWorkflowService for Catalog {
    async fn submit_product(
        &self,
        request: Request<SubmitProductRequest>,
    ) -> Result<Response<SubmitProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.submit_product(&caller, request.into_inner()).await?))
    }

    async fn review_product(
        &self,
        request: Request<ReviewProductRequest>,
    ) -> Result<Response<ReviewProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.review_product(&caller, request.into_inner()).await?))
    }

    async fn suspend_product(
        &self,
        request: Request<SuspendProductRequest>,
    ) -> Result<Response<SuspendProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.suspend_product(&caller, request.into_inner()).await?))
    }

    async fn resume_product(
        &self,
        request: Request<ResumeProductRequest>,
    ) -> Result<Response<ResumeProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.resume_product(&caller, request.into_inner()).await?))
    }

    async fn list_product_versions(
        &self,
        request: Request<ListProductVersionsRequest>,
    ) -> Result<Response<ListProductVersionsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_versions(&caller, request.into_inner()).await?))
    }

    async fn list_product_history(
        &self,
        request: Request<ListProductHistoryRequest>,
    ) -> Result<Response<ListProductHistoryResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_history(&caller, request.into_inner()).await?))
    }
}

impl Catalog {
    async fn submit_product(
        &self,
        caller: &Caller,
        request: SubmitProductRequest,
    ) -> Result<SubmitProductResponse, Problem> {
        let product = product_id(&request.product_id)?;
        reason("comment", &request.comment, false)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductWorkflowService/SubmitProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let deed = deed(caller, now, &request.comment);
        go(&mut tx, product, request.version, Command::Submit, deed).await?;
        let submitted = version_of(version::get(&mut tx, product, Some(request.version)).await?)?;
        let response = SubmitProductResponse { product: Some(submitted) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn review_product(
        &self,
        caller: &Caller,
        request: ReviewProductRequest,
    ) -> Result<ReviewProductResponse, Problem> {
        let product = product_id(&request.product_id)?;
        let command = match request.decision() {
            ReviewDecision::Approve => Command::Approve,
            ReviewDecision::SendBack => Command::SendBack,
            ReviewDecision::Unspecified => {
                return Err(Problem::invalid("FIELDS_INVALID", "there is no decision")
                    .field("decision", "must be APPROVE or SEND_BACK")
                    .zh("请选择审核意见"));
            }
        };
        reason("reason", &request.reason, command == Command::SendBack)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductWorkflowService/ReviewProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        go(&mut tx, product, request.version, command, deed(caller, now, &request.reason)).await?;
        let reviewed = version_of(version::get(&mut tx, product, Some(request.version)).await?)?;
        let response = ReviewProductResponse { product: Some(reviewed) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn suspend_product(
        &self,
        caller: &Caller,
        request: SuspendProductRequest,
    ) -> Result<SuspendProductResponse, Problem> {
        let product = product_id(&request.product_id)?;
        reason("reason", &request.reason, true)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductWorkflowService/SuspendProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let deed = deed(caller, now, &request.reason);
        let (version, sequence) = hold(&mut tx, product, Command::Suspend, deed).await?;
        let suspended = version_of(version::get(&mut tx, product, Some(version)).await?)?;
        let id = product.to_string();
        let fact = ProductSuspended { product_id: id.clone(), version, reason: request.reason.clone(), sequence };
        let aggregate = Aggregate { kind: "product", id: &id, version: sequence };
        outbox::append(&mut tx, aggregate, &id, &fact, now).await.map_err(Error::from)?;
        let response = SuspendProductResponse { product: Some(suspended) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn resume_product(
        &self,
        caller: &Caller,
        request: ResumeProductRequest,
    ) -> Result<ResumeProductResponse, Problem> {
        let product = product_id(&request.product_id)?;
        reason("reason", &request.reason, false)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductWorkflowService/ResumeProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let deed = deed(caller, now, &request.reason);
        let (version, sequence) = hold(&mut tx, product, Command::Resume, deed).await?;
        let resumed = version_of(version::get(&mut tx, product, Some(version)).await?)?;
        let fact = ProductResumed { product: Some(resumed.clone()), sequence };
        let id = product.to_string();
        let aggregate = Aggregate { kind: "product", id: &id, version: sequence };
        outbox::append(&mut tx, aggregate, &id, &fact, now).await.map_err(Error::from)?;
        let response = ResumeProductResponse { product: Some(resumed) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn list_versions(
        &self,
        caller: &Caller,
        request: ListProductVersionsRequest,
    ) -> Result<ListProductVersionsResponse, Problem> {
        let page = page::parse::<(Uuid, i32)>(request.page_size, &request.page_token)?;
        let filter = Versions {
            product: match request.product_id.as_str() {
                "" => None,
                given => Some(product_id(given)?.uuid()),
            },
            state: state_of(request.state()).map(State::as_str),
            institution_id: (!request.institution_id.is_empty()).then(|| request.institution_id.clone()),
            visible_to: match caller.role {
                Role::Bank => Some(caller.institution()?.to_string()),
                _ => None,
            },
        };
        let mut conn = self.pool.acquire().await?;
        let mut rows = search::versions(&mut conn, &filter, page.after, page.size.saturating_add(1)).await?;
        let more = cut(&mut rows, page.size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::encode(&(last.product_id, last.version))?,
            _ => String::new(),
        };
        let products = rows.into_iter().map(version_of).collect::<Result<_, _>>()?;
        Ok(ListProductVersionsResponse { products, next_page_token })
    }

    async fn list_history(
        &self,
        caller: &Caller,
        request: ListProductHistoryRequest,
    ) -> Result<ListProductHistoryResponse, Problem> {
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let product = product_id(&request.product_id)?;
        let mut conn = self.pool.acquire().await?;
        let owner = store::owner(&mut conn, product).await?;
        if caller.role == Role::Bank && caller.institution()?.as_str() != owner {
            return Err(Error::ProductNotFound(product.uuid()).into());
        }
        let after = page.after.unwrap_or(0);
        let mut rows = history::list(&mut conn, product, after, page.size.saturating_add(1)).await?;
        let more = cut(&mut rows, page.size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::encode(&last.entry)?,
            _ => String::new(),
        };
        Ok(ListProductHistoryResponse { entries: rows.into_iter().map(entry_of).collect(), next_page_token })
    }
}

/// Only the newest version goes on before it is in force.
pub(super) fn newest(head: &Head, product: ProductId, version: i32) -> Result<(), Error> {
    let latest = head.latest_version;
    if version == latest { Ok(()) } else { Err(Error::NotTheNewest { product: product.uuid(), version, latest }) }
}

/// Takes one step before publication, and writes it into the history. Putting into force is not one of these.
pub(super) async fn take(
    conn: &mut PgConnection,
    product: ProductId,
    number: i32,
    step: State,
    deed: Deed<'_>,
) -> Result<(), Error> {
    let action = match step {
        State::Submitted => {
            version::submit(&mut *conn, product, number, deed.person).await?;
            ProductAction::Submitted
        }
        State::Reviewed => {
            version::approve(&mut *conn, product, number, deed.person).await?;
            ProductAction::Approved
        }
        State::Draft => {
            version::send_back(&mut *conn, product, number).await?;
            ProductAction::SentBack
        }
        State::Published | State::Suspended | State::Retired => return Ok(()),
    };
    Ok(history::add(conn, product, deed, action, number.into()).await?)
}

/// Goes a way before publication with the newest version.
async fn go(
    conn: &mut PgConnection,
    product: ProductId,
    number: i32,
    command: Command,
    deed: Deed<'_>,
) -> Result<(), Error> {
    let head = store::lock(&mut *conn, product).await?;
    let row = version::get(&mut *conn, product, Some(number)).await?;
    let steps = decide(row.state()?, command, row.drafted_by == deed.person)
        .map_err(|refusal| Error::refused(refusal, product.uuid(), number))?;
    newest(&head, product, number)?;
    for step in steps {
        take(&mut *conn, product, number, *step, deed).await?;
    }
    Ok(())
}

/// Suspends or resumes the version in force; gives it, and the number of the fact.
async fn hold(
    conn: &mut PgConnection,
    product: ProductId,
    command: Command,
    deed: Deed<'_>,
) -> Result<(i32, i64), Error> {
    let head = store::lock(&mut *conn, product).await?;
    let number = head.published_version.ok_or(Error::NotPublished(product.uuid()))?;
    let row = version::get(&mut *conn, product, Some(number)).await?;
    decide(row.state()?, command, row.drafted_by == deed.person)
        .map_err(|refusal| Error::refused(refusal, product.uuid(), number))?;
    let suspend = command == Command::Suspend;
    let sequence = version::set_suspended(&mut *conn, product, number, suspend).await?;
    let action = if suspend { ProductAction::Suspended } else { ProductAction::Resumed };
    history::add(conn, product, deed, action, number.into()).await?;
    Ok((number, sequence))
}

fn state_of(state: ProductState) -> Option<State> {
    Some(match state {
        ProductState::Unspecified => return None,
        ProductState::Draft => State::Draft,
        ProductState::Submitted => State::Submitted,
        ProductState::Reviewed => State::Reviewed,
        ProductState::Published => State::Published,
        ProductState::Suspended => State::Suspended,
        ProductState::Retired => State::Retired,
    })
}

fn entry_of(row: Entry) -> ProductHistoryEntry {
    ProductHistoryEntry {
        action: row.action().into(),
        entry: row.entry,
        version: row.version,
        by: row.person,
        role: row.role,
        at: Some(proto_time(row.happened_at.to_jiff())),
        reason: row.reason,
        effective_on: row.effective_on.map(|on| on.to_jiff().to_string()).unwrap_or_default(),
        adjustment_id: row.adjustment_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}
