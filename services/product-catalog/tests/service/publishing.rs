//! The life of a product: draft, publication by another person, replacement, retirement.

use futures::future::join_all;
use tonic::Code;
use zhirong_proto::catalog::v1::{
    GetProductRequest, ProductPublished, ProductRetired, ProductState, RetireProductRequest,
};

use crate::support::{BANK, OTHER_BANK, World, bank, call, draft, new_id, publish, refusal, spec, staff};

fn get(product_id: &str, version: i32) -> GetProductRequest {
    GetProductRequest { product_id: product_id.to_owned(), version }
}

fn retire(product_id: &str) -> RetireProductRequest {
    RetireProductRequest { request_id: new_id(), product_id: product_id.to_owned(), reason: String::new() }
}

#[tokio::test]
async fn a_product_goes_from_draft_to_published_to_retired() {
    let world = World::with_banks().await;
    let mut products = world.products();
    let one = world.draft("", spec("示例贷一")).await;
    let id = one.product_id.clone();
    assert_eq!((one.version, one.state(), one.published_at), (1, ProductState::Draft, None));
    assert_eq!(one.spec, Some(spec("示例贷一")));
    assert_eq!(refusal(products.get_product(staff("li", get(&id, 0))).await).code, Code::NotFound);

    let published = world.publish(&one).await;
    assert_eq!(published.state(), ProductState::Published);
    assert!(published.published_at.is_some());
    let two = world.draft(&id, spec("示例贷二")).await;
    assert_eq!(two.version, 2);
    let in_force = products.get_product(staff("li", get(&id, 0))).await.unwrap().into_inner().product.unwrap();
    assert_eq!(in_force, published, "a draft changes nothing");

    let replaced = world.publish(&two).await;
    let before = products.get_product(staff("li", get(&id, 1))).await.unwrap().into_inner().product.unwrap();
    assert_eq!((before.state(), before.spec), (ProductState::Retired, one.spec), "kept as it was");

    let retired = products.retire_product(staff("li", retire(&id))).await.unwrap().into_inner().product.unwrap();
    assert_eq!((retired.version, retired.state()), (2, ProductState::Retired));
    let refused = refusal(products.retire_product(staff("li", retire(&id))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::FailedPrecondition, "NOT_PUBLISHED"));

    let facts = world.announced::<ProductPublished>().await;
    assert_eq!(facts[0].0, format!("zr.catalog.v1.product.published.{id}"));
    let facts: Vec<_> = facts.into_iter().map(|(_, fact)| (fact.sequence, fact.product.unwrap())).collect();
    assert_eq!(facts, [(1, published), (2, replaced)]);
    let gone = world.announced::<ProductRetired>().await;
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].1.product_id.as_str(), gone[0].1.sequence), (id.as_str(), 3));
    world.stop().await;
}

#[tokio::test]
async fn nobody_publishes_what_they_wrote() {
    let world = World::with_banks().await;
    let written = world.draft("", spec("示例贷")).await;
    let own = publish(&written.product_id, written.version);
    let refused = refusal(world.products().publish_product(staff("zhao", own)).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::FailedPrecondition, "SAME_PERSON"));
    assert!(world.announced::<ProductPublished>().await.is_empty());
    world.publish(&written).await;
    world.stop().await;
}

#[tokio::test]
async fn only_the_newest_draft_is_published_and_only_once() {
    let world = World::with_banks().await;
    let old = world.draft("", spec("示例贷")).await;
    let new = world.draft(&old.product_id, spec("示例贷")).await;
    let reason = async |id: &str, version| {
        refusal(world.products().publish_product(staff("qian", publish(id, version))).await).reason
    };
    assert_eq!(reason(&old.product_id, 1).await, "NOT_THE_NEWEST");
    assert_eq!(reason(&old.product_id, 3).await, "PRODUCT_NOT_FOUND");
    assert_eq!(reason(&new_id(), 1).await, "PRODUCT_NOT_FOUND");
    assert_eq!(reason("1", 1).await, "PRODUCT_ID_INVALID");
    world.publish(&new).await;
    assert_eq!(reason(&old.product_id, 2).await, "NOT_A_DRAFT");
    world.stop().await;
}

#[tokio::test]
async fn a_draft_is_hidden_from_enterprises_and_other_banks() {
    let world = World::with_banks().await;
    let mut products = world.products();
    let written = world.draft("", spec("示例贷")).await;
    let request = || get(&written.product_id, 1);
    let enterprise = || call(request(), &[("zr-role", "enterprise"), ("zr-subject", "x")]);
    assert_eq!(refusal(products.get_product(enterprise()).await).code, Code::NotFound);
    assert_eq!(refusal(products.get_product(bank(OTHER_BANK, request())).await).code, Code::NotFound);
    products.get_product(bank(BANK, request())).await.unwrap();
    products.get_product(staff("li", request())).await.unwrap();
    world.publish(&written).await;
    products.get_product(enterprise()).await.unwrap();
    products.get_product(bank(OTHER_BANK, request())).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn of_many_publications_at_once_one_takes_effect() {
    let world = World::with_banks().await;
    let written = world.draft("", spec("示例贷")).await;
    let attempts = (0..8).map(|n| {
        let mut products = world.products();
        let request = staff(&format!("reviewer-{n}"), publish(&written.product_id, 1));
        async move { products.publish_product(request).await }
    });
    let answers = join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.into_iter().filter(Result::is_err) {
        assert_eq!(refusal(answer).reason, "NOT_A_DRAFT");
    }
    assert_eq!(world.announced::<ProductPublished>().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn drafts_written_at_once_have_versions_of_their_own() {
    let world = World::with_banks().await;
    let id = new_id();
    let attempts = (0..8).map(|_| world.draft(&id, spec("示例贷")));
    let mut versions: Vec<i32> = join_all(attempts).await.into_iter().map(|product| product.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = World::with_banks().await;
    let mut products = world.products();
    let request = draft("", spec("示例贷"));
    let first = products.draft_product(staff("zhao", request.clone())).await.unwrap().into_inner();
    let again = products.draft_product(staff("zhao", request)).await.unwrap().into_inner();
    assert_eq!(first, again, "one product, not two");
    let request = publish(&first.product.unwrap().product_id, 1);
    let first = products.publish_product(staff("qian", request.clone())).await.unwrap().into_inner();
    let again = products.publish_product(staff("qian", request)).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(world.count("SELECT count(*) FROM product_version").await, 1);
    assert_eq!(world.announced::<ProductPublished>().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn the_database_itself_refuses_to_edit_a_version() {
    let world = World::with_banks().await;
    let published = world.publish(&world.draft("", spec("示例贷")).await).await;
    world.draft(&published.product_id, spec("示例贷")).await;
    for forbidden in [
        "UPDATE product_version SET spec = '' WHERE version = 1",
        "UPDATE product_version SET spec = '' WHERE version = 2",
        "UPDATE product_version SET name_zh = 'x' WHERE version = 1",
        "UPDATE product_version SET state = 'draft' WHERE version = 1",
        "UPDATE product_version SET state = 'retired', published_by = 'x' WHERE version = 1",
        "UPDATE product_version SET state = 'published', published_by = drafted_by, published_at = now() WHERE version = 2",
        "UPDATE product_version SET state = 'published', published_by = 'x', published_at = now() WHERE version = 2",
        "DELETE FROM product_version",
    ] {
        assert!(sqlx::query(forbidden).execute(&world.pool).await.is_err(), "{forbidden}");
    }
    world.stop().await;
}
