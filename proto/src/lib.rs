//! The API and the events of Zhirong, generated from the proto files beside this crate.
//!
//! One module a context and version. [`DESCRIPTOR_SET`] holds every file with its annotations: the gateway reads the access
//! rules out of it, reflection serves it. [`Fact`] gives an event payload its names on the broker.
#![allow(
    missing_docs,
    clippy::all,
    clippy::as_conversions,
    reason = "generated code; the words are in the proto files"
)]

macro_rules! packages {
    ($($context:ident),*) => { $(
        pub mod $context {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/zhirong.", stringify!($context), ".v1.rs"));
            }
        }
    )* };
}

packages!(access, event, gov, profile, catalog, matching, subsidy, feedback, ops);

/// Every proto file, with annotations and comments, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zhirong.binpb"));

/// The payload of an event, with its names on the broker.
pub trait Fact: prost::Message + Default {
    /// CloudEvents `type`.
    const TYPE: &'static str;
    /// NATS subject without its last token, the key.
    const SUBJECT: &'static str;
    /// JetStream stream that holds it.
    const STREAM: &'static str;
}

include!(concat!(env!("OUT_DIR"), "/facts.rs"));
