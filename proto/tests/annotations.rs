//! What every proto file must keep to, whoever adds to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, FileDescriptor, Kind};
use zhirong_proto::{DESCRIPTOR_SET, access::v1::Rule};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTOR_SET).unwrap()
}

fn ours(pool: &DescriptorPool) -> Vec<FileDescriptor> {
    pool.files().filter(|file| file.package_name().starts_with("zhirong.")).collect()
}

/// What services ask each other: without a rule, so that the gateway lets nobody in.
const BETWEEN_SERVICES: [&str; 1] = ["zhirong.profile.v1.DisclosureCheckService.CheckDisclosures"];

#[test]
fn every_method_says_who_may_call_it_and_whether_it_needs_a_request_id() {
    let pool = pool();
    let extension = pool.get_extension_by_name("zhirong.access.v1.rule").unwrap();
    let mut methods = 0;
    for service in pool.services().filter(|service| service.package_name().starts_with("zhirong.")) {
        for method in service.methods() {
            methods += 1;
            let options = method.options();
            let has_rule = options.has_extension(&extension);
            assert_eq!(has_rule, !BETWEEN_SERVICES.contains(&method.full_name()), "the rule of {}", method.full_name());
            if !has_rule {
                continue;
            }
            let value = options.get_extension(&extension);
            let rule: Rule = value.as_message().unwrap().transcode_to().unwrap();
            assert!(!rule.roles.is_empty() && !rule.roles.contains(&0), "{} names no role", method.full_name());
            let has_id =
                method.input().get_field_by_name("request_id").is_some_and(|field| field.kind() == Kind::String);
            assert_eq!(rule.request_id, has_id, "{}: rule and request disagree about request_id", method.full_name());
        }
    }
    assert!(methods > 30, "only {methods} methods were looked at");
}

#[test]
fn every_message_field_enum_value_and_method_is_explained() {
    let mut silent = Vec::new();
    for file in ours(&pool()) {
        let proto = file.file_descriptor_proto();
        let explained: BTreeSet<Vec<i32>> = proto
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .filter(|location| !location.leading_comments().trim().is_empty())
            .map(|location| location.path.clone())
            .collect();
        let mut check = |path: Vec<i32>, name: String| {
            if !explained.contains(&path) {
                silent.push(format!("{}: {name}", file.name()));
            }
        };
        let index = |number: usize| i32::try_from(number).unwrap();
        // The numbers are those of google.protobuf.FileDescriptorProto and its parts.
        for (m, message) in proto.message_type.iter().enumerate() {
            check(vec![4, index(m)], message.name().to_owned());
            for (f, field) in message.field.iter().enumerate() {
                check(vec![4, index(m), 2, index(f)], format!("{}.{}", message.name(), field.name()));
            }
            for (o, oneof) in message.oneof_decl.iter().enumerate() {
                // An optional field is written down as a oneof of its own, which nobody wrote.
                if !oneof.name().starts_with('_') {
                    check(vec![4, index(m), 8, index(o)], format!("{}.{}", message.name(), oneof.name()));
                }
            }
            // Kept flat, so that what is looked at here is all there is; a map makes the only nested messages.
            let nested =
                message.nested_type.iter().any(|nested| !nested.options.as_ref().is_some_and(|o| o.map_entry()));
            assert!(!nested && message.enum_type.is_empty(), "{} holds another message or enum", message.name());
        }
        for (e, extension) in proto.extension.iter().enumerate() {
            check(vec![7, index(e)], extension.name().to_owned());
        }
        for (e, list) in proto.enum_type.iter().enumerate() {
            check(vec![5, index(e)], list.name().to_owned());
            for (v, value) in list.value.iter().enumerate() {
                check(vec![5, index(e), 2, index(v)], value.name().to_owned());
            }
        }
        for (s, service) in proto.service.iter().enumerate() {
            check(vec![6, index(s)], service.name().to_owned());
            for (m, method) in service.method.iter().enumerate() {
                check(vec![6, index(s), 2, index(m)], format!("{}.{}", service.name(), method.name()));
            }
        }
    }
    assert!(silent.is_empty(), "without a comment: {silent:#?}");
}

#[test]
fn a_fact_is_named_after_its_context() {
    let pool = pool();
    let extension = pool.get_extension_by_name("zhirong.event.v1.fact").unwrap();
    let mut subjects = BTreeSet::new();
    for message in pool.all_messages() {
        let options = message.options();
        if !options.has_extension(&extension) {
            continue;
        }
        let value = options.get_extension(&extension);
        let fact: zhirong_proto::event::v1::Fact = value.as_message().unwrap().transcode_to().unwrap();
        let context = message.package_name().split('.').nth(1).unwrap().to_owned();
        if context == "gov" {
            // Read by the outside, under the outside's own subjects.
            assert_eq!((fact.subject.as_str(), fact.stream.as_str()), ("gov.data.rejected", "GOVREJECTED"));
            continue;
        }
        let rest =
            fact.subject.strip_prefix(&format!("zr.{context}.v1.")).expect("the subject begins with its context");
        assert_eq!(fact.r#type, format!("cn.zhirong.{context}.{rest}.v1"), "{}", message.full_name());
        assert_eq!(fact.stream, context.to_uppercase(), "{}", message.full_name());
        assert!(subjects.insert(fact.subject.clone()), "{} stands twice", fact.subject);
    }
    assert!(subjects.len() >= 20);
}
