//! The financial calculator.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{clock::business_date, uscc::Uscc};
use zhirong_proto::matching::v1::{
    CalculateRequest, CalculateResponse, ListCalculationsRequest, ListCalculationsResponse, RecalculateRequest,
    RecalculateResponse, calculator_service_server::CalculatorService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    page,
    problem::Problem,
};

use super::{Matching, cut};
use crate::{
    answer::{Question, answer},
    calculate::Weights,
    error::Error,
    store::{coupon, kept, read_model},
    wish::violations,
};

/// Most of what is remembered of a day.
const REMEMBERED: usize = 100_000;

/// What was noted on the current day, so that computing again writes nothing.
#[derive(Default)]
pub struct Calculated(Mutex<(Date, HashSet<Vec<u8>>)>);

impl Calculated {
    /// Whether this is the first time today that this process hears of it.
    fn is_first(&self, what: &[u8], today: Date) -> bool {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.0 != today || !noted.1.contains(what)
    }

    fn note(&self, what: Vec<u8>, today: Date) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.0 != today || noted.1.len() >= REMEMBERED {
            *noted = (today, HashSet::new());
        }
        noted.1.insert(what);
    }
}

#[tonic::async_trait]
impl CalculatorService for Matching {
    async fn calculate(&self, request: Request<CalculateRequest>) -> Result<Response<CalculateResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.calculate(&caller, &request.into_inner()).await?))
    }

    async fn list_calculations(
        &self,
        request: Request<ListCalculationsRequest>,
    ) -> Result<Response<ListCalculationsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_calculations(&caller, &request.into_inner()).await?))
    }

    async fn recalculate(&self, request: Request<RecalculateRequest>) -> Result<Response<RecalculateResponse>, Status> {
        Ok(Response::new(self.recalculate(request.into_inner()).await?))
    }
}

impl Matching {
    async fn calculate(&self, caller: &Caller, wish: &CalculateRequest) -> Result<CalculateResponse, Problem> {
        let enterprise = whose(caller, &wish.enterprise_id)?;
        check(wish)?;
        let catalog = self.snapshots.current();
        let today = business_date(self.clock.now());
        let mut conn = self.pool.acquire().await?;
        let profile = read_model::profile(&mut conn, enterprise.as_str()).await?;
        let held = coupon::held(&mut conn, enterprise.as_str()).await?;
        let question = Question { profile: &profile, held: &held, wish, day: today };
        // First, so that only who gets an answer counts.
        let response = answer(&catalog, question, self.weights)?;
        if wish.what_if.is_empty() {
            self.note(&mut conn, &enterprise, wish, &response, today).await?;
        }
        Ok(response)
    }

    /// Notes that an enterprise has computed, and what was answered from what.
    async fn note(
        &self,
        conn: &mut PgConnection,
        enterprise: &Uscc,
        wish: &CalculateRequest,
        response: &CalculateResponse,
        today: Date,
    ) -> Result<(), Error> {
        let (who, id) = (enterprise.as_str().as_bytes().to_vec(), enterprise.as_str());
        if self.calculated.is_first(&who, today) {
            read_model::note_calculation(conn, id, today, response.catalog_version, response.profile_version).await?;
            self.calculated.note(who, today);
        }
        let question = RecalculateRequest {
            enterprise_id: enterprise.to_string(),
            wish: Some(CalculateRequest { enterprise_id: String::new(), ..wish.clone() }),
            catalog_version: response.catalog_version,
            profile_version: response.profile_version,
            computed_on: response.computed_on.clone(),
            coupons_version: response.coupons_version,
            level_worth_ppm: response.level_worth_ppm,
            unrated_level_ppm: response.unrated_level_ppm,
        };
        let asked = kept::sha256(&question);
        if self.calculated.is_first(&asked, today) {
            kept::keep_calculation(conn, &question, &kept::sha256(response), self.clock.now()).await?;
            self.calculated.note(asked, today);
        }
        Ok(())
    }

    async fn list_calculations(
        &self,
        caller: &Caller,
        request: &ListCalculationsRequest,
    ) -> Result<ListCalculationsResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let answered_by = request.answered_by.map(|at| Timestamp::new(at.seconds, at.nanos)).transpose();
        let answered_by = answered_by.map_err(|_| {
            Problem::invalid("DATE_INVALID", "`answered_by` is not a time")
                .field("answered_by", "must be a time")
                .zh("时间有误")
        })?;
        let mut conn = self.pool.acquire().await?;
        let most = page.size.saturating_add(1);
        let found = kept::calculations(&mut conn, enterprise.as_str(), answered_by, page.after, most).await?;
        let (calculations, more) = cut(found, page.size);
        let next_page_token = match calculations.last() {
            Some(last) if more => page::encode(&last.calculation_id)?,
            _ => String::new(),
        };
        Ok(ListCalculationsResponse { calculations, next_page_token })
    }

    async fn recalculate(&self, request: RecalculateRequest) -> Result<RecalculateResponse, Problem> {
        let enterprise = uscc(&request.enterprise_id)?;
        let wish = request.wish.unwrap_or_default();
        check(&wish)?;
        let day: Date = request.computed_on.parse().map_err(|_| {
            Problem::invalid("DATE_INVALID", "the day can't be read")
                .field("computed_on", "must be a date, YYYY-MM-DD")
                .zh("日期有误")
        })?;
        let weights =
            Weights { level_worth_ppm: request.level_worth_ppm, unrated_level_ppm: request.unrated_level_ppm };
        if let Some(fault) = weights.fault() {
            return Err(Problem::invalid("REQUEST_INVALID", fault)
                .field("level_worth_ppm", "must be as in the answer")
                .field("unrated_level_ppm", "must be as in the answer")
                .zh("排序权重有误，请按原结果填写"));
        }
        let catalog = self.snapshots.at(request.catalog_version).await?;
        let mut conn = self.pool.acquire().await?;
        let profile = read_model::profile_at(&mut conn, enterprise.as_str(), request.profile_version).await?;
        let held = coupon::held_at(&mut conn, enterprise.as_str(), request.coupons_version).await?;
        let question = Question { profile: &profile, held: &held, wish: &wish, day };
        let again = answer(&catalog, question, weights)?;
        Ok(RecalculateResponse { answer_sha256: kept::sha256(&again), answer: Some(again) })
    }
}

fn check(wish: &CalculateRequest) -> Result<(), Problem> {
    let violations = violations(wish);
    if violations.is_empty() {
        return Ok(());
    }
    let problem =
        Problem::invalid("REQUEST_INVALID", "the wish can't be computed; see the fields").zh("测算条件有误，请核对");
    Err(violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why)))
}

/// An enterprise means itself; staff name one.
pub fn whose(caller: &Caller, named: &str) -> Result<Uscc, Problem> {
    if caller.role == Role::Enterprise {
        let own = caller.enterprise()?;
        if !named.is_empty() && named != own.as_str() {
            return Err(Error::ProfileNotFound.into());
        }
        return Ok(own.clone());
    }
    uscc(named)
}

fn uscc(text: &str) -> Result<Uscc, Problem> {
    text.parse().map_err(|error: zhirong_kernel::uscc::Error| {
        Problem::invalid("USCC_INVALID", error.to_string())
            .field("enterprise_id", error.to_string())
            .zh("统一社会信用代码有误")
    })
}
