//! The way of a product version through review, publication, suspension, and what the history tells of it.

use futures::future::join_all;
use tonic::Code;
use zhirong_kernel::clock::{Clock as _, SystemClock, business_date};
use zhirong_proto::catalog::v1::{
    GetProductRequest, ListProductHistoryRequest, ListProductVersionsRequest, ListProductsRequest, Product,
    ProductAction as Action, ProductPublished, ProductResumed, ProductState, ProductSuspended, PublishProductRequest,
    ResumeProductRequest, RetireProductRequest, ReviewDecision, ReviewProductRequest, SubmitProductRequest,
    SuspendProductRequest, product_workflow_service_client::ProductWorkflowServiceClient,
};
use zhirong_testkit::eventually;

use crate::support::{BANK, OTHER_BANK, PATIENCE, World, bank, new_id, publish, refusal, spec, staff};

fn submit(product: &Product) -> SubmitProductRequest {
    SubmitProductRequest {
        request_id: new_id(),
        product_id: product.product_id.clone(),
        version: product.version,
        comment: "请审核".to_owned(),
    }
}

fn review(product: &Product, decision: ReviewDecision, reason: &str) -> ReviewProductRequest {
    ReviewProductRequest {
        request_id: new_id(),
        product_id: product.product_id.clone(),
        version: product.version,
        decision: decision.into(),
        reason: reason.to_owned(),
    }
}

fn suspend(product: &Product) -> SuspendProductRequest {
    let product_id = product.product_id.clone();
    SuspendProductRequest { request_id: new_id(), product_id, reason: "额度用尽".to_owned() }
}

fn resume(product: &Product) -> ResumeProductRequest {
    let product_id = product.product_id.clone();
    ResumeProductRequest { request_id: new_id(), product_id, reason: "恢复".to_owned() }
}

type Workflow = ProductWorkflowServiceClient<tonic::transport::Channel>;

fn workflow(world: &World) -> Workflow {
    ProductWorkflowServiceClient::new(world.channel.clone())
}

/// Hands a version in as `zhao` and approves it as `qian`.
async fn reviewed(world: &World, product: &Product) -> Product {
    workflow(world).submit_product(staff("zhao", submit(product))).await.unwrap();
    let approve = review(product, ReviewDecision::Approve, "");
    workflow(world).review_product(staff("qian", approve)).await.unwrap().into_inner().product.unwrap()
}

async fn history(world: &World, product: &Product) -> Vec<(i32, Action, String, String)> {
    let request = ListProductHistoryRequest { product_id: product.product_id.clone(), ..Default::default() };
    let entries = workflow(world).list_product_history(staff("li", request)).await.unwrap().into_inner().entries;
    for (at, entry) in (1..).zip(&entries) {
        assert_eq!(entry.entry, at);
        assert!(entry.at.is_some());
    }
    entries.into_iter().map(|entry| (entry.version, entry.action(), entry.by, entry.reason)).collect()
}

fn entry(version: i32, action: Action, by: &str, reason: &str) -> (i32, Action, String, String) {
    (version, action, by.to_owned(), reason.to_owned())
}

fn in_a_month() -> String {
    let today = business_date(SystemClock.now());
    today.saturating_add(jiff::ToSpan::days(30_i64)).to_string()
}

#[tokio::test]
async fn a_version_goes_through_review_and_its_history_tells_who_when_and_why() {
    let world = World::with_banks().await;
    let one = world.draft("", spec("示例贷")).await;
    let submitted = workflow(&world).submit_product(staff("zhao", submit(&one))).await.unwrap().into_inner();
    assert_eq!(submitted.product.unwrap().state(), ProductState::Submitted);
    let back = review(&one, ReviewDecision::SendBack, "利率说明不清");
    let back = workflow(&world).review_product(staff("qian", back)).await.unwrap().into_inner();
    assert_eq!(back.product.unwrap().state(), ProductState::Draft);
    assert_eq!(reviewed(&world, &one).await.state(), ProductState::Reviewed);

    let put = PublishProductRequest { comment: "上架".to_owned(), ..publish(&one.product_id, 1) };
    let answer = world.products().publish_product(staff("zhao", put)).await;
    let published = answer.unwrap().into_inner().product.unwrap();
    assert_eq!(published.state(), ProductState::Published, "what another person reviewed its author may publish");
    assert_eq!(published.effective_on.len(), "2026-01-01".len());

    let two = world.draft(&one.product_id, spec("示例贷二")).await;
    world.publish(&two).await;
    let retire = RetireProductRequest {
        request_id: new_id(),
        product_id: one.product_id.clone(),
        reason: "银行不再办理".to_owned(),
    };
    world.products().retire_product(staff("sun", retire)).await.unwrap();
    assert_eq!(
        history(&world, &one).await,
        [
            entry(1, Action::Drafted, "zhao", ""),
            entry(1, Action::Submitted, "zhao", "请审核"),
            entry(1, Action::SentBack, "qian", "利率说明不清"),
            entry(1, Action::Submitted, "zhao", "请审核"),
            entry(1, Action::Approved, "qian", ""),
            entry(1, Action::Published, "zhao", "上架"),
            entry(2, Action::Drafted, "zhao", ""),
            entry(2, Action::Submitted, "qian", ""),
            entry(2, Action::Approved, "qian", ""),
            entry(1, Action::Retired, "qian", ""),
            entry(2, Action::Published, "qian", ""),
            entry(2, Action::Retired, "sun", "银行不再办理"),
        ]
    );
    world.stop().await;
}

