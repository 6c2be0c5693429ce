//! Listing cultivation: revenue with net profit, investors with valuation and the ability to innovate put enterprises into tiers,
//! and every movement is told.

use anyhow::Result;
use serde_json::{Value, json};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{
    GetListingTierRequest, ListTierChangesRequest, ListTierEnterprisesRequest, TierStanding,
    listing_tier_service_client::ListingTierServiceClient,
};
use zhirong_tests::{
    district::{District, eventually},
    liandu,
    records::{publish, record},
};

/// What an enterprise shows in a year: revenue, net profit, investors, valuation, inventions and research, in million CNY.
#[derive(Clone, Copy)]
struct Year {
    revenue: i64,
    profit: i64,
    investors: i64,
    valuation: i64,
    inventions: i64,
    research: i64,
}

const MILLION_FEN: i64 = 100_000_000;
/// A star, one that grows, a seed, and one that is in no tier.
const YEARS: [(Year, &str); 4] = [
    (Year { revenue: 300, profit: 50, investors: 3, valuation: 1_000, inventions: 15, research: 30 }, "star"),
    (Year { revenue: 120, profit: 12, investors: 2, valuation: 300, inventions: 5, research: 5 }, "growth"),
    (Year { revenue: 20, profit: 1, investors: 1, valuation: 50, inventions: 0, research: 0 }, "seed"),
    (Year { revenue: 19, profit: 1, investors: 0, valuation: 0, inventions: 0, research: 0 }, ""),
];

fn uscc(number: usize) -> Uscc {
    Uscc::with_check(&format!("91330105MA2G{number:05}")).unwrap()
}

fn records(uscc: &Uscc, day: &str, year: Year) -> Vec<Value> {
    let report = json!({
        "year": 2025, "annual_revenue_fen": year.revenue * MILLION_FEN, "net_profit_fen": year.profit * MILLION_FEN,
        "total_assets_fen": 0, "total_liabilities_fen": 0, "employee_count": 100,
    });
    let investors = json!({
        "change_count_24m": 0, "legal_person_change_count": 0, "investor_count": year.investors,
        "valuation_fen": year.valuation * MILLION_FEN,
    });
    let patents = json!({ "patent_count": year.inventions, "invention_patent_count": year.inventions });
    let research = json!({ "is_high_tech": true, "rd_expense_fen": year.research * MILLION_FEN });
    vec![
        record(uscc, "annual_report", day, &report),
        record(uscc, "business_change", day, &investors),
        record(uscc, "patent", day, &patents),
        record(uscc, "high_tech", day, &research),
    ]
}

/// The enterprises of a tier, once there are so many.
async fn members(district: &District, tier: &str, count: i64) -> Result<Vec<TierStanding>> {
    let client = ListingTierServiceClient::new(district.as_staff().await?);
    eventually(&format!("{count} enterprises are in the tier {tier}"), || async {
        let request = ListTierEnterprisesRequest { tier: tier.to_owned(), ..ListTierEnterprisesRequest::default() };
        let page = client.clone().list_tier_enterprises(request).await?.into_inner();
        Ok((page.enterprise_count == count).then_some(page.standings))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn story_gongshu_g8_listing_tiers() -> Result<()> {
    let district = District::start().await?;
    let all: Vec<Value> =
        YEARS.iter().enumerate().flat_map(|(number, (year, _))| records(&uscc(number), "2026-10-01", *year)).collect();
    publish(&district, "first", &all).await?;
    for (number, (_, tier)) in YEARS.iter().enumerate().filter(|(_, (_, tier))| !tier.is_empty()) {
        let standings = members(&district, tier, 1).await?;
        assert_eq!(standings[0].enterprise_id, uscc(number).as_str());
        assert_eq!(standings[0].families.len(), 3);
    }
    members(&district, "", 3).await?;
    assert_eq!(liandu::report(&district).await?["listing_tier_enterprises"], 3);
    let mut client = ListingTierServiceClient::new(district.as_enterprise(&uscc(3)).await?);
    let nobody = client.get_listing_tier(GetListingTierRequest::default()).await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::NotFound);

    // A good year: the second one becomes a star and sees where it comes from.
    publish(&district, "second", &records(&uscc(1), "2026-10-02", YEARS[0].0)).await?;
    members(&district, "star", 2).await?;
    members(&district, "growth", 0).await?;
    let mut client = ListingTierServiceClient::new(district.as_enterprise(&uscc(1)).await?);
    let changes = client.list_tier_changes(ListTierChangesRequest::default()).await?.into_inner().changes;
    let last = changes.last().unwrap();
    assert_eq!((last.tier.as_str(), last.tier_name_zh.as_str()), ("star", "运河之星"));
    // Records of a day arrive one by one, so that an enterprise may pass through tiers; each movement begins where the last ended.
    let ends: Vec<&str> = changes.iter().map(|of| of.tier.as_str()).collect();
    let begins: Vec<&str> = changes.iter().map(|of| of.from_tier.as_str()).collect();
    assert_eq!(begins[0], "");
    assert_eq!(begins[1..], ends[..ends.len() - 1]);
    assert_eq!(
        changes.iter().map(|of| of.version).collect::<Vec<_>>(),
        (1..=i64::try_from(changes.len())?).collect::<Vec<_>>()
    );
    district.stop().await
}
