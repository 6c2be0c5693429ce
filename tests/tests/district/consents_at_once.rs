//! A consent that is taken back holds no longer from the answer on, in every service: also while events can't get through, and
//! nothing leaves by consents that nobody can confirm.

use anyhow::{Context as _, Result};
use tonic::Code;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    matching::v1::{
        AcceptOrderRequest, InboxEntry, ListInboxRequest, Order, PlaceOrderRequest, ProfileWithheld,
        StreamInboxRequest, bank_order_service_client::BankOrderServiceClient,
        order_service_client::OrderServiceClient,
    },
    profile::v1::{
        AuditKind, CheckDisclosuresRequest, ListConsentsRequest, consent_service_client::ConsentServiceClient,
        disclosure_check_service_client::DisclosureCheckServiceClient,
    },
};
use zhirong_tests::{
    consents::{candidates, take_back, to_be_offered},
    district::{Authorised, District, eventually},
    finance::{enterprises, new_id, product},
    liandu, trail,
};

const BANK: &str = "sample-puhui-bank";
/// Of them half take their consent back while the broker runs, half while it stands still.
const ENTERPRISES: usize = 20;

async fn place(district: &District, uscc: &Uscc, product_id: &str) -> Result<Order> {
    let request = PlaceOrderRequest {
        request_id: new_id(),
        product_id: product_id.to_owned(),
        amount_fen: 100_000_000,
        term_months: 12,
        purpose_zh: "扩大生产".to_owned(),
        consent: liandu::consent(),
        coupon_id: String::new(),
    };
    let mut orders = OrderServiceClient::new(district.as_enterprise(uscc).await?);
    orders.place_order(request).await?.into_inner().order.context("an order")
}

/// The entry of an order, by the list.
async fn listed(bank: &Authorised, order: &Order) -> Result<InboxEntry> {
    let request = ListInboxRequest { page_size: 500, ..ListInboxRequest::default() };
    let page = BankOrderServiceClient::new(bank.clone()).list_inbox(request).await?.into_inner();
    let mut entries = page.entries.into_iter();
    entries.find(|entry| entry.order.as_ref().is_some_and(|of| of.order_id == order.order_id)).context("in the inbox")
}

/// The same, by a stream that begins now.
async fn streamed(bank: &Authorised, position: i64) -> Result<InboxEntry> {
    let request = StreamInboxRequest { after_position: position - 1 };
    let mut stream = BankOrderServiceClient::new(bank.clone()).stream_inbox(request).await?.into_inner();
    stream.message().await?.context("an entry")?.entry.context("an entry")
}

async fn named(bank: &Authorised, product_id: &str) -> Result<Vec<String>> {
    let (_, named) = candidates(bank.clone(), product_id).await?;
    Ok(named.into_iter().map(|candidate| candidate.enterprise_id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_taken_back_holds_nowhere_from_the_answer_on() -> Result<()> {
    let district = District::start().await?;
    let bank_id: InstitutionId = BANK.parse()?;
    let bank = district.as_bank(&bank_id).await?;
    let product_id = product(&district, "普惠随时贷", &["at_once"], 34_500).await?;
    let enterprises = enterprises(&district, "330726", "micro", ENTERPRISES).await?;
    let (mut orders, mut consents) = (Vec::new(), Vec::new());
    for uscc in &enterprises {
        orders.push(place(&district, uscc, &product_id).await?);
        consents.push(to_be_offered(&district, uscc, BANK).await?);
    }
    for (uscc, order) in enterprises.iter().zip(&orders) {
        let list = ConsentServiceClient::new(district.as_enterprise(uscc).await?);
        eventually("the order's consent can be taken back", || async {
            let listed = list.clone().list_consents(ListConsentsRequest::default()).await?.into_inner().consents;
            Ok(listed.iter().any(|consent| consent.consent_id == order.order_id).then_some(()))
        })
        .await?;
    }
    eventually("all are named", || async { Ok((named(&bank, &product_id).await?.len() == ENTERPRISES).then_some(())) })
        .await?;

    let rounds = enterprises.iter().zip(&orders).zip(&consents);
    for (round, ((uscc, order), consent)) in rounds.enumerate() {
        if round == ENTERPRISES / 2 {
            district.signal("nats", "STOP").await?;
        }
        let before = listed(&bank, order).await?;
        assert!(before.profile.is_some(), "round {round}");
        // A bank that reads all the time while the enterprise decides.
        let reads = tokio::spawn({
            let bank = bank.clone();
            async move {
                for _ in 0..5 {
                    streamed(&bank, before.position).await?;
                }
                anyhow::Ok(())
            }
        });
        take_back(&district, uscc, &order.order_id).await?;
        for entry in [listed(&bank, order).await?, streamed(&bank, before.position).await?] {
            assert!(entry.profile.is_none(), "round {round}");
            assert_eq!(entry.profile_withheld(), ProfileWithheld::ConsentRevoked);
        }
        reads.await??;
        take_back(&district, uscc, consent).await?;
        let left = named(&bank, &product_id).await?;
        assert!(!left.contains(&uscc.to_string()), "round {round}");
        assert_eq!(left.len(), ENTERPRISES - 1 - round);
    }
    district.signal("nats", "CONT").await?;
    // Each refusal is on the trail once what waited for the broker gets through.
    for (uscc, order) in enterprises.iter().zip(&orders) {
        eventually("the refusal is on the trail", || async {
            let entries = trail::disclosures(&district, uscc).await?;
            let of_order = entries.iter().filter(|entry| entry.order_id == order.order_id);
            Ok((of_order.filter(|entry| entry.kind() == AuditKind::Refused).count() == 1).then_some(()))
        })
        .await?;
    }
    assert!(trail::verify(&district).await?.contains("unbroken"));
    district.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_works_on_while_consents_can_not_be_confirmed_but_sees_nothing_by_them() -> Result<()> {
    let district = District::start().await?;
    let bank = district.as_bank(&BANK.parse()?).await?;
    let product_id = product(&district, "普惠随时贷", &["at_once"], 34_500).await?;
    let enterprises = enterprises(&district, "330726", "micro", 1).await?;
    let order = place(&district, &enterprises[0], &product_id).await?;
    assert!(listed(&bank, &order).await?.profile.is_some());

    district.signal("credit-profile", "STOP").await?;
    let withheld = listed(&bank, &order).await?;
    assert_eq!((withheld.profile.is_none(), withheld.profile_withheld()), (true, ProfileWithheld::ConsentUnconfirmed));
    // Nobody has a consent to be named by, so that there is nothing to ask.
    assert!(named(&bank, &product_id).await?.is_empty());
    let request = AcceptOrderRequest { request_id: new_id(), order_id: order.order_id.clone() };
    BankOrderServiceClient::new(bank.clone()).accept_order(request).await?;
    district.signal("credit-profile", "CONT").await?;
    eventually("the profile is shown again", || async { Ok(listed(&bank, &order).await?.profile) }).await?;
    // The same after a restart, which the connection does not survive.
    district.kill("credit-profile").await?;
    eventually("the profile is shown again", || async { Ok(listed(&bank, &order).await?.profile) }).await?;

    // What services ask each other is for nobody outside.
    for caller in [bank, district.as_staff().await?, district.as_operator().await?] {
        let mut checks = DisclosureCheckServiceClient::new(caller);
        let refused = checks.check_disclosures(CheckDisclosuresRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
    }
    district.stop().await
}
