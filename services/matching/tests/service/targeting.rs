//! One product against every enterprise: counts for everybody who may ask, names only of who agrees.

use jiff::civil::Date;
use tonic::Code;
use zhirong_kernel::Uscc;
use zhirong_proto::{
    matching::v1::{
        Candidate, CandidateSummary, CandidatesNamed, RecalculateRequest, StreamCandidatesRequest, offer::Outcome,
        stream_candidates_response::Element,
    },
    profile::v1::{
        Consent, ConsentGranted, ConsentNarrowed, ConsentRevoked, ConsentState, DisputedRecord, ObjectionDecided,
        ObjectionRaised, Purpose, Scope,
    },
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::support::{
    BANK, OTHER_BANK, PATIENCE, TODAY, World, as_bank, as_staff, at, institution, lpr, new_id, profile, published,
    reason, refusal, uscc,
};

fn asking(product: &str) -> StreamCandidatesRequest {
    StreamCandidatesRequest { product_id: product.to_owned(), min_limit_fen: 0 }
}

pub async fn candidates(
    world: &World,
    request: tonic::Request<StreamCandidatesRequest>,
) -> anyhow::Result<(CandidateSummary, Vec<Candidate>)> {
    let mut stream = world.targeting().stream_candidates(request).await?.into_inner();
    let Some(Element::Summary(summary)) = stream.message().await?.unwrap().element else { panic!() };
    let mut named = Vec::new();
    while let Some(next) = stream.message().await? {
        let Some(Element::Candidate(candidate)) = next.element else { panic!("{next:?}") };
        named.push(candidate);
    }
    Ok((summary, named))
}

/// Who was told of as named to the bank, in order: enterprise, version of its profile, consent.
async fn named_by(world: &World, product: &str) -> Vec<(String, i64, String)> {
    let facts: Vec<CandidatesNamed> = world.announced().await;
    assert!(facts.iter().all(|fact| fact.institution_id == BANK && fact.product_id == product));
    let told = facts.into_iter().flat_map(|fact| fact.candidates);
    told.map(|named| (named.enterprise_id, named.profile_version, named.consent_id)).collect()
}

/// A consent to offer credit, with the score in its scope, until the end of the year; as it was granted.
pub fn given(enterprise: &Uscc, institution: &str) -> Consent {
    Consent {
        consent_id: new_id(),
        enterprise_id: enterprise.to_string(),
        institution_id: institution.to_owned(),
        purpose: Purpose::Preapproval.into(),
        scope: Some(Scope { score: true, ..Scope::default() }),
        expires_at: Some(time(jiff::civil::date(2031, 12, 31))),
        state: ConsentState::Granted.into(),
        version: 1,
        ..Consent::default()
    }
}

fn time(day: Date) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at(day, 0).as_second(), nanos: 0 }
}

pub fn granted(consent: &Consent) -> Event {
    Event::of(&consent.consent_id, &ConsentGranted { consent: Some(consent.clone()) })
}

pub fn narrowed(consent: &Consent, scope: Scope) -> Event {
    let narrowed = Consent { scope: Some(scope), version: 2, ..consent.clone() };
    Event::of(&consent.consent_id, &ConsentNarrowed { consent: Some(narrowed) })
}

