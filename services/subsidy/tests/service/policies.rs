//! Policies: drafted by one person, published by another.

use tonic::Code;
use zhirong_proto::subsidy::v1::{
    ListPoliciesRequest, LprShare, PolicySpec, PolicyState, PublishPolicyRequest, ReferenceRate, TryPolicyRequest,
    policy_spec::Benefit,
};

use crate::support::{
    World, call, draft, enterprise, general_policy, ip_policy, lpr_share, new_id, refusal, staff, uscc,
};

fn publication(policy_id: &str, version: i32) -> PublishPolicyRequest {
    PublishPolicyRequest { request_id: new_id(), policy_id: policy_id.to_owned(), version }
}

#[tokio::test]
async fn a_policy_is_drafted_under_a_given_id_and_published_by_another_person() {
    let world = World::start(1).await;
    let id = "5a1b0000-0000-4000-8000-0000000000ff";
    let request = draft(id, ip_policy());
    let drafted =
        world.policies().draft_policy(staff("zhao", request.clone())).await.unwrap().into_inner().policy.unwrap();
    assert_eq!((drafted.policy_id.as_str(), drafted.version, drafted.state()), (id, 1, PolicyState::Draft));
    assert_eq!(drafted.spec, Some(ip_policy()));
    let again = world.policies().draft_policy(staff("zhao", request)).await.unwrap().into_inner().policy.unwrap();
    assert_eq!(again, drafted, "a repeated request gets the first answer");

    let raw = refusal(world.policies().publish_policy(staff("qian", publication(id, 1))).await);
    assert_eq!((raw.code, raw.reason.as_str()), (Code::FailedPrecondition, "POLICY_NOT_SUBMITTED"));
    world.submitted(id, ip_policy()).await;
    let same = refusal(world.policies().publish_policy(staff("zhao", publication(id, 2))).await);
    assert_eq!((same.code, same.reason.as_str()), (Code::FailedPrecondition, "SAME_PERSON"));
    let published =
        world.policies().publish_policy(staff("qian", publication(id, 2))).await.unwrap().into_inner().policy.unwrap();
    assert_eq!(published.state(), PolicyState::Published);
    world.stop().await;
}

#[tokio::test]
async fn a_later_version_replaces_the_one_before_and_never_the_other_way() {
    let world = World::start(1).await;
    let first = world.policy(ip_policy()).await;
    let id = first.policy_id.as_str();
    let versions = [2, 3];
    for version in versions {
        let spec = PolicySpec { priority: version, ..ip_policy() };
        assert_eq!(world.submitted(id, spec).await.version, version);
    }
    world.policies().publish_policy(staff("qian", publication(id, 3))).await.unwrap();
    let refused = |version| {
        let mut policies = world.policies();
        async move { refusal(policies.publish_policy(staff("qian", publication(id, version))).await) }
    };
    let reasons =
        [refused(1).await, refused(2).await, refused(3).await, refused(4).await].map(|refusal| refusal.reason);
    assert_eq!(
        reasons,
        ["POLICY_NOT_SUBMITTED", "POLICY_SUPERSEDED", "POLICY_NOT_SUBMITTED", "POLICY_VERSION_NOT_FOUND"]
    );
    let nobody = refusal(world.policies().publish_policy(staff("qian", publication(&new_id(), 1))).await);
    assert_eq!((nobody.code, nobody.reason.as_str()), (Code::NotFound, "POLICY_NOT_FOUND"));
    assert_eq!(world.count("SELECT count(*) FROM policy_version WHERE state = 'retired'").await, 1);

    // What a version says can't be changed, whoever tries.
    let changed =
        sqlx::query("UPDATE policy_version SET cap_per_loan_fen = 1 WHERE version = 1").execute(&world.pool).await;
    assert!(changed.unwrap_err().to_string().contains("never changes"));
    world.stop().await;
}

#[tokio::test]
async fn a_bad_policy_is_refused_with_every_field_and_changes_nothing() {
    let world = World::start(1).await;
    let refused = |id: &str, spec| {
        let (mut policies, request) = (world.policies(), draft(id, spec));
        async move { refusal(policies.draft_policy(staff("zhao", request)).await) }
    };
    let empty = refused("no-uuid", PolicySpec::default()).await;
    assert_eq!((empty.code, empty.reason.as_str()), (Code::InvalidArgument, "POLICY_INVALID"));
    let all = [
        "spec.name_zh",
        "spec.source_document_zh",
        "spec.benefit",
        "spec.effective_from",
        "spec.effective_to",
        "spec.max_months",
        "spec.cap_per_loan_fen",
        "spec.principal_cap_fen",
        "spec.day_count",
        "policy_id",
    ];
    assert_eq!(empty.fields, all);
    for share_ppm in [490_000, 810_000] {
        let spec = PolicySpec { benefit: Some(lpr_share(share_ppm, ReferenceRate::OneYearLpr)), ..ip_policy() };
        assert_eq!(refused("", spec).await.fields, ["spec.lpr_share.share_ppm"]);
    }
    let of_later = LprShare { share_ppm: 600_000, reference_rate: 7 };
    let of_later = PolicySpec { benefit: Some(Benefit::LprShare(of_later)), ..ip_policy() };
    assert_eq!(refused("", of_later.clone()).await.fields, ["spec.lpr_share.reference_rate"]);
    let request = TryPolicyRequest {
        spec: Some(of_later),
        from: "2026-01-01".to_owned(),
        to: "2026-03-01".to_owned(),
        ..TryPolicyRequest::default()
    };
    let tried = refusal(world.reviews().try_policy(staff("zhao", request)).await);
    assert_eq!(tried.fields, ["spec.lpr_share.reference_rate"]);
    let copyright = PolicySpec { required_product_tags: vec!["copyright_pledge".to_owned()], ..ip_policy() };
    assert_eq!(refused("", copyright).await.fields, ["spec.required_product_tags"]);
    let loose_date = PolicySpec { effective_from: "2026-1-1".to_owned(), ..ip_policy() };
    assert_eq!(refused("", loose_date).await.fields, ["spec.effective_from"]);
    assert_eq!(world.count("SELECT count(*) FROM policy").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_policy_of_before_there_was_a_choice_pays_of_the_one_year_lpr() {
    let world = World::start(1).await;
    let unsaid = PolicySpec { benefit: Some(lpr_share(600_000, ReferenceRate::Unspecified)), ..ip_policy() };
    let policy = world.policy(unsaid).await;
    assert_eq!(policy.spec, Some(ip_policy()), "an answer names the rate");
    world.stop().await;
}

#[tokio::test]
async fn published_policies_are_listed_in_pages_for_everybody_and_written_by_staff_alone() {
    let world = World::start(1).await;
    let mut ids = Vec::new();
    for spec in [ip_policy(), general_policy(), general_policy()] {
        ids.push(world.policy(spec).await.policy_id);
    }
    ids.sort();
    world.policies().draft_policy(staff("zhao", draft("", ip_policy()))).await.unwrap();
    let uscc = uscc(1);
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListPoliciesRequest { page_size: 2, page_token: token };
        let page = world.policies().list_policies(enterprise(&uscc, request)).await.unwrap().into_inner();
        found.extend(page.policies.into_iter().map(|policy| policy.policy_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ids);
    let refused = refusal(world.policies().draft_policy(enterprise(&uscc, draft("", ip_policy()))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::PermissionDenied, "ROLE_NOT_ALLOWED"));
    let nobody = refusal(world.policies().list_policies(call(ListPoliciesRequest::default(), &[])).await);
    assert_eq!(nobody.code, Code::Unauthenticated);
    world.stop().await;
}
