//! Pre-approved credit: current as data and products change, told once, seen by its enterprise.

use tonic::Code;
use zhirong_kernel::Uscc;
use zhirong_proto::{
    catalog::v1::ProductRetired,
    matching::v1::{
        GetMatchingOutcomeRequest, GetPreapprovalRequest, ListPreapprovalVersionsRequest, Preapproval,
        PreapprovalComputed,
    },
};
use zhirong_testkit::{Deliveries, Event, eventually};

use crate::support::{
    BANK, OTHER_BANK, PATIENCE, World, as_enterprise, as_staff, lpr, new_id, profile, published,
    published_preapprovable, reason, uscc,
};

fn asking(enterprise: &str) -> GetPreapprovalRequest {
    GetPreapprovalRequest { enterprise_id: enterprise.to_owned(), version: 0 }
}

/// The pre-approval once its limits are these, as (product, limit, rate).
async fn settled(world: &World, enterprise: &Uscc, limits: &[(&str, i64, i64)]) -> Preapproval {
    eventually(PATIENCE, &format!("{enterprise} has {limits:?}"), || async {
        let Ok(answer) = world.preapprovals().get_preapproval(as_enterprise(enterprise, asking(""))).await else {
            return Ok(None);
        };
        let found = answer.into_inner().preapproval.unwrap();
        let same = found.limits.len() == limits.len()
            && found
                .limits
                .iter()
                .zip(limits)
                .all(|(found, limit)| (found.product_id.as_str(), found.limit_fen, found.rate_ppm) == *limit);
        Ok(same.then_some(found))
    })
    .await
    .unwrap()
}

