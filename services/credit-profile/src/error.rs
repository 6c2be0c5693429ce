//! What can go wrong in the credit profile, in its own words.

use zhirong_runtime::problem::Problem;

use crate::{feeding::Misfit, schema};

/// Why a command or a query fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is known of the enterprise.
    #[error("there is no profile of this enterprise yet")]
    ProfileNotFound,
    /// There is no such category.
    #[error("there is no category of this name")]
    CategoryNotFound,
    /// The catalog has no such institution.
    #[error(
        "the catalog has no such institution; take its id from ListInstitutions. One just registered is known in a moment"
    )]
    InstitutionNotFound,
    /// The enterprise gave no such consent.
    #[error("the enterprise gave no such consent")]
    ConsentNotFound,
    /// The consent was taken back or has expired.
    #[error("the consent was taken back or has expired")]
    ConsentNotLive,
    /// There is no such release, or not for this caller.
    #[error("there is no such release")]
    ReleaseNotFound,
    /// What the release was made from has been erased.
    #[error("what the release was made from has been erased")]
    ReleaseErased,
    /// Nobody is known to represent the enterprise.
    #[error("nobody is known to represent this enterprise")]
    PersonNotFound,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("an event could not be written")]
    Outbox(#[from] zhirong_runtime::Error),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: {0}")]
    Stored(#[from] prost::DecodeError),
    /// Categories feed features in a way that does not make sense.
    #[error("categories can't be used together: {}", listed(.0))]
    Misfits(Vec<Misfit>),
    /// Numbers of a category's fields would mean something else than before: field path and sentence.
    #[error("numbers of fields can't change their meaning")]
    Renumbered(Vec<(String, String)>),
    /// There is no such full reload.
    #[error("there is no full reload of this name for this source and category")]
    ReloadNotFound,
    /// The full reload counts already.
    #[error("the full reload is in force; a later one can take its place")]
    ReloadInForce,
    /// The enterprise has never had a loan.
    #[error("the enterprise has no loan yet")]
    NoLoanHistory,
    /// There is nothing to appraise.
    #[error("the enterprise has no patent")]
    NoPatents,
    /// The enterprise has never been in a tier.
    #[error("the enterprise has never been in a tier")]
    NoTier,
    /// What is compiled in from seeds/ is broken.
    #[error("seeds can't be used: {0}")]
    Seeds(String),
    /// There is no scorecard with this version.
    #[error("there is no scorecard {0}")]
    ScorecardNotFound(i32),
    /// The scorecard does not stand where it would have to.
    #[error("scorecard {version} is {state}, not a draft")]
    ScorecardState {
        /// Its version.
        version: i32,
        /// Where it stands.
        state: String,
    },
    /// Who wrote it can't review it.
    #[error("another person than who wrote it must review it")]
    SamePerson,
}

fn listed(misfits: &[Misfit]) -> String {
    misfits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A declaration that can't be used: field paths with sentences.
pub fn schema_invalid(violations: impl IntoIterator<Item = (String, String)>) -> Problem {
    let problem = Problem::invalid("SCHEMA_INVALID", "the category's schema can't be used; see the fields")
        .zh("类别定义有误，请逐项核对");
    violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why))
}

impl Error {
    /// Whether the same may well succeed a moment later: the connection is gone, or the database is stopping, short of something, or
    /// had to end one of two who waited for each other.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let (Self::Database(error) | Self::Outbox(zhirong_runtime::Error::Database(error))) = self else {
            return false;
        };
        match error {
            // connection, serialization and deadlock, resources, locks, operator's intervention, system
            sqlx::Error::Database(refusal) => refusal
                .code()
                .is_some_and(|code| ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))),
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => false,
            _ => true,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::ProfileNotFound => {
                Self::not_found("PROFILE_NOT_FOUND", error.to_string()).zh("尚无该企业的信用画像，待数据归集后再试")
            }
            Error::CategoryNotFound => Self::not_found("CATEGORY_NOT_FOUND", error.to_string()).zh("没有该数据类别"),
            Error::InstitutionNotFound => Self::not_found("INSTITUTION_NOT_FOUND", error.to_string())
                .zh("机构不存在，请从机构列表中选择；新登记的机构请稍后再试"),
            Error::ConsentNotFound => Self::not_found("CONSENT_NOT_FOUND", error.to_string()).zh("没有该授权"),
            Error::ConsentNotLive => {
                Self::failed_precondition("CONSENT_NOT_LIVE", error.to_string()).zh("授权已撤回或已到期")
            }
            Error::ReleaseNotFound => Self::not_found("RELEASE_NOT_FOUND", error.to_string()).zh("没有该次查询记录"),
            Error::ReleaseErased => {
                Self::failed_precondition("RELEASE_ERASED", error.to_string()).zh("该次查询的数据已按规定清除")
            }
            Error::PersonNotFound => {
                Self::not_found("PERSONAL_DATA_NOT_FOUND", error.to_string()).zh("尚未登记该企业的法定代表人")
            }
            Error::Misfits(misfits) => schema_invalid(misfits.into_iter().map(schema::in_field)),
            Error::Renumbered(violations) => schema_invalid(violations),
            Error::ReloadNotFound => Self::not_found("RELOAD_NOT_FOUND", error.to_string()).zh("没有该全量重报"),
            Error::ReloadInForce => Self::failed_precondition("RELOAD_IN_FORCE", error.to_string())
                .zh("该全量重报已生效，可由新的全量重报取代"),
            Error::NoLoanHistory => Self::not_found("NO_LOAN_HISTORY", error.to_string()).zh("该企业尚无贷款记录"),
            Error::NoPatents => Self::not_found("NO_PATENTS", error.to_string()).zh("该企业尚无有效专利，无法评估"),
            Error::NoTier => Self::not_found("NO_TIER", error.to_string()).zh("该企业尚未进入上市培育梯队"),
            Error::ScorecardNotFound(_) => {
                Self::not_found("SCORECARD_NOT_FOUND", error.to_string()).zh("没有该版本的评分卡")
            }
            Error::ScorecardState { .. } => {
                Self::failed_precondition("SCORECARD_STATE", error.to_string()).zh("该评分卡不是待复核的草稿")
            }
            Error::SamePerson => {
                Self::failed_precondition("SAME_PERSON", error.to_string()).zh("须由起草人以外的人员复核")
            }
            Error::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
