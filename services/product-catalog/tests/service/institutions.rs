//! Institutions are registered, announced and listed.

use tonic::Code;
use zhirong_proto::catalog::v1::{Institution, InstitutionRegistered, ListInstitutionsRequest};

use crate::support::{World, institution, nobody, refusal, register, staff};

#[tokio::test]
async fn each_change_is_announced_once_with_its_version() {
    let world = World::empty().await;
    let put =
        async |request| world.institutions().register_institution(staff("li", request)).await.unwrap().into_inner();
    let first = register(institution("sample-bank"));
    assert_eq!(put(first.clone()).await.institution.unwrap().version, 1);
    assert_eq!(put(first).await.institution.unwrap().version, 1, "the same request again");
    assert_eq!(put(register(institution("sample-bank"))).await.institution.unwrap().version, 1, "nothing changed");
    let renamed = Institution { name_zh: "示例新银行".to_owned(), ..institution("sample-bank") };
    assert_eq!(put(register(renamed.clone())).await.institution.unwrap().version, 2);

    let facts = world.announced::<InstitutionRegistered>().await;
    assert_eq!(facts[0].0, "zr.catalog.v1.institution.registered.sample-bank");
    let announced: Vec<Institution> = facts.into_iter().map(|(_, fact)| fact.institution.unwrap()).collect();
    assert_eq!(
        announced,
        [Institution { version: 1, ..institution("sample-bank") }, Institution { version: 2, ..renamed }]
    );
    world.stop().await;
}

#[tokio::test]
async fn a_bad_institution_is_refused_with_all_its_faults() {
    let world = World::empty().await;
    let bad = Institution { institution_id: "Sample Bank".to_owned(), ..Institution::default() };
    let refused = refusal(world.institutions().register_institution(staff("li", register(bad))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
    assert_eq!(refused.field_names(), ["institution.institution_id", "institution.name_zh", "institution.kind"]);
    let refused =
        refusal(world.institutions().register_institution(nobody(register(institution("sample-bank")))).await);
    assert_eq!(refused.code, Code::Unauthenticated);
    assert_eq!(world.count("SELECT count(*) FROM institution").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM runtime.outbox").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_request_id_is_for_one_request() {
    let world = World::empty().await;
    let first = register(institution("sample-bank"));
    world.institutions().register_institution(staff("li", first.clone())).await.unwrap();
    let mut other = first.clone();
    other.institution = Some(institution("sample-other"));
    let refused = refusal(world.institutions().register_institution(staff("li", other)).await);
    assert_eq!(refused.reason, "REQUEST_ID_REUSED");
    let mut unnamed = first;
    unnamed.request_id = "one".to_owned();
    let refused = refusal(world.institutions().register_institution(staff("li", unnamed)).await);
    assert_eq!((refused.reason.as_str(), refused.field_names()), ("REQUEST_ID_INVALID", vec!["request_id"]));
    assert_eq!(world.count("SELECT count(*) FROM institution").await, 1);
    world.stop().await;
}

#[tokio::test]
async fn pages_follow_one_another_and_the_last_has_no_token() {
    let world = World::empty().await;
    let ids = ["sample-a", "sample-b", "sample-c", "sample-d"];
    for id in ids.iter().rev() {
        world.institutions().register_institution(staff("li", register(institution(id)))).await.unwrap();
    }
    // Two pages that are exactly full: the second must not promise a third.
    let mut request = ListInstitutionsRequest { page_size: 2, page_token: String::new() };
    let mut found = Vec::new();
    for page in 0..2 {
        let answer = world.institutions().list_institutions(staff("li", request.clone())).await.unwrap().into_inner();
        assert_eq!(answer.next_page_token.is_empty(), page == 1);
        found.extend(answer.institutions.into_iter().map(|institution| institution.institution_id));
        request.page_token = answer.next_page_token;
    }
    assert_eq!(found, ids);
    let bad = ListInstitutionsRequest { page_size: 2, page_token: "x".to_owned() };
    assert_eq!(refusal(world.institutions().list_institutions(staff("li", bad)).await).reason, "PAGE_TOKEN_INVALID");
    world.stop().await;
}
