//! Orders as the enterprise sees them.

use jiff::{Timestamp, ToSpan as _, civil::Date};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{clock::business_date, id::OrderId, uscc::Uscc};
use zhirong_proto::matching::v1::{
    CalculateRequest, Consent, DataScope, GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse,
    Order, OrderPlaced, OrderState, OrderWithdrawn, PlaceOrderRequest, PlaceOrderResponse, Quote, WithdrawOrderRequest,
    WithdrawOrderResponse, order_service_server::OrderService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Matching, cut, id, proto_time};
use crate::{
    adjust::{Offered, offered},
    answer::row,
    calculate::{Verdict, judge},
    consent::{canonical, in_words},
    coupon::fits,
    disclosure,
    error::Error,
    order::{Command, decide},
    product::CompiledProduct,
    store::{
        catalog::version as catalog_version,
        coupon,
        order::{self as orders, Cursor, OrderRow, Owner},
        read_model,
    },
};

const LONGEST_TEXT: usize = 200;
/// The catalog changes seldom; an order that meets so many changes in a row has to come again.
const ATTEMPTS: usize = 5;

#[tonic::async_trait]
impl OrderService for Matching {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<PlaceOrderResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.place_order(&caller, request.into_inner()).await?))
    }

    async fn withdraw_order(
        &self,
        request: Request<WithdrawOrderRequest>,
    ) -> Result<Response<WithdrawOrderResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.withdraw_order(&caller, request.into_inner()).await?))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let order_id: OrderId = id(&request.get_ref().order_id, "order_id")?;
        let mut conn = self.pool.acquire().await.map_err(Problem::from)?;
        let order = orders::find(&mut conn, order_id, owner(&caller)?).await.map_err(Problem::from)?;
        Ok(Response::new(GetOrderResponse { order: Some(order) }))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_orders(&caller, &request.into_inner()).await?))
    }
}

impl Matching {
    async fn place_order(&self, caller: &Caller, request: PlaceOrderRequest) -> Result<PlaceOrderResponse, Problem> {
        let enterprise = caller.enterprise()?.clone();
        let now = self.clock.now();
        let today = business_date(now);
        let mut consent = check(&request, today)?;
        consent.granted_at = Some(proto_time(now));
        for _ in 0..ATTEMPTS {
            if let Some(response) = self.try_place(caller, &enterprise, &request, &consent, now).await? {
                return Ok(response);
            }
            self.snapshots.refresh().await?;
        }
        Err(Problem::aborted("CATALOG_CHANGING", "the catalog is changing; try again")
            .zh("产品信息正在更新，请稍后重试"))
    }

    /// Places the order, unless the catalog in memory is behind the database's: then nothing.
    async fn try_place(
        &self,
        caller: &Caller,
        enterprise: &Uscc,
        request: &PlaceOrderRequest,
        consent: &Consent,
        now: Timestamp,
    ) -> Result<Option<PlaceOrderResponse>, Problem> {
        let today = business_date(now);
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.OrderService/PlaceOrder";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(Some(response)),
            Claim::Fresh(slot) => slot,
        };
        let catalog = self.snapshots.current();
        if catalog_version(&mut tx).await? != catalog.version {
            tx.rollback().await?;
            return Ok(None);
        }
        let product = catalog
            .products
            .get(&request.product_id)
            .ok_or_else(|| Error::ProductNotFound(request.product_id.clone()))?;
        let profile = read_model::profile(&mut tx, enterprise.as_str()).await?;
        let wish = CalculateRequest {
            requested_fen: request.amount_fen,
            term_months: request.term_months,
            ..CalculateRequest::default()
        };
        let row = row(&catalog, &profile, &wish, today)?;
        let offer = match judge(product, &row) {
            Verdict::Eligible { limit_fen, rate_ppm } => {
                offered(&catalog, product, &profile, &wish, today, (limit_fen, rate_ppm))
            }
            Verdict::Refused(failed) => return Err(Error::NotEligible(failed).into()),
            Verdict::Unknown(missing) => return Err(Error::DataMissing(missing.into_iter().collect()).into()),
        };
        within(product, offer.limit_fen, request)?;
        let consent = in_words(consent.clone(), &product.needed(&offer, &profile));
        let Offered { limit_fen, rate_ppm, answer_working_days, .. } = offer;
        if !request.coupon_id.is_empty() {
            let held = coupon::held(&mut tx, enterprise.as_str()).await?;
            let mut named = held.coupons.iter().filter(|coupon| coupon.coupon_id == request.coupon_id);
            if !named.any(|coupon| fits(coupon, product, today)) {
                return Err(Error::CouponNotUsable.into());
            }
        }
        let days = u32::try_from(answer_working_days).unwrap_or(0);
        let due = catalog.working_days_after(today, days)?;

