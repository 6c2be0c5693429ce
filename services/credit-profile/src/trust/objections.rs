//! Objections against records: raised, decided, listed.

use jiff::{Span, Timestamp, civil::Date};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::clock::business_date;
use zhirong_proto::{
    Fact,
    gov::v1::{RecordRejected, RejectionCode},
    profile::v1::{self as pb, ObjectionState, objection_service_server::ObjectionService},
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Trust, id, next, rests, store};
use crate::{error::Error, profile::proto_time, refusal::Refusal, store::scorecards};

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
        let missing = || {
            Problem::not_found("RECORD_NOT_FOUND", "there is no such live record about this enterprise")
                .zh("没有关于本企业的该条记录")
        };
        let version = store::live_version(&mut tx, enterprise.as_str(), request).await?.ok_or_else(missing)?;
        let (category, _) = crate::store::category(&mut tx, &request.category).await?.ok_or_else(missing)?;
        let scorecard = scorecards::in_force(&mut tx).await?;
        let computed_values = rests::computed_values(&category, &scorecard).map_err(Error::Seeds)?;
        let new = store::NewObjection { enterprise_id: enterprise.as_str(), request, version, computed_values, due_on };
        let objection = store::add_objection(&mut tx, &new, now, today).await?.ok_or_else(|| {
            Problem::already_exists("OBJECTION_OPEN", "the record is disputed already").zh("该条记录的异议正在处理中")
        })?;
        let fact = raised(&objection, new.computed_values);
        tell(&mut tx, &objection.objection_id, 1, &fact, now).await?;
        let response = pb::RaiseObjectionResponse { objection: Some(objection) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
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
        let taken_out = decision == ObjectionState::Upheld && store::take_out(&mut tx, id, today).await?;
        let objection = store::decide(&mut tx, id, decision, taken_out, &request.answer, now, today).await?;
        let fact = pb::ObjectionDecided {
            objection_id: objection.objection_id.clone(),
            enterprise_id: objection.enterprise_id.clone(),
            decision: decision.into(),
            taken_out,
        };
        tell(&mut tx, &objection.objection_id, 3, &fact, now).await?;
        if taken_out {
            correct(&mut tx, &objection, now).await?;
        }
        let response = pb::DecideObjectionResponse { objection: Some(objection) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
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
        let which = store::Which { enterprise, open: request.open_only, overdue: request.overdue_only };
        let objections = store::list_objections(&mut conn, which, page.after, page.size, self.today()).await?;
        let next_page_token = next(&objections, page.size, |last| last.objection_id.clone())?;
        Ok(pb::ListObjectionsResponse { objections, next_page_token })
    }
}

/// The fact that an objection was raised; it does not repeat the enterprise's words.
pub(super) fn raised(objection: &pb::Objection, computed_values: Vec<String>) -> pb::ObjectionRaised {
    let record = pb::DisputedRecord {
        objection_id: objection.objection_id.clone(),
        category: objection.category.clone(),
        source: objection.source.clone(),
        record_id: objection.record_id.clone(),
        raised_at: objection.raised_at,
    };
    pb::ObjectionRaised {
        enterprise_id: objection.enterprise_id.clone(),
        record: Some(record),
        computed_values,
        due_on: objection.due_on.clone(),
    }
}

/// Tells of an objection; the version says which of its three facts it is.
pub(super) async fn tell<F: Fact>(
    conn: &mut PgConnection,
    id: &str,
    version: i64,
    fact: &F,
    now: Timestamp,
) -> Result<(), Error> {
    outbox::append(conn, Aggregate { kind: "objection", id, version }, id, fact, now).await?;
    Ok(())
}

/// Tells the source at once that its record is wrong: sent again as it is, it would come back.
async fn correct(conn: &mut PgConnection, objection: &pb::Objection, now: Timestamp) -> Result<(), Error> {
    let why = Refusal::of(
        RejectionCode::Objection,
        "the enterprise's objection against this record was upheld: correct it at the source",
        "企业对该条记录的异议已被采纳，请在数据源更正后重新报送",
    );
    let fact = RecordRejected {
        subject: format!("gov.data.v1.{}", objection.category),
        source: objection.source.clone(),
        record_id: objection.record_id.clone(),
        code: why.code.into(),
        reason: why.reason,
        reason_zh: why.reason_zh,
        rejected_at: Some(proto_time(now)),
        ..RecordRejected::default()
    };
    let aggregate = Aggregate { kind: "rejected_record", id: &objection.objection_id, version: 1 };
    outbox::append(conn, aggregate, &objection.source, &fact, now).await?;
    Ok(())
}

fn worded(text: &str, reason: &'static str, field: &'static str) -> Result<(), Problem> {
    let length = text.trim().chars().count();
    if (1..=LONGEST).contains(&length) && text.chars().count() <= LONGEST && !text.contains('\0') {
        return Ok(());
    }
    let why = "must have 1 to 2000 characters";
    Err(Problem::invalid(reason, format!("`{field}` {why}")).field(field, why).zh("文字须为 1 至 2000 字"))
}