/// Nobody is due and every change of the catalog has been followed.
async fn quiet(world: &World) {
    eventually(PATIENCE, "nothing is due", || async {
        let busy: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM preapproval_due) + (SELECT count(*) FROM catalog_version WHERE version IS DISTINCT FROM
                 (SELECT catalog_version FROM preapproval_followed))",
        )
        .fetch_one(&world.pool)
        .await?;
        Ok((busy == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn limits_follow_profiles_products_and_the_lpr() {
    let world = World::with_reference(1).await;
    let (large, small, asked, enterprise) = (new_id(), new_id(), new_id(), uscc(1));
    let missing = reason(world.preapprovals().get_preapproval(as_enterprise(&enterprise, asking(""))).await);
    assert_eq!(missing, (Code::NotFound, "PREAPPROVAL_NOT_FOUND".to_owned()));

    // Only what may be computed before anybody asks.
    world.deliver(Deliveries::new([published_preapprovable(&large, BANK, 1), published(&asked, BANK, 1)])).await;
    world.deliver(Deliveries::new([profile(&enterprise, 1, 5)])).await;
    let first = settled(&world, &enterprise, &[(&large, 50_000_000, 35_000)]).await;
    assert_eq!((first.version, first.profile_version), (1, 1));
    assert_eq!(first.limits[0].product_name_zh, "示例贷1");
    assert_eq!(first.limits[0].institution_name_zh, "示例银行1");

    // A profile.
    world.deliver(Deliveries::new([profile(&enterprise, 2, 7)])).await;
    let second = settled(&world, &enterprise, &[(&large, 70_000_000, 35_000)]).await;
    assert_eq!((second.version, second.profile_version), (2, 2));
    // A profile that changes nothing is told to nobody.
    world.deliver(Deliveries::new([profile(&enterprise, 3, 7)])).await;
    quiet(&world).await;
    assert_eq!(settled(&world, &enterprise, &[(&large, 70_000_000, 35_000)]).await, second);

    // The rate of reference.
    world.deliver(Deliveries::new([lpr(2, 31_000)])).await;
    settled(&world, &enterprise, &[(&large, 70_000_000, 36_000)]).await;
    // A second product; at the same limit and rate the id decides.
    world.deliver(Deliveries::new([published_preapprovable(&small, OTHER_BANK, 1)])).await;
    settled(&world, &enterprise, &[(&large, 70_000_000, 36_000), (&small, 70_000_000, 36_000)]).await;
    // And the first leaves.
    let gone = ProductRetired { product_id: large.clone(), sequence: 2 };
    world.deliver(Deliveries::new([Event::of(&large, &gone)])).await;
    let last = settled(&world, &enterprise, &[(&small, 70_000_000, 36_000)]).await;

    // Each version was told, once.
    quiet(&world).await;
    let told = world.announced::<PreapprovalComputed>().await;
    let versions: Vec<i64> = told.iter().map(|fact| fact.preapproval.as_ref().unwrap().version).collect();
    assert_eq!(versions, (1..=last.version).collect::<Vec<_>>());
    assert_eq!(told.last().unwrap().preapproval, Some(last));

    // Each is listed, and computed again to the last bit.
    let request = ListPreapprovalVersionsRequest { page_size: 2, ..ListPreapprovalVersionsRequest::default() };
    let page = world.preapprovals().list_preapproval_versions(as_enterprise(&enterprise, request.clone())).await;
    let mut page = page.unwrap().into_inner();
    let mut listed = std::mem::take(&mut page.versions);
    while !page.next_page_token.is_empty() {
        let request = ListPreapprovalVersionsRequest { page_token: page.next_page_token, ..request.clone() };
        page = world
            .preapprovals()
            .list_preapproval_versions(as_enterprise(&enterprise, request))
            .await
            .unwrap()
            .into_inner();
        listed.append(&mut page.versions);
    }
    let told: Vec<Preapproval> = told.into_iter().filter_map(|fact| fact.preapproval).collect();
    let of = |told: &Preapproval| (told.version, told.profile_version, told.catalog_version, told.computed_at);
    let newest_first: Vec<_> = told.iter().rev().map(of).collect();
    let listed: Vec<_> =
        listed.iter().map(|of| (of.version, of.profile_version, of.catalog_version, of.computed_at)).collect();
    assert_eq!(listed, newest_first);
    for past in told {
        let request = GetPreapprovalRequest { version: past.version, ..asking(enterprise.as_str()) };
        let again = world.preapprovals().get_preapproval(as_staff(request)).await.unwrap().into_inner();
        assert_eq!(again.preapproval, Some(past));
    }
    let never = GetPreapprovalRequest { version: 999, ..asking("") };
    let missing = reason(world.preapprovals().get_preapproval(as_enterprise(&enterprise, never)).await);
    assert_eq!(missing, (Code::NotFound, "VERSION_NOT_FOUND".to_owned()));
    // Who looks as another is not shown it.
    let others = GetPreapprovalRequest { version: 1, ..asking(enterprise.as_str()) };
    assert_eq!(reason(world.preapprovals().get_preapproval(as_enterprise(&uscc(9), others)).await).0, Code::NotFound);
    world.stop().await;
}

fn odd(number: usize) -> i64 {
    i64::from(number % 2 == 1)
}

#[tokio::test]
async fn replicas_and_shuffled_facts_end_at_the_same_limits() {
    let world = World::with_reference(2).await;
    let product = new_id();
    let mut facts = vec![published_preapprovable(&product, BANK, 2), published_preapprovable(&product, BANK, 1)];
    for number in 0..40 {
        facts.extend((1..=3).map(|version| profile(&uscc(number), version, version * 2 - 2 + odd(number))));
    }
    let seed = 20_310_305;
    world.deliver(Deliveries::new(facts).shuffled(seed)).await;
    quiet(&world).await;
    for number in 0..40 {
        let limit = (4 + odd(number)) * 10_000_000;
        let found = settled(&world, &uscc(number), &[(&product, limit, 35_000)]).await;
        assert_eq!(found.limits[0].product_version, 2);
    }
    let told = world.announced::<PreapprovalComputed>().await;
    let mut versions: Vec<_> = told
        .iter()
        .map(|fact| fact.preapproval.as_ref().unwrap())
        .map(|told| (told.enterprise_id.as_str(), told.version))
        .collect();
    let all = versions.len();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), all, "a version was told twice");

    // The report counts each enterprise's largest limit.
    let period = GetMatchingOutcomeRequest { from: "2031-03-05".to_owned(), to: "2031-03-05".to_owned() };
    let report = world.reports().get_matching_outcome(as_staff(period)).await.unwrap().into_inner();
    assert_eq!((report.preapproved_enterprises, report.preapproved_fen), (40, 20 * 40_000_000 + 20 * 50_000_000));
    world.stop().await;
}

#[tokio::test]
async fn an_enterprise_sees_its_own_and_staff_any() {
    let (world, product, enterprise) = World::ready().await;
    world.deliver(Deliveries::new([published_preapprovable(&product, BANK, 2)])).await;
    settled(&world, &enterprise, &[(&product, 50_000_000, 35_000)]).await;
    let seen = world.preapprovals().get_preapproval(as_staff(asking(enterprise.as_str()))).await.unwrap();
    assert_eq!(seen.into_inner().preapproval.unwrap().enterprise_id, enterprise.as_str());
    let others = world.preapprovals().get_preapproval(as_enterprise(&uscc(2), asking(enterprise.as_str()))).await;
    assert_eq!(reason(others).0, Code::NotFound);
    let nobody = world.preapprovals().get_preapproval(as_staff(asking("91330000"))).await;
    assert_eq!(reason(nobody), (Code::InvalidArgument, "USCC_INVALID".to_owned()));
    world.stop().await;
}
