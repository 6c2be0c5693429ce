//! Products and their versions.

use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::id::{InstitutionId, ProductId};
use zhirong_proto::catalog::v1::{
    DraftProductRequest, DraftProductResponse, GetProductRequest, GetProductResponse, ListProductsRequest,
    ListProductsResponse, Product, ProductKind, ProductPublished, ProductRetired, ProductState, PublishProductRequest,
    PublishProductResponse, RetireProductRequest, RetireProductResponse, product_service_server::ProductService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Catalog, cut, product_id, refuse, snapshot, version_of};
use crate::{
    error::Error,
    store::{self, Filter},
    validate,
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
        let spec = request.spec.clone().unwrap_or_default();
        refuse(validate::product(&spec))?;
        let institution: InstitutionId = spec.institution_id.parse().map_err(Problem::internal)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductService/DraftProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let head = store::lock_or_create(&mut tx, product, &institution).await?;
        if head.institution_id != institution.as_str() {
            return Err(Error::OtherInstitution(product.uuid()).into());
        }
        let version = head.latest_version.saturating_add(1);
        store::insert_draft(&mut tx, product, version, &spec, &caller.subject, now).await?;
        let row = store::version(&mut tx, product, Some(version)).await?;
        let response = DraftProductResponse { product: Some(version_of(row)?) };
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
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductService/PublishProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let head = store::lock(&mut tx, product).await?;
        let draft = store::version(&mut tx, product, Some(request.version)).await?;
        if draft.state != "draft" {
            return Err(Error::NotADraft { product: product.uuid(), version: request.version }.into());
        }
        if request.version != head.latest_version {
            let (version, latest) = (request.version, head.latest_version);
            return Err(Error::NotTheNewest { product: product.uuid(), version, latest }.into());
        }
        if draft.drafted_by == caller.subject {
            return Err(Error::SamePerson.into());
        }
        let sequence = store::publish(&mut tx, product, request.version, &caller.subject, now).await?;
        let published = version_of(store::version(&mut tx, product, None).await?)?;
        let fact = ProductPublished { product: Some(published.clone()), sequence };
        let id = product.to_string();
        let aggregate = Aggregate { kind: "product", id: &id, version: sequence };
        outbox::append(&mut tx, aggregate, &id, &fact, now).await.map_err(Error::from)?;
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
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.ProductService/RetireProduct";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let head = store::lock(&mut tx, product).await?;
        let version = head.published_version.ok_or(Error::NotPublished(product.uuid()))?;
        let sequence = store::retire(&mut tx, product).await?;
        let retired = version_of(store::version(&mut tx, product, Some(version)).await?)?;
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
        let version = (request.version != 0).then_some(request.version);
        let mut conn = self.pool.acquire().await?;
        let found = version_of(store::version(&mut conn, product, version).await?)?;
        if found.state() == ProductState::Draft && !may_see_draft(caller, &found) {
            return Err(Error::ProductNotFound(product.uuid()).into());
        }
        Ok(GetProductResponse { product: Some(found) })
    }

    async fn list_products(&self, request: ListProductsRequest) -> Result<ListProductsResponse, Problem> {
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let filter = Filter {
            institution_id: given(&request.institution_id),
            tag: given(&request.tag),
            is_credit: match request.kind() {
                ProductKind::Unspecified => None,
                ProductKind::Credit => Some(true),
                ProductKind::Service => Some(false),
            },
            like: given(&request.text).map(|text| contains(&text)),
        };
        let mut tx = snapshot(&self.pool).await?;
        let mut rows = store::list_products(&mut tx, &filter, page.after, page.size.saturating_add(1)).await?;
        let total = store::count_products(&mut tx, &filter).await?;
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
