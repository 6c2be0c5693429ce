//! Adjustments of products for chosen enterprises: within the bounds of the version in force, by two people, announced.

use tonic::{Code, transport::Channel};
use zhirong_kernel::clock::{Clock as _, SystemClock, business_date};
use zhirong_proto::catalog::v1::{
    Adjustment, AdjustmentBounds, AdjustmentState, DraftAdjustmentRequest, EndAdjustmentRequest,
    ListAdjustmentsRequest, ListProductHistoryRequest, Product, ProductAction, ProductAdjusted, ProductSpec,
    ReviewAdjustmentRequest, adjustment::Limit, adjustment_service_client::AdjustmentServiceClient,
    product_spec::Terms, product_workflow_service_client::ProductWorkflowServiceClient,
};

use crate::support::{BANK, OTHER_BANK, World, bank, credit, new_id, refusal, spec, staff};

fn adjustments(world: &World) -> AdjustmentServiceClient<Channel> {
    AdjustmentServiceClient::new(world.channel.clone())
}

fn bounded(max_rate_cut_ppm: i64) -> ProductSpec {
    let mut terms = credit();
    terms.adjustment_bounds = Some(AdjustmentBounds {
        max_rate_cut_ppm,
        max_limit_extra_fen: 300_000_000,
        min_answer_working_days: 2,
        ..AdjustmentBounds::default()
    });
    ProductSpec { terms: Some(Terms::Credit(terms)), ..spec("可调贷") }
}

fn in_days(days: i64) -> String {
    business_date(SystemClock.now()).saturating_add(jiff::ToSpan::days(days)).to_string()
}

fn write(product: &Product) -> DraftAdjustmentRequest {
    let adjustment = Adjustment {
        product_id: product.product_id.clone(),
        enterprise_tag: "is_specialised".to_owned(),
        name_zh: "专精特新专享".to_owned(),
        rate_cut_ppm: 5_000,
        limit: Some(Limit::LimitExtraFen(300_000_000)),
        answer_working_days: 2,
        from: in_days(-1),
        to: in_days(30),
        ..Adjustment::default()
    };
    DraftAdjustmentRequest { request_id: new_id(), adjustment: Some(adjustment) }
}

fn review(adjustment: &Adjustment, approve: bool, reason: &str) -> ReviewAdjustmentRequest {
    let (adjustment_id, reason) = (adjustment.adjustment_id.clone(), reason.to_owned());
    ReviewAdjustmentRequest { request_id: new_id(), adjustment_id, approve, reason }
}

fn end(adjustment: &Adjustment) -> EndAdjustmentRequest {
    let adjustment_id = adjustment.adjustment_id.clone();
    EndAdjustmentRequest { request_id: new_id(), adjustment_id, reason: "额度已满".to_owned() }
}

