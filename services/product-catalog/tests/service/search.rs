//! Finding products by what people look for: amount, term, form of guarantee, tags, text.

use zhirong_proto::catalog::v1::{
    CreditTerms, GuaranteeForm, ListProductsRequest, ProductSpec, ServiceTerms, product_spec::Terms,
};

use crate::support::{World, credit, refusal, spec, staff};

async fn names(world: &World, request: ListProductsRequest) -> Vec<String> {
    let answer = world.products().list_products(staff("li", request)).await.unwrap().into_inner();
    assert_eq!(usize::try_from(answer.total_size).unwrap(), answer.products.len());
    assert!(answer.products.is_sorted_by(|a, b| a.product_id < b.product_id));
    let mut names: Vec<String> = answer.products.into_iter().map(|product| product.spec.unwrap().name_zh).collect();
    names.sort();
    names
}

fn product(name: &str, change: impl FnOnce(&mut CreditTerms)) -> ProductSpec {
    let mut terms = credit();
    change(&mut terms);
    ProductSpec { terms: Some(Terms::Credit(terms)), ..spec(name) }
}

#[tokio::test]
async fn products_are_found_by_amount_term_guarantee_tags_and_text() {
    let world = World::with_banks().await;
    let mut small = product("small 小额贷", |terms| {
        (terms.min_amount_fen, terms.max_amount_fen) = (1, 1_000_000);
        (terms.min_term_months, terms.max_term_months) = (1, 12);
        terms.guarantee_form = GuaranteeForm::Credit.into();
    });
    small.tags = vec!["micro".to_owned(), "fast".to_owned()];
    let large = product("LARGE 大额贷", |terms| {
        (terms.min_amount_fen, terms.max_amount_fen) = (1_000_000, i64::MAX);
        (terms.min_term_months, terms.max_term_months) = (12, 360);
    });
    let terms = ServiceTerms { service_kind: "settlement".to_owned(), ..ServiceTerms::default() };
    let mut service = ProductSpec { terms: Some(Terms::Service(terms)), ..spec("结算 100%_服务") };
    service.tags = vec!["fast".to_owned()];
    for spec in [small, large, service] {
        world.publish(&world.draft("", spec).await).await;
    }
    world.draft("", product("草稿", |_| {})).await;

    let all = ListProductsRequest::default;
    let (small, large, service) = ("small 小额贷", "LARGE 大额贷", "结算 100%_服务");
    let amount = |amount_fen| ListProductsRequest { amount_fen, ..all() };
    assert_eq!(names(&world, amount(999_999)).await, [small]);
    assert_eq!(names(&world, amount(1_000_000)).await, [large, small]);
    assert_eq!(names(&world, amount(i64::MAX)).await, [large]);
    let term = |term_months| ListProductsRequest { term_months, ..all() };
    assert_eq!(names(&world, term(11)).await, [small]);
    assert_eq!(names(&world, term(12)).await, [large, small]);
    assert_eq!(names(&world, term(361)).await, Vec::<String>::new());
    let forms = |forms: &[GuaranteeForm]| ListProductsRequest {
        guarantee_forms: forms.iter().map(|&form| form.into()).collect(),
        ..all()
    };
    assert_eq!(names(&world, forms(&[GuaranteeForm::Credit])).await, [small]);
    assert_eq!(names(&world, forms(&[GuaranteeForm::Credit, GuaranteeForm::IpPledge])).await, [large, small]);
    let tags = |tags: &[&str]| ListProductsRequest { tags: tags.iter().map(|&tag| tag.to_owned()).collect(), ..all() };
    assert_eq!(names(&world, tags(&["fast"])).await, [small, service]);
    assert_eq!(names(&world, tags(&["fast", "micro"])).await, [small]);
    let text = |text: &str| ListProductsRequest { text: text.to_owned(), ..all() };
    assert_eq!(names(&world, text("large")).await, [large]);
    assert_eq!(names(&world, text("100%_")).await, [service]);
    assert_eq!(names(&world, text("0_0")).await, Vec::<String>::new());
    assert_eq!(names(&world, ListProductsRequest { term_months: 6, ..tags(&["fast"]) }).await, [small]);
    world.stop().await;
}

#[tokio::test]
async fn filters_that_can_not_be_meant_are_refused_together() {
    let world = World::empty().await;
    let request = ListProductsRequest {
        tags: vec!["a".to_owned(); 17],
        amount_fen: -1,
        term_months: -1,
        text: "长".repeat(129),
        ..ListProductsRequest::default()
    };
    let refused = refusal(world.products().list_products(staff("li", request)).await);
    assert_eq!(refused.field_names(), ["tags", "amount_fen", "term_months", "text"]);
    world.stop().await;
}

#[tokio::test]
async fn versions_from_before_there_was_such_a_search_are_found_after_a_restart() {
    let world = World::with_banks().await;
    world.publish(&world.draft("", spec("旧贷")).await).await;
    let mut conn = world.pool.acquire().await.unwrap();
    for statement in [
        "ALTER TABLE product_version DISABLE TRIGGER product_version_kept",
        "UPDATE product_version SET min_amount_fen = NULL, max_amount_fen = NULL, min_term_months = NULL,
             max_term_months = NULL, guarantee_form = NULL",
        "ALTER TABLE product_version ENABLE TRIGGER product_version_kept",
    ] {
        sqlx::query(statement).execute(&mut *conn).await.unwrap();
    }
    // A pool closes only when every connection is back.
    drop(conn);
    let ask = || ListProductsRequest { amount_fen: 2_000_000, ..ListProductsRequest::default() };
    assert_eq!(names(&world, ask()).await, Vec::<String>::new());
    let world = world.restart().await;
    assert_eq!(names(&world, ask()).await, ["旧贷"]);
    world.stop().await;
}
