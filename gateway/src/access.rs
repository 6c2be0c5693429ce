//! Which methods exist, who may call them, and which service answers.

use std::collections::HashMap;

use zhirong_runtime::access;

/// The metadata key that picks the service for a method that every service offers.
pub const SERVICE_KEY: &str = "zr-service";

/// Why the gateway can't relay what is declared; the program that was built with it can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The annotations can't be used.
    #[error(transparent)]
    Declared(#[from] access::Error),
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
    /// What is declared of it.
    pub declared: access::Method,
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
        let mut methods = HashMap::new();
        for (path, declared) in access::methods(encoded)? {
            let Some(destination) = destination(&declared.package) else {
                continue;
            };
            if declared.streams_requests {
                return Err(Error::StreamedRequests(path));
            }
            methods.insert(path, Method { destination, declared });
        }
        Ok(Self { methods })
    }

    /// The method at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }
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
    use zhirong_proto::access::v1::Role;

    use super::*;

    fn table() -> AccessTable {
        AccessTable::from_descriptor_set(zhirong_proto::DESCRIPTOR_SET).unwrap()
    }

    #[test]
    fn a_bank_method_is_for_banks_alone_and_goes_to_matching() {
        let table = table();
        let method = table.get("/zhirong.matching.v1.BankOrderService/ApproveLoan").unwrap();
        assert_eq!(method.declared.roles, [Role::Bank]);
        assert_eq!(method.destination, Destination::One(Upstream::Matching));
        assert!(!method.declared.streams_answers);
        assert!(table.get("/zhirong.matching.v1.BankOrderService/StreamInbox").unwrap().declared.streams_answers);
    }

    #[test]
    fn only_banks_report_of_loans_and_whoever_has_loans_may_list_them() {
        let table = table();
        for name in ["RecordRepayment", "ChangeLoanTerms", "RecordDefault", "RecordRecovery"] {
            let method = table.get(&format!("/zhirong.matching.v1.LoanService/{name}")).unwrap();
            assert_eq!(
                (&method.declared.roles[..], method.destination),
                (&[Role::Bank][..], Destination::One(Upstream::Matching))
            );
        }
        let list = table.get("/zhirong.matching.v1.LoanService/ListLoans").unwrap();
        assert_eq!(list.declared.roles, [Role::Enterprise, Role::Bank, Role::Staff]);
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