pub fn revoked(consent: &Consent) -> Event {
    let version = consent.version + 1;
    let revoked = Consent { state: ConsentState::Revoked.into(), version, ..consent.clone() };
    Event::of(&consent.consent_id, &ConsentRevoked { consent: Some(revoked) })
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
        let (summary, all) = candidates(&world, as_staff(asking(&product))).await?;
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

    let (counts, names) = candidates(&world, as_bank(BANK, asking(&product))).await.unwrap();
    assert_eq!((counts.eligible_enterprises, counts.named_enterprises, names.len()), (8, 0, 0));
    assert_eq!(counts.total_limit_fen, summary.total_limit_fen);

    // To this bank, until tonight and for longer; and what names nobody: another bank, another purpose, no score in the scope
    // or no longer, one taken back.
    let short = Consent { expires_at: Some(time(jiff::civil::date(2031, 3, 6))), ..given(&uscc(1), BANK) };
    let long = given(&uscc(2), BANK);
    let to_other = given(&uscc(3), OTHER_BANK);
    let to_apply = Consent { purpose: Purpose::LoanApplication.into(), ..given(&uscc(4), BANK) };
    let features = Scope { all_categories: true, ..Scope::default() };
    let without = Consent { scope: Some(features.clone()), ..given(&uscc(5), BANK) };
    let (less, back) = (given(&uscc(6), BANK), given(&uscc(7), BANK));
    let mut facts: Vec<Event> = [&short, &long, &to_other, &to_apply, &without, &less, &back].map(granted).into();
    facts.extend([narrowed(&less, features), revoked(&back)]);
    world.deliver(Deliveries::new(facts).twice().shuffled(3)).await;
    let names = async |request| -> Vec<String> {
        candidates(&world, request).await.unwrap().1.into_iter().map(|candidate| candidate.enterprise_id).collect()
    };
    let become_named = async |expected: &[usize]| {
        let expected: Vec<String> = expected.iter().map(|number| uscc(*number).to_string()).collect();
        eventually(PATIENCE, &format!("{expected:?} are named"), || async {
            Ok((names(as_bank(BANK, asking(&product))).await == expected).then_some(()))
        })
        .await
        .unwrap();
    };
    become_named(&[2, 1]).await;
    let mut told: Vec<_> = named_by(&world, &product).await;
    told.sort();
    let mut expected =
        vec![(uscc(1).to_string(), 1, short.consent_id.clone()), (uscc(2).to_string(), 1, long.consent_id.clone())];
    expected.sort();
    assert_eq!(told, expected, "each once, however often the list was asked for");
    names(as_staff(asking(&product))).await;
    names(as_bank(BANK, asking(&product))).await;
    assert_eq!(named_by(&world, &product).await.len(), 2, "nor are the same told again on the same day, or of staff");
    // The next day the one has expired by the clock, and the other is told again.
    world.clock.set(at(jiff::civil::date(2031, 3, 6), 9));
    assert_eq!(names(as_bank(BANK, asking(&product))).await, [uscc(2).to_string()]);
    let again = (uscc(2).to_string(), 1, long.consent_id.clone());
    assert_eq!(named_by(&world, &product).await.last(), Some(&again));
    assert_eq!(world.count("SELECT count(*) FROM candidate_named").await, 1, "the day before is forgotten");
    // Taken back.
    world.deliver(Deliveries::new([revoked(&long)])).await;
    become_named(&[]).await;
    assert_eq!(named_by(&world, &product).await.len(), 3);

    let large = StreamCandidatesRequest { min_limit_fen: 60_000_000, ..asking(&product) };
    assert_eq!(candidates(&world, as_staff(large)).await.unwrap().0.eligible_enterprises, 3);
    let unknown = (Code::NotFound, "PRODUCT_NOT_FOUND".to_owned());
    assert_eq!(reason(world.targeting().stream_candidates(as_bank(OTHER_BANK, asking(&product))).await), unknown);
    assert_eq!(reason(world.targeting().stream_candidates(as_staff(asking(&new_id()))).await), unknown);
    let negative = StreamCandidatesRequest { min_limit_fen: -1, ..asking(&product) };
    let refused = refusal(world.targeting().stream_candidates(as_staff(negative)).await);
    assert_eq!(refused.fields, ["min_limit_fen"]);

    // A newer profile counts, an older one does not.
    let late = given(&uscc(8), BANK);
    world.deliver(Deliveries::new([granted(&late)])).await;
    become_named(&[8]).await;
    world.deliver(Deliveries::new([profile(&uscc(8), 3, 30), profile(&uscc(8), 2, 0)])).await;
    eventually(PATIENCE, "the new profile is in memory", || async {
        let (_, all) = candidates(&world, as_staff(asking(&product))).await?;
        Ok((all[0].limit_fen == 300_000_000 && all[0].profile_version == 3).then_some(()))
    })
    .await
    .unwrap();
    names(as_bank(BANK, asking(&product))).await;
    let told = named_by(&world, &product).await;
    let of_late = |version| (uscc(8).to_string(), version, late.consent_id.clone());
    assert_eq!(told[3..], [of_late(1), of_late(3)], "another version of the profile is told anew");
    world.stop().await;
}