#[tokio::test]
async fn nobody_reviews_what_they_wrote_and_no_step_is_left_out() {
    let world = World::with_banks().await;
    let mut workflow = workflow(&world);
    let one = world.draft("", spec("示例贷")).await;
    let approve = || review(&one, ReviewDecision::Approve, "");
    assert_eq!(refusal(workflow.review_product(staff("qian", approve())).await).reason, "WRONG_STATE");
    workflow.submit_product(staff("zhao", submit(&one))).await.unwrap();
    assert_eq!(refusal(workflow.submit_product(staff("zhao", submit(&one))).await).reason, "WRONG_STATE");
    assert_eq!(refusal(workflow.review_product(staff("zhao", approve())).await).reason, "SAME_PERSON");
    let silent = review(&one, ReviewDecision::SendBack, " ");
    assert_eq!(refusal(workflow.review_product(staff("qian", silent)).await).field_names(), ["reason"]);
    let undecided = review(&one, ReviewDecision::Unspecified, "");
    assert_eq!(refusal(workflow.review_product(staff("qian", undecided)).await).field_names(), ["decision"]);
    assert_eq!(refusal(workflow.suspend_product(staff("qian", suspend(&one))).await).reason, "NOT_PUBLISHED");
    let two = world.draft(&one.product_id, spec("示例贷")).await;
    assert_eq!(refusal(workflow.review_product(staff("qian", approve())).await).reason, "NOT_THE_NEWEST");
    workflow.submit_product(staff("zhao", submit(&two))).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_suspended_product_takes_no_orders_until_it_is_resumed_as_it_was() {
    let world = World::with_banks().await;
    let mut workflow = workflow(&world);
    let published = world.publish(&world.draft("", spec("示例贷")).await).await;
    let listed = async || {
        let all = ListProductsRequest::default();
        world.products().list_products(staff("li", all)).await.unwrap().into_inner().total_size
    };
    let suspended = workflow.suspend_product(staff("sun", suspend(&published))).await.unwrap().into_inner();
    assert_eq!(suspended.product.unwrap().state(), ProductState::Suspended);
    assert_eq!(listed().await, 0);
    assert_eq!(refusal(workflow.suspend_product(staff("sun", suspend(&published))).await).reason, "WRONG_STATE");
    let get = GetProductRequest { product_id: published.product_id.clone(), version: 0 };
    let found = world.products().get_product(bank(OTHER_BANK, get)).await.unwrap().into_inner().product.unwrap();
    assert_eq!(found.state(), ProductState::Suspended);

    let resumed = workflow.resume_product(staff("sun", resume(&published))).await.unwrap().into_inner();
    assert_eq!(resumed.product, Some(published.clone()), "the very version");
    assert_eq!(listed().await, 1);
    assert_eq!(refusal(workflow.resume_product(staff("sun", resume(&published))).await).reason, "WRONG_STATE");

    let told = world.announced::<ProductSuspended>().await;
    assert_eq!((told[0].1.sequence, told[0].1.version, told[0].1.reason.as_str()), (2, 1, "额度用尽"));
    let told = world.announced::<ProductResumed>().await;
    assert_eq!((told[0].1.sequence, told[0].1.product.clone()), (3, Some(published)));
    world.stop().await;
}

#[tokio::test]
async fn a_version_with_a_day_waits_for_it_and_then_comes_into_force_by_itself() {
    let world = World::with_banks().await;
    let one = world.publish(&world.draft("", spec("示例贷")).await).await;
    let two = world.draft(&one.product_id, spec("示例贷二")).await;
    let on = |day: &str| PublishProductRequest { effective_on: day.to_owned(), ..publish(&two.product_id, 2) };
    for bad in ["2020-01-01", "2999-01-01", "tomorrow", "2027-1-1"] {
        let refused = refusal(world.products().publish_product(staff("qian", on(bad))).await);
        assert_eq!(refused.field_names(), ["effective_on"], "{bad}");
    }
    let day = in_a_month();
    let waits = world.products().publish_product(staff("qian", on(&day))).await.unwrap().into_inner().product.unwrap();
    assert_eq!((waits.state(), waits.effective_on.as_str()), (ProductState::Reviewed, day.as_str()));
    let now = GetProductRequest { product_id: one.product_id.clone(), version: 0 };
    let found = world.products().get_product(staff("li", now.clone())).await.unwrap().into_inner().product.unwrap();
    assert_eq!(found.version, 1, "the one before is in force until then");

    // The day comes.
    sqlx::query("UPDATE product_version SET effective_on = '2026-01-05' WHERE version = 2")
        .execute(&world.pool)
        .await
        .unwrap();
    eventually(PATIENCE, "the version is in force", || async {
        let found = world.products().get_product(staff("li", now.clone())).await?.into_inner().product.unwrap();
        Ok((found.version == 2).then_some(()))
    })
    .await
    .unwrap();
    let facts = world.announced::<ProductPublished>().await;
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[1].1.product.as_ref().unwrap().effective_on, "2026-01-05");
    let entries = history(&world, &one).await;
    assert_eq!(entries.last(), Some(&entry(2, Action::Published, "qian", "")));
    assert!(entries.contains(&entry(2, Action::Scheduled, "qian", "")));
    world.stop().await;
}

