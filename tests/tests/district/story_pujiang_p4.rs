//! Products around intellectual property: a portfolio of pledge, combined and credit loans, and offers to a list of enterprises.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;
use zhirong_kernel::{clock::business_date, id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    catalog::v1::{
        CreditTerms, GuaranteeForm, ListProductsRequest, ProductSpec, RepaymentMethod,
        product_service_client::ProductServiceClient, product_spec::Terms,
    },
    matching::v1::{
        Candidate, Eligible, ListInboxRequest, Order, PlaceOrderRequest, RecalculateRequest,
        bank_order_service_client::BankOrderServiceClient, calculator_service_client::CalculatorServiceClient,
        offer::Outcome, order_service_client::OrderServiceClient,
    },
    profile::v1::{AuditEntry, AuditKind, ListConsentsRequest, Scope, consent_service_client::ConsentServiceClient},
};
use zhirong_tests::{
    consents::{candidates, take_back, to_be_offered},
    district::{District, eventually},
    liandu,
    products::{condition, offered, publish_product},
    records::{publish, record},
    trail,
};

const BANK: &str = "sample-puhui-bank";
const ENTERPRISES: usize = 24;

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

fn spec(
    name_zh: &str,
    form: GuaranteeForm,
    tags: &[&str],
    (expression, label_zh): (&str, &str),
    limit: &str,
) -> ProductSpec {
    let terms = CreditTerms {
        conditions: vec![condition(expression, label_zh)],
        limit_formula: limit.to_owned(),
        rate_formula: "lpr_1y_ppm + 3000".to_owned(),
        min_amount_fen: 10_000_000,
        max_amount_fen: 2_000_000_000,
        min_term_months: 3,
        max_term_months: 36,
        repayment_method: RepaymentMethod::InterestFirst.into(),
        guarantee_form: form.into(),
        answer_working_days: 5,
        ..CreditTerms::default()
    };
    ProductSpec {
        institution_id: BANK.to_owned(),
        name_zh: name_zh.to_owned(),
        summary_zh: "示例知识产权产品".to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        terms: Some(Terms::Credit(terms)),
    }
}

/// Whom the bank is named when so many may be.
async fn named(district: &District, bank: &InstitutionId, product: &str, many: usize) -> Result<Vec<Candidate>> {
    eventually(&format!("{many} are named"), || async {
        let (summary, names) = candidates(district.as_bank(bank).await?, product).await?;
        assert_eq!(usize::try_from(summary.named_enterprises)?, names.len());
        Ok((names.len() == many).then_some(names))
    })
    .await
}

/// What the bank was shown of an enterprise, computed again from what the trail says of it.
async fn computed_again(district: &District, entry: &AuditEntry) -> Result<Eligible> {
    let named_at = entry.named_at.context("when it was named")?;
    let request = RecalculateRequest {
        enterprise_id: entry.enterprise_id.clone(),
        catalog_version: entry.catalog_version,
        profile_version: entry.profile_version,
        computed_on: business_date(jiff::Timestamp::from_second(named_at.seconds)?).to_string(),
        unrated_level_ppm: 3_000_000,
        ..RecalculateRequest::default()
    };
    let answer = CalculatorServiceClient::new(district.as_staff().await?).recalculate(request).await?.into_inner();
    let mut offers = answer.answer.context("an answer")?.offers.into_iter();
    match offers.find(|offer| offer.product_id == entry.product_id).and_then(|offer| offer.outcome) {
        Some(Outcome::Eligible(eligible)) => Ok(eligible),
        other => bail!("not offered again: {other:?}"),
    }
}

/// Orders with the consent that one click asks for.
async fn one_click(district: &District, uscc: &Uscc, product: &str, amount_fen: i64) -> Result<Order> {
    let request = PlaceOrderRequest {
        request_id: new_id(),
        product_id: product.to_owned(),
        amount_fen,
        term_months: 12,
        purpose_zh: "扩大生产".to_owned(),
        consent: liandu::consent(),
        coupon_id: String::new(),
    };
    let mut orders = OrderServiceClient::new(district.as_enterprise(uscc).await?);
    orders.place_order(request).await?.into_inner().order.context("an order")
}

