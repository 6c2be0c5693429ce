//! Adjustments of products for chosen enterprises.

use jiff::Timestamp;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{clock::business_date, id::ProductId};
use zhirong_proto::catalog::v1::{
    Adjustment, AdjustmentState, CreditTerms, DraftAdjustmentRequest, DraftAdjustmentResponse, EndAdjustmentRequest,
    EndAdjustmentResponse, ListAdjustmentsRequest, ListAdjustmentsResponse, ProductAction, ProductAdjusted,
    ProductSpec, ReviewAdjustmentRequest, ReviewAdjustmentResponse, adjustment::Limit,
    adjustment_service_server::AdjustmentService, product_spec::Terms,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Catalog, cut, day, deed, product_id, proto_time, reason, refuse};
use crate::{
    adjustment::violations,
    error::Error,
    store::{
        self,
        adjustment::{self, Filter, Row},
        history::{self, About},
        version,
    },
};

#[tonic::async_trait]
impl AdjustmentService for Catalog {
    async fn draft_adjustment(
        &self,
        request: Request<DraftAdjustmentRequest>,
    ) -> Result<Response<DraftAdjustmentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.draft_adjustment(&caller, request.into_inner()).await?))
    }

    async fn review_adjustment(
        &self,
        request: Request<ReviewAdjustmentRequest>,
    ) -> Result<Response<ReviewAdjustmentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.review_adjustment(&caller, request.into_inner()).await?))
    }

    async fn end_adjustment(
        &self,
        request: Request<EndAdjustmentRequest>,
    ) -> Result<Response<EndAdjustmentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.end_adjustment(&caller, request.into_inner()).await?))
    }

    async fn list_adjustments(
        &self,
        request: Request<ListAdjustmentsRequest>,
    ) -> Result<Response<ListAdjustmentsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_adjustments(&caller, request.into_inner()).await?))
    }
}

