//! The three-dimension view of intellectual property: patents, team and credit give a value range with reasons, and a pledge loan
//! rests on it instead of a third party's appraisal.

use anyhow::{Context as _, Result};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    catalog::v1::ProductSpec,
    feedback::v1::{GetKeyRotationRequest, SetContactRequest, contact_service_client::ContactServiceClient},
    matching::v1::{
        InboxEntry, ListInboxRequest, Order, PlaceOrderRequest, bank_order_service_client::BankOrderServiceClient,
        order_service_client::OrderServiceClient,
    },
    profile::v1::{
        AppraisalDimension, AuditEntry, AuditKind, EraseEnterpriseRequest, GetIpAppraisalRequest, GetReleaseRequest,
        IpAppraisal, Profile, RevokeConsentRequest, appraisal_service_client::AppraisalServiceClient,
        consent_service_client::ConsentServiceClient, erasure_service_client::ErasureServiceClient,
        feature_value::Kind, release_service_client::ReleaseServiceClient,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    liandu,
    products::{offered, pledge_product, publish_product},
    records::{publish, record},
    trail,
};

const BANK: &str = "sample-puhui-bank";

/// A pledge loan of half of what the patents are worth at the least.
fn product() -> ProductSpec {
    pledge_product(
        BANK,
        "知产免评估贷",
        ("ip_value_fen >= 100000000", "知识产权评估价值不低于100万元"),
        "ip_value_fen / 2",
    )
}

fn records(uscc: &Uscc, day: &str, inventions: i64, talents: i64) -> Vec<Value> {
    let patents = json!({ "patent_count": inventions + 6, "invention_patent_count": inventions });
    vec![record(uscc, "patent", day, &patents), record(uscc, "talent", day, &json!({ "talent_count": talents }))]
}

async fn appraisal(district: &District, uscc: &Uscc, expected: impl Fn(&IpAppraisal) -> bool) -> Result<IpAppraisal> {
    let client = AppraisalServiceClient::new(district.as_enterprise(uscc).await?);
    eventually(&format!("the patents of {uscc} are appraised"), || async {
        let answer = client.clone().get_ip_appraisal(GetIpAppraisalRequest::default()).await?.into_inner();
        Ok(answer.appraisal.filter(|appraisal| expected(appraisal)))
    })
    .await
}

/// What went out with the order is on the trail; once the enterprise takes the consent back the bank reads the order without it,
/// which is on the trail too.
async fn taken_back(district: &District, uscc: &Uscc, order: &Order) -> Result<()> {
    let on_trail = async |kind: AuditKind| {
        eventually(&format!("{kind:?} is on the trail"), || async {
            let entries = trail::disclosures(district, uscc).await?;
            Ok(entries.into_iter().find(|entry| entry.kind() == kind && entry.order_id == order.order_id))
        })
        .await
    };
    let released = on_trail(AuditKind::Released).await?;
    assert_eq!((released.institution_id.as_str(), released.consent_id.as_str()), (BANK, order.order_id.as_str()));
    assert!(released.feature_names.iter().any(|name| name == "ip_value_fen"));

    let consents = ConsentServiceClient::new(district.as_enterprise(uscc).await?);
    let revoke = RevokeConsentRequest { request_id: Uuid::now_v7().to_string(), consent_id: order.order_id.clone() };
    eventually("the order's consent is taken back", || async {
        Ok(Some(consents.clone().revoke_consent(revoke.clone()).await?))
    })
    .await?;
    let desk = BankOrderServiceClient::new(district.as_bank(&BANK.parse::<InstitutionId>()?).await?);
    eventually("the bank reads the order without the profile", || async {
        let entries = desk.clone().list_inbox(ListInboxRequest::default()).await?.into_inner().entries;
        let of_order = |entry: &&InboxEntry| entry.order.as_ref().is_some_and(|of| of.order_id == order.order_id);
        let entry = entries.iter().find(of_order).context("the order stays in the inbox")?;
        Ok(entry.profile.is_none().then_some(()))
    })
    .await?;
    assert_eq!(on_trail(AuditKind::Refused).await?.reason, "CONSENT_REVOKED");
    assert!(trail::verify(district).await?.contains("unbroken"));
    Ok(())
}

/// The release of an order.
async fn release_of(district: &District, uscc: &Uscc, order: &Order) -> Result<GetReleaseRequest> {
    eventually("the order's release is on the trail", || async {
        let entries = trail::disclosures(district, uscc).await?;
        let of_order = |entry: &AuditEntry| entry.kind() == AuditKind::Released && entry.order_id == order.order_id;
        let entry = entries.into_iter().find(of_order);
        Ok(entry.map(|entry| GetReleaseRequest { release_id: entry.release_id }))
    })
    .await
}

/// The data change after the order; what the bank got is rebuilt to the last bit.
async fn rebuilt(district: &District, uscc: &Uscc, order: &Order, got: &Profile) -> Result<()> {
    publish(district, "third", &records(uscc, "2026-10-03", 3, 1)).await?;
    let changed = appraisal(district, uscc, |of| of.profile_version > got.version).await?;
    assert!(changed.profile_version > got.version);
    let request = release_of(district, uscc, order).await?;
    let bank = district.as_bank(&BANK.parse::<InstitutionId>()?).await?;
    let answer = ReleaseServiceClient::new(bank).get_release(request).await?.into_inner();
    assert_eq!(answer.order_id, order.order_id);
    let profile = answer.release.and_then(|release| release.profile).context("a profile")?;
    assert_eq!(profile.encode_to_vec(), got.encode_to_vec());
    Ok(())
}