/// The bank got with the order exactly these features; the calculator had said so, and the enterprise's list of consents and the
/// trail say the same.
async fn handed_over(
    district: &District,
    uscc: &Uscc,
    order: &Order,
    categories: &[&str],
    features: &[&str],
) -> Result<()> {
    let words = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    let needed = Some(Scope { categories: words(categories), ..Scope::default() });
    let offer = offered(district, uscc, &order.product_id, |_| true).await?;
    assert_eq!(offer.needed, needed);
    let mut desk = BankOrderServiceClient::new(district.as_bank(&BANK.parse()?).await?);
    let inbox = desk.list_inbox(ListInboxRequest::default()).await?.into_inner();
    let entry = inbox.entries.into_iter().find(|entry| entry.order.as_ref() == Some(order)).context("in the inbox")?;
    let profile = entry.profile.context("a profile")?;
    assert_eq!((profile.features.into_keys().collect(), profile.score), (words(features), None));

    let consents = ConsentServiceClient::new(district.as_enterprise(uscc).await?);
    let consent = eventually("the order's consent is in the list", || async {
        let listed = consents.clone().list_consents(ListConsentsRequest::default()).await?.into_inner().consents;
        Ok(listed.into_iter().find(|consent| consent.consent_id == order.order_id))
    })
    .await?;
    assert_eq!((consent.scope, consent.institution_id.as_str()), (needed.clone(), BANK));
    let entry = eventually("the hand-over is on the trail", || async {
        let entries = trail::disclosures(district, uscc).await?;
        Ok(entries.into_iter().find(|entry| entry.order_id == order.order_id))
    })
    .await?;
    assert_eq!((entry.kind(), &entry.scope), (AuditKind::Released, &needed));
    assert_eq!(entry.feature_names, features);
    Ok(())
}