impl Catalog {
    async fn draft_adjustment(
        &self,
        caller: &Caller,
        request: DraftAdjustmentRequest,
    ) -> Result<DraftAdjustmentResponse, Problem> {
        let given = request.adjustment.clone().unwrap_or_default();
        let product = product_id(&given.product_id)?;
        let id = match given.adjustment_id.as_str() {
            "" => Uuid::now_v7(),
            given => adjustment_id(given)?,
        };
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.AdjustmentService/DraftAdjustment";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let institution = own(&mut tx, caller, product).await?;
        let terms = terms_in_force(&mut tx, product).await?;
        refuse(violations(&given, terms.as_ref(), business_date(now)))?;
        let (Some(from), Some(to)) = (day(&given.from), day(&given.to)) else {
            return Err(Problem::internal(Error::StoredState("a day that was checked".to_owned())));
        };
        if !adjustment::insert(&mut tx, id, &given, &institution, (from, to), &caller.subject, now).await? {
            return Err(Error::AdjustmentExists(id).into());
        }
        let head = store::lock(&mut tx, product).await?;
        let about = About { version: head.published_version.unwrap_or(0), adjustment: Some(id), ..About::default() };
        history::add(&mut tx, product, deed(caller, now, ""), ProductAction::AdjustmentDrafted, about).await?;
        let response = DraftAdjustmentResponse { adjustment: Some(told(adjustment::get(&mut tx, id).await?)) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn review_adjustment(
        &self,
        caller: &Caller,
        request: ReviewAdjustmentRequest,
    ) -> Result<ReviewAdjustmentResponse, Problem> {
        let id = adjustment_id(&request.adjustment_id)?;
        reason("reason", &request.reason, !request.approve)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.AdjustmentService/ReviewAdjustment";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let (product, row) = locked(&mut tx, caller, id).await?;
        if row.state != "draft" {
            return Err(Error::AdjustmentState { id, state: row.state }.into());
        }
        if row.drafted_by == caller.subject {
            return Err(Error::SamePerson.into());
        }
        if request.approve {
            // The bounds may have become narrower since it was written.
            let terms = terms_in_force(&mut tx, product).await?;
            refuse(violations(&told(row), terms.as_ref(), business_date(now)))?;
        }
        adjustment::review(&mut tx, id, request.approve, &caller.subject, now, &request.reason).await?;
        let action =
            if request.approve { ProductAction::AdjustmentApproved } else { ProductAction::AdjustmentSentBack };
        let reviewed = self.settled(&mut tx, caller, product, id, action, now, &request.reason).await?;
        let response = ReviewAdjustmentResponse { adjustment: Some(reviewed) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn end_adjustment(
        &self,
        caller: &Caller,
        request: EndAdjustmentRequest,
    ) -> Result<EndAdjustmentResponse, Problem> {
        let id = adjustment_id(&request.adjustment_id)?;
        reason("reason", &request.reason, true)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.AdjustmentService/EndAdjustment";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let (product, row) = locked(&mut tx, caller, id).await?;
        if row.state != "approved" {
            return Err(Error::AdjustmentState { id, state: row.state }.into());
        }
        adjustment::end(&mut tx, id, &request.reason).await?;
        let action = ProductAction::AdjustmentEnded;
        let ended = self.settled(&mut tx, caller, product, id, action, now, &request.reason).await?;
        let response = EndAdjustmentResponse { adjustment: Some(ended) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    /// Writes what was decided into the history, and announces what has effect or has none any more.
    #[expect(clippy::too_many_arguments, reason = "who, what, when and why of one step")]
    async fn settled(
        &self,
        conn: &mut PgConnection,
        caller: &Caller,
        product: ProductId,
        id: Uuid,
        action: ProductAction,
        now: Timestamp,
        why: &str,
    ) -> Result<Adjustment, Error> {
        let head = store::lock(&mut *conn, product).await?;
        let about = About { version: head.published_version.unwrap_or(0), adjustment: Some(id), ..About::default() };
        history::add(&mut *conn, product, deed(caller, now, why), action, about).await?;
        let adjustment = told(adjustment::get(&mut *conn, id).await?);
        if action != ProductAction::AdjustmentSentBack {
            let sequence = adjustment::next_sequence(&mut *conn, product).await?;
            let fact = ProductAdjusted { adjustment: Some(adjustment.clone()), sequence };
            let key = product.to_string();
            let aggregate = Aggregate { kind: "product", id: &key, version: sequence };
            outbox::append(conn, aggregate, &key, &fact, now).await?;
        }
        Ok(adjustment)
    }

    async fn list_adjustments(
        &self,
        caller: &Caller,
        request: ListAdjustmentsRequest,
    ) -> Result<ListAdjustmentsResponse, Problem> {
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let filter = Filter {
            product: match request.product_id.as_str() {
                "" => None,
                given => Some(product_id(given)?.uuid()),
            },
            enterprise_tag: (!request.enterprise_tag.is_empty()).then(|| request.enterprise_tag.clone()),
            state: match request.state() {
                AdjustmentState::Unspecified => None,
                AdjustmentState::Draft => Some("draft"),
                AdjustmentState::Approved => Some("approved"),
                AdjustmentState::SentBack => Some("sent_back"),
                AdjustmentState::Ended => Some("ended"),
            },
            visible_to: match caller.role {
                Role::Bank => Some(caller.institution()?.to_string()),
                _ => None,
            },
        };
        let mut conn = self.pool.acquire().await?;
        let mut rows = adjustment::list(&mut conn, &filter, page.after, page.size.saturating_add(1)).await?;
        let more = cut(&mut rows, page.size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::encode(&last.adjustment_id)?,
            _ => String::new(),
        };
        Ok(ListAdjustmentsResponse { adjustments: rows.into_iter().map(told).collect(), next_page_token })
    }
}

fn adjustment_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("ADJUSTMENT_ID_INVALID", "the adjustment's id is not a UUID")
            .field("adjustment_id", "must be a UUID")
            .zh("调整编号格式有误")
    })
}

/// Locks a product and gives whose it is; a bank's own only, others are not there for it.
async fn own(conn: &mut PgConnection, caller: &Caller, product: ProductId) -> Result<String, Problem> {
    let head = store::lock(conn, product).await?;
    if caller.role == Role::Bank && caller.institution()?.as_str() != head.institution_id {
        return Err(Error::ProductNotFound(product.uuid()).into());
    }
    Ok(head.institution_id)
}

/// An adjustment whose product is locked.
async fn locked(conn: &mut PgConnection, caller: &Caller, id: Uuid) -> Result<(ProductId, Row), Problem> {
    let product = ProductId::new(adjustment::get(&mut *conn, id).await?.product_id);
    own(&mut *conn, caller, product).await.map_err(|_| Error::AdjustmentNotFound(id))?;
    // Again under the lock: somebody may have been quicker.
    Ok((product, adjustment::get(conn, id).await?))
}

/// The terms of the version in force; nothing for a service.
async fn terms_in_force(conn: &mut PgConnection, product: ProductId) -> Result<Option<CreditTerms>, Error> {
    let row = version::get(conn, product, None).await.map_err(|error| match error {
        Error::ProductNotFound(id) => Error::NotPublished(id),
        other => other,
    })?;
    let spec = <ProductSpec as prost::Message>::decode(row.spec.as_slice())?;
    Ok(match spec.terms {
        Some(Terms::Credit(terms)) => Some(terms),
        _ => None,
    })
}

fn told(row: Row) -> Adjustment {
    let state = match row.state.as_str() {
        "approved" => AdjustmentState::Approved,
        "sent_back" => AdjustmentState::SentBack,
        "ended" => AdjustmentState::Ended,
        _ => AdjustmentState::Draft,
    };
    Adjustment {
        adjustment_id: row.adjustment_id.to_string(),
        product_id: row.product_id.to_string(),
        enterprise_tag: row.enterprise_tag,
        name_zh: row.name_zh,
        rate_cut_ppm: row.rate_cut_ppm,
        limit: row.limit_factor_ppm.map(Limit::LimitFactorPpm).or(row.limit_extra_fen.map(Limit::LimitExtraFen)),
        answer_working_days: row.answer_working_days,
        from: row.first_on.to_jiff().to_string(),
        to: row.last_on.to_jiff().to_string(),
        state: state.into(),
        drafted_by: row.drafted_by,
        drafted_at: Some(proto_time(row.drafted_at.to_jiff())),
        reviewed_by: row.reviewed_by.unwrap_or_default(),
        reviewed_at: row.reviewed_at.map(|at| proto_time(at.to_jiff())),
        reason: row.reason,
    }
}