/// The enterprise has its past erased: nothing is rebuilt from it any more, the bank reads so, its phone is kept no longer, and the
/// trail is unbroken.
async fn erased(district: &District, uscc: &Uscc, order: &Order) -> Result<()> {
    let operator = ContactServiceClient::new(district.as_operator().await?);
    let phones = async || -> Result<i64> {
        let kept = operator.clone().get_key_rotation(GetKeyRotationRequest {}).await?.into_inner();
        Ok(kept.done + kept.remaining)
    };
    let contact = SetContactRequest {
        request_id: Uuid::now_v7().to_string(),
        enterprise_id: String::new(),
        phone: "13800001234".to_owned(),
    };
    ContactServiceClient::new(district.as_enterprise(uscc).await?).set_contact(contact).await?;
    assert_eq!(phones().await?, 1);
    let request = EraseEnterpriseRequest { request_id: Uuid::now_v7().to_string(), enterprise_id: String::new() };
    ErasureServiceClient::new(district.as_enterprise(uscc).await?).erase_enterprise(request).await?;
    let channel = district.as_bank(&BANK.parse::<InstitutionId>()?).await?;
    let request = release_of(district, uscc, order).await?;
    // To the bank, whose consent was taken back, not even that is said.
    let refused = ReleaseServiceClient::new(channel.clone()).get_release(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let own = ReleaseServiceClient::new(district.as_enterprise(uscc).await?).get_release(request).await.unwrap_err();
    assert_eq!(own.code(), Code::FailedPrecondition);
    let desk = BankOrderServiceClient::new(channel);
    eventually("the bank reads that the profile was erased", || async {
        let entries = desk.clone().list_inbox(ListInboxRequest::default()).await?.into_inner().entries;
        let mut of_order =
            entries.iter().filter(|of| of.order.as_ref().is_some_and(|of| of.order_id == order.order_id));
        Ok(of_order.all(|entry| entry.profile.is_none() && entry.profile_erased_at.is_some()).then_some(()))
    })
    .await?;
    eventually("the phone is gone", || async { Ok((phones().await? == 0).then_some(())) }).await?;
    assert!(trail::verify(district).await?.contains("unbroken"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn story_pujiang_p5_three_dimension_appraisal() -> Result<()> {
    let district = District::start().await?;
    let product = publish_product(&district, product()).await?;
    let uscc = Uscc::with_check("91330726MA2P00001").unwrap();
    publish(&district, "first", &records(&uscc, "2026-10-01", 8, 0)).await?;

    let first = appraisal(&district, &uscc, |of| {
        of.reasons.iter().any(|of| of.feature == "talent_count" && of.value.is_some())
    })
    .await?;
    assert!(0 < first.low_fen && first.low_fen < first.value_fen && first.value_fen < first.high_fen);
    for dimension in [AppraisalDimension::Technology, AppraisalDimension::Growth, AppraisalDimension::Risk] {
        assert!(first.reasons.iter().any(|reason| reason.dimension() == dimension && !reason.text_zh.is_empty()));
    }
    // No third party is asked: the limit follows from the appraisal's lower end.
    let offer = offered(&district, &uscc, &product, |of| of.limit_fen == first.low_fen / 2).await?;

    // Two talents join; the value and with it the limit rise.
    publish(&district, "second", &records(&uscc, "2026-10-02", 8, 5)).await?;
    let second = appraisal(&district, &uscc, |of| of.growth_ppm > first.growth_ppm).await?;
    let more = offered(&district, &uscc, &product, |of| of.limit_fen == second.low_fen / 2).await?;
    assert!(more.limit_fen > offer.limit_fen);

    // The bank sees with the order what the limit rests on.
    let order = PlaceOrderRequest {
        request_id: Uuid::now_v7().to_string(),
        product_id: product,
        amount_fen: more.limit_fen,
        term_months: 12,
        purpose_zh: "研发投入".to_owned(),
        consent: liandu::consent(),
        coupon_id: String::new(),
    };
    let mut orders = OrderServiceClient::new(district.as_enterprise(&uscc).await?);
    let order = orders.place_order(order).await?.into_inner().order.context("an order")?;
    let bank: InstitutionId = BANK.parse()?;
    let mut desk = BankOrderServiceClient::new(district.as_bank(&bank).await?);
    let inbox = desk.list_inbox(ListInboxRequest::default()).await?.into_inner();
    let entry = inbox.entries.into_iter().find(|entry| entry.order.as_ref() == Some(&order)).context("in the inbox")?;
    let profile = entry.profile.context("a profile")?;
    let told = profile.features.get("ip_value_fen").and_then(|value| value.kind.clone());
    assert_eq!(told, Some(Kind::Integer(second.low_fen)));
    rebuilt(&district, &uscc, &order, &profile).await?;
    taken_back(&district, &uscc, &order).await?;
    erased(&district, &uscc, &order).await?;
    district.stop().await
}
