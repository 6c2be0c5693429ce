//! What can go wrong in subsidy, in its own words.

use zhirong_kernel::id::PolicyId;
use zhirong_runtime::{inbox::Rejection, problem::Problem};

use crate::{budget, entitlement, plan, policy::Violation};

/// Why a command is refused or a fact not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the policy says is not allowed.
    #[error("the policy can't be drafted; see the fields")]
    PolicyInvalid(Vec<Violation>),
    /// There is no such policy.
    #[error("there is no policy {0}")]
    PolicyNotFound(PolicyId),
    /// There is no such version.
    #[error("policy {0} has no version {1}")]
    VersionNotFound(PolicyId, i32),
    /// It is published or retired.
    #[error("version {1} of policy {0} is not a draft; draft the next version")]
    NotDraft(PolicyId, i32),
    /// A later version is published.
    #[error("version {1} of policy {0} is older than the published version {2}; draft the next version")]
    Superseded(PolicyId, i32, i32),
    /// Nobody publishes what they wrote.
    #[error("a policy is published by another person than who wrote it")]
    SamePerson,
    /// Money can't move so.
    #[error("the budget of policy {policy} for {year}: {error}")]
    Budget {
        /// The policy.
        policy: PolicyId,
        /// The year.
        year: i32,
        /// Why.
        error: budget::Error,
    },
    /// What a loan gets can't be told.
    #[error(transparent)]
    Entitlement(#[from] entitlement::Error),
    /// A fact came before the one it builds on.
    #[error("{0}")]
    Early(String),
    /// A fact breaks a rule.
    #[error("{0}")]
    BrokenFact(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The shell failed.
    #[error("an event could not be written: {0}")]
    Runtime(#[from] zhirong_runtime::Error),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: {0}")]
    Stored(&'static str),
}

impl From<plan::Error> for Error {
    fn from(error: plan::Error) -> Self {
        Self::Entitlement(error.into())
    }
}

impl From<zhirong_kernel::money::Error> for Error {
    fn from(error: zhirong_kernel::money::Error) -> Self {
        plan::Error::from(error).into()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::PolicyInvalid(violations) => violations
                .into_iter()
                .fold(Self::invalid("POLICY_INVALID", text), |problem, violation| {
                    problem.field(format!("spec.{}", violation.field), violation.must)
                })
                .zh("政策内容有误，请核对各字段"),
            Error::PolicyNotFound(_) => Self::not_found("POLICY_NOT_FOUND", text).zh("未找到该政策"),
            Error::VersionNotFound(..) => Self::not_found("POLICY_VERSION_NOT_FOUND", text).zh("未找到该政策版本"),
            Error::NotDraft(..) => {
                Self::failed_precondition("POLICY_NOT_DRAFT", text).zh("该版本不是草稿，请另拟新版本")
            }
            Error::Superseded(..) => {
                Self::failed_precondition("POLICY_SUPERSEDED", text).zh("已发布更新的版本，请另拟新版本")
            }
            Error::SamePerson => {
                Self::failed_precondition("SAME_PERSON", text).zh("拟稿人不能发布自己起草的政策，请由他人复核发布")
            }
            Error::Budget { error: budget::Error::Money(_), .. } => Self::invalid("BUDGET_TOO_LARGE", text)
                .field("amount_fen", "makes the budget larger than can be counted")
                .zh("预算金额过大"),
            Error::Database(error) => error.into(),
            Error::Runtime(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        match error {
            Error::Entitlement(error) if error.waits_for_data() => Self::not_yet(error),
            Error::Early(reason) => Self::NotYet(reason),
            Error::Entitlement(error) => Self::poison(error),
            Error::BrokenFact(reason) => Self::Poison(reason),
            other => Self::retry(other),
        }
    }
}
