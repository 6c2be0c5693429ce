//! Products and their versions.

use jiff::{ToSpan as _, civil::Date};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    clock::business_date,
    id::{InstitutionId, ProductId},
};
use zhirong_proto::catalog::v1::{
    DraftProductRequest, DraftProductResponse, GetProductRequest, GetProductResponse, ListProductsRequest,
    ListProductsResponse, Product, ProductAction, ProductKind, ProductRetired, ProductSpec, PublishProductRequest,
    PublishProductResponse, RetireProductRequest, RetireProductResponse, product_service_server::ProductService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{
    Catalog, cut, day, deed, product_id, reason, refusal, snapshot, version_of,
    workflow::{newest, take},
};
use crate::{
    error::Error,
    in_force,
    store::{
        self,
        history::{self, About, Deed},
        search::{self, Filter},
        version,
    },
    validate,
    workflow::{self, Command},
};

#[tonic::async_trait]
impl ProductService for Catalog {
    async fn draft_product(
        &self,
        request: Request<DraftProductRequest>,
    ) -> Result<Response<DraftProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.draft_product(&caller, request.into_inner()).await?))
    }

    async fn publish_product(
        &self,
        request: Request<PublishProductRequest>,
    ) -> Result<Response<PublishProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.publish_product(&caller, request.into_inner()).await?))
    }

    async fn retire_product(
        &self,
        request: Request<RetireProductRequest>,
    ) -> Result<Response<RetireProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.retire_product(&caller, request.into_inner()).await?))
    }

    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.get_product(&caller, request.into_inner()).await?))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        Ok(Response::new(self.list_products(request.into_inner()).await?))
    }
}

