//! Which methods exist, who may call them, and which service answers: read from the annotations of the proto files.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use zhirong_proto::access::v1::{Role, Rule};

/// The metadata key that picks the service for a method that every service offers.
pub const SERVICE_KEY: &str = "zr-service";

/// Why the annotations can't be used; the program that was built with them can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded descriptor set does not decode.
    #[error("the embedded descriptor set does not decode: {0}")]
    Descriptor(#[from] prost_reflect::DescriptorError),
    /// An annotation does not decode.
    #[error("the access rule of {method} does not decode: {source}")]
    Annotation {
        /// Full name of the method.
        method: String,
        /// What the decoder said.
        source: prost::DecodeError,
    },
    /// Requests are held whole while they are checked, so a method that streams requests can't be relayed.
    #[error("{0} streams requests, which the gateway does not relay")]
    StreamedRequests(String),
}

/// One of the services behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// credit-profile
    Profile,
    /// product-catalog
    Catalog,
    /// matching
    Matching,
    /// subsidy
    Subsidy,
    /// feedback
    Feedback,
}

impl Upstream {
    /// Every service.
    pub const ALL: [Self; 5] = [Self::Profile, Self::Catalog, Self::Matching, Self::Subsidy, Self::Feedback];

    /// The context's name, as in the proto package, the configuration and [`SERVICE_KEY`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Catalog => "catalog",
            Self::Matching => "matching",
            Self::Subsidy => "subsidy",
            Self::Feedback => "feedback",
        }
    }

    /// The service with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upstream| upstream.name() == name)
    }
}

/// Where a method is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Always by this service.
    One(Upstream),
    /// By the service that the caller names in [`SERVICE_KEY`].
    Named,
}

/// What the gateway knows of one method.
#[derive(Debug, Clone)]
pub struct Method {
    /// Who answers.
    pub destination: Destination,
    /// Roles that may call it.
    pub roles: Vec<Role>,
    /// Largest request in bytes, when the annotation sets one.
    pub max_request_bytes: Option<usize>,
    /// Whether answers are streamed; such a call has no time limit.
    pub streams_answers: bool,
}

/// All methods that can be called from outside, by path (`/package.Service/Method`).
#[derive(Debug)]
pub struct AccessTable {
    methods: HashMap<String, Method>,
}

impl AccessTable {
    /// Reads the annotations out of an encoded descriptor set. Methods without one are left out, so they can't be called.
    ///
    /// # Errors
    /// When the set or an annotation does not decode, or a method streams requests.
    pub fn from_descriptor_set(encoded: &[u8]) -> Result<Self, Error> {
        let pool = DescriptorPool::decode(encoded)?;
        let mut methods = HashMap::new();
        let Some(extension) = pool.get_extension_by_name("zhirong.access.v1.rule") else {
            return Ok(Self { methods });
        };
        for service in pool.services() {
            let Some(destination) = destination(service.package_name()) else {
                continue;
            };
            for method in service.methods() {
                let options = method.options();
                if !options.has_extension(&extension) {
                    continue;
                }
                if method.is_client_streaming() {
                    return Err(Error::StreamedRequests(method.full_name().to_owned()));
                }
                let rule = match options.get_extension(&extension).as_message() {
                    Some(message) => decode_rule(&method, message)?,
                    None => continue,
                };
                let path = format!("/{}/{}", service.full_name(), method.name());
                methods.insert(
                    path,
                    Method {
                        destination,
                        roles: rule.roles().collect(),
                        max_request_bytes: usize::try_from(rule.max_request_bytes).ok().filter(|bytes| *bytes > 0),
                        streams_answers: method.is_server_streaming(),
                    },
                );
            }
        }
        Ok(Self { methods })
    }

    /// The method at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }
}

fn decode_rule(method: &MethodDescriptor, message: &DynamicMessage) -> Result<Rule, Error> {
    message.transcode_to().map_err(|source| Error::Annotation { method: method.full_name().to_owned(), source })
}

/// `zhirong.matching.v1` is answered by matching, `zhirong.ops.v1` by the service that the caller names.
fn destination(package: &str) -> Option<Destination> {
    let context = package.strip_prefix("zhirong.")?.split('.').next()?;
    match context {
        "ops" => Some(Destination::Named),
        name => Upstream::named(name).map(Destination::One),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> AccessTable {
        AccessTable::from_descriptor_set(zhirong_proto::DESCRIPTOR_SET).unwrap()
    }

    #[test]
    fn a_bank_method_is_for_banks_alone_and_goes_to_matching() {
        let table = table();
        let method = table.get("/zhirong.matching.v1.BankOrderService/ApproveLoan").unwrap();
        assert_eq!(method.roles, [Role::Bank]);
        assert_eq!(method.destination, Destination::One(Upstream::Matching));
        assert!(!method.streams_answers);
        assert!(table.get("/zhirong.matching.v1.BankOrderService/StreamInbox").unwrap().streams_answers);
    }

    #[test]
    fn only_banks_report_of_loans_and_whoever_has_loans_may_list_them() {
        let table = table();
        for name in ["RecordRepayment", "ChangeLoanTerms", "RecordDefault", "RecordRecovery"] {
            let method = table.get(&format!("/zhirong.matching.v1.LoanService/{name}")).unwrap();
            assert_eq!(
                (&method.roles[..], method.destination),
                (&[Role::Bank][..], Destination::One(Upstream::Matching))
            );
        }
        let list = table.get("/zhirong.matching.v1.LoanService/ListLoans").unwrap();
        assert_eq!(list.roles, [Role::Enterprise, Role::Bank, Role::Staff]);
        assert_eq!(list.destination, Destination::One(Upstream::Matching));
    }

    #[test]
    fn a_method_of_every_service_goes_to_the_one_named() {
        let table = table();
        let method = table.get("/zhirong.ops.v1.DeadLetterService/ListDeadLetters").unwrap();
        assert_eq!(method.destination, Destination::Named);
    }

    #[test]
    fn what_is_not_declared_does_not_exist() {
        assert!(table().get("/zhirong.matching.v1.BankOrderService/DropTables").is_none());
        assert!(table().get("/grpc.health.v1.Health/Check").is_none());
    }
}
