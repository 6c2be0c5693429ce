//! Why a record is refused, in words for people and for programs.

use std::fmt::Display;

use zhirong_proto::gov::v1::RejectionCode;

/// A refused record. It never says a value, which may be personal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// For programs.
    pub code: RejectionCode,
    /// The field concerned; empty when it is the whole.
    pub field: String,
    /// A sentence that names the field.
    pub reason: String,
    /// The same in Chinese.
    pub reason_zh: String,
}

impl Refusal {
    /// A refusal that names no field.
    pub fn of(code: RejectionCode, reason: impl Into<String>, reason_zh: impl Into<String>) -> Self {
        Self { code, field: String::new(), reason: reason.into(), reason_zh: reason_zh.into() }
    }

    /// A refusal of one field; both sentences go on after its name.
    pub fn field(code: RejectionCode, field: impl Into<String>, why: impl Display, why_zh: impl Display) -> Self {
        let field = field.into();
        Self { code, reason: format!("`{field}` {why}"), reason_zh: format!("字段 {field} {why_zh}"), field }
    }
}
