//! The one way from a domain error to a gRPC status with `google.rpc` details: `ErrorInfo` (domain `zhirong.cn`),
//! `BadRequest`, `LocalizedMessage` in Chinese. Internal text never leaves.

use std::{borrow::Cow, collections::HashMap, error::Error as StdError, fmt};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of all reasons.
pub const DOMAIN: &str = "zhirong.cn";

/// What the caller is told.
#[derive(Debug, Clone)]
pub struct Problem(Box<Content>);

#[derive(Debug, Clone)]
struct Content {
    code: Code,
    reason: Cow<'static, str>,
    message: String,
    zh: Option<String>,
    fields: Vec<(String, String)>,
    meta: HashMap<String, String>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident),* $(,)?) => { $(
        $(#[$doc])*
        pub fn $name(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
            Self::new(Code::$code, reason, message)
        }
    )* };
}

impl Problem {
    constructors! {
        /// The request itself is wrong, whatever the state: `INVALID_ARGUMENT`.
        invalid => InvalidArgument,
        /// What the request names does not exist, or not for this caller: `NOT_FOUND`.
        not_found => NotFound,
        /// What the request would create exists: `ALREADY_EXISTS`.
        already_exists => AlreadyExists,
        /// The state does not allow it: `FAILED_PRECONDITION`.
        failed_precondition => FailedPrecondition,
        /// The caller may not: `PERMISSION_DENIED`.
        permission_denied => PermissionDenied,
        /// The caller is unknown: `UNAUTHENTICATED`.
        unauthenticated => Unauthenticated,
        /// A conflict with another request; the same request may succeed: `ABORTED`.
        aborted => Aborted,
        /// A budget, quota or capacity is used up: `RESOURCE_EXHAUSTED`.
        exhausted => ResourceExhausted,
        /// For the moment not possible; try again: `UNAVAILABLE`.
        unavailable => Unavailable,
        /// There is no such method: `UNIMPLEMENTED`.
        unimplemented => Unimplemented,
        /// It took too long; the outcome is unknown: `DEADLINE_EXCEEDED`.
        deadline => DeadlineExceeded,
        /// The caller went away: `CANCELLED`.
        cancelled => Cancelled,
    }

    fn new(code: Code, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Content {
            code,
            reason: reason.into(),
            message: message.into(),
            zh: None,
            fields: Vec::new(),
            meta: HashMap::new(),
        }))
    }

    /// A failure that is ours: logged here once with its causes; the caller learns only that it happened.
    pub fn internal(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        tracing::error!(error = %Chain(error.as_ref()), "a request failed");
        Self::new(Code::Internal, "INTERNAL", "an internal error occurred").zh("系统内部错误，请稍后重试")
    }

    /// Names a field of the request and what it must be.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.fields.push((field.into(), description.into()));
        self
    }

    /// What a Chinese reader is told.
    #[must_use]
    pub fn zh(mut self, message: impl Into<String>) -> Self {
        self.0.zh = Some(message.into());
        self
    }

    /// A fact that a program may read, such as the amount still available.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.0.meta.insert(key.into(), value.to_string());
        self
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The machine-readable reason, in `UPPER_SNAKE_CASE`.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason, self.0.message)
    }
}

impl StdError for Problem {}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let Content { code, reason, message, zh, fields, meta } = *problem.0;
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, meta);
        for (field, description) in fields {
            details.add_bad_request_violation(field, description);
        }
        if let Some(zh) = zh {
            details.set_localized_message("zh-CN", zh);
        }
        Status::with_error_details(code, message, details)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match transient(&error) {
            Some(Transient::Conflict) => {
                tracing::warn!(error = %Chain(&error), "a request conflicted with another");
                Self::aborted("CONFLICT", "another request changed the same data; try again")
                    .zh("数据正被其他请求修改，请重试")
            }
            Some(Transient::Unreachable) => {
                tracing::error!(error = %Chain(&error), "the database could not be used");
                Self::unavailable("DATABASE_UNAVAILABLE", "the service can't be used for the moment; try again")
                    .zh("服务暂不可用，请稍后重试")
            }
            None => Self::internal(error),
        }
    }
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Database(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

enum Transient {
    Conflict,
    Unreachable,
}

/// Whether the same request may succeed when it is made again, by the SQLSTATE.
fn transient(error: &sqlx::Error) -> Option<Transient> {
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // serialization failure, deadlock, lock not available
            Some("40001" | "40P01" | "55P03") => Some(Transient::Conflict),
            // shutting down, crashed, starting up, too many connections, read-only after a failover, statement timeout
            Some("57P01" | "57P02" | "57P03" | "53300" | "25006" | "57014") => Some(Transient::Unreachable),
            _ => None,
        },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            Some(Transient::Unreachable)
        }
        _ => None,
    }
}

/// An error with its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_gets_reason_fields_facts_and_chinese() {
        let status: Status = Problem::invalid("AMOUNT_INVALID", "the amount is not positive")
            .field("amount_fen", "must be positive")
            .zh("金额必须大于零")
            .meta("least_fen", 1)
            .into();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("AMOUNT_INVALID", "zhirong.cn"));
        assert_eq!(info.metadata.get("least_fen").unwrap(), "1");
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "amount_fen");
        assert_eq!(details.localized_message().unwrap().message, "金额必须大于零");
    }

    #[test]
    fn internal_text_never_leaves() {
        let status: Status = Problem::from(sqlx::Error::Protocol("password=hunter2".to_owned())).into();
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("hunter2"));
    }

    #[test]
    fn a_pool_without_connections_is_worth_another_try() {
        assert_eq!(Problem::from(sqlx::Error::PoolTimedOut).code(), Code::Unavailable);
    }
}
