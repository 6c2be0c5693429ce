//! Policies and their budgets.

use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    id::{Ids as _, PolicyId, UuidV7},
    interest::DayCount,
};
use zhirong_proto::subsidy::v1::{self as pb, policy_service_server::PolicyService};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    page,
    problem::Problem,
};

use super::{Api, date, next};
use crate::{
    error::Error,
    facts,
    flow::queue,
    policy::{Benefit, Spec, Violation, Wish, is_text},
    store::{self, budget::Cause, policy::Row},
    wire,
};

const LONGEST_DOCUMENT: usize = 200;

#[tonic::async_trait]
impl PolicyService for Api {
    async fn draft_policy(
        &self,
        request: Request<pb::DraftPolicyRequest>,
    ) -> Result<Response<pb::DraftPolicyResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.draft(&caller, request.into_inner()).await?))
    }

    async fn publish_policy(
        &self,
        request: Request<pb::PublishPolicyRequest>,
    ) -> Result<Response<pb::PublishPolicyResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.publish(&caller, request.into_inner()).await?))
    }

    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        Caller::from_request(&request)?;
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn appropriate_budget(
        &self,
        request: Request<pb::AppropriateBudgetRequest>,
    ) -> Result<Response<pb::AppropriateBudgetResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.appropriate(&caller, request.into_inner()).await?))
    }

    async fn list_budgets(
        &self,
        request: Request<pb::ListBudgetsRequest>,
    ) -> Result<Response<pb::ListBudgetsResponse>, Status> {
        Caller::from_request(&request)?.require(&[Role::Staff, Role::Operator])?;
        Ok(Response::new(self.budgets(request.into_inner()).await?))
    }
}

fn staff<T>(request: &Request<T>) -> Result<Caller, Problem> {
    let caller = Caller::from_request(request)?;
    caller.require(&[Role::Staff])?;
    Ok(caller)
}