#[tokio::test]
async fn a_candidate_that_disputes_a_record_is_named_with_it_until_that_is_decided() {
    let world = World::with_reference(2).await;
    let (product, objection) = (new_id(), new_id());
    let raised = ObjectionRaised {
        enterprise_id: uscc(1).to_string(),
        record: Some(DisputedRecord {
            objection_id: objection.clone(),
            category: "patent".to_owned(),
            ..DisputedRecord::default()
        }),
        ..ObjectionRaised::default()
    };
    let mut facts = vec![published(&product, BANK, 1), Event::of(&objection, &raised)];
    for number in [1, 2] {
        facts.extend([profile(&uscc(number), 1, 5), granted(&given(&uscc(number), BANK))]);
    }
    world.deliver(Deliveries::new(facts).twice().shuffled(5)).await;
    let become_flagged = async |expected: [bool; 2]| {
        eventually(PATIENCE, &format!("disputes are {expected:?}"), || async {
            let (_, mut named) = candidates(&world, as_bank(BANK, asking(&product))).await?;
            named.sort_by(|a, b| a.enterprise_id.cmp(&b.enterprise_id));
            let found: Vec<_> = named.into_iter().map(|named| (named.enterprise_id, named.disputed)).collect();
            let mut expected = [(uscc(1).to_string(), expected[0]), (uscc(2).to_string(), expected[1])];
            expected.sort();
            Ok((found == expected).then_some(()))
        })
        .await
        .unwrap();
    };
    become_flagged([true, false]).await;
    let (objection_id, enterprise_id) = (objection.clone(), uscc(1).to_string());
    let decided = ObjectionDecided { objection_id, enterprise_id, ..ObjectionDecided::default() };
    world.deliver(Deliveries::new([Event::of(&objection, &decided)])).await;
    become_flagged([false, false]).await;
    let facts: Vec<CandidatesNamed> = world.announced().await;
    let told = facts.iter().flat_map(|fact| &fact.candidates).filter(|named| named.enterprise_id == uscc(1).as_str());
    let told: Vec<bool> = told.map(|named| named.disputed).collect();
    assert_eq!(told, [true, false], "each as it was shown");
    world.stop().await;
}

#[tokio::test]
async fn what_a_bank_was_shown_is_told_again_when_it_is_another_and_can_be_computed_again() {
    let world = World::with_reference(1).await;
    let (product, enterprise) = (new_id(), uscc(1));
    let facts = [published(&product, BANK, 1), profile(&enterprise, 1, 5), granted(&given(&enterprise, BANK))];
    world.deliver(Deliveries::new(facts)).await;
    // The list at a rate, once it is computed from everything that has come in.
    let shown = async |rate_ppm: i64| {
        let version = world.count("SELECT version FROM catalog_version").await;
        eventually(PATIENCE, &format!("the list is at {rate_ppm} ppm"), || async {
            let (summary, named) = candidates(&world, as_bank(BANK, asking(&product))).await?;
            let rates: Vec<i64> = named.iter().map(|named| named.rate_ppm).collect();
            Ok((summary.catalog_version == version && rates == [rate_ppm]).then_some(()))
        })
        .await
        .unwrap();
    };
    shown(35_000).await;
    world.deliver(Deliveries::new([lpr(2, 40_000)])).await;
    shown(45_000).await;
    // Another version of the catalog that shows the same is nothing new.
    world.deliver(Deliveries::new([institution(BANK, 2)])).await;
    shown(45_000).await;
    world.deliver(Deliveries::new([lpr(3, 30_000)])).await;
    shown(35_000).await;
    shown(35_000).await;

    let facts: Vec<CandidatesNamed> = world.announced().await;
    let rates: Vec<Vec<i64>> =
        facts.iter().map(|fact| fact.candidates.iter().map(|named| named.rate_ppm).collect()).collect();
    assert_eq!(rates, [[35_000], [45_000], [35_000]], "also when it is again what it was before");
    for fact in facts {
        let named = &fact.candidates[0];
        let request = RecalculateRequest {
            enterprise_id: named.enterprise_id.clone(),
            catalog_version: fact.catalog_version,
            profile_version: named.profile_version,
            computed_on: TODAY.to_string(),
            unrated_level_ppm: 3_000_000,
            ..RecalculateRequest::default()
        };
        let again = world.calculator().recalculate(as_staff(request)).await.unwrap().into_inner().answer.unwrap();
        let Some(Outcome::Eligible(eligible)) = &again.offers[0].outcome else { panic!("{again:?}") };
        assert_eq!((eligible.limit_fen, eligible.rate_ppm), (named.limit_fen, named.rate_ppm));
    }
    world.stop().await;
}