        let order_id = OrderId::new(Uuid::now_v7());
        let order = Order {
            order_id: order_id.to_string(),
            enterprise_id: enterprise.to_string(),
            enterprise_name: profile.name.clone(),
            product_id: request.product_id.clone(),
            product_version: product.product.version,
            institution_id: product.institution_id.clone(),
            amount_fen: request.amount_fen,
            term_months: request.term_months,
            purpose_zh: request.purpose_zh.clone(),
            quote: Some(Quote {
                limit_fen,
                rate_ppm,
                catalog_version: catalog.version,
                profile_version: profile.version,
            }),
            consent: Some(Consent { consent_id: order_id.to_string(), ..consent }),
            state: OrderState::Routed.into(),
            reason_zh: String::new(),
            version: 1,
            placed_at: Some(proto_time(now)),
            answer_due_on: due.to_string(),
            loan_id: String::new(),
            coupon_id: request.coupon_id.clone(),
        };
        let row = OrderRow { order: order.clone(), product: product.product.clone(), profile };
        orders::insert(&mut tx, order_id, &row, now, due).await?;
        let fact = OrderPlaced { order: Some(order.clone()) };
        let aggregate = Aggregate { kind: "order", id: &order.order_id, version: 1 };
        outbox::append(&mut tx, aggregate, &order.order_id, &fact, now).await.map_err(Error::from)?;
        disclosure::made(&mut tx, &row, now).await?;
        let response = PlaceOrderResponse { order: Some(order) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.wake();
        Ok(Some(response))
    }

    async fn withdraw_order(
        &self,
        caller: &Caller,
        request: WithdrawOrderRequest,
    ) -> Result<WithdrawOrderResponse, Problem> {
        let enterprise = caller.enterprise()?.clone();
        let order_id: OrderId = id(&request.order_id, "order_id")?;
        if request.reason_zh.chars().count() > LONGEST_TEXT {
            return Err(Problem::invalid("REASON_TOO_LONG", "the reason is too long")
                .field("reason_zh", format!("must have at most {LONGEST_TEXT} characters"))
                .zh("撤回原因过长"));
        }
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.OrderService/WithdrawOrder";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let mut order = orders::lock(&mut tx, order_id, Owner::Enterprise(enterprise.as_str())).await?.order;
        order.set_state(decide(order.state(), Command::Withdraw).map_err(Error::from)?);
        order.version = order.version.saturating_add(1);
        order.reason_zh = request.reason_zh.clone();
        orders::update(&mut tx, order_id, &order, now).await?;
        let fact = OrderWithdrawn { order: Some(order.clone()) };
        let aggregate = Aggregate { kind: "order", id: &order.order_id, version: order.version };
        outbox::append(&mut tx, aggregate, &order.order_id, &fact, now).await.map_err(Error::from)?;
        let response = WithdrawOrderResponse { order: Some(order) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.wake();
        Ok(response)
    }

    async fn list_orders(&self, caller: &Caller, request: &ListOrdersRequest) -> Result<ListOrdersResponse, Problem> {
        let page = page::parse::<Cursor>(request.page_size, &request.page_token)?;
        let enterprise = match owner(caller)? {
            Owner::Enterprise(own) => Some(own),
            _ => Some(request.enterprise_id.as_str()).filter(|id| !id.is_empty()),
        };
        let mut conn = self.pool.acquire().await?;
        let found = orders::list(&mut conn, enterprise, page.after, page.size.saturating_add(1)).await?;
        let (found, more) = cut(found, page.size);
        let next_page_token = match found.last() {
            Some((cursor, _)) if more => page::encode(cursor)?,
            _ => String::new(),
        };
        Ok(ListOrdersResponse { orders: found.into_iter().map(|(_, order)| order).collect(), next_page_token })
    }
}

/// An enterprise sees its own, staff see all.
pub(super) fn owner(caller: &Caller) -> Result<Owner<'_>, Problem> {
    match caller.role {
        Role::Enterprise => Ok(Owner::Enterprise(caller.enterprise()?.as_str())),
        Role::Bank => Ok(Owner::Institution(caller.institution()?.as_str())),
        _ => Ok(Owner::Anybody),
    }
}