/// So many patents has the enterprise of a number: every third has none.
fn patents(number: usize) -> i64 {
    if number.is_multiple_of(3) { 0 } else { i64::try_from(number).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn story_pujiang_p4_ip_products_and_targeted_offers() -> Result<()> {
    let district = District::start().await?;
    let owns = ("patent_count >= 1", "拥有有效专利");
    let limit = "min(patent_count * 20000000, 2000000000)";
    let pledge = spec("普惠知产质押+", GuaranteeForm::IpPledge, &["ip_plus", "ip_pledge"], owns, limit);
    let combined = spec(
        "普惠知产质押+保证组合贷",
        GuaranteeForm::Guarantee,
        &["ip_plus", "combined"],
        ("patent_count >= 1 && !is_dishonest", "拥有有效专利且未失信"),
        "min(patent_count * 30000000, 2000000000)",
    );
    let credit = spec(
        "普惠知产信用贷",
        GuaranteeForm::Credit,
        &["ip_plus", "credit"],
        ("patent_count >= 10", "专利不少于10件"),
        limit,
    );
    let mut portfolio = Vec::new();
    for spec in [pledge, combined, credit] {
        portfolio.push(publish_product(&district, spec).await?);
    }
    let by_tag = ListProductsRequest { tag: "ip_plus".to_owned(), ..ListProductsRequest::default() };
    let mut found: Vec<String> = ProductServiceClient::new(district.as_staff().await?)
        .list_products(by_tag)
        .await?
        .into_inner()
        .products
        .into_iter()
        .map(|product| product.product_id)
        .collect();
    let mut all = portfolio.clone();
    found.sort();
    all.sort();
    assert_eq!(found, all, "the portfolio is found by its tag");

    let enterprises: Vec<Uscc> =
        (0..ENTERPRISES).map(|number| Uscc::with_check(&format!("91330726MA2C{number:05}")).unwrap()).collect();
    let records: Vec<Value> = enterprises
        .iter()
        .enumerate()
        .flat_map(|(number, uscc)| {
            let patents = json!({ "patent_count": patents(number), "invention_patent_count": 0 });
            [
                record(uscc, "patent", "2026-10-01", &patents),
                record(uscc, "dishonest_debtor", "2026-10-01", &json!({ "is_dishonest": number == 1 })),
            ]
        })
        .collect();
    publish(&district, "records", &records).await?;

    // The bank's list: how many, and how much, but nobody's name.
    let bank: InstitutionId = BANK.parse()?;
    let expected: Vec<usize> = (0..ENTERPRISES).filter(|number| patents(*number) > 0).collect();
    let total: i64 = expected.iter().map(|number| patents(*number) * 20_000_000).sum();
    // One of them is a dishonest debtor, whom the combined loan does not take; few have ten patents.
    let many = expected.iter().filter(|number| **number >= 10).count();
    let eligible = [expected.len(), expected.len() - 1, many].map(|count| i64::try_from(count).unwrap());
    // The engine looks through what it holds in memory, which follows the profiles.
    eventually("every profile is in the matching engine", || async {
        let mut found = [0; 3];
        for (place, product) in portfolio.iter().enumerate() {
            let (summary, _) = candidates(district.as_staff().await?, product).await?;
            found[place] = summary.eligible_enterprises;
        }
        Ok((found == eligible).then_some(()))
    })
    .await?;
    let (summary, names) = candidates(district.as_bank(&bank).await?, &portfolio[0]).await?;
    assert_eq!(usize::try_from(summary.computed_enterprises)?, ENTERPRISES);
    assert_eq!((summary.eligible_enterprises, summary.total_limit_fen, names.len()), (eligible[0], total, 0));

    // Three agree to be approached by this bank; a fourth by another bank only.
    let mut consents = Vec::new();
    for number in [4, 7, 11] {
        consents.push(to_be_offered(&district, &enterprises[number], BANK).await?);
    }
    to_be_offered(&district, &enterprises[13], "sample-yunhe-bank").await?;
    let names = named(&district, &bank, &portfolio[0], 3).await?;
    let limits: Vec<_> = names.iter().map(|named| (named.enterprise_id.clone(), named.limit_fen)).collect();
    let entry = |number: usize| (enterprises[number].to_string(), patents(number) * 20_000_000);
    assert_eq!(limits, [entry(11), entry(7), entry(4)]);
    take_back(&district, &enterprises[7], &consents[1]).await?;
    let names = named(&district, &bank, &portfolio[0], 2).await?;
    // Each of them sees who was told, of which product, by which consent; who agreed to another bank sees nothing.
    for (number, consent) in [4, 7, 11].into_iter().zip(&consents) {
        let entry = eventually("the naming is on the trail", || async {
            let entries = trail::disclosures(&district, &enterprises[number]).await?;
            Ok(entries.into_iter().find(|entry| entry.kind() == AuditKind::Named))
        })
        .await?;
        assert_eq!((entry.institution_id.as_str(), &entry.product_id), (BANK, &portfolio[0]));
        assert_eq!(&entry.consent_id, consent);
        assert_eq!(entry.limit_fen, patents(number) * 20_000_000);
        let again = computed_again(&district, &entry).await?;
        assert_eq!((again.limit_fen, again.rate_ppm), (entry.limit_fen, entry.rate_ppm));
    }
    assert!(trail::disclosures(&district, &enterprises[13]).await?.is_empty());
    assert!(trail::verify(&district).await?.contains("unbroken"));
    let other: InstitutionId = "sample-yunhe-bank".parse()?;
    let refused = candidates(district.as_bank(&other).await?, &portfolio[0]).await.unwrap_err();
    assert_eq!(refused.downcast::<tonic::Status>()?.code(), Code::NotFound, "another bank's product");

    // Who was approached orders what it was offered, and another product that looks at more.
    let order = one_click(&district, &enterprises[11], &portfolio[0], names[0].limit_fen).await?;
    assert_eq!(order.quote.context("a quote")?.limit_fen, names[0].limit_fen);
    let patents = ["invention_patent_count", "patent_count"];
    handed_over(&district, &enterprises[11], &order, &["patent"], &patents).await?;
    let order = one_click(&district, &enterprises[11], &portfolio[1], names[0].limit_fen).await?;
    let with_debts = [patents[0], "is_dishonest", patents[1]];
    handed_over(&district, &enterprises[11], &order, &["dishonest_debtor", "patent"], &with_debts).await?;
    assert!(trail::verify(&district).await?.contains("unbroken"));
    district.stop().await
}
