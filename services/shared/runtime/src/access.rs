//! Who may call which method, as the annotations of the proto files say. The gateway asks before it relays, and each service asks
//! again: whoever reaches a service beside the gateway may do no more than the role allows.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use zhirong_proto::access::v1::{Role, Rule};

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
}

/// What is declared of one method.
#[derive(Debug, Clone)]
pub struct Method {
    /// The proto package of its service, such as `zhirong.matching.v1`.
    pub package: String,
    /// Roles that may call it.
    pub roles: Vec<Role>,
    /// Largest request in bytes, when the annotation sets one.
    pub max_request_bytes: Option<usize>,
    /// Whether requests are streamed.
    pub streams_requests: bool,
    /// Whether answers are streamed; such a call has no time limit.
    pub streams_answers: bool,
}

/// All methods with a rule, by path (`/package.Service/Method`).
///
/// # Errors
/// When the set or an annotation does not decode.
pub fn methods(descriptor_set: &[u8]) -> Result<HashMap<String, Method>, Error> {
    let pool = DescriptorPool::decode(descriptor_set)?;
    let mut methods = HashMap::new();
    let Some(extension) = pool.get_extension_by_name("zhirong.access.v1.rule") else {
        return Ok(methods);
    };
    for service in pool.services() {
        for method in service.methods() {
            let options = method.options();
            if !options.has_extension(&extension) {
                continue;
            }
            let Some(rule) = options.get_extension(&extension).as_message().map(|rule| decode(&method, rule)) else {
                continue;
            };
            let rule = rule?;
            let declared = Method {
                package: service.package_name().to_owned(),
                roles: rule.roles().collect(),
                max_request_bytes: usize::try_from(rule.max_request_bytes).ok().filter(|bytes| *bytes > 0),
                streams_requests: method.is_client_streaming(),
                streams_answers: method.is_server_streaming(),
            };
            methods.insert(format!("/{}/{}", service.full_name(), method.name()), declared);
        }
    }
    Ok(methods)
}

fn decode(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<Rule, Error> {
    rule.transcode_to().map_err(|source| Error::Annotation { method: method.full_name().to_owned(), source })
}
