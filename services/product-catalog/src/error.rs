//! What can go wrong in the catalog, in its own words.

use uuid::Uuid;
use zhirong_runtime::problem::Problem;

/// Why a command is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such institution.
    #[error("there is no institution `{0}`; register it first")]
    InstitutionNotFound(String),
    /// No such product or version.
    #[error("there is no product {0} with this version")]
    ProductNotFound(Uuid),
    /// A product stays with its institution.
    #[error("product {0} belongs to another institution")]
    OtherInstitution(Uuid),
    /// The version is not a draft.
    #[error("version {version} of product {product} is no draft")]
    NotADraft {
        /// The product.
        product: Uuid,
        /// The version.
        version: i32,
    },
    /// Only the newest draft can be published.
    #[error("version {version} of product {product} is not its newest, which is {latest}")]
    NotTheNewest {
        /// The product.
        product: Uuid,
        /// The version.
        version: i32,
        /// The newest.
        latest: i32,
    },
    /// Two people are needed.
    #[error("a draft is published by another person than who wrote it")]
    SamePerson,
    /// The product is not in the supermarket.
    #[error("product {0} is not published")]
    NotPublished(Uuid),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("an event could not be written")]
    Outbox(#[from] zhirong_runtime::Error),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: {0}")]
    Stored(#[from] prost::DecodeError),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::InstitutionNotFound(_) => {
                Self::not_found("INSTITUTION_NOT_FOUND", text).zh("机构不存在，请先登记机构")
            }
            Error::ProductNotFound(_) => Self::not_found("PRODUCT_NOT_FOUND", text).zh("产品或版本不存在"),
            Error::OtherInstitution(_) => Self::failed_precondition("OTHER_INSTITUTION", text).zh("产品属于其他机构"),
            Error::NotADraft { .. } => Self::failed_precondition("NOT_A_DRAFT", text).zh("该版本不是草稿"),
            Error::NotTheNewest { .. } => Self::failed_precondition("NOT_THE_NEWEST", text).zh("只能发布最新的草稿"),
            Error::SamePerson => Self::failed_precondition("SAME_PERSON", text).zh("起草人与发布人不能为同一人"),
            Error::NotPublished(_) => Self::failed_precondition("NOT_PUBLISHED", text).zh("产品未发布"),
            Error::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
