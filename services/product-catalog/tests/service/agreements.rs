//! Strategic agreements, and the catalog's part of the outcome report.

use tonic::{Code, transport::Channel};
use zhirong_kernel::clock::{Clock as _, SystemClock, business_date};
use zhirong_proto::catalog::v1::{
    Agreement, EndAgreementRequest, GetCatalogOutcomeRequest, GetCatalogOutcomeResponse, ListAgreementsRequest,
    RegisterAgreementRequest, agreement_service_client::AgreementServiceClient,
    catalog_report_service_client::CatalogReportServiceClient,
};

use crate::support::{BANK, OTHER_BANK, World, bank, new_id, refusal, spec, staff};

fn agreements(world: &World) -> AgreementServiceClient<Channel> {
    AgreementServiceClient::new(world.channel.clone())
}

fn agreement(institution: &str, intent_fen: i64, signed_on: &str, ends_on: &str) -> RegisterAgreementRequest {
    let agreement = Agreement {
        institution_id: institution.to_owned(),
        name_zh: "战略合作协议".to_owned(),
        intent_fen,
        signed_on: signed_on.to_owned(),
        ends_on: ends_on.to_owned(),
        ..Agreement::default()
    };
    RegisterAgreementRequest { request_id: new_id(), agreement: Some(agreement) }
}

async fn outcome(world: &World, from: &str, to: &str) -> GetCatalogOutcomeResponse {
    let request = GetCatalogOutcomeRequest { from: from.to_owned(), to: to.to_owned() };
    let mut client = CatalogReportServiceClient::new(world.channel.clone());
    client.get_catalog_outcome(staff("li", request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn the_report_counts_what_is_intended_in_its_period_by_institution() {
    let world = World::with_banks().await;
    world.publish(&world.draft("", spec("示例贷")).await).await;
    let mut service = agreements(&world);
    for request in [
        agreement(BANK, 100, "2030-01-01", "2030-12-31"),
        agreement(BANK, 20, "2030-06-01", "2031-06-01"),
        agreement(OTHER_BANK, 3, "2029-01-01", "2030-01-01"),
    ] {
        service.register_agreement(staff("zhao", request)).await.unwrap();
    }
    let all = outcome(&world, "2030-01-01", "2030-06-01").await;
    assert_eq!((all.institutions, all.credit_products, all.service_products), (2, 1, 0));
    assert_eq!((all.agreements, all.intent_fen), (3, 123));
    let by: Vec<_> =
        all.intents.iter().map(|one| (one.institution_id.as_str(), one.agreements, one.intent_fen)).collect();
    assert_eq!(by, [(BANK, 2, 120), (OTHER_BANK, 1, 3)]);
    assert_eq!(outcome(&world, "2030-01-02", "2030-05-31").await.intent_fen, 100);
    assert_eq!(outcome(&world, "2031-01-01", "2031-06-01").await.intent_fen, 20);
    assert_eq!(outcome(&world, "2031-06-02", "2031-12-31").await.agreements, 0);
    world.stop().await;
}

#[tokio::test]
async fn an_agreement_ends_before_its_time_once_and_counts_until_then() {
    let world = World::with_banks().await;
    let mut service = agreements(&world);
    let today = business_date(SystemClock.now());
    let day = |days: i64| today.saturating_add(jiff::ToSpan::days(days)).to_string();
    let request = agreement(BANK, 100, &day(-10), &day(10));
    let made = service.register_agreement(staff("zhao", request.clone())).await.unwrap().into_inner();
    let again = service.register_agreement(staff("zhao", request)).await.unwrap().into_inner();
    assert_eq!(made, again, "a retry makes no second one");
    let id = made.agreement.unwrap().agreement_id;
    let end = |reason: &str| EndAgreementRequest {
        request_id: new_id(),
        agreement_id: id.clone(),
        reason: reason.to_owned(),
    };
    assert_eq!(refusal(service.end_agreement(staff("zhao", end(""))).await).field_names(), ["reason"]);
    let ended = service.end_agreement(staff("zhao", end("双方协商"))).await.unwrap().into_inner().agreement.unwrap();
    assert_eq!((ended.ended_on, ended.ended_reason.as_str()), (today.to_string(), "双方协商"));
    assert_eq!(refusal(service.end_agreement(staff("zhao", end("再次"))).await).reason, "AGREEMENT_OVER");
    assert_eq!(outcome(&world, &day(-1), &day(0)).await.agreements, 1);
    assert_eq!(outcome(&world, &day(0), &day(5)).await.agreements, 0);
    world.stop().await;
}

#[tokio::test]
async fn what_is_no_agreement_is_refused_and_a_bank_sees_its_own() {
    let world = World::with_banks().await;
    let mut service = agreements(&world);
    let wrong = agreement(BANK, 0, "2030-1-1", "2029-01-01");
    let refused = refusal(service.register_agreement(staff("zhao", wrong)).await);
    assert_eq!(refused.field_names(), ["agreement.intent_fen", "agreement.signed_on"]);
    let backwards = agreement(BANK, 1, "2030-01-02", "2030-01-01");
    let refused = refusal(service.register_agreement(staff("zhao", backwards)).await);
    assert_eq!(refused.field_names(), ["agreement.ends_on"]);
    let unknown = agreement("no-such-bank", 1, "2030-01-01", "2030-01-01");
    let refused = refusal(service.register_agreement(staff("zhao", unknown)).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::NotFound, "INSTITUTION_NOT_FOUND"));
    for id in [BANK, OTHER_BANK] {
        service.register_agreement(staff("zhao", agreement(id, i64::MAX, "2030-01-01", "2030-01-01"))).await.unwrap();
    }
    let list = ListAgreementsRequest::default();
    let own = service.list_agreements(bank(BANK, list.clone())).await.unwrap().into_inner().agreements;
    assert_eq!(own.iter().map(|one| one.institution_id.as_str()).collect::<Vec<_>>(), [BANK]);
    assert_eq!(service.list_agreements(staff("li", list)).await.unwrap().into_inner().agreements.len(), 2);
    let request = GetCatalogOutcomeRequest { from: "2030-01-01".to_owned(), to: "2030-01-01".to_owned() };
    let mut reports = CatalogReportServiceClient::new(world.channel.clone());
    let refused = refusal(reports.get_catalog_outcome(staff("li", request)).await);
    assert_eq!(refused.reason, "SUM_TOO_LARGE", "a sum beyond 64 bits is said, never wrapped");
    world.stop().await;
}
