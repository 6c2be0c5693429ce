//! How a policy comes into force and out of it, and what it would do.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    clock::start_of_business_date,
    id::{Ids as _, PolicyId, UuidV7},
};
use zhirong_proto::subsidy::v1::{self as pb, policy_review_service_server::PolicyReviewService};
use zhirong_runtime::{caller::Caller, page, problem::Problem};

use super::{
    Api, date,
    draft::parse_spec,
    id, next,
    policies::{check_publication, load, put_in_force, step},
    reason, staff, watcher, write,
};
use crate::{
    error::Error,
    facts,
    flow::trial::{self, Trial},
    policy::Published,
    store::{self, policy_step::Taken},
    wire,
};

const LONGEST_PERIOD_DAYS: i32 = 1100;
const LINES: usize = 50;
const MOST_LINES: usize = 500;

#[tonic::async_trait]
impl PolicyReviewService for Api {
    async fn submit_policy(
        &self,
        request: Request<pb::SubmitPolicyRequest>,
    ) -> Result<Response<pb::SubmitPolicyResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.submit(&caller, request.into_inner()).await?))
    }

    async fn review_policy(
        &self,
        request: Request<pb::ReviewPolicyRequest>,
    ) -> Result<Response<pb::ReviewPolicyResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.review(&caller, request.into_inner()).await?))
    }

    async fn retire_policy(
        &self,
        request: Request<pb::RetirePolicyRequest>,
    ) -> Result<Response<pb::RetirePolicyResponse>, Status> {
        let caller = staff(&request)?;
        Ok(Response::new(self.retire(&caller, request.into_inner()).await?))
    }

    async fn list_policy_steps(
        &self,
        request: Request<pb::ListPolicyStepsRequest>,
    ) -> Result<Response<pb::ListPolicyStepsResponse>, Status> {
        watcher(&request)?;
        Ok(Response::new(self.steps(request.into_inner()).await?))
    }

    async fn try_policy(
        &self,
        request: Request<pb::TryPolicyRequest>,
    ) -> Result<Response<pb::TryPolicyResponse>, Status> {
        staff(&request)?;
        Ok(Response::new(self.attempt(request.into_inner()).await?))
    }
}

impl Api {
    async fn submit(
        &self,
        caller: &Caller,
        request: pb::SubmitPolicyRequest,
    ) -> Result<pb::SubmitPolicyResponse, Problem> {
        let policy: PolicyId = id(&request.policy_id, "policy_id")?;
        let reason_zh = reason(&request.reason_zh, false)?;
        write!(self, caller, "PolicyReviewService/SubmitPolicy", request, |tx, now| {
            let version = request.version;
            store::policy::lock(tx, policy).await?.ok_or(Error::PolicyNotFound(policy))?;
            let draft = store::policy::version(tx, policy, version).await?;
            if draft.state != "draft" {
                return Err(Error::NotDraft(policy, version).into());
            }
            if draft.drafted_by != caller.subject {
                return Err(Error::NotTheAuthor.into());
            }
            store::policy::stand(tx, policy, version, "submitted").await?;
            step(tx, Taken { policy, version, step: "submitted", by: &caller.subject, reason_zh }, now).await?;
            pb::SubmitPolicyResponse { policy: Some(load(tx, policy, version).await?) }
        })
    }

    async fn review(
        &self,
        caller: &Caller,
        request: pb::ReviewPolicyRequest,
    ) -> Result<pb::ReviewPolicyResponse, Problem> {
        let policy: PolicyId = id(&request.policy_id, "policy_id")?;
        let reason_zh = reason(&request.reason_zh, !request.publish)?;
        write!(self, caller, "PolicyReviewService/ReviewPolicy", request, |tx, now| {
            let version = request.version;
            let current = store::policy::lock(tx, policy).await?.ok_or(Error::PolicyNotFound(policy))?;
            let submitted = store::policy::version(tx, policy, version).await?;
            check_publication(&submitted, current, caller)?;
            let reviewed = if request.publish {
                put_in_force(tx, &submitted, caller, reason_zh, now).await?
            } else {
                store::policy::stand(tx, policy, version, "draft").await?;
                step(tx, Taken { policy, version, step: "returned", by: &caller.subject, reason_zh }, now).await?;
                load(tx, policy, version).await?
            };
            pb::ReviewPolicyResponse { policy: Some(reviewed) }
        })
    }

    async fn retire(
        &self,
        caller: &Caller,
        request: pb::RetirePolicyRequest,
    ) -> Result<pb::RetirePolicyResponse, Problem> {
        let policy: PolicyId = id(&request.policy_id, "policy_id")?;
        let reason_zh = reason(&request.reason_zh, true)?;
        write!(self, caller, "PolicyReviewService/RetirePolicy", request, |tx, now| {
            let current = store::policy::lock(tx, policy).await?.ok_or(Error::PolicyNotFound(policy))?;
            let version = current.ok_or(Error::NotPublished(policy))?;
            if store::policy::version(tx, policy, version).await?.drafted_by == caller.subject {
                return Err(Error::SamePerson.into());
            }
            store::policy::end(tx, policy, version, now).await?;
            step(tx, Taken { policy, version, step: "retired", by: &caller.subject, reason_zh }, now).await?;
            facts::retired(tx, policy, version, now).await?;
            pb::RetirePolicyResponse { policy: Some(load(tx, policy, version).await?) }
        })
    }

