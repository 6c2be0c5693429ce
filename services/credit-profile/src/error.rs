//! What can go wrong in the credit profile, in its own words.

use zhirong_runtime::problem::Problem;

/// Why a command or a query fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is known of the enterprise.
    #[error("there is no profile of this enterprise yet")]
    ProfileNotFound,
    /// There is no such category.
    #[error("there is no category of this name")]
    CategoryNotFound,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("an event could not be written")]
    Outbox(#[from] zhirong_runtime::Error),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: {0}")]
    Stored(#[from] prost::DecodeError),
    /// The compiled-in scorecard is broken.
    #[error("the scorecard can't be used: {0}")]
    Scorecard(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::ProfileNotFound => {
                Self::not_found("PROFILE_NOT_FOUND", error.to_string()).zh("尚无该企业的信用画像，待数据归集后再试")
            }
            Error::CategoryNotFound => Self::not_found("CATEGORY_NOT_FOUND", error.to_string()).zh("没有该数据类别"),
            Error::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
