//! One product against every enterprise: counts for everybody who may ask, names only of who agrees.

use tonic::Code;
use zhirong_kernel::Uscc;
use zhirong_proto::matching::v1::{
    Candidate, CandidateSummary, ListOfferConsentsRequest, SetOfferConsentRequest, StreamCandidatesRequest,
    stream_candidates_response::Element,
};
use zhirong_testkit::{Deliveries, eventually};

use crate::support::{
    BANK, OTHER_BANK, PATIENCE, World, as_bank, as_enterprise, as_staff, new_id, profile, published, reason, refusal,
    uscc,
};

fn asking(product: &str) -> StreamCandidatesRequest {
    StreamCandidatesRequest { product_id: product.to_owned(), min_limit_fen: 0 }
}

async fn candidates(
    world: &World,
    request: tonic::Request<StreamCandidatesRequest>,
) -> (CandidateSummary, Vec<Candidate>) {
    let mut stream = world.targeting().stream_candidates(request).await.unwrap().into_inner();
    let Some(Element::Summary(summary)) = stream.message().await.unwrap().unwrap().element else { panic!() };
    let mut named = Vec::new();
    while let Some(next) = stream.message().await.unwrap() {
        let Some(Element::Candidate(candidate)) = next.element else { panic!("{next:?}") };
        named.push(candidate);
    }
    (summary, named)
}

async fn consent(world: &World, enterprise: &Uscc, institution: &str, expires_on: &str) {
    let request = SetOfferConsentRequest {
        request_id: new_id(),
        institution_id: institution.to_owned(),
        expires_on: expires_on.to_owned(),
        text_version: "2031-01".to_owned(),
    };
    world.targeting().set_offer_consent(as_enterprise(enterprise, request)).await.unwrap();
}

#[tokio::test]
async fn a_bank_sees_counts_until_an_enterprise_lets_it_see_more() {
    let world = World::with_reference(2).await;
    let product = new_id();
    let mut facts = vec![published(&product, BANK, 1)];
    facts.extend((0..9).map(|number| profile(&uscc(number), 1, i64::try_from(number).unwrap())));
    world.deliver(Deliveries::new(facts)).await;
    // Who has no patent is not eligible.
    let (summary, all) = eventually(PATIENCE, "everybody is in memory", || async {
        let (summary, all) = candidates(&world, as_staff(asking(&product))).await;
        Ok((summary.computed_enterprises == 9).then_some((summary, all)))
    })
    .await
    .unwrap();
    assert_eq!((summary.eligible_enterprises, summary.named_enterprises), (8, 8));
    assert_eq!(summary.total_limit_fen, (1..=8).sum::<i64>() * 10_000_000);
    let limits: Vec<_> = all.iter().map(|found| (found.enterprise_id.clone(), found.limit_fen)).collect();
    let expected: Vec<_> =
        (1..=8).rev().map(|number| (uscc(number).to_string(), i64::try_from(number).unwrap() * 10_000_000)).collect();
    assert_eq!(limits, expected);

    let (counts, names) = candidates(&world, as_bank(BANK, asking(&product))).await;
    assert_eq!((counts.eligible_enterprises, counts.named_enterprises, names.len()), (8, 0, 0));
    assert_eq!(counts.total_limit_fen, summary.total_limit_fen);

    // To all; to this bank; to all but not to this bank; to another bank; and what was over yesterday.
    consent(&world, &uscc(1), "", "2031-03-05").await;
    consent(&world, &uscc(2), BANK, "2031-12-31").await;
    consent(&world, &uscc(3), "", "2031-12-31").await;
    consent(&world, &uscc(3), BANK, "").await;
    consent(&world, &uscc(4), OTHER_BANK, "2031-12-31").await;
    let named = async |request| -> Vec<String> {
        candidates(&world, request).await.1.into_iter().map(|candidate| candidate.enterprise_id).collect()
    };
    assert_eq!(named(as_bank(BANK, asking(&product))).await, [uscc(2).to_string(), uscc(1).to_string()]);
    world.clock.set(crate::support::at(jiff::civil::date(2031, 3, 6), 9));
    assert_eq!(named(as_bank(BANK, asking(&product))).await, [uscc(2).to_string()]);
    // Taken back: effective at once.
    consent(&world, &uscc(2), BANK, "").await;
    assert!(named(as_bank(BANK, asking(&product))).await.is_empty());

    let large = StreamCandidatesRequest { min_limit_fen: 60_000_000, ..asking(&product) };
    assert_eq!(candidates(&world, as_staff(large)).await.0.eligible_enterprises, 3);
    let unknown = (Code::NotFound, "PRODUCT_NOT_FOUND".to_owned());
    assert_eq!(reason(world.targeting().stream_candidates(as_bank(OTHER_BANK, asking(&product))).await), unknown);
    assert_eq!(reason(world.targeting().stream_candidates(as_staff(asking(&new_id()))).await), unknown);
    let negative = StreamCandidatesRequest { min_limit_fen: -1, ..asking(&product) };
    let refused = refusal(world.targeting().stream_candidates(as_staff(negative)).await);
    assert_eq!(refused.fields, ["min_limit_fen"]);

    // A newer profile counts, an older one does not.
    world.deliver(Deliveries::new([profile(&uscc(8), 3, 30), profile(&uscc(8), 2, 0)])).await;
    eventually(PATIENCE, "the new profile is in memory", || async {
        let (_, all) = candidates(&world, as_staff(asking(&product))).await;
        Ok((all[0].limit_fen == 300_000_000 && all[0].profile_version == 3).then_some(()))
    })
    .await
    .unwrap();
    world.stop().await;
}

#[tokio::test]
async fn consents_are_listed_and_senseless_ones_refused() {
    let world = World::empty(1).await;
    let enterprise = uscc(1);
    for institution in ["", BANK, OTHER_BANK] {
        consent(&world, &enterprise, institution, "2031-06-30").await;
    }
    consent(&world, &enterprise, BANK, "").await;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListOfferConsentsRequest { page_size: 2, page_token };
        let page = world.targeting().list_offer_consents(as_enterprise(&enterprise, request)).await.unwrap();
        let page = page.into_inner();
        seen.extend(page.consents.into_iter().map(|found| (found.institution_id, found.expires_on, found.version)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let entry = |institution: &str, day: &str, version| (institution.to_owned(), day.to_owned(), version);
    assert_eq!(seen, [entry("", "2031-06-30", 1), entry(BANK, "", 2), entry(OTHER_BANK, "2031-06-30", 1)]);
    let none = ListOfferConsentsRequest::default();
    let others = world.targeting().list_offer_consents(as_enterprise(&uscc(2), none)).await.unwrap().into_inner();
    assert!(others.consents.is_empty());

    let wrong = SetOfferConsentRequest {
        request_id: new_id(),
        institution_id: "No Bank".to_owned(),
        expires_on: "2033-01-01".to_owned(),
        text_version: String::new(),
    };
    let refused = refusal(world.targeting().set_offer_consent(as_enterprise(&enterprise, wrong)).await);
    assert_eq!(refused.fields, ["institution_id", "text_version", "expires_on"]);
    world.stop().await;
}