    async fn steps(&self, request: pb::ListPolicyStepsRequest) -> Result<pb::ListPolicyStepsResponse, Problem> {
        let policy: PolicyId = id(&request.policy_id, "policy_id")?;
        let page = page::parse::<(Timestamp, Uuid)>(request.page_size, &request.page_token)?;
        let steps = store::policy_step::list(&mut *self.pool.acquire().await?, policy, page.after, page.size).await?;
        Ok(pb::ListPolicyStepsResponse {
            next_page_token: next(&steps, page.size, |step| (step.taken_at.to_jiff(), step.step_id))?,
            steps: steps
                .into_iter()
                .map(|step| pb::PolicyStep {
                    version: step.version,
                    kind: match step.step.as_str() {
                        "submitted" => pb::PolicyStepKind::Submitted,
                        "returned" => pb::PolicyStepKind::Returned,
                        "published" => pb::PolicyStepKind::Published,
                        "retired" => pb::PolicyStepKind::Retired,
                        _ => pb::PolicyStepKind::Drafted,
                    }
                    .into(),
                    taken_by: step.taken_by,
                    taken_at: Some(wire::time(step.taken_at.to_jiff())),
                    reason_zh: step.reason_zh,
                })
                .collect(),
        })
    }

    async fn attempt(&self, request: pb::TryPolicyRequest) -> Result<pb::TryPolicyResponse, Problem> {
        let (period, most) = parse_trial(&request)?;
        let spec = parse_spec(request.spec.unwrap_or_default()).map_err(Error::PolicyInvalid)?;
        let policy = Published {
            policy_id: PolicyId::new(UuidV7.next()),
            version: 1,
            spec: Arc::new(spec),
            published_at: Timestamp::MIN,
            ended_at: None,
        };
        // One snapshot, however long it takes.
        let mut tx = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let trial = trial::try_policy(&mut tx, &policy, period, most, self.clock.now()).await?;
        let named: Vec<String> = trial.lines.iter().map(|line| line.enterprise_id.clone()).collect();
        let names = store::profile::names(&mut tx, &named).await?;
        tx.commit().await?;
        Ok(answer(trial, &names)?)
    }
}

fn answer(trial: Trial, names: &HashMap<String, String>) -> Result<pb::TryPolicyResponse, Error> {
    let (unlisted, unlisted_fen) = trial.unlisted()?;
    Ok(pb::TryPolicyResponse {
        loans: trial.loans,
        grants: trial.grants,
        enterprises: trial.enterprises,
        total_fen: trial.total.get(),
        years: trial
            .years
            .into_iter()
            .map(|(year, (grants, total))| pb::TriedYear { year, grants, total_fen: total.get() })
            .collect(),
        lines: trial
            .lines
            .into_iter()
            .map(|line| pb::TriedLoan {
                loan_id: line.loan_id.to_string(),
                enterprise_name: names.get(&line.enterprise_id).cloned().unwrap_or_default(),
                enterprise_id: line.enterprise_id,
                amount_fen: line.amount.get(),
                granted_now_fen: line.granted_now,
                calculation_zh: line.calculation_zh,
            })
            .collect(),
        granted_now_fen: trial.granted_now,
        unlisted,
        unlisted_fen: unlisted_fen.get(),
    })
}

fn parse_trial(request: &pb::TryPolicyRequest) -> Result<((Timestamp, Timestamp), usize), Problem> {
    let (first, last) = (date(&request.from), date(&request.to));
    let start = first.and_then(start_of_business_date);
    let end = last.and_then(|day| day.tomorrow().ok()).and_then(start_of_business_date);
    let days = first.zip(last).and_then(|(first, last)| first.until(last).ok()).map(|span| span.get_days());
    let mut problem = Problem::invalid("TRIAL_INVALID", "the policy can't be tried; see the fields").zh("试算参数有误");
    let mut wrong = false;
    for (holds, field, must) in [
        (start.is_some(), "from", "must be a date, YYYY-MM-DD"),
        (end.is_some(), "to", "must be a date, YYYY-MM-DD"),
        (
            days.is_none_or(|days| (0..=LONGEST_PERIOD_DAYS).contains(&days)),
            "to",
            "must not be before `from`, and at most 1100 days after it",
        ),
        ((0..=500).contains(&request.most_lines), "most_lines", "must be between 1 and 500, or 0 for 50"),
    ] {
        if !holds {
            (wrong, problem) = (true, problem.field(field, must));
        }
    }
    let most = usize::try_from(request.most_lines).unwrap_or(MOST_LINES);
    match start.zip(end) {
        Some(period) if !wrong => Ok((period, if most == 0 { LINES } else { most })),
        _ => Err(problem),
    }
}
