//! What can go wrong in the catalog, in its own words.

use uuid::Uuid;
use zhirong_runtime::problem::Problem;

use crate::workflow::{Refusal, State};

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
    /// The version stands elsewhere; somebody may have been quicker.
    #[error("version {version} of product {product} is {state} already; only what is not yet in force can be published", state = state.as_str())]
    NotADraft {
        /// The product.
        product: Uuid,
        /// The version.
        version: i32,
        /// Where it stands.
        state: State,
    },
    /// The version stands elsewhere; somebody may have been quicker.
    #[error("version {version} of product {product} is {state}; from there it does not go this way", state = state.as_str())]
    WrongState {
        /// The product.
        product: Uuid,
        /// The version.
        version: i32,
        /// Where it stands.
        state: State,
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
    #[error("a draft is reviewed and published by another person than who wrote it")]
    SamePerson,
    /// The product is not in the supermarket.
    #[error("product {0} is not published")]
    NotPublished(Uuid),
    /// No such adjustment.
    #[error("there is no adjustment {0}")]
    AdjustmentNotFound(Uuid),
    /// Its id is taken.
    #[error("there is an adjustment {0} already")]
    AdjustmentExists(Uuid),
    /// The adjustment stands elsewhere; somebody may have been quicker.
    #[error("adjustment {id} is {state}; from there it does not go this way")]
    AdjustmentState {
        /// The adjustment.
        id: Uuid,
        /// Where it stands.
        state: String,
    },
    /// No such agreement.
    #[error("there is no agreement {0}")]
    AgreementNotFound(Uuid),
    /// Its id is taken.
    #[error("there is an agreement {0} already")]
    AgreementExists(Uuid),
    /// It is over.
    #[error("agreement {0} is not in force any more")]
    AgreementOver(Uuid),
    /// A sum does not fit into 64 bits.
    #[error("{0} is more than 92 233 720 368 547 758.07 CNY and can't be told")]
    TooMuch(&'static str),
    /// Somebody else wrote a version while an import was looking.
    #[error("a product of the list was changed meanwhile; try again")]
    ChangedMeanwhile,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("an event could not be written")]
    Outbox(#[from] zhirong_runtime::Error),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: {0}")]
    Stored(#[from] prost::DecodeError),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: `{0}` is no state")]
    StoredState(String),
}

impl Error {
    /// Why a version does not go a way.
    pub fn refused(refusal: Refusal, product: Uuid, version: i32) -> Self {
        match refusal {
            Refusal::WrongState(state) => Self::WrongState { product, version, state },
            Refusal::SamePerson => Self::SamePerson,
        }
    }
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
            Error::NotADraft { state, .. } => {
                Self::failed_precondition("NOT_A_DRAFT", text).zh(format!("该版本{}，不能再次发布", state.zh()))
            }
            Error::WrongState { state, .. } => Self::failed_precondition("WRONG_STATE", text)
                .zh(format!("该版本当前为“{}”，不能进行此操作", state.zh())),
            Error::NotTheNewest { .. } => Self::failed_precondition("NOT_THE_NEWEST", text).zh("只能处理最新的版本"),
            Error::SamePerson => Self::failed_precondition("SAME_PERSON", text).zh("起草人与审核、发布人不能为同一人"),
            Error::NotPublished(_) => Self::failed_precondition("NOT_PUBLISHED", text).zh("产品未发布"),
            Error::AdjustmentNotFound(_) => Self::not_found("ADJUSTMENT_NOT_FOUND", text).zh("调整不存在"),
            Error::AdjustmentExists(_) => Self::already_exists("ADJUSTMENT_EXISTS", text).zh("调整编号已被使用"),
            Error::AdjustmentState { .. } => {
                Self::failed_precondition("WRONG_STATE", text).zh("该调整当前状态不能进行此操作")
            }
            Error::AgreementNotFound(_) => Self::not_found("AGREEMENT_NOT_FOUND", text).zh("协议不存在"),
            Error::AgreementExists(_) => Self::already_exists("AGREEMENT_EXISTS", text).zh("协议编号已被使用"),
            Error::AgreementOver(_) => Self::failed_precondition("AGREEMENT_OVER", text).zh("协议已终止或到期"),
            Error::TooMuch(_) => Self::failed_precondition("SUM_TOO_LARGE", text).zh("合计金额超出可表示范围"),
            Error::ChangedMeanwhile => Self::aborted("CHANGED_MEANWHILE", text).zh("导入期间产品已被他人修改，请重试"),
            Error::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
