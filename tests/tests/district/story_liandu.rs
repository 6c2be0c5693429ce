//! The Liandu story: a district runs, from government data to the rated loan; and runs the same when its processes are killed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use zhirong_proto::{
    catalog::v1::{
        ListInstitutionsRequest, ListProductsRequest, ProductKind,
        institution_service_client::InstitutionServiceClient, product_service_client::ProductServiceClient,
    },
    feedback::v1::{SmsKind, SmsState},
    matching::v1::{CalculateView, Order, OrderState, offer::Outcome},
    profile::v1::{GetProfileRequest, profile_service_client::ProfileServiceClient},
    subsidy::v1::GrantState,
};
use zhirong_tests::{
    apart::{computed_apart, loans},
    district::{District, eventually},
    liandu::{self, Part},
};

/// The district's own figures.
const ENTERPRISES: usize = 38;
const LOANS: usize = 23;
const LENT_FEN: i64 = 12_100_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_l1_supermarket() -> Result<()> {
    let district = District::start().await?;
    let staff = district.as_staff().await?;
    let institutions = InstitutionServiceClient::new(staff.clone())
        .list_institutions(ListInstitutionsRequest { page_size: 500, page_token: String::new() })
        .await?
        .into_inner()
        .institutions;
    assert_eq!(institutions.len(), 21);
    let mut sizes = Vec::new();
    for kind in [ProductKind::Unspecified, ProductKind::Credit, ProductKind::Service] {
        let request = ListProductsRequest { page_size: 1, kind: kind.into(), ..ListProductsRequest::default() };
        sizes.push(ProductServiceClient::new(staff.clone()).list_products(request).await?.into_inner().total_size);
    }
    assert_eq!(sizes, [311, 216, 95]);
    district.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_spine() -> Result<()> {
    let district = District::start().await?;
    let parts = liandu::parts()?;
    let ending = act(&district, &parts, false).await?;
    check(&district, &parts, &ending).await?;
    district.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_spine_with_every_process_killed_once() -> Result<()> {
    let district = District::start().await?;
    let parts = liandu::parts()?;
    let ending = act(&district, &parts, true).await?;
    check(&district, &parts, &ending).await?;
    district.stop().await
}

/// Acts the story; kills each process in the middle of its own work when asked to.
async fn act(district: &District, parts: &[Part], kill: bool) -> Result<Vec<Order>> {
    ensure!(parts.len() == ENTERPRISES, "the story has {ENTERPRISES} enterprises");
    if kill {
        // Records are on their way while the profile service dies.
        let (arrived, killed) = tokio::join!(liandu::data_arrive(district), district.kill("credit-profile"));
        arrived?;
        killed?;
    } else {
        liandu::data_arrive(district).await?;
    }
    assert_eq!(liandu::profile_count(district).await?, ENTERPRISES);
    liandu::contacts(district, parts).await?;
    for part in parts {
        let answer = liandu::calculate(district, part, CalculateView::All).await?;
        assert_eq!(answer.computed_count, 216, "every credit product is computed");
        assert_eq!(answer.offers.len(), 216, "and answered, whatever comes of it");
        explained(&answer.offers);
    }
    if kill {
        district.kill("product-catalog").await?;
    }

    let mut orders = Vec::new();
    for (place, part) in parts.iter().filter(|part| part.amount_fen.is_some()).enumerate() {
        if kill && place == 10 {
            district.kill("gateway").await?;
        }
        orders.push(liandu::order_patiently(district, part).await?);
    }
    let mut banks = liandu::banks(district, &orders).await?;
    if kill {
        // The banks are answering: approvals, subsidies and messages are in every stage.
        for service in ["matching", "subsidy", "feedback"] {
            district.kill(service).await?;
        }
    }
    let orders = liandu::answered(district, parts).await?;
    eventually("every loan is paid out, subsidised and told", || async {
        let report = liandu::report(district).await?;
        if report["loans_disbursed"] != LOANS || report["sms_sent"] != LOANS {
            return Ok(None);
        }
        let expected = computed_apart(&loans(district, &orders).await?)?.len();
        let grants = liandu::grants(district).await?;
        let active = grants.iter().filter(|grant| grant.state() == GrantState::Active).count();
        Ok((active == expected && report["grant_notices_sent"] == expected).then_some(()))
    })
    .await?;
    for bank in &mut banks {
        bank.kill().await?;
    }
    liandu::rate(district, parts, &orders).await?;
    Ok(orders)
}

/// Refusals name the condition and show the enterprise's own values; eligible offers are ranked from 1 without gaps.
fn explained(offers: &[zhirong_proto::matching::v1::Offer]) {
    let mut place = 0;
    for offer in offers {
        match offer.outcome.as_ref().unwrap() {
            Outcome::Eligible(eligible) => {
                place += 1;
                assert_eq!(offer.rank, place);
                assert!(eligible.limit_fen > 0 && eligible.rate_ppm > 0);
            }
            Outcome::Refused(refused) => {
                assert!(!refused.failed.is_empty() && refused.failed.iter().all(|failed| !failed.label_zh.is_empty()));
            }
            Outcome::Unknown(unknown) => assert!(unknown.missing.iter().all(|missing| !missing.label_zh.is_empty())),
        }
    }
}

/// Everything the story promises, seen from outside.
async fn check(district: &District, parts: &[Part], orders: &[Order]) -> Result<()> {
    // L2: one profile from 32 categories.
    let request = GetProfileRequest { enterprise_id: parts[0].uscc.to_string() };
    let profile =
        ProfileServiceClient::new(district.as_staff().await?).get_profile(request).await?.into_inner().profile;
    let profile = profile.context("a profile")?;
    let categories: BTreeSet<&String> = profile.features.values().flat_map(|value| &value.categories).collect();
    assert!(categories.len() >= 30, "features come from {} categories", categories.len());
    assert!(profile.score.is_some());

    // L4: who got what.
    let approved = orders.iter().filter(|order| order.state() == OrderState::Approved).count();
    assert_eq!(approved, LOANS);
    for part in parts.iter().filter(|part| part.gets_a_loan()) {
        let order = orders.iter().find(|order| order.enterprise_id == part.uscc.as_str()).context("an order")?;
        assert_eq!(order.state(), OrderState::Approved, "{}", part.uscc);
    }
    let loans = loans(district, orders).await?;
    assert_eq!(loans.iter().map(|loan| loan.disbursed_fen).sum::<i64>(), LENT_FEN);

    // L5: one grant a loan at most, each as an independent computation has it.
    let grants = liandu::grants(district).await?;
    let granted: BTreeMap<String, (String, i64)> =
        grants.iter().map(|grant| (grant.loan_id.clone(), (grant.policy_id.clone(), grant.planned_fen))).collect();
    assert_eq!(granted.len(), grants.len(), "a loan has one grant");
    let computed = computed_apart(&loans)?;
    assert_eq!(granted, computed, "the service and the independent computation agree to the fen");
    let policies: BTreeSet<&String> = granted.values().map(|(policy, _)| policy).collect();
    assert_eq!(policies.len(), 2, "both policies are used");

    // Without an application: each subsidised loan's borrower is told once.
    let notices = liandu::messages(district, SmsKind::GrantNotice).await?;
    let told: BTreeSet<&String> = notices.iter().map(|notice| &notice.loan_id).collect();
    assert_eq!(told, granted.keys().collect());
    assert_eq!(notices.len(), granted.len());
    assert!(notices.iter().all(|notice| notice.state() == SmsState::Sent));

    // L10: one message a loan.
    let messages = liandu::messages(district, SmsKind::RatingRequest).await?;
    let told: BTreeSet<&String> = messages.iter().map(|message| &message.loan_id).collect();
    assert_eq!((messages.len(), told.len()), (LOANS, LOANS));
    assert!(messages.iter().all(|message| message.state() == SmsState::Sent));
    let sent = std::fs::read_to_string(district.folder().join("sms.ndjson"))?;
    assert_eq!(sent.lines().count(), LOANS + notices.len(), "the provider got each message once");
    assert!(!sent.contains(&parts[0].phone), "no phone number in clear");
    for log in std::fs::read_dir(district.folder().join("log"))? {
        let log = log?.path();
        assert!(!std::fs::read_to_string(&log)?.contains(&parts[0].phone), "a phone number is in {}", log.display());
    }

    // The report.
    let report = liandu::report(district).await?;
    let subsidy: i64 = computed.values().map(|(_, fen)| fen).sum();
    let rated = parts.iter().filter(|part| part.rating.is_some()).count();
    let expected = json!({
        "enterprises_computed": ENTERPRISES,
        "orders_placed": 30,
        "orders_rejected": 4,
        "loans_approved": LOANS,
        "approved_fen": LENT_FEN,
        "loans_disbursed": LOANS,
        "disbursed_fen": LENT_FEN,
        "enterprises_with_loan": LOANS,
        "subsidy_grants": computed.len(),
        "subsidy_planned_fen": subsidy,
        "subsidy_waiting": 0,
        "sms_queued": LOANS,
        "sms_sent": LOANS,
        "grant_notices_queued": notices.len(),
        "grant_notices_sent": notices.len(),
        "ratings": rated,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&report[name], value, "{name}");
    }
    let text = liandu::report_text(district).await?;
    assert!(text.contains("121000000.00"), "{text}");
    println!("{text}");
    Ok(())
}
