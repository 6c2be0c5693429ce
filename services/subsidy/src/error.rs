//! What can go wrong in subsidy, in its own words.

use jiff::civil::Date;
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    id::{GrantId, LineId, PolicyId, SettlementId},
};
use zhirong_runtime::{inbox::Rejection, problem::Problem};

use crate::{budget, entitlement, flow::compensation, plan, policy::Violation, settlement};

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
    /// It was not handed in.
    #[error("version {1} of policy {0} is not handed in for review; submit it first")]
    NotSubmitted(PolicyId, i32),
    /// Somebody else wrote it.
    #[error("a draft is handed in by its author")]
    NotTheAuthor,
    /// It is not in force.
    #[error("policy {0} is not published")]
    NotPublished(PolicyId),
    /// It gives no coupons.
    #[error("policy {0} pays no rate coupons")]
    NotACouponPolicy(PolicyId),
    /// Nobody belongs to the group.
    #[error("nobody belongs to the group")]
    GroupEmpty,
    /// It is too large for one issue.
    #[error("more than {0} enterprises belong to the group; issue to them in parts that a condition tells apart")]
    GroupTooLarge(usize),
    /// A condition asks for the LPR in force, which is not known.
    #[error("the condition asks for the LPR in force: {0}")]
    LprUnknown(String),
    /// A coupon would outlive its policy.
    #[error("the coupons must be valid from today to at most {0}, the policy's last day")]
    CouponDates(Date),
    /// There is no such grant.
    #[error("there is no grant {0}")]
    GrantNotFound(GrantId),
    /// It is taken back.
    #[error("grant {0} is taken back already")]
    GrantReversed(GrantId),
    /// A reversal waits for its decision.
    #[error("a reversal of grant {0} waits for its decision")]
    ReversalOpen(GrantId),
    /// There is no such reversal.
    #[error("there is no reversal {0}")]
    ReversalNotFound(Uuid),
    /// It is decided.
    #[error("reversal {0} is decided already")]
    ReversalDecided(Uuid),
    /// Nobody decides on what they asked for.
    #[error("a reversal is decided by another person than who asked for it")]
    SamePersonDecides,
    /// More comes back than was claimed.
    #[error("{returned} is returned, and {claimed} is claimed")]
    MoreThanClaimed {
        /// Returned.
        returned: Fen,
        /// Claimed.
        claimed: Fen,
    },
    /// There is no such batch.
    #[error("there is no settlement {0}")]
    SettlementNotFound(SettlementId),
    /// There is no such line in the batch.
    #[error("the settlement has no line {0}")]
    LineNotFound(LineId),
    /// A settlement can't take a step.
    #[error(transparent)]
    Settlement(#[from] settlement::Refusal),
    /// A compensation can't take a step.
    #[error(transparent)]
    Compensation(#[from] compensation::Refusal),
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

impl Error {
    /// The policy and year of the budget that had not enough; none for everything else.
    #[must_use]
    pub const fn exhausted(&self) -> Option<(PolicyId, i32)> {
        match self {
            Self::Budget { policy, year, error: budget::Error::Exhausted { .. } } => Some((*policy, *year)),
            _ => None,
        }
    }
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
            Error::NotSubmitted(..) => {
                Self::failed_precondition("POLICY_NOT_SUBMITTED", text).zh("该版本尚未提交复核，请先提交")
            }
            Error::NotTheAuthor => Self::failed_precondition("NOT_THE_AUTHOR", text).zh("请由拟稿人提交"),
            Error::NotPublished(_) => Self::failed_precondition("POLICY_NOT_PUBLISHED", text).zh("该政策未在执行"),
            Error::NotACouponPolicy(_) => {
                Self::failed_precondition("NOT_A_COUPON_POLICY", text).zh("该政策不发放利率优惠券")
            }
            Error::GroupEmpty => Self::failed_precondition("GROUP_EMPTY", text).zh("没有符合条件的企业"),
            Error::GroupTooLarge(most) => Self::failed_precondition("GROUP_TOO_LARGE", text)
                .meta("most", most)
                .zh("符合条件的企业过多，请细分条件后分批发放"),
            Error::CouponDates(_) => Self::invalid("COUPON_DATES", text.clone())
                .field("valid_until", text)
                .zh("优惠券有效期须在今日至政策截止日之间"),
            Error::GrantNotFound(_) => Self::not_found("GRANT_NOT_FOUND", text).zh("未找到该笔贴息"),
            Error::GrantReversed(_) => Self::failed_precondition("GRANT_REVERSED", text).zh("该笔贴息已撤销"),
            Error::ReversalOpen(_) => Self::failed_precondition("REVERSAL_OPEN", text).zh("该笔贴息已有待审的撤销申请"),
            Error::ReversalNotFound(_) => Self::not_found("REVERSAL_NOT_FOUND", text).zh("未找到该撤销申请"),
            Error::ReversalDecided(_) => Self::failed_precondition("REVERSAL_DECIDED", text).zh("该撤销申请已有决定"),
            Error::SamePersonDecides => {
                Self::failed_precondition("SAME_PERSON", text).zh("申请人不能审定自己的申请，请由他人审定")
            }
            Error::MoreThanClaimed { .. } => Self::failed_precondition("MORE_THAN_CLAIMED", text)
                .field("amount_fen", "must be at most what is claimed")
                .zh("退回金额超过应退金额"),
            Error::SettlementNotFound(_) => Self::not_found("SETTLEMENT_NOT_FOUND", text).zh("未找到该结算批次"),
            Error::LineNotFound(_) => Self::not_found("LINE_NOT_FOUND", text).zh("该批次中没有这一笔"),
            Error::Settlement(refusal) => settlement_problem(&refusal, text),
            Error::Compensation(refusal) => compensation_problem(&refusal, text),
            Error::Entitlement(error) if error.waits_for_data() => {
                Self::failed_precondition("LPR_UNKNOWN", text).zh("尚无所需的LPR数据，请待发布后再试")
            }
            Error::LprUnknown(_) => {
                Self::failed_precondition("LPR_UNKNOWN", text).zh("尚无所需的LPR数据，请待发布后再试")
            }
            Error::Budget { error: budget::Error::Exhausted { .. }, .. } => {
                Self::exhausted("BUDGET_EXHAUSTED", text).zh("该年度预算余额不足，请先追加预算")
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

fn settlement_problem(refusal: &settlement::Refusal, text: String) -> Problem {
    use settlement::Refusal as R;
    let (reason, zh) = match refusal {
        R::PeriodNotOver(_) => ("PERIOD_NOT_OVER", "结算期尚未结束"),
        R::NothingDue => ("NOTHING_DUE", "该期间没有待付贴息"),
        R::NotComputed => ("SETTLEMENT_NOT_COMPUTED", "该批次不在待复核状态"),
        R::NotReviewed => ("SETTLEMENT_NOT_REVIEWED", "该批次未经复核通过"),
        R::NotExported => ("SETTLEMENT_NOT_EXPORTED", "该批次尚未导出付款文件"),
        R::SamePerson => ("SAME_PERSON", "编制人不能复核自己的批次，请由他人复核"),
        R::LineEnded(_) => ("LINE_ENDED", "该笔付款已有其他结果"),
    };
    Problem::failed_precondition(reason, text).zh(zh)
}

fn compensation_problem(refusal: &compensation::Refusal, text: String) -> Problem {
    use compensation::Refusal as R;
    let (reason, zh) = match refusal {
        R::NotFound(_) => return Problem::not_found("COMPENSATION_NOT_FOUND", text).zh("未找到该笔风险补偿"),
        R::WaitingPeriod(_) => ("WAITING_PERIOD", "等待期尚未届满"),
        R::NotOpen => ("COMPENSATION_NOT_OPEN", "该笔补偿已申请或已有决定"),
        R::NotClaimed => ("COMPENSATION_NOT_CLAIMED", "该笔补偿不在待审状态"),
        R::NoPoolPolicy => ("NO_POOL_POLICY", "没有适用的风险池政策"),
        R::NotApproved => ("COMPENSATION_NOT_APPROVED", "该笔补偿未经审定通过，或已付清"),
        R::PartPaid => ("PART_PAID", "该部分已支付"),
        R::NotYourPart => ("NOT_YOUR_PART", "该部分不由您支付"),
        R::SamePerson => ("SAME_PERSON", "审定人不能支付自己审定的补偿，请由他人办理"),
    };
    Problem::failed_precondition(reason, text).zh(zh)
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