impl Catalog {
    async fn draft_product(
        &self,
        caller: &Caller,
        request: DraftProductRequest,
    ) -> Result<DraftProductResponse, Problem> {
        let product = match request.product_id.as_str() {
            "" => ProductId::new(Uuid::now_v7()),
            given => product_id(given)?,
        };
        let spec = validate::completed(request.spec.clone().unwrap_or_default()).map_err(refusal)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductService/DraftProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let drafted = draft(&mut tx, product, &spec, deed(caller, now, "")).await?;
        let response = DraftProductResponse { product: Some(drafted) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn publish_product(
        &self,
        caller: &Caller,
        request: PublishProductRequest,
    ) -> Result<PublishProductResponse, Problem> {
        let product = product_id(&request.product_id)?;
        reason("comment", &request.comment, false)?;
        let now = self.clock.now();
        let today = business_date(now);
        let on = effective_day(&request.effective_on, today)?;
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductService/PublishProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let head = store::lock(&mut tx, product).await?;
        let row = version::get(&mut tx, product, Some(request.version)).await?;
        let state = row.state()?;
        if state.is_public() {
            return Err(Error::NotADraft { product: product.uuid(), version: request.version, state }.into());
        }
        newest(&head, product, request.version)?;
        let steps = workflow::decide(state, Command::Publish, row.drafted_by == caller.subject)
            .map_err(|refusal| Error::refused(refusal, product.uuid(), request.version))?;
        let deed = deed(caller, now, &request.comment);
        for step in steps {
            take(&mut tx, product, request.version, *step, deed).await?;
        }
        let published = if on > today {
            version::schedule(&mut tx, product, request.version, &caller.subject, on).await?;
            let about = About { effective_on: Some(on), ..request.version.into() };
            history::add(&mut tx, product, deed, ProductAction::Scheduled, about).await?;
            version_of(version::get(&mut tx, product, Some(request.version)).await?)?
        } else {
            in_force::publish(&mut tx, product, request.version, deed, on).await?
        };
        let response = PublishProductResponse { product: Some(published) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn retire_product(
        &self,
        caller: &Caller,
        request: RetireProductRequest,
    ) -> Result<RetireProductResponse, Problem> {
        let product = product_id(&request.product_id)?;
        reason("reason", &request.reason, false)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductService/RetireProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let head = store::lock(&mut tx, product).await?;
        let deed = deed(caller, now, &request.reason);
        let number = version::replace(&mut tx, product).await?.ok_or(Error::NotPublished(product.uuid()))?;
        history::add(&mut tx, product, deed, ProductAction::Retired, number.into()).await?;
        for other in version::unschedule(&mut tx, product, head.latest_version).await? {
            history::add(&mut tx, product, deed, ProductAction::Unscheduled, other.into()).await?;
        }
        let sequence = version::leave(&mut tx, product).await?;
        let retired = version_of(version::get(&mut tx, product, Some(number)).await?)?;
        let id = product.to_string();
        let fact = ProductRetired { product_id: id.clone(), sequence };
        let aggregate = Aggregate { kind: "product", id: &id, version: sequence };
        outbox::append(&mut tx, aggregate, &id, &fact, now).await.map_err(Error::from)?;
        let response = RetireProductResponse { product: Some(retired) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn get_product(&self, caller: &Caller, request: GetProductRequest) -> Result<GetProductResponse, Problem> {
        let product = product_id(&request.product_id)?;
        let number = (request.version != 0).then_some(request.version);
        let mut conn = self.pool.acquire().await?;
        let row = version::get(&mut conn, product, number).await?;
        let is_public = row.state()?.is_public();
        let found = version_of(row)?;
        if !is_public && !may_see_draft(caller, &found) {
            return Err(Error::ProductNotFound(product.uuid()).into());
        }
        Ok(GetProductResponse { product: Some(found) })
    }

    async fn list_products(&self, request: ListProductsRequest) -> Result<ListProductsResponse, Problem> {
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let filter = filter(&request)?;
        let mut tx = snapshot(&self.pool).await?;
        let mut rows = search::products(&mut tx, &filter, page.after, page.size.saturating_add(1)).await?;
        let total = search::count(&mut tx, &filter).await?;
        tx.commit().await?;
        let more = cut(&mut rows, page.size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::encode(&last.product_id)?,
            _ => String::new(),
        };
        Ok(ListProductsResponse {
            products: rows.into_iter().map(version_of).collect::<Result<_, _>>()?,
            next_page_token,
            total_size: i32::try_from(total).unwrap_or(i32::MAX),
        })
    }
}

/// Writes the next version of a product.
pub(super) async fn draft(
    conn: &mut PgConnection,
    product: ProductId,
    spec: &ProductSpec,
    deed: Deed<'_>,
) -> Result<Product, Error> {
    let institution: InstitutionId =
        spec.institution_id.parse().map_err(|_| Error::InstitutionNotFound(spec.institution_id.clone()))?;
    let head = store::lock_or_create(&mut *conn, product, &institution).await?;
    if head.institution_id != institution.as_str() {
        return Err(Error::OtherInstitution(product.uuid()));
    }
    let number = head.latest_version.saturating_add(1);
    version::insert_draft(&mut *conn, product, number, spec, deed.person, deed.at).await?;
    history::add(&mut *conn, product, deed, ProductAction::Drafted, number.into()).await?;
    version_of(version::get(conn, product, Some(number)).await?)
}

/// The day asked for; today when none is.
fn effective_day(text: &str, today: Date) -> Result<Date, Problem> {
    if text.is_empty() {
        return Ok(today);
    }
    day(text).filter(|day| *day >= today && *day <= today.saturating_add(3.years())).ok_or_else(|| {
        Problem::invalid("FIELDS_INVALID", "the day of effect can't be used")
            .field("effective_on", format!("must be a day `YYYY-MM-DD` from {today}, at most 3 years on; or empty"))
            .zh("生效日期有误，须为今日或三年内的日期")
    })
}

fn filter(request: &ListProductsRequest) -> Result<Filter, Problem> {
    let mut problem = Problem::invalid("FIELDS_INVALID", "some filters are not as they must be; see each of them")
        .zh("筛选条件有误，请逐项核对");
    let mut good = true;
    for (holds, field, description) in [
        (request.tags.len() <= 16, "tags", "must be at most 16"),
        (request.amount_fen >= 0, "amount_fen", "must not be negative"),
        (request.term_months >= 0, "term_months", "must not be negative"),
        (request.guarantee_forms.len() <= 16, "guarantee_forms", "must be at most 16"),
        (request.text.chars().count() <= 128, "text", "must have at most 128 characters"),
    ] {
        if !holds {
            good = false;
            problem = problem.field(field, description);
        }
    }
    if !good {
        return Err(problem);
    }
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Filter {
        institution_id: given(&request.institution_id),
        tags: request.tags.iter().cloned().chain(given(&request.tag)).collect(),
        is_credit: match request.kind() {
            ProductKind::Unspecified => None,
            ProductKind::Credit => Some(true),
            ProductKind::Service => Some(false),
        },
        like: given(&request.text).map(|text| contains(&text)),
        amount_fen: (request.amount_fen != 0).then_some(request.amount_fen),
        term_months: (request.term_months != 0).then_some(request.term_months),
        guarantee_forms: request.guarantee_forms.clone(),
    })
}

/// What is not yet in force is seen by the staff and by the institution that will offer it; for others it is not there.
fn may_see_draft(caller: &Caller, draft: &Product) -> bool {
    let owner = draft.spec.as_ref().map(|spec| spec.institution_id.as_str());
    match caller.role {
        Role::Staff => true,
        Role::Bank => caller.institution.as_ref().map(|institution| institution.as_str()) == owner,
        Role::Enterprise | Role::Operator | Role::DataPlatform => false,
    }
}

/// A LIKE pattern for texts that contain this one, whatever characters it has.
fn contains(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}
