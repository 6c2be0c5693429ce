//! What can go wrong in matching, in its own words.

use uuid::Uuid;
use zhirong_kernel::{calendar, lpr};
use zhirong_runtime::problem::Problem;

use crate::{
    calculate::Failed,
    loan::{self, life},
    order,
};

/// Why a command or a query fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is used, expired, another's, or not for this product.
    #[error("the enterprise holds no such coupon that may be used on this product today")]
    CouponNotUsable,
    /// An open order names it.
    #[error("another open order names this coupon; it is free again when that order ends without a loan")]
    CouponInUse,
    /// Nothing is known of the enterprise.
    #[error("there is no profile of this enterprise yet")]
    ProfileNotFound,
    /// Nothing has been computed for the enterprise yet.
    #[error("no pre-approval of this enterprise has been computed yet")]
    PreapprovalNotFound,
    /// A version of the past that is not known.
    #[error("version {version} of the {of} is not known")]
    VersionNotFound {
        /// Of what.
        of: &'static str,
        /// Which.
        version: i64,
    },
    /// Not a published credit product.
    #[error("there is no published credit product {0}")]
    ProductNotFound(String),
    /// The enterprise does not meet the product's conditions.
    #[error("the enterprise does not meet the product's conditions")]
    NotEligible(Vec<Failed>),
    /// Data are missing to compute the product.
    #[error("data are missing to compute the product: {}", .0.join(", "))]
    DataMissing(Vec<String>),
    /// More than the calculator gives.
    #[error("{asked} fen are above the limit of {limit} fen")]
    AmountAboveLimit {
        /// What is asked for.
        asked: i64,
        /// What the calculator gives.
        limit: i64,
    },
    /// Less than the product lends.
    #[error("{asked} fen are below the smallest amount of {least} fen")]
    AmountBelowMinimum {
        /// What is asked for.
        asked: i64,
        /// What the product lends at least.
        least: i64,
    },
    /// Not a term of the product.
    #[error("a term of {asked} months is not within the product's {shortest} to {longest} months")]
    TermOutOfBounds {
        /// What is asked for.
        asked: i32,
        /// The shortest.
        shortest: i32,
        /// The longest.
        longest: i32,
    },
    /// No LPR table, or none for the day.
    #[error("the LPR is not known: {0}; staff publish the table in the catalog")]
    LprUnknown(String),
    /// No calendar, or none for the year.
    #[error("the working days are not known: {0}; staff publish the calendar in the catalog")]
    CalendarUnknown(String),
    /// Not an order of the caller.
    #[error("there is no order {0}")]
    OrderNotFound(Uuid),
    /// The order does not take the answer.
    #[error(transparent)]
    Order(#[from] order::Refusal),
    /// Not a loan of the caller.
    #[error("there is no such loan")]
    LoanNotFound,
    /// The loan does not take the disbursement.
    #[error(transparent)]
    Loan(#[from] loan::Refusal),
    /// The loan does not take what is reported of its life.
    #[error(transparent)]
    Life(#[from] life::Refusal),
    /// More than the enterprise asked for.
    #[error("{approved} fen are more than the {asked} fen the enterprise asked for")]
    AmountAboveRequest {
        /// What would be approved.
        approved: i64,
        /// What was asked for.
        asked: i64,
    },
    /// The reference stands for another loan.
    #[error("the reference `{0}` stands for another loan of this institution")]
    BankReferenceUsed(String),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// An event could not be written.
    #[error("an event could not be written")]
    Outbox(#[from] zhirong_runtime::Error),
    /// A row holds what it can't hold.
    #[error("a stored value is broken: {0}")]
    Stored(String),
    /// What is computed again is not what it was.
    #[error("{0} comes out otherwise than it was kept")]
    ComputedOtherwise(String),
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Stored(error.to_string())
    }
}

impl From<lpr::Error> for Error {
    fn from(error: lpr::Error) -> Self {
        Self::LprUnknown(error.to_string())
    }
}

impl From<calendar::Error> for Error {
    fn from(error: calendar::Error) -> Self {
        Self::CalendarUnknown(error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::ProfileNotFound => {
                Self::not_found("PROFILE_NOT_FOUND", text).zh("尚无贵单位的信用画像，待数据归集后再试")
            }
            Error::PreapprovalNotFound => {
                Self::not_found("PREAPPROVAL_NOT_FOUND", text).zh("尚未生成预授信额度，请稍后再试")
            }
            Error::VersionNotFound { of, version } => Self::not_found("VERSION_NOT_FOUND", text)
                .meta("of", of)
                .meta("version", version)
                .zh("该历史版本不存在"),
            Error::ProductNotFound(_) => Self::not_found("PRODUCT_NOT_FOUND", text).zh("产品不存在或已下架"),
            Error::NotEligible(failed) => {
                Self::failed_precondition("NOT_ELIGIBLE", text).zh(format!("暂不符合产品条件：{}", reasons_zh(&failed)))
            }
            Error::DataMissing(names) => Self::failed_precondition("DATA_MISSING", text)
                .meta("features", names.join(","))
                .zh("缺少测算所需的数据，请补充后再试"),
            Error::CouponNotUsable => {
                Self::failed_precondition("COUPON_NOT_USABLE", text).zh("该优惠券不可用于此产品，或已使用、过期")
            }
            Error::CouponInUse => Self::failed_precondition("COUPON_IN_USE", text)
                .zh("该优惠券已用于另一笔未办结的订单，待该订单撤回、被拒或过期后方可再用"),
            Error::AmountAboveLimit { limit, .. } => Self::failed_precondition("AMOUNT_ABOVE_LIMIT", text)
                .meta("limit_fen", limit)
                .zh("申请金额超过测算额度"),
            Error::AmountBelowMinimum { least, .. } => Self::failed_precondition("AMOUNT_BELOW_MINIMUM", text)
                .meta("min_amount_fen", least)
                .zh("申请金额低于产品起贷金额"),
            Error::TermOutOfBounds { .. } => Self::invalid("TERM_OUT_OF_BOUNDS", text.clone())
                .field("term_months", text)
                .zh("期限不在产品允许的范围内"),
            Error::LprUnknown(_) => {
                Self::failed_precondition("LPR_UNKNOWN", text).zh("尚未发布贷款市场报价利率，请联系工作人员")
            }
            Error::CalendarUnknown(_) => {
                Self::failed_precondition("CALENDAR_UNKNOWN", text).zh("尚未发布该年度工作日历，请联系工作人员")
            }
            Error::OrderNotFound(_) => Self::not_found("ORDER_NOT_FOUND", text).zh("订单不存在"),
            Error::Order(order::Refusal::Closed(_)) => {
                Self::failed_precondition("ORDER_CLOSED", text).zh("订单已办结，不能重复答复")
            }
            Error::Order(order::Refusal::Expired(_)) => {
                Self::failed_precondition("ORDER_EXPIRED", text).zh("订单已超过答复期限")
            }
            Error::Order(order::Refusal::AlreadyAccepted) => {
                Self::failed_precondition("ORDER_ALREADY_ACCEPTED", text).zh("订单已受理")
            }
            Error::LoanNotFound => Self::not_found("LOAN_NOT_FOUND", text).zh("贷款不存在"),
            Error::Loan(loan::Refusal::AlreadyDisbursed(_)) => {
                Self::failed_precondition("LOAN_ALREADY_DISBURSED", text).zh("贷款已放款")
            }
            Error::Loan(loan::Refusal::AboveApproved { .. }) => {
                Self::failed_precondition("AMOUNT_ABOVE_APPROVED", text).zh("放款金额超过批准金额")
            }
            Error::Loan(loan::Refusal::Date { .. } | loan::Refusal::Maturity) => {
                Self::invalid("DATE_OUT_OF_BOUNDS", text.clone()).field("disbursed_on", text).zh("放款日期有误")
            }
            Error::Life(refusal) => of_life(refusal, text),
            Error::AmountAboveRequest { .. } => {
                Self::failed_precondition("AMOUNT_ABOVE_REQUEST", text).zh("批准金额超过企业申请金额")
            }
            Error::BankReferenceUsed(_) => Self::already_exists("BANK_REFERENCE_USED", text).zh("该银行业务编号已使用"),
            Error::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

fn of_life(refusal: life::Refusal, text: String) -> Problem {
    let (reason, zh) = match refusal {
        life::Refusal::Future { .. } => {
            return Problem::invalid("DATE_OUT_OF_BOUNDS", text).zh("日期不能晚于今天");
        }
        life::Refusal::TooLarge => return Problem::invalid("AMOUNT_TOO_LARGE", text).zh("金额过大"),
        life::Refusal::NotDisbursed => ("LOAN_NOT_DISBURSED", "贷款尚未放款"),
        life::Refusal::Closed(_) => ("LOAN_CLOSED", "贷款已结清或已违约"),
        life::Refusal::NotDefaulted => ("LOAN_NOT_DEFAULTED", "贷款未违约"),
        life::Refusal::AboveOutstanding { owed, .. } => {
            return Problem::failed_precondition("ABOVE_OUTSTANDING", text)
                .meta("outstanding_fen", owed)
                .zh("还款本金超过贷款余额");
        }
        life::Refusal::BelowOutstanding { owed, .. } => {
            return Problem::failed_precondition("BELOW_OUTSTANDING", text)
                .meta("outstanding_fen", owed)
                .zh("续贷金额低于原贷款余额");
        }
        life::Refusal::OutOfOrder { .. } => ("DATE_OUT_OF_ORDER", "日期早于该贷款的上一笔业务"),
        life::Refusal::NothingChanges => ("NOTHING_CHANGES", "利率和到期日均未变化"),
    };
    Problem::failed_precondition(reason, text).zh(zh)
}

/// Conditions told in a message; the calculator tells all of them.
const REASONS_TOLD: usize = 3;
/// Characters told of each; the message travels in a header.
const LONGEST_REASON: usize = 60;

fn reasons_zh(failed: &[Failed]) -> String {
    let told: Vec<String> =
        failed.iter().take(REASONS_TOLD).map(|failed| failed.label_zh.chars().take(LONGEST_REASON).collect()).collect();
    let rest = if failed.len() > REASONS_TOLD { "等" } else { "" };
    format!("{}{rest}", told.join("；"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_three_short_reasons() {
        let failed =
            |label: String| Failed { label_zh: label, advice_zh: String::new(), features: Vec::new(), condition: None };
        let labels = |count: usize| (0..count).map(|_| failed("专".repeat(100))).collect::<Vec<_>>();
        let short = "专".repeat(60);
        assert_eq!(reasons_zh(&labels(1)), short);
        assert_eq!(reasons_zh(&labels(3)), format!("{short}；{short}；{short}"));
        assert_eq!(reasons_zh(&labels(9)), format!("{short}；{short}；{short}等"));
    }
}