impl Api {
    async fn draft(
        &self,
        caller: &Caller,
        request: pb::DraftPolicyRequest,
    ) -> Result<pb::DraftPolicyResponse, Problem> {
        let (policy_id, spec) = parse_draft(&request)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.subsidy.v1.PolicyService/DraftPolicy";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let policy_id = policy_id.unwrap_or_else(|| PolicyId::new(UuidV7.next()));
        let version = store::policy::next_version(&mut tx, policy_id).await?;
        store::policy::insert_draft(&mut tx, policy_id, version, &spec, &caller.subject, now).await?;
        let response = pb::DraftPolicyResponse { policy: Some(load(&mut tx, policy_id, version).await?) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn publish(
        &self,
        caller: &Caller,
        request: pb::PublishPolicyRequest,
    ) -> Result<pb::PublishPolicyResponse, Problem> {
        let policy_id = policy_id(&request.policy_id)?;
        let version = request.version;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.subsidy.v1.PolicyService/PublishPolicy";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let current = store::policy::lock(&mut tx, policy_id).await?.ok_or(Error::PolicyNotFound(policy_id))?;
        let draft = store::policy::version(&mut tx, policy_id, version).await?;
        check_publication(&draft, current, caller)?;
        store::policy::publish(&mut tx, policy_id, version, &caller.subject, now).await?;
        let policy = load(&mut tx, policy_id, version).await?;
        facts::published(&mut tx, &policy, now).await?;
        let response = pb::PublishPolicyResponse { policy: Some(policy) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn list(&self, request: pb::ListPoliciesRequest) -> Result<pb::ListPoliciesResponse, Problem> {
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let rows = store::policy::list_published(&mut *self.pool.acquire().await?, page.after, page.size).await?;
        Ok(pb::ListPoliciesResponse {
            next_page_token: next(&rows, page.size, |row| row.policy_id)?,
            policies: rows.iter().map(policy).collect::<Result<_, _>>()?,
        })
    }

    async fn appropriate(
        &self,
        caller: &Caller,
        request: pb::AppropriateBudgetRequest,
    ) -> Result<pb::AppropriateBudgetResponse, Problem> {
        let policy_id = parse_appropriation(&request)?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.subsidy.v1.PolicyService/AppropriateBudget";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        if !store::policy::exists(&mut tx, policy_id).await? {
            return Err(Error::PolicyNotFound(policy_id).into());
        }
        let locked = store::budget::lock_all(&mut tx, &[policy_id], request.year, &[UuidV7.next()]).await?;
        let mut budget = locked.into_iter().next().ok_or(Error::Stored("budget"))?;
        let entry = budget.appropriate(Fen::new(request.amount_fen)).map_err(|error| Error::Budget {
            policy: policy_id,
            year: request.year,
            error,
        })?;
        let cause = Cause::Treasury { document_zh: &request.document_zh, by: &caller.subject };
        store::budget::post(&mut tx, budget.budget_id, UuidV7.next(), entry, cause, now).await?;
        queue::serve(&mut tx, &UuidV7, &mut budget, now).await?;
        facts::appropriated(&mut tx, &budget, now).await?;
        let response = pb::AppropriateBudgetResponse { budget: Some(wire::budget(&budget)) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        self.queue.notify_one();
        Ok(response)
    }

    async fn budgets(&self, request: pb::ListBudgetsRequest) -> Result<pb::ListBudgetsResponse, Problem> {
        let page = page::parse::<(Uuid, i32)>(request.page_size, &request.page_token)?;
        let budgets = store::budget::list(&mut *self.pool.acquire().await?, page.after, page.size).await?;
        Ok(pb::ListBudgetsResponse {
            next_page_token: next(&budgets, page.size, |budget| (budget.policy_id.uuid(), budget.year))?,
            budgets: budgets.iter().map(wire::budget).collect(),
        })
    }
}

fn check_publication(draft: &Row, current: Option<i32>, caller: &Caller) -> Result<(), Error> {
    let policy_id = PolicyId::new(draft.policy_id);
    if draft.state != "draft" {
        return Err(Error::NotDraft(policy_id, draft.version));
    }
    if let Some(current) = current.filter(|current| *current > draft.version) {
        return Err(Error::Superseded(policy_id, draft.version, current));
    }
    if draft.drafted_by == caller.subject {
        return Err(Error::SamePerson);
    }
    Ok(())
}

async fn load(conn: &mut PgConnection, policy_id: PolicyId, version: i32) -> Result<pb::Policy, Error> {
    policy(&store::policy::version(conn, policy_id, version).await?)
}

fn policy(row: &Row) -> Result<pb::Policy, Error> {
    let state = match row.state.as_str() {
        "draft" => pb::PolicyState::Draft,
        "published" => pb::PolicyState::Published,
        "retired" => pb::PolicyState::Retired,
        _ => return Err(Error::Stored("policy_version.state")),
    };
    Ok(pb::Policy {
        policy_id: row.policy_id.to_string(),
        version: row.version,
        spec: Some(wire::spec(row.spec()?)),
        state: state.into(),
    })
}

fn policy_id(text: &str) -> Result<PolicyId, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("POLICY_ID_INVALID", "the policy's id is not a UUID")
            .field("policy_id", "must be a UUID")
            .zh("政策编号必须为 UUID")
    })
}

/// Checks id and specification together, so that every violation is named at once.
fn parse_draft(request: &pb::DraftPolicyRequest) -> Result<(Option<PolicyId>, Spec), Problem> {
    let id = Some(request.policy_id.as_str()).filter(|id| !id.is_empty()).map(str::parse::<PolicyId>).transpose();
    let spec = Spec::try_from(wish(request.spec.clone().unwrap_or_default()));
    match (id, spec) {
        (Ok(id), Ok(spec)) => Ok((id, spec)),
        (id, spec) => {
            let problem: Problem = Error::PolicyInvalid(spec.err().unwrap_or_default()).into();
            Err(if id.is_err() {
                problem.field("policy_id", "must be a UUID, or empty for a new policy")
            } else {
                problem
            })
        }
    }
}

fn wish(spec: pb::PolicySpec) -> Wish {
    let day_count = match spec.day_count() {
        pb::DayCount::Actual360 => Some(DayCount::Actual360),
        pb::DayCount::Actual365 => Some(DayCount::Actual365),
        pb::DayCount::Unspecified => None,
    };
    Wish {
        benefit: spec.benefit.map(|benefit| match benefit {
            pb::policy_spec::Benefit::LprShare(share) => Benefit::LprShare(Ppm::new(share.share_ppm)),
            pb::policy_spec::Benefit::FixedRate(rate) => Benefit::FixedRate(Ppm::new(rate.rate_ppm)),
        }),
        name_zh: spec.name_zh,
        source_document_zh: spec.source_document_zh,
        required_product_tags: spec.required_product_tags,
        enterprise_classes: spec.enterprise_classes,
        effective_from: date(&spec.effective_from),
        effective_to: date(&spec.effective_to),
        max_months: spec.max_months,
        cap_per_loan: Fen::new(spec.cap_per_loan_fen),
        principal_cap: Fen::new(spec.principal_cap_fen),
        day_count,
        priority: spec.priority,
    }
}

fn parse_appropriation(request: &pb::AppropriateBudgetRequest) -> Result<PolicyId, Problem> {
    let policy_id = request.policy_id.parse::<PolicyId>();
    let mut violations = Vec::new();
    let mut must = |holds: bool, field: &'static str, must: &str| {
        if !holds {
            violations.push(Violation { field, must: must.to_owned() });
        }
    };
    must(policy_id.is_ok(), "policy_id", "must be a UUID");
    must((2019..=2100).contains(&request.year), "year", "must be between 2019 and 2100");
    must(request.amount_fen > 0, "amount_fen", "must be positive");
    let document_fits = is_text(&request.document_zh, LONGEST_DOCUMENT);
    must(document_fits, "document_zh", "must have 1 to 200 characters, without control characters");
    match policy_id {
        Ok(policy_id) if violations.is_empty() => Ok(policy_id),
        _ => Err(violations
            .into_iter()
            .fold(
                Problem::invalid("BUDGET_INVALID", "the budget can't be taken; see the fields"),
                |problem, violation| problem.field(violation.field, violation.must),
            )
            .zh("预算信息有误，请核对各字段")),
    }
}
