//! Who calls. The gateway authenticates, strips these metadata keys from outside, and sets them itself: `zr-role`,
//! `zr-subject`, `zr-institution`, `zr-enterprise`.

use std::fmt;

use tonic::metadata::MetadataMap;
use zhirong_kernel::{InstitutionId, Uscc};
use zhirong_proto::access::v1 as proto;

use crate::problem::Problem;

/// What the caller may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// An enterprise (企业).
    Enterprise,
    /// A financial institution's system (银行核心系统).
    Bank,
    /// The district's staff (工作人员).
    Staff,
    /// Who runs the platform (运维).
    Operator,
    /// The government data platform.
    DataPlatform,
}

impl Role {
    /// As in the metadata.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::Bank => "bank",
            Self::Staff => "staff",
            Self::Operator => "operator",
            Self::DataPlatform => "data_platform",
        }
    }

    /// As the annotations of methods name it; none for what is no role.
    #[must_use]
    pub fn declared(role: proto::Role) -> Option<Self> {
        match role {
            proto::Role::Enterprise => Some(Self::Enterprise),
            proto::Role::Bank => Some(Self::Bank),
            proto::Role::Staff => Some(Self::Staff),
            proto::Role::Operator => Some(Self::Operator),
            proto::Role::Unspecified => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Enterprise, Self::Bank, Self::Staff, Self::Operator, Self::DataPlatform]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// In which role.
    pub role: Role,
    /// The token's subject: the person or system.
    pub subject: String,
    /// The institution it acts for; a bank always has one.
    pub institution: Option<InstitutionId>,
    /// The enterprise it acts for; an enterprise always has one.
    pub enterprise: Option<Uscc>,
}

impl Caller {
    /// Reads the caller from the metadata of a request.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when the gateway's metadata are missing or do not parse.
    pub fn from_request<T>(request: &tonic::Request<T>) -> Result<Self, Problem> {
        Self::from_metadata(request.metadata())
    }

    /// Reads the caller from metadata.
    ///
    /// # Errors
    /// As [`Caller::from_request`].
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Self, Problem> {
        let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok());
        let role =
            text("zr-role").and_then(Role::parse).ok_or_else(|| unauthenticated("the caller's role is missing"))?;
        let subject = text("zr-subject").filter(|subject| !subject.is_empty());
        let institution = text("zr-institution").map(str::parse).transpose();
        let enterprise = text("zr-enterprise").map(str::parse).transpose();
        Ok(Self {
            role,
            subject: subject.ok_or_else(|| unauthenticated("the caller's name is missing"))?.to_owned(),
            institution: institution.map_err(|_| unauthenticated("the caller's institution is malformed"))?,
            enterprise: enterprise.map_err(|_| unauthenticated("the caller's enterprise is malformed"))?,
        })
    }

    /// The enterprise the caller acts for.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when it acts for none.
    pub fn enterprise(&self) -> Result<&Uscc, Problem> {
        self.enterprise.as_ref().ok_or_else(|| {
            Problem::permission_denied("ENTERPRISE_REQUIRED", "only an enterprise may do this").zh("仅限企业操作")
        })
    }

    /// The institution the caller acts for.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when it acts for none.
    pub fn institution(&self) -> Result<&InstitutionId, Problem> {
        self.institution.as_ref().ok_or_else(|| {
            Problem::permission_denied("INSTITUTION_REQUIRED", "only a financial institution may do this")
                .zh("仅限金融机构操作")
        })
    }

    /// Checks that the caller is in one of these roles.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when not.
    pub fn require(&self, roles: &[Role]) -> Result<(), Problem> {
        if roles.contains(&self.role) {
            return Ok(());
        }
        Err(Problem::permission_denied("ROLE_NOT_ALLOWED", format!("the role {} may not do this", self.role))
            .zh("当前角色无权操作"))
    }

    /// Names the caller in records that keep one caller's requests apart from another's; not for reading.
    #[must_use]
    pub fn key(&self) -> String {
        let institution = self.institution.as_ref().map(ToString::to_string).unwrap_or_default();
        let enterprise = self.enterprise.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{}:{institution}:{enterprise}:{}", self.role, self.subject)
    }
}

fn unauthenticated(why: &'static str) -> Problem {
    Problem::unauthenticated("CALLER_UNKNOWN", why).zh("无法识别调用方身份")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.insert(*key, value.parse().unwrap());
        }
        metadata
    }

    #[test]
    fn a_bank_is_read_with_its_institution() {
        let caller = Caller::from_metadata(&metadata(&[
            ("zr-role", "bank"),
            ("zr-subject", "core"),
            ("zr-institution", "sample-bank"),
        ]))
        .unwrap();
        assert_eq!(caller.role, Role::Bank);
        assert_eq!(caller.institution().unwrap().to_string(), "sample-bank");
        assert_eq!(caller.enterprise().unwrap_err().reason(), "ENTERPRISE_REQUIRED");
        assert!(caller.require(&[Role::Bank, Role::Staff]).is_ok());
        assert_eq!(caller.require(&[Role::Staff]).unwrap_err().reason(), "ROLE_NOT_ALLOWED");
    }

    #[test]
    fn who_is_not_named_is_unauthenticated() {
        for pairs in [
            &[][..],
            &[("zr-role", "bank")],
            &[("zr-role", "king"), ("zr-subject", "x")],
            &[("zr-role", "bank"), ("zr-subject", "x"), ("zr-institution", "NOT A SLUG")],
            &[("zr-role", "enterprise"), ("zr-subject", "x"), ("zr-enterprise", "91330000")],
        ] {
            let refused = Caller::from_metadata(&metadata(pairs)).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{pairs:?}");
        }
    }

    #[test]
    fn two_callers_never_share_a_key() {
        let one = metadata(&[("zr-role", "bank"), ("zr-subject", "x"), ("zr-institution", "bank-a")]);
        let other = metadata(&[("zr-role", "bank"), ("zr-subject", "x"), ("zr-institution", "bank-b")]);
        assert_ne!(Caller::from_metadata(&one).unwrap().key(), Caller::from_metadata(&other).unwrap().key());
    }
}