#[tokio::test]
async fn retirement_and_a_later_version_take_back_a_day_that_was_set() {
    let world = World::with_banks().await;
    let one = world.publish(&world.draft("", spec("示例贷")).await).await;
    let two = world.draft(&one.product_id, spec("示例贷二")).await;
    let day = in_a_month();
    let later = PublishProductRequest { effective_on: day, ..publish(&two.product_id, 2) };
    world.products().publish_product(staff("qian", later)).await.unwrap();
    let three = world.draft(&one.product_id, spec("示例贷三")).await;
    world.publish(&three).await;
    assert!(history(&world, &one).await.contains(&entry(2, Action::Unscheduled, "qian", "")));
    assert_eq!(
        world.count("SELECT count(*) FROM product_version WHERE scheduled_by IS NOT NULL AND state = 'reviewed'").await,
        0
    );
    world.stop().await;
}

#[tokio::test]
async fn of_two_who_publish_a_reviewed_version_at_once_one_is_told_that_it_is_published() {
    let world = World::with_banks().await;
    let one = world.draft("", spec("示例贷")).await;
    reviewed(&world, &one).await;
    let attempts = ["qian", "sun"].map(|person| {
        let mut products = world.products();
        let request = staff(person, publish(&one.product_id, 1));
        async move { products.publish_product(request).await }
    });
    let (good, bad): (Vec<_>, Vec<_>) = join_all(attempts).await.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 1));
    let status = bad.into_iter().next().unwrap();
    assert!(status.as_ref().unwrap_err().message().contains("is published already"), "{status:?}");
    let refused = refusal(status);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::FailedPrecondition, "NOT_A_DRAFT"));
    assert_eq!(world.announced::<ProductPublished>().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn versions_are_found_by_state_and_a_bank_sees_its_own() {
    let world = World::with_banks().await;
    let one = world.draft("", spec("一")).await;
    let two = world.draft("", spec("二")).await;
    let mut foreign = spec("三");
    foreign.institution_id = OTHER_BANK.to_owned();
    let three = world.draft("", foreign).await;
    for product in [&one, &three] {
        workflow(&world).submit_product(staff("zhao", submit(product))).await.unwrap();
    }
    world.publish(&two).await;
    let waiting = ListProductVersionsRequest { state: ProductState::Submitted.into(), ..Default::default() };
    let found = workflow(&world).list_product_versions(staff("li", waiting.clone())).await.unwrap().into_inner();
    assert_eq!(found.products.len(), 2);
    let found = workflow(&world).list_product_versions(bank(BANK, waiting)).await.unwrap().into_inner();
    assert_eq!(found.products.iter().map(|product| &product.product_id).collect::<Vec<_>>(), [&one.product_id]);

    let mut page = ListProductVersionsRequest { page_size: 1, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let answer = workflow(&world).list_product_versions(staff("li", page.clone())).await.unwrap().into_inner();
        seen.extend(answer.products.into_iter().map(|product| (product.product_id, product.version)));
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted());
    let request = ListProductHistoryRequest { product_id: three.product_id.clone(), ..Default::default() };
    assert_eq!(refusal(workflow(&world).list_product_history(bank(BANK, request)).await).code, Code::NotFound);
    world.stop().await;
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_the_history() {
    let world = World::with_banks().await;
    world.publish(&world.draft("", spec("示例贷")).await).await;
    for forbidden in ["UPDATE product_history SET person = 'x'", "DELETE FROM product_history"] {
        assert!(sqlx::query(forbidden).execute(&world.pool).await.is_err(), "{forbidden}");
    }
    world.stop().await;
}
