//! What a product must be like, and how products are found.

use std::collections::BTreeSet;

use tonic::Code;
use zhirong_proto::catalog::v1::{
    Condition, CreditTerms, ListProductsRequest, ListProductsResponse, ProductKind, ProductSpec, RetireProductRequest,
    ServiceTerms, product_spec::Terms,
};

use crate::support::{BANK, OTHER_BANK, World, credit, draft, new_id, refusal, spec, staff};

fn with(change: impl FnOnce(&mut CreditTerms)) -> ProductSpec {
    let mut terms = credit();
    change(&mut terms);
    ProductSpec { terms: Some(Terms::Credit(terms)), ..spec("示例贷") }
}

#[tokio::test]
async fn a_given_id_makes_the_product_under_that_id() {
    let world = World::with_banks().await;
    let id = new_id();
    assert_eq!(world.draft(&id, spec("示例贷")).await.product_id, id);
    let unknown = ProductSpec { institution_id: "sample-unknown".to_owned(), ..spec("示例贷") };
    let refused = refusal(world.products().draft_product(staff("zhao", draft("", unknown))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::NotFound, "INSTITUTION_NOT_FOUND"));
    let moved = ProductSpec { institution_id: OTHER_BANK.to_owned(), ..spec("示例贷") };
    let refused = refusal(world.products().draft_product(staff("zhao", draft(&id, moved))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::FailedPrecondition, "OTHER_INSTITUTION"));
    let refused = refusal(world.products().draft_product(staff("zhao", draft("7", spec("示例贷")))).await);
    assert_eq!(refused.reason, "PRODUCT_ID_INVALID");
    assert_eq!(world.count("SELECT count(*) FROM product_version").await, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_rule_that_does_not_compile_is_named_with_its_place_beside_all_other_faults() {
    let world = World::with_banks().await;
    let bad = with(|terms| {
        terms.conditions.push(Condition {
            expression: "patent_count > 0 &&\n  no_such_feature > 1".to_owned(),
            ..Condition::default()
        });
        terms.limit_formula = "patent_count * 1.5".to_owned();
        terms.rate_formula = "lpr_1y_ppm > 0".to_owned();
        terms.min_amount_fen = 0;
    });
    let refused = refusal(world.products().draft_product(staff("zhao", draft("", bad))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "RULE_INVALID"));
    assert_eq!(
        refused.field_names(),
        [
            "spec.credit.conditions[2].expression",
            "spec.credit.conditions[2].label_zh",
            "spec.credit.limit_formula",
            "spec.credit.rate_formula",
            "spec.credit.min_amount_fen",
        ]
    );
    assert_eq!(refused.fields[0].1, "line 2, column 3: there is no feature `no_such_feature`");
    assert!(refused.fields[2].1.starts_with("line 1, column 16: "), "{:?}", refused.fields);
    assert_eq!(world.count("SELECT count(*) FROM product").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn every_bound_is_checked_at_once() {
    let world = World::with_banks().await;
    let mut bad = with(|terms| {
        terms.min_amount_fen = 2;
        terms.max_amount_fen = 1;
        terms.min_term_months = 0;
        terms.max_term_months = 361;
        terms.repayment_method = 0;
        terms.guarantee_form = 99;
        terms.answer_working_days = 31;
    });
    bad.name_zh = "贷".repeat(65);
    bad.summary_zh = "好".repeat(513);
    bad.tags = vec!["Bad Tag".to_owned()];
    let refused = refusal(world.products().draft_product(staff("zhao", draft("", bad))).await);
    assert_eq!(refused.reason, "FIELDS_INVALID");
    assert_eq!(
        refused.field_names(),
        [
            "spec.name_zh",
            "spec.summary_zh",
            "spec.tags[0]",
            "spec.credit.max_amount_fen",
            "spec.credit.min_term_months",
            "spec.credit.max_term_months",
            "spec.credit.repayment_method",
            "spec.credit.guarantee_form",
            "spec.credit.answer_working_days",
        ]
    );
    let refused = refusal(world.products().draft_product(staff("zhao", draft("", ProductSpec::default()))).await);
    assert_eq!(refused.field_names(), ["spec.institution_id", "spec.name_zh", "spec.terms"]);
    world.stop().await;
}

async fn list(world: &World, request: ListProductsRequest) -> ListProductsResponse {
    world.products().list_products(staff("li", request)).await.unwrap().into_inner()
}

async fn names(world: &World, request: ListProductsRequest) -> (BTreeSet<String>, i32) {
    let answer = list(world, request).await;
    (answer.products.into_iter().map(|product| product.spec.unwrap().name_zh).collect(), answer.total_size)
}

#[tokio::test]
async fn filters_find_what_is_published_and_nothing_else() {
    let world = World::with_banks().await;
    let terms = ServiceTerms { service_kind: "settlement".to_owned(), fee_zh: "免费".to_owned() };
    let service = ProductSpec {
        institution_id: OTHER_BANK.to_owned(),
        tags: vec!["settlement".to_owned()],
        terms: Some(Terms::Service(terms)),
        summary_zh: "收付 100% 到账".to_owned(),
        ..spec("结算通")
    };
    for product in [spec("专利贷"), spec("税贷_一"), service] {
        let product = world.draft("", product).await;
        world.publish(&product).await;
    }
    world.draft("", spec("草稿贷")).await;
    let gone = world.publish(&world.draft("", spec("旧贷")).await).await;
    let retire = RetireProductRequest { request_id: new_id(), product_id: gone.product_id, reason: String::new() };
    world.products().retire_product(staff("li", retire)).await.unwrap();

    let all = ListProductsRequest::default;
    let text = |text: &str| ListProductsRequest { text: text.to_owned(), ..all() };
    let expect = |names: &[&str]| {
        (names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), i32::try_from(names.len()).unwrap())
    };
    assert_eq!(names(&world, all()).await, expect(&["专利贷", "税贷_一", "结算通"]));
    let of_bank = ListProductsRequest { institution_id: BANK.to_owned(), ..all() };
    assert_eq!(names(&world, of_bank).await, expect(&["专利贷", "税贷_一"]));
    let tagged = ListProductsRequest { tag: "settlement".to_owned(), ..all() };
    assert_eq!(names(&world, tagged).await, expect(&["结算通"]));
    let credit = ListProductsRequest { kind: ProductKind::Credit.into(), ..all() };
    assert_eq!(names(&world, credit).await, expect(&["专利贷", "税贷_一"]));
    let service = ListProductsRequest { kind: ProductKind::Service.into(), ..all() };
    assert_eq!(names(&world, service).await, expect(&["结算通"]));
    assert_eq!(names(&world, text("利贷")).await, expect(&["专利贷"]));
    assert_eq!(names(&world, text("到账")).await, expect(&["结算通"]), "the summary too");
    assert_eq!(names(&world, text("%")).await, expect(&["结算通"]), "no wildcard");
    assert_eq!(names(&world, text("_")).await, expect(&["税贷_一"]), "no wildcard");
    let both = ListProductsRequest { tag: "ip_pledge".to_owned(), ..text("到账") };
    assert_eq!(names(&world, both).await, expect(&[]));
    world.stop().await;
}

#[tokio::test]
async fn pages_stay_stable_while_products_come() {
    let world = World::with_banks().await;
    let mut ids: Vec<String> = (0..5).map(|_| new_id()).collect();
    // The one that comes later sorts before all others.
    let late = ids.remove(0);
    for id in &ids {
        world.publish(&world.draft(id, spec("示例贷")).await).await;
    }
    let mut request = ListProductsRequest { page_size: 2, ..ListProductsRequest::default() };
    let first = list(&world, request.clone()).await;
    assert_eq!((first.products.len(), first.total_size), (2, 4));
    world.publish(&world.draft(&late, spec("示例贷")).await).await;
    request.page_token = first.next_page_token.clone();
    let second = list(&world, request).await;
    assert_eq!(second.total_size, 5);
    assert_eq!(second.next_page_token, "", "the last page is exactly full");
    let found: Vec<String> =
        first.products.into_iter().chain(second.products).map(|product| product.product_id).collect();
    assert_eq!(found, ids);
    world.stop().await;
}
