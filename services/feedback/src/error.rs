//! What can go wrong in feedback, in its own words.

use uuid::Uuid;
use zhirong_runtime::problem::Problem;

/// Why a command is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The loan is not known, or not this enterprise's.
    #[error("there is no approved loan {0} of this enterprise")]
    LoanNotFound(Uuid),
    /// The loan has its rating.
    #[error("loan {0} has been rated; a loan is rated once")]
    AlreadyRated(Uuid),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("an event could not be written")]
    Outbox(#[from] zhirong_runtime::Error),
    /// A phone is sealed by this master key.
    #[error(
        "the phone can't be opened: it is sealed with key {0}, and personal.data_keys has none or another one of this number"
    )]
    Sealed(i32),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: {0}")]
    Stored(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::LoanNotFound(_) => Self::not_found("LOAN_NOT_FOUND", text).zh("未找到贵单位的这笔贷款"),
            Error::AlreadyRated(_) => {
                Self::already_exists("ALREADY_RATED", text).zh("这笔贷款已评价过，每笔只能评价一次")
            }
            Error::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
