//! Pre-approved credit: the data of departments and banks give 574 individual businesses a limit before anybody asks.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::matching::v1::{
    GetPreapprovalRequest, Preapproval, preapproval_service_client::PreapprovalServiceClient,
};
use zhirong_tests::{
    district::{District, eventually},
    liandu,
    records::{publish, record},
};

/// The district's own figures.
const BUSINESSES: usize = 574;
const PREAPPROVED_FEN: i64 = 131_200_000_000;
/// Businesses beside them that get nothing: half are on the list of dishonest debtors, of half nothing is known of their points.
const OTHERS: usize = 26;
/// The most that is lent to an individual business without collateral, and the share of a year's invoices that is lent.
const LARGEST_FEN: i64 = 500_000_000;
const INVOICES_PER_LIMIT: i64 = 4;

/// An individual business and its year's invoices.
struct Business {
    uscc: Uscc,
    invoices_fen: i64,
    dishonest: bool,
    points: Option<i64>,
}

impl Business {
    /// What the largest product for individual businesses lends it.
    fn limit_fen(&self) -> i64 {
        (self.invoices_fen / INVOICES_PER_LIMIT).min(LARGEST_FEN)
    }

    fn records(&self, day: &str) -> Vec<Value> {
        let record = |category: &str, data: Value| record(&self.uscc, category, day, &data);
        let mut records = vec![
            record(
                "business_registration",
                json!({
                    "name": format!("示例个体工商户{}", &self.uscc.as_str()[9..17]),
                    "established_on": "2021-03-01",
                    "enterprise_class": "individual",
                    "industry_code": "F52",
                    "registered_capital_fen": 10_000_000,
                    "is_in_operation": true,
                }),
            ),
            record("invoice", json!({ "invoice_12m_fen": self.invoices_fen, "invoice_customer_count": 1 })),
            record(
                "credit_record",
                json!({
                    "loan_balance_fen": 0, "overdue_count_24m": 0, "max_overdue_days": 0, "guarantee_balance_fen": 0,
                    "lender": "SAMPLE-LENDER",
                }),
            ),
            record("dishonest_debtor", json!({ "is_dishonest": self.dishonest })),
            record("administrative_penalty", json!({ "penalty_count_36m": 0, "penalty_amount_36m_fen": 0 })),
            record("abnormal_list", json!({ "is_abnormal": false })),
            record("tax_arrears", json!({ "tax_arrears_fen": 0 })),
        ];
        records
            .extend(self.points.map(|points| record("local_credit_points", json!({ "local_credit_points": points }))));
        records
    }
}

fn businesses() -> Vec<Business> {
    let uscc = |number: usize| Uscc::with_check(&format!("92330881MA2J{number:05}")).unwrap();
    // One has more invoices than can be lent on; the rest differ and share what is left.
    let weight = |number: usize| i64::try_from(100 + number * 37 % 301).unwrap();
    let weights: i64 = (1..BUSINESSES).map(weight).sum();
    let shared = PREAPPROVED_FEN - LARGEST_FEN;
    let mut left = shared;
    let mut all: Vec<Business> = (0..BUSINESSES)
        .map(|number| {
            let invoices_fen = if number == 0 {
                LARGEST_FEN * 6
            } else {
                let limit = if number + 1 == BUSINESSES { left } else { shared / weights * weight(number) };
                left -= limit;
                limit * INVOICES_PER_LIMIT
            };
            Business { uscc: uscc(number), invoices_fen, dishonest: false, points: Some(640) }
        })
        .collect();
    all.extend((0..OTHERS).map(|number| Business {
        uscc: uscc(BUSINESSES + number),
        invoices_fen: 400_000_000,
        dishonest: number % 2 == 0,
        points: (number % 2 == 0).then_some(640),
    }));
    all
}

/// Publishes the records of businesses as of a day.
async fn arrive(district: &District, businesses: impl Iterator<Item = &Business>, day: &str) -> Result<()> {
    let records: Vec<Value> = businesses.flat_map(|business| business.records(day)).collect();
    publish(district, &format!("records-{day}"), &records).await
}

async fn preapproval(district: &District, business: &Business) -> Result<Preapproval> {
    let request = GetPreapprovalRequest::default();
    let mut client = PreapprovalServiceClient::new(district.as_enterprise(&business.uscc).await?);
    client.get_preapproval(request).await?.into_inner().preapproval.context("a pre-approval")
}

/// Waits until the outcome report has these figures.
async fn reported(district: &District, businesses: usize, fen: i64) -> Result<Value> {
    eventually(&format!("{businesses} businesses are pre-approved for {fen} fen"), || async {
        let report = liandu::report(district).await?;
        Ok((report["preapproved_enterprises"] == businesses && report["preapproved_fen"] == fen).then_some(report))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn story_jiangshan_j3_preapproved_credit() -> Result<()> {
    let district = District::start().await?;
    let mut businesses = businesses();
    let sum: i64 = businesses.iter().take(BUSINESSES).map(Business::limit_fen).sum();
    assert_eq!(sum, PREAPPROVED_FEN);

    arrive(&district, businesses.iter(), "2026-10-01").await?;
    let report = reported(&district, BUSINESSES, PREAPPROVED_FEN).await?;
    assert_eq!((&report["enterprises_computed"], &report["orders_placed"]), (&json!(0), &json!(0)), "nobody has asked");

    // What it rests on is named, to the enterprise itself.
    for business in [&businesses[0], &businesses[17], &businesses[BUSINESSES - 1]] {
        let found = preapproval(&district, business).await?;
        assert_eq!(found.limits[0].limit_fen, business.limit_fen());
        assert!(found.profile_version > 0 && found.catalog_version > 0);
        assert!(found.limits.iter().all(|limit| !limit.product_name_zh.is_empty() && limit.rate_ppm > 0));
        assert!(found.limits.windows(2).all(|pair| pair[0].limit_fen >= pair[1].limit_fen));
    }
    assert_eq!(preapproval(&district, &businesses[0]).await?.limits[0].limit_fen, LARGEST_FEN);
    for other in &businesses[BUSINESSES..] {
        assert_eq!(preapproval(&district, other).await?.limits, []);
    }

    // Data change: one becomes a dishonest debtor, one has half the invoices it had.
    businesses[1].dishonest = true;
    let before = (businesses[1].limit_fen(), businesses[2].limit_fen());
    businesses[2].invoices_fen /= 2;
    arrive(&district, businesses[1..=2].iter(), "2026-10-02").await?;
    let left = PREAPPROVED_FEN - before.0 - (before.1 - businesses[2].limit_fen());
    reported(&district, BUSINESSES - 1, left).await?;
    assert_eq!(preapproval(&district, &businesses[1]).await?.limits, []);
    assert_eq!(preapproval(&district, &businesses[2]).await?.limits[0].limit_fen, businesses[2].limit_fen());
    district.stop().await
}
