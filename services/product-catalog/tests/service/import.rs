//! Many products in one step: what would change, every mistake by row, and nothing at all when one row is bad.

use tonic::{Code, transport::Channel};
use zhirong_proto::catalog::v1::{
    ImportAction, ImportProductsRequest, ImportProductsResponse, ImportRow, ProductSpec, ProductState,
    product_import_service_client::ProductImportServiceClient, product_spec::Terms,
};

use crate::support::{OTHER_BANK, World, credit, new_id, refusal, spec, staff};

fn rows(count: usize) -> Vec<ImportRow> {
    (1..=count)
        .map(|number| ImportRow {
            place: format!("row {number}"),
            product_id: new_id(),
            spec: Some(spec(&format!("示例贷{number}"))),
        })
        .collect()
}

fn import(rows: Vec<ImportRow>) -> ImportProductsRequest {
    ImportProductsRequest { request_id: new_id(), rows, ..ImportProductsRequest::default() }
}

async fn send(world: &World, request: ImportProductsRequest) -> ImportProductsResponse {
    let mut client = ProductImportServiceClient::<Channel>::new(world.channel.clone());
    client.import_products(staff("zhao", request)).await.unwrap().into_inner()
}

async fn versions(world: &World) -> i64 {
    world.count("SELECT count(*) FROM product_version").await
}

fn with_rule(text: &str) -> ProductSpec {
    let mut terms = credit();
    terms.limit_formula = text.to_owned();
    ProductSpec { terms: Some(Terms::Credit(terms)), ..spec("坏贷") }
}

#[tokio::test]
async fn one_bad_row_of_311_changes_nothing_unless_asked_for() {
    let world = World::with_banks().await;
    let mut list = rows(311);
    list[200].spec = Some(with_rule("no_such / 0"));
    let answer = send(&world, import(list.clone())).await;
    assert_eq!((answer.applied, answer.bad_count, answer.results.len()), (false, 1, 311));
    let bad = &answer.results[200];
    assert_eq!((bad.action(), bad.place.as_str()), (ImportAction::Bad, "row 201"));
    assert_eq!(bad.mistakes[0].field, "spec.credit.limit_formula");
    assert!(bad.mistakes[0].message.contains("line 1, column 1: there is no feature `no_such`"), "{bad:?}");
    assert_eq!(versions(&world).await, 0);

    let dry = send(&world, ImportProductsRequest { dry_run: true, skip_bad: true, ..import(list.clone()) }).await;
    assert_eq!((dry.applied, dry.bad_count), (false, 1));
    assert_eq!(versions(&world).await, 0);

    let answer = send(&world, ImportProductsRequest { skip_bad: true, submit: true, ..import(list) }).await;
    assert_eq!((answer.applied, answer.bad_count), (true, 1));
    assert_eq!(versions(&world).await, 310);
    assert_eq!(world.count("SELECT count(*) FROM product_version WHERE state = 'submitted'").await, 310);
    world.stop().await;
}

#[tokio::test]
async fn what_differs_is_told_and_what_does_not_is_left_alone() {
    let world = World::with_banks().await;
    let first = import(rows(3));
    let list = first.rows.clone();
    let made = send(&world, first.clone()).await;
    assert!(made.applied && made.results.iter().all(|result| result.action() == ImportAction::Create));
    assert_eq!(send(&world, first).await, made, "a retry imports nothing twice");
    assert_eq!(versions(&world).await, 3);

    let mut changed = list.clone();
    changed[1].spec = Some(ProductSpec { summary_zh: "新的说明".to_owned(), ..spec("示例贷2") });
    let request = import(changed);
    let dry = send(&world, ImportProductsRequest { dry_run: true, ..request.clone() }).await;
    let actions: Vec<_> = dry.results.iter().map(|result| result.action()).collect();
    assert_eq!(actions, [ImportAction::Unchanged, ImportAction::NewVersion, ImportAction::Unchanged]);
    let change = &dry.results[1].changes[0];
    assert_eq!(
        (change.field.as_str(), change.before.as_str(), change.after.as_str()),
        ("spec.summary_zh", "\"示例产品\"", "\"新的说明\"")
    );
    assert_eq!(versions(&world).await, 3);
    let done = send(&world, request).await;
    assert_eq!((done.applied, done.results[1].version, done.results[0].version), (true, 2, 0));
    assert_eq!(versions(&world).await, 4);

    // A draft as any other: another person puts it into force.
    let mut product = world.draft(&new_id(), spec("x")).await;
    (product.product_id, product.version) = (list[1].product_id.clone(), 2);
    assert_eq!(world.publish(&product).await.state(), ProductState::Published);
    world.stop().await;
}

#[tokio::test]
async fn every_mistake_of_every_row_is_told() {
    let world = World::with_banks().await;
    let mut list = rows(7);
    let taken = world.draft("", ProductSpec { institution_id: OTHER_BANK.to_owned(), ..spec("别家的") }).await;
    list[0].product_id = "1".to_owned();
    list[1].product_id = list[2].product_id.clone();
    list[3].spec = None;
    list[4].spec = Some(ProductSpec { institution_id: "no-such-bank".to_owned(), ..spec("无主") });
    list[5].product_id = taken.product_id.clone();
    list[6].spec = Some(ProductSpec { name_zh: String::new(), tags: vec!["A".to_owned()], ..with_rule("'x'") });
    let answer = send(&world, import(list)).await;
    let fields =
        |at: usize| -> Vec<&str> { answer.results[at].mistakes.iter().map(|mistake| mistake.field.as_str()).collect() };
    assert_eq!(fields(0), ["product_id"]);
    assert_eq!((fields(1), fields(2)), (vec![], vec!["product_id"]));
    assert_eq!(fields(3), ["spec"]);
    assert_eq!((fields(4), fields(5)), (vec!["spec.institution_id"], vec!["spec.institution_id"]));
    assert_eq!(fields(6), ["spec.name_zh", "spec.tags[0]", "spec.credit.limit_formula"]);
    assert_eq!((answer.applied, answer.bad_count), (false, 6));
    assert_eq!(versions(&world).await, 1);
    world.stop().await;
}

#[tokio::test]
async fn too_few_and_too_many_rows_are_refused() {
    let world = World::with_banks().await;
    let mut client = ProductImportServiceClient::<Channel>::new(world.channel.clone());
    for list in [Vec::new(), vec![ImportRow::default(); 1001]] {
        let refused = refusal(client.import_products(staff("zhao", import(list))).await);
        assert_eq!((refused.code, refused.field_names()), (Code::InvalidArgument, vec!["rows"]));
    }
    world.stop().await;
}