/// Checks what can be checked without knowing anything; gives the consent.
fn check(request: &PlaceOrderRequest, today: Date) -> Result<Consent, Problem> {
    let mut violations: Vec<(&'static str, String)> = Vec::new();
    if request.product_id.parse::<zhirong_kernel::id::ProductId>().is_err() {
        violations.push(("product_id", "must be a UUID".to_owned()));
    }
    if request.amount_fen <= 0 {
        violations.push(("amount_fen", "must be positive".to_owned()));
    }
    if !request.coupon_id.is_empty() && request.coupon_id.parse::<zhirong_kernel::id::CouponId>().is_err() {
        violations.push(("coupon_id", "must be a UUID, or empty for none".to_owned()));
    }
    if !(1..=360).contains(&request.term_months) {
        violations.push(("term_months", "must be 1 to 360".to_owned()));
    }
    if !(1..=LONGEST_TEXT).contains(&request.purpose_zh.trim().chars().count()) {
        violations.push(("purpose_zh", format!("must have 1 to {LONGEST_TEXT} characters")));
    }
    let mut consent = request.consent.clone().unwrap_or_default();
    if request.consent.is_some() {
        let known = |scope: &i32| DataScope::try_from(*scope).is_ok_and(|scope| scope != DataScope::Unspecified);
        if !consent.scopes.iter().all(known) {
            violations.push(("consent.scopes", "must be known scopes".to_owned()));
        }
        match canonical(&consent) {
            Ok(categories) => consent.categories = categories,
            Err(why) => violations.push(("consent.categories", why)),
        }
        if !(1..=32).contains(&consent.text_version.chars().count()) {
            violations.push(("consent.text_version", "must have 1 to 32 characters".to_owned()));
        }
        let latest = today.checked_add(1.year()).unwrap_or(today);
        let expires_on: Option<Date> = consent.expires_on.parse().ok();
        if !expires_on.is_some_and(|day| (today..=latest).contains(&day)) {
            violations.push(("consent.expires_on", format!("must be a date from {today} to {latest}")));
        }
    }
    if !violations.is_empty() {
        let problem = Problem::invalid("ORDER_INVALID", "the order can't be taken; see the fields")
            .zh("订单内容有误，请逐项核对");
        return Err(violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why)));
    }
    if consent.scopes.is_empty() {
        return Err(Problem::failed_precondition(
            "CONSENT_MISSING",
            "an order hands the profile to the institution, which needs the enterprise's consent with at least one scope",
        )
        .zh("下单需授权银行查询信用画像，请勾选授权内容"));
    }
    Ok(consent)
}

/// Whether an enterprise with this limit may have the amount for the term.
fn within(product: &CompiledProduct, limit: i64, request: &PlaceOrderRequest) -> Result<(), Error> {
    let terms = &product.terms;
    if request.amount_fen > limit {
        return Err(Error::AmountAboveLimit { asked: request.amount_fen, limit });
    }
    if request.amount_fen < terms.min_amount_fen {
        return Err(Error::AmountBelowMinimum { asked: request.amount_fen, least: terms.min_amount_fen });
    }
    if !(terms.min_term_months..=terms.max_term_months).contains(&request.term_months) {
        return Err(Error::TermOutOfBounds {
            asked: request.term_months,
            shortest: terms.min_term_months,
            longest: terms.max_term_months,
        });
    }
    Ok(())
}
