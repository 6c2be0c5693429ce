//! Objections against records, and the erasure of what need not be kept.

use jiff::{Span, civil::Date};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::clock::business_date;
use zhirong_proto::profile::v1::{
    self as pb, ObjectionState, erasure_service_server::ErasureService, objection_service_server::ObjectionService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Trust, audit, id, next, persons::whose, releases::Asked, store};
use crate::store::erasure;

/// Days to decide, as for credit records (征信业管理条例, article 25).
const DAYS: i64 = 20;
const LONGEST: usize = 2000;

#[tonic::async_trait]
impl ObjectionService for Trust {
    async fn raise_objection(
        &self,
        request: Request<pb::RaiseObjectionRequest>,
    ) -> Result<Response<pb::RaiseObjectionResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.raise(&caller, &request.into_inner()).await?))
    }

    async fn decide_objection(
        &self,
        request: Request<pb::DecideObjectionRequest>,
    ) -> Result<Response<pb::DecideObjectionResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.decide(&caller, &request.into_inner()).await?))
    }

    async fn list_objections(
        &self,
        request: Request<pb::ListObjectionsRequest>,
    ) -> Result<Response<pb::ListObjectionsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.objections(&caller, &request.into_inner()).await?))
    }
}

#[tonic::async_trait]
impl ErasureService for Trust {
    async fn erase_enterprise(
        &self,
        request: Request<pb::EraseEnterpriseRequest>,
    ) -> Result<Response<pb::EraseEnterpriseResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.erase(&caller, &request.into_inner()).await?))
    }
}

impl Trust {
    fn today(&self) -> Date {
        business_date(self.clock.now())
    }

    async fn raise(
        &self,
        caller: &Caller,
        request: &pb::RaiseObjectionRequest,
    ) -> Result<pb::RaiseObjectionResponse, Problem> {
        let enterprise = caller.enterprise()?;
        worded(&request.statement, "STATEMENT_INVALID", "statement")?;
        let (now, today) = (self.now(), self.today());
        let due_on = today.checked_add(Span::new().days(DAYS)).map_err(Problem::internal)?;
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ObjectionService/RaiseObjection";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let (source, category, record) = (&request.source, &request.category, &request.record_id);
        if !store::is_about(&mut tx, enterprise.as_str(), source, category, record).await? {
            return Err(Problem::not_found("RECORD_NOT_FOUND", "there is no such live record about this enterprise")
                .zh("没有关于本企业的该条记录"));
        }
        let objection = store::add_objection(&mut tx, enterprise.as_str(), request, now, today, due_on).await?;
        let objection = objection.ok_or_else(|| {
            Problem::already_exists("OBJECTION_OPEN", "the record is disputed already").zh("该条记录的异议正在处理中")
        })?;
        let response = pb::RaiseObjectionResponse { objection: Some(objection) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn decide(
        &self,
        caller: &Caller,
        request: &pb::DecideObjectionRequest,
    ) -> Result<pb::DecideObjectionResponse, Problem> {
        let decision = request.decision();
        if !matches!(decision, ObjectionState::Upheld | ObjectionState::Rejected) {
            return Err(Problem::invalid("DECISION_INVALID", "an objection is upheld or rejected")
                .field("decision", "must be OBJECTION_STATE_UPHELD or OBJECTION_STATE_REJECTED")
                .zh("处理结果须为采纳或驳回"));
        }
        worded(&request.answer, "DECISION_INVALID", "answer")?;
        let (now, today) = (self.now(), self.today());
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ObjectionService/DecideObjection";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let missing = || Problem::not_found("OBJECTION_NOT_FOUND", "there is no such objection").zh("没有该异议");
        let id = id(&request.objection_id).ok_or_else(missing)?;
        let objection = store::objection_for_update(&mut tx, id, today).await?.ok_or_else(missing)?;
        if objection.state() != ObjectionState::Open {
            return Err(Problem::failed_precondition("OBJECTION_DECIDED", "the objection has been decided")
                .zh("该异议已处理完毕"));
        }
        if decision == ObjectionState::Upheld {
            store::take_out(&mut tx, &objection).await?;
        }
        let objection = store::decide(&mut tx, id, decision, &request.answer, now, today).await?;
        let response = pb::DecideObjectionResponse { objection: Some(objection) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.stale.notify_one();
        Ok(response)
    }

    async fn objections(
        &self,
        caller: &Caller,
        request: &pb::ListObjectionsRequest,
    ) -> Result<pb::ListObjectionsResponse, Problem> {
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let enterprise = if caller.role == Role::Staff { None } else { Some(caller.enterprise()?.as_str()) };
        let mut conn = self.pool.acquire().await?;
        let objections =
            store::list_objections(&mut conn, enterprise, request.open_only, page.after, page.size, self.today())
                .await?;
        let next_page_token = next(&objections, page.size, |last| last.objection_id.clone())?;
        Ok(pb::ListObjectionsResponse { objections, next_page_token })
    }

    async fn erase(
        &self,
        caller: &Caller,
        request: &pb::EraseEnterpriseRequest,
    ) -> Result<pb::EraseEnterpriseResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let now = self.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ErasureService/EraseEnterprise";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let fact = erasure::note(&mut tx, enterprise.as_str(), now).await?;
        let personal_data = erasure::person(&mut tx, enterprise.as_str()).await?;
        let versions = erasure::released(&mut tx, enterprise.as_str()).await?;
        erasure::versions(&mut tx, &[enterprise.as_str()]).await?;
        erasure::history(&mut tx, enterprise.as_str()).await?;
        let aggregate = Aggregate { kind: "erasure", id: enterprise.as_str(), version: fact.version };
        outbox::append(&mut tx, aggregate, enterprise.as_str(), &fact, now).await?;
        let response = pb::EraseEnterpriseResponse {
            personal_data,
            released_versions: i64::try_from(versions).unwrap_or(i64::MAX),
        };
        slot.complete(&mut tx, &response).await?;
        let scope = Some(pb::Scope { personal_data, ..pb::Scope::default() });
        let asked = Asked { caller, enterprise_id: enterprise.as_str(), purpose: pb::Purpose::Unspecified, scope };
        audit::append(&mut tx, &self.signing, asked.entry(pb::AuditKind::Erased), now).await?;
        tx.commit().await?;
        self.outbox.notify();
        self.stale.notify_one();
        Ok(response)
    }
}

fn worded(text: &str, reason: &'static str, field: &'static str) -> Result<(), Problem> {
    let length = text.trim().chars().count();
    if (1..=LONGEST).contains(&length) && text.chars().count() <= LONGEST && !text.contains('\0') {
        return Ok(());
    }
    let why = "must have 1 to 2000 characters";
    Err(Problem::invalid(reason, format!("`{field}` {why}")).field(field, why).zh("文字须为 1 至 2000 字"))
}
