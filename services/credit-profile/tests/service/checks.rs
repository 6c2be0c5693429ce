//! What another service hears when it asks how things stand: all that was answered to an enterprise before, and nothing else.

use tonic::Code;
use zhirong_proto::profile::v1::{
    CheckDisclosuresRequest, CheckDisclosuresResponse, ConsentState, EraseEnterpriseRequest, HeardConsent,
    ObjectionState, Purpose, disclosure_check_service_client::DisclosureCheckServiceClient,
    erasure_service_client::ErasureServiceClient, objection_service_client::ObjectionServiceClient,
};

use crate::{
    objections::{decided, raise, recorded},
    trusted::{named, whole},
    world::{World, as_enterprise, enterprise, fields, id, reason},
};

fn heard(consent_id: &str, version: i64) -> HeardConsent {
    HeardConsent { consent_id: consent_id.to_owned(), version }
}

async fn check(world: &World, request: CheckDisclosuresRequest) -> Result<CheckDisclosuresResponse, tonic::Status> {
    let mut client = DisclosureCheckServiceClient::new(world.channel.clone());
    Ok(client.check_disclosures(request).await?.into_inner())
}

#[tokio::test]
async fn consents_are_told_that_have_changed_since_they_were_heard_of() {
    let world = World::trusted().await;
    let uscc = enterprise(1);
    let mut consents = Vec::new();
    for _ in 0..3 {
        consents.push(world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await.consent_id);
    }
    let unknown = id();
    let asked = |versions: [i64; 3]| CheckDisclosuresRequest {
        consents: consents
            .iter()
            .zip(versions)
            .map(|(id, version)| heard(id, version))
            .chain([heard(&unknown, 0)])
            .collect(),
        ..CheckDisclosuresRequest::default()
    };
    let newer = async |versions| -> Vec<(String, i64, ConsentState)> {
        let answer = check(&world, asked(versions)).await.unwrap();
        assert!(answer.disputes.is_empty() && answer.erasures.is_empty());
        answer.newer.iter().map(|of| (of.consent_id.clone(), of.version, of.state())).collect()
    };
    assert_eq!(newer([1, 1, 1]).await, []);
    assert_eq!(newer([0, 1, 1]).await, [(consents[0].clone(), 1, ConsentState::Granted)], "never heard of");
    world.narrow(&uscc, &consents[1], Some(named(&["tax"])), None).await;
    world.revoke(&uscc, &consents[2]).await;
    let changed = [(consents[1].clone(), 2, ConsentState::Granted), (consents[2].clone(), 2, ConsentState::Revoked)];
    assert_eq!(newer([1, 1, 1]).await, changed);
    assert_eq!(newer([1, 2, 2]).await, []);
    // Heard of twice, the lower and the higher: what is newer than both.
    let twice = CheckDisclosuresRequest {
        consents: vec![heard(&consents[2], 1), heard(&consents[2], 2)],
        ..CheckDisclosuresRequest::default()
    };
    assert!(check(&world, twice).await.unwrap().newer.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn disputes_are_told_while_they_are_open_and_erasures_for_good() {
    let world = World::trusted().await;
    let (uscc, other) = (enterprise(1), enterprise(2));
    world.known(&uscc, 3).await;
    recorded(&world, &uscc, "patent", "patent_count", "p1").await;
    let asked = || CheckDisclosuresRequest {
        enterprise_ids: vec![other.to_string(), uscc.to_string()],
        ..CheckDisclosuresRequest::default()
    };
    assert_eq!(check(&world, asked()).await.unwrap(), CheckDisclosuresResponse::default());

    let mut objections = ObjectionServiceClient::new(world.channel.clone());
    let raised = objections.raise_objection(as_enterprise(&uscc, raise("patent", "p1"))).await.unwrap().into_inner();
    let objection = raised.objection.unwrap();
    let open = check(&world, asked()).await.unwrap();
    let told: Vec<_> = open
        .disputes
        .iter()
        .map(|of| (of.enterprise_id.clone(), of.record.as_ref().unwrap().objection_id.clone(), of.due_on.clone()))
        .collect();
    assert_eq!(told, [(uscc.to_string(), objection.objection_id.clone(), objection.due_on.clone())]);
    assert_eq!(
        open.disputes[0].computed_values,
        ["credit_grade", "credit_score", "ip_value_fen", "listing_tier"],
        "what the scorecard, the appraisal and the tiers make of patents"
    );
    decided(&world, &objection, ObjectionState::Rejected).await.unwrap();
    assert!(check(&world, asked()).await.unwrap().disputes.is_empty());

    let request = EraseEnterpriseRequest { request_id: id(), enterprise_id: String::new() };
    ErasureServiceClient::new(world.channel.clone()).erase_enterprise(as_enterprise(&uscc, request)).await.unwrap();
    let erasures = check(&world, asked()).await.unwrap().erasures;
    assert_eq!(
        erasures.iter().map(|of| (of.enterprise_id.as_str(), of.version)).collect::<Vec<_>>(),
        [(uscc.as_str(), 1)]
    );
    world.stop().await;
}

#[tokio::test]
async fn a_check_of_too_much_or_of_nothing_there_can_be_is_refused_by_its_field() {
    let world = World::trusted().await;
    let too_many =
        CheckDisclosuresRequest { consents: vec![heard(&id(), 0); 2_001], ..CheckDisclosuresRequest::default() };
    let too_many_enterprises = CheckDisclosuresRequest {
        enterprise_ids: vec![enterprise(1).to_string(); 2_001],
        ..CheckDisclosuresRequest::default()
    };
    let malformed = CheckDisclosuresRequest { consents: vec![heard("no id", 1)], ..CheckDisclosuresRequest::default() };
    for (request, field) in
        [(too_many, "consents"), (too_many_enterprises, "enterprise_ids"), (malformed, "consents.consent_id")]
    {
        let refused = check(&world, request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "CHECK_INVALID"));
        assert_eq!(fields(&refused), [field]);
    }
    let all = CheckDisclosuresRequest {
        consents: vec![heard(&id(), i64::MAX); 2_000],
        enterprise_ids: vec![String::new(); 2_000],
    };
    assert_eq!(check(&world, all).await.unwrap(), CheckDisclosuresResponse::default());
    world.stop().await;
}