#[tokio::test]
async fn an_adjustment_is_written_reviewed_by_another_announced_and_ended() {
    let world = World::with_banks().await;
    let product = world.publish(&world.draft("", bounded(5_000)).await).await;
    let mut service = adjustments(&world);
    let written = service.draft_adjustment(bank(BANK, write(&product))).await.unwrap().into_inner().adjustment.unwrap();
    assert_eq!((written.state(), written.drafted_by.as_str()), (AdjustmentState::Draft, "core"));
    assert!(world.announced::<ProductAdjusted>().await.is_empty());
    let own = refusal(service.review_adjustment(bank(BANK, review(&written, true, ""))).await);
    assert_eq!(own.reason, "SAME_PERSON");
    let approved = service.review_adjustment(staff("qian", review(&written, true, ""))).await.unwrap().into_inner();
    let approved = approved.adjustment.unwrap();
    assert_eq!((approved.state(), approved.reviewed_by.as_str()), (AdjustmentState::Approved, "qian"));
    assert_eq!(
        refusal(service.review_adjustment(staff("sun", review(&written, true, ""))).await).reason,
        "WRONG_STATE"
    );
    let ended = service.end_adjustment(bank(BANK, end(&written))).await.unwrap().into_inner().adjustment.unwrap();
    assert_eq!((ended.state(), ended.reason.as_str()), (AdjustmentState::Ended, "额度已满"));
    assert_eq!(refusal(service.end_adjustment(bank(BANK, end(&written))).await).reason, "WRONG_STATE");

    let facts: Vec<_> = world.announced::<ProductAdjusted>().await.into_iter().map(|(_, fact)| fact).collect();
    assert_eq!(facts.iter().map(|fact| fact.sequence).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(facts.into_iter().filter_map(|fact| fact.adjustment).collect::<Vec<_>>(), [approved, ended]);
    let history = ListProductHistoryRequest { product_id: product.product_id.clone(), ..Default::default() };
    let entries = ProductWorkflowServiceClient::new(world.channel.clone())
        .list_product_history(bank(BANK, history))
        .await
        .unwrap()
        .into_inner()
        .entries;
    let actions: Vec<_> = entries
        .iter()
        .filter(|entry| entry.adjustment_id == written.adjustment_id)
        .map(|entry| (entry.action(), entry.by.as_str(), entry.role.as_str()))
        .collect();
    assert_eq!(
        actions,
        [
            (ProductAction::AdjustmentDrafted, "core", "bank"),
            (ProductAction::AdjustmentApproved, "qian", "staff"),
            (ProductAction::AdjustmentEnded, "core", "bank"),
        ]
    );
    world.stop().await;
}

#[tokio::test]
async fn nothing_goes_beyond_the_bounds_when_written_and_again_when_approved() {
    let world = World::with_banks().await;
    let product = world.publish(&world.draft("", bounded(5_000)).await).await;
    let mut service = adjustments(&world);
    let mut wild = write(&product);
    if let Some(adjustment) = &mut wild.adjustment {
        adjustment.rate_cut_ppm = 5_001;
        adjustment.limit = Some(Limit::LimitFactorPpm(1_100_000));
        adjustment.answer_working_days = 1;
        adjustment.enterprise_tag = "patent_count".to_owned();
        adjustment.to = in_days(-1);
    }
    let refused = refusal(service.draft_adjustment(staff("zhao", wild)).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
    let fields = ["enterprise_tag", "to", "rate_cut_ppm", "answer_working_days", "limit_factor_ppm"];
    assert_eq!(refused.field_names(), fields.map(|field| format!("adjustment.{field}")));

    let written = service.draft_adjustment(staff("zhao", write(&product))).await.unwrap().into_inner();
    let written = written.adjustment.unwrap();
    world.publish(&world.draft(&product.product_id, bounded(4_999)).await).await;
    let refused = refusal(service.review_adjustment(staff("qian", review(&written, true, ""))).await);
    assert_eq!(refused.field_names(), ["adjustment.rate_cut_ppm"], "the institution has become stricter since");
    assert_eq!(
        refusal(service.review_adjustment(staff("qian", review(&written, false, ""))).await).field_names(),
        ["reason"]
    );
    service.review_adjustment(staff("qian", review(&written, false, "超出授权"))).await.unwrap();
    assert!(world.announced::<ProductAdjusted>().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_bank_adjusts_its_own_products_in_force_only() {
    let world = World::with_banks().await;
    let mut service = adjustments(&world);
    let draft = world.draft("", bounded(5_000)).await;
    assert_eq!(refusal(service.draft_adjustment(bank(BANK, write(&draft))).await).reason, "NOT_PUBLISHED");
    let product = world.publish(&draft).await;
    assert_eq!(refusal(service.draft_adjustment(bank(OTHER_BANK, write(&product))).await).reason, "PRODUCT_NOT_FOUND");
    let written = service.draft_adjustment(bank(BANK, write(&product))).await.unwrap().into_inner().adjustment.unwrap();
    let foreign = refusal(service.review_adjustment(bank(OTHER_BANK, review(&written, true, ""))).await);
    assert_eq!(foreign.reason, "ADJUSTMENT_NOT_FOUND");
    let list = ListAdjustmentsRequest::default;
    let listed = async |request| service.clone().list_adjustments(request).await.unwrap().into_inner().adjustments;
    assert_eq!(listed(bank(BANK, list())).await, [written]);
    assert_eq!(listed(bank(OTHER_BANK, list())).await, []);
    let approved = ListAdjustmentsRequest { state: AdjustmentState::Approved.into(), ..list() };
    assert_eq!(listed(staff("li", approved)).await, []);
    world.stop().await;
}
