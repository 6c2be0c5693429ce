//! What a profile says beside the score: the worth of patents, and the tier on the way to a listing.

use crate::scored::integer;
use crate::world::{World, as_enterprise, enterprise, staff};
use prost::Message as _;
use serde_json::json;
use tonic::Code;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{
    AppraisalDimension, GetIpAppraisalRequest, GetListingTierRequest, IpAppraisal, ListTierChangesRequest,
    ListTierEnterprisesRequest, Profile, TierChanged, appraisal_service_client::AppraisalServiceClient,
    feature_value::Kind, listing_tier_service_client::ListingTierServiceClient,
};

fn tier(profile: &Profile) -> &str {
    match profile.features.get("listing_tier").and_then(|value| value.kind.as_ref()) {
        Some(Kind::Text(tier)) => tier,
        _ => "",
    }
}

async fn appraisal(world: &World, uscc: &Uscc, version: i64) -> Result<IpAppraisal, tonic::Status> {
    let request = GetIpAppraisalRequest { enterprise_id: String::new(), profile_version: version };
    let mut client = AppraisalServiceClient::new(world.channel.clone());
    Ok(client.get_ip_appraisal(as_enterprise(uscc, request)).await?.into_inner().appraisal.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn patents_team_and_credit_give_a_range_that_pledge_loans_can_use() {
    let world = World::scored(&["patent_count", "invention_patent_count", "talent_count", "annual_revenue_fen"]).await;
    let (owner, other) = (enterprise(1), enterprise(2));
    world.observe(&owner, 1, &json!({ "patent_count": 10, "invention_patent_count": 4, "talent_count": 0 })).await;
    world.observe(&other, 1, &json!({ "annual_revenue_fen": 5 })).await;
    let profile =
        world.profile_when(&owner, "its patents have a worth", |of| integer(of, "ip_value_fen").is_some()).await;
    let first = appraisal(&world, &owner, 0).await.unwrap();
    assert_eq!(first.technology_fen, 150_000_000 + 260_000_000);
    assert_eq!(integer(&profile, "ip_value_fen"), Some(first.low_fen), "rules of pledge loans see the lower end");
    assert!(first.low_fen < first.value_fen && first.value_fen < first.high_fen);
    let dimensions: Vec<AppraisalDimension> = first.reasons.iter().map(|reason| reason.dimension()).collect();
    use AppraisalDimension::{Growth, Risk, Technology};
    assert_eq!(dimensions, [Technology, Technology, Growth, Growth, Risk]);
    assert!(first.reasons.iter().all(|reason| !reason.text_zh.is_empty()));

    // The team grows; the appraisal of then can be asked for again.
    world.observe(&owner, 2, &json!({ "patent_count": 10, "invention_patent_count": 4, "talent_count": 5 })).await;
    let grown = |of: &Profile| integer(of, "ip_value_fen").is_some_and(|value| value > first.low_fen);
    world.profile_when(&owner, "it is worth more", grown).await;
    assert_eq!(appraisal(&world, &owner, first.profile_version).await.unwrap(), first);
    assert!(appraisal(&world, &owner, 0).await.unwrap().growth_ppm > first.growth_ppm);

    world.profile_when(&other, "it has a profile", |_| true).await;
    let none = appraisal(&world, &other, 0).await.unwrap_err();
    assert_eq!((none.code(), none.message()), (Code::NotFound, "the enterprise has no patent"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enterprise_moves_between_tiers_and_each_movement_is_told() {
    let features = ["annual_revenue_fen", "net_profit_fen", "investor_count", "valuation_fen", "is_high_tech"];
    let world = World::scored(&features).await;
    let uscc = enterprise(3);
    let mut client = ListingTierServiceClient::new(world.channel.clone());
    let years = [
        (10_000_000_000_i64, 1_000_000_000_i64, 0, 0, "seed"),
        (30_000_000_000, 5_000_000_000, 2, 30_000_000_000_i64, "growth"),
        (1_000_000_000, -5, 0, 0, ""),
    ];
    for (day, (revenue, profit, investors, valuation, expected)) in (1..).zip(years) {
        let data = json!({
            "annual_revenue_fen": revenue, "net_profit_fen": profit, "investor_count": investors,
            "valuation_fen": valuation, "is_high_tech": false,
        });
        world.observe(&uscc, day, &data).await;
        let reached = |of: &Profile| tier(of) == expected && integer(of, "annual_revenue_fen") == Some(revenue);
        world.profile_when(&uscc, "it is in its tier", reached).await;
        let standing = client.get_listing_tier(as_enterprise(&uscc, GetListingTierRequest::default())).await.unwrap();
        assert_eq!(standing.into_inner().standing.unwrap().tier, expected);
        let list = ListTierEnterprisesRequest { tier: "growth".to_owned(), ..Default::default() };
        let list = client.list_tier_enterprises(staff("a", list)).await.unwrap().into_inner();
        assert_eq!(list.enterprise_count, i64::from(expected == "growth"));
    }
    let changes = client.list_tier_changes(as_enterprise(&uscc, ListTierChangesRequest::default())).await.unwrap();
    let changes = changes.into_inner().changes;
    let moves: Vec<(&str, &str, i64)> =
        changes.iter().map(|of| (of.from_tier.as_str(), of.tier.as_str(), of.version)).collect();
    assert_eq!(moves, [("", "seed", 1), ("seed", "growth", 2), ("growth", "", 3)]);
    let told: Vec<TierChanged> =
        world.told("tier").await.iter().map(|(_, payload)| TierChanged::decode(payload.as_slice()).unwrap()).collect();
    assert_eq!(told.into_iter().map(|of| of.standing.unwrap()).collect::<Vec<_>>(), changes);
    let nobody = client.get_listing_tier(as_enterprise(&enterprise(4), GetListingTierRequest::default())).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);
    world.stop().await;
}
