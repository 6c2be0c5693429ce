//! Policies and their budgets.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    id::{Ids as _, PolicyId, UuidV7},
};
use zhirong_proto::subsidy::v1::{self as pb, policy_service_server::PolicyService};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{Api, draft::parse_draft, id, next, staff, watcher, write};
use crate::{
    budget::Reason,
    error::Error,
    facts,
    flow::{queue, till::Till},
    policy::{Violation, is_text},
    store::{
        self,
        budget::{Owner, Paper},
        policy::Row,
        policy_step::Taken,
    },
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
        watcher(&request)?;
        Ok(Response::new(self.budgets(request.into_inner()).await?))
    }
}

impl Api {
    async fn draft(
        &self,
        caller: &Caller,
        request: pb::DraftPolicyRequest,
    ) -> Result<pb::DraftPolicyResponse, Problem> {
        let (policy_id, spec) = parse_draft(&request)?;
        write!(self, caller, "PolicyService/DraftPolicy", request, |tx, now| {
            let policy_id = policy_id.unwrap_or_else(|| PolicyId::new(UuidV7.next()));
            let version = store::policy::next_version(tx, policy_id).await?;
            store::policy::insert_draft(tx, policy_id, version, &spec, &caller.subject, now).await?;
            step(tx, Taken { policy: policy_id, version, step: "drafted", by: &caller.subject, reason_zh: "" }, now)
                .await?;
            pb::DraftPolicyResponse { policy: Some(load(tx, policy_id, version).await?) }
        })
    }

    async fn publish(
        &self,
        caller: &Caller,
        request: pb::PublishPolicyRequest,
    ) -> Result<pb::PublishPolicyResponse, Problem> {
        let policy_id: PolicyId = id(&request.policy_id, "policy_id")?;
        write!(self, caller, "PolicyService/PublishPolicy", request, |tx, now| {
            let version = request.version;
            let current = store::policy::lock(tx, policy_id).await?.ok_or(Error::PolicyNotFound(policy_id))?;
            let draft = store::policy::version(tx, policy_id, version).await?;
            check_publication(&draft, current, caller)?;
            pb::PublishPolicyResponse { policy: Some(put_in_force(tx, &draft, caller, "", now).await?) }
        })
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
        write!(self, caller, "PolicyService/AppropriateBudget", request, |tx, now| {
            if !store::policy::exists(tx, policy_id).await? {
                return Err(Error::PolicyNotFound(policy_id).into());
            }
            let wanted = BTreeSet::from([(policy_id, request.year)]);
            let mut till = Till::lock_years(tx, &self.desk, &wanted, &[], now).await?;
            let budget_id = till.of(policy_id, request.year)?.budget_id;
            let paper = Paper { document_zh: request.document_zh.clone(), entered_by: caller.subject.clone() };
            let amount = Fen::new(request.amount_fen);
            till.post(budget_id, Reason::Appropriate, amount, Owner::Treasury, Some(paper))?;
            queue::serve_all(tx, &mut till).await?;
            till.appropriated(budget_id);
            let budgets = till.close_with_budgets(tx).await?;
            pb::AppropriateBudgetResponse { budget: budgets.get(&budget_id).map(wire::budget) }
        })
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

/// A version that is published must be handed in, the latest, and another person's.
pub(super) fn check_publication(draft: &Row, current: Option<i32>, caller: &Caller) -> Result<(), Error> {
    let policy_id = PolicyId::new(draft.policy_id);
    if draft.state != "submitted" {
        return Err(Error::NotSubmitted(policy_id, draft.version));
    }
    if let Some(current) = current.filter(|current| *current > draft.version) {
        return Err(Error::Superseded(policy_id, draft.version, current));
    }
    if draft.drafted_by == caller.subject {
        return Err(Error::SamePerson);
    }
    Ok(())
}

/// Publishes a version under the policy's lock.
pub(super) async fn put_in_force(
    conn: &mut PgConnection,
    draft: &Row,
    caller: &Caller,
    reason_zh: &str,
    now: Timestamp,
) -> Result<pb::Policy, Error> {
    let (policy_id, version) = (PolicyId::new(draft.policy_id), draft.version);
    store::policy::publish(conn, policy_id, version, &caller.subject, now).await?;
    let taken = Taken { policy: policy_id, version, step: "published", by: &caller.subject, reason_zh };
    step(conn, taken, now).await?;
    let policy = load(conn, policy_id, version).await?;
    facts::published(conn, &policy, now).await?;
    Ok(policy)
}

/// Keeps a step.
pub(super) async fn step(conn: &mut PgConnection, taken: Taken<'_>, now: Timestamp) -> Result<(), Error> {
    Ok(store::policy_step::insert(conn, UuidV7.next(), taken, now).await?)
}

/// One version.
pub(super) async fn load(conn: &mut PgConnection, policy_id: PolicyId, version: i32) -> Result<pb::Policy, Error> {
    policy(&store::policy::version(conn, policy_id, version).await?)
}

fn policy(row: &Row) -> Result<pb::Policy, Error> {
    let state = match row.state.as_str() {
        "draft" => pb::PolicyState::Draft,
        "submitted" => pb::PolicyState::Submitted,
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
