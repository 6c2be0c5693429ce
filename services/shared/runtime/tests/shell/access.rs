//! A service asks for the role itself, whatever let the caller in.

use tonic::{Code, Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;
use zhirong_proto::access::v1::Role;
use zhirong_runtime::access;

use crate::support::{run, until, world};

/// Calls any method with an empty request, as somebody in a role or as nobody.
async fn call(channel: &Channel, path: &str, role: Option<&str>) -> Result<(), tonic::Status> {
    let mut request = Request::new(());
    if let Some(role) = role {
        let metadata = request.metadata_mut();
        metadata.insert("zr-role", role.parse().unwrap());
        metadata.insert("zr-subject", "somebody".parse().unwrap());
    }
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<(), ()>::default();
    client.unary(request, path.parse().unwrap(), codec).await.map(drop)
}

#[tokio::test]
async fn every_method_is_refused_to_every_role_that_it_does_not_name() {
    let mut world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("grpc");
    world.settings.grpc.address_file = file.display().to_string();
    let running = run(world.start("matching").await);
    until("the address is written", || async { file.exists() }).await;
    let address = std::fs::read_to_string(&file).unwrap();
    let channel = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap();

    let roles = [
        ("enterprise", Role::Enterprise),
        ("bank", Role::Bank),
        ("staff", Role::Staff),
        ("operator", Role::Operator),
        ("data_platform", Role::Unspecified),
    ];
    let methods = access::methods(zhirong_proto::DESCRIPTOR_SET).unwrap();
    assert!(methods.len() > 100, "{}", methods.len());
    for (path, method) in &methods {
        let nobody = call(&channel, path, None).await.unwrap_err();
        assert_eq!(nobody.code(), Code::Unauthenticated, "{path}");
        for (name, role) in roles {
            let answer = call(&channel, path, Some(name)).await;
            let code = answer.as_ref().err().map(tonic::Status::code);
            if method.roles.contains(&role) {
                // The bare service has no other methods than those of dead letters.
                let other = path.starts_with("/zhirong.ops.v1.");
                assert!(code == Some(Code::Unimplemented) || other, "{path} as {name}: {answer:?}");
                assert_ne!(code, Some(Code::PermissionDenied), "{path} as {name}");
            } else {
                let refused = answer.unwrap_err();
                let reason = refused.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                assert_eq!((refused.code(), reason.as_str()), (Code::PermissionDenied, "ROLE_NOT_ALLOWED"), "{path}");
            }
        }
    }
    running.stop().await;
}
