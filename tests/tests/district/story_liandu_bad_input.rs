//! What a running district does with what is wrong: a precise error or a dead letter with its reason, and nothing changes.

use anyhow::{Context as _, Result};
use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    matching::v1::{
        AcceptOrderRequest, ApproveLoanRequest, CalculateView, ListInboxRequest, ListOrdersRequest, Order,
        PlaceOrderRequest, RejectOrderRequest, bank_order_service_client::BankOrderServiceClient,
        order_service_client::OrderServiceClient,
    },
    ops::v1::{DeadLetter, ListDeadLettersRequest, dead_letter_service_client::DeadLetterServiceClient},
    profile::v1::{
        GetProfileRequest, Profile, PutCategoryRequest, category_service_client::CategoryServiceClient,
        feature_value::Kind, profile_service_client::ProfileServiceClient,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    liandu::{self, Part},
};

/// Live records of the enterprise that the story does not know.
const STRANGERS_RECORDS: usize = 2;
/// The source of patents in the seeds, and one of another category.
const OWN: &str = "sample-patent";
const OTHER: &str = "sample-trademark";

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_bad_input() -> Result<()> {
    let district = District::start().await?;
    let parts = liandu::parts()?;
    records(&district).await?;
    liandu::data_arrive_beside(&district, STRANGERS_RECORDS).await?;
    orders(&district, &parts).await?;
    answers(&district, &parts).await?;
    tokens(&district, &parts).await?;
    district.stop().await
}

/// The reason in a status.
fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// The fields that a status names.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|request| request.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// A record of an enterprise that the story does not know.
fn record(id: &str, observed_at: &str, patents: Value) -> Value {
    json!({
        "source": OWN, "category": "patent", "record_id": id, "uscc": stranger().as_str(),
        "observed_at": observed_at, "operation": "OPERATION_UPSERT",
        "data": { "patent_count": patents, "invention_patent_count": 0 },
    })
}

fn stranger() -> Uscc {
    Uscc::with_check("91331102MA2X99999").unwrap()
}

async fn publish(district: &District, category: &str, event_id: &str, payload: Vec<u8>) -> Result<()> {
    publish_as(district, OWN, category, event_id, payload).await
}

async fn publish_as(district: &District, source: &str, category: &str, event_id: &str, payload: Vec<u8>) -> Result<()> {
    let context = jetstream::new(async_nats::connect(district.nats()).await?);
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", event_id);
    headers.insert("ce-source", source);
    headers.insert("ce-type", "cn.zhirong.gov.record.observed.v1");
    headers.insert("content-type", "application/json");
    context.publish_with_headers(format!("gov.data.v1.{category}"), headers, payload.into()).await?.await?;
    Ok(())
}

async fn dead_letters(district: &District) -> Result<Vec<DeadLetter>> {
    let mut request =
        tonic::Request::new(ListDeadLettersRequest { page_size: 500, page_token: String::new(), state: 0 });
    request.metadata_mut().insert("zr-service", "profile".parse()?);
    let mut client = DeadLetterServiceClient::new(district.as_operator().await?);
    Ok(client.list_dead_letters(request).await?.into_inner().dead_letters)
}

async fn strangers_profile(district: &District) -> Result<Option<Profile>> {
    let request = GetProfileRequest { enterprise_id: stranger().to_string() };
    match ProfileServiceClient::new(district.as_staff().await?).get_profile(request).await {
        Ok(response) => Ok(response.into_inner().profile),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

fn patents(profile: &Profile) -> Option<i64> {
    match profile.features.get("patent_count")?.kind {
        Some(Kind::Integer(number)) => Some(number),
        _ => None,
    }
}

/// Government data: each bad record is kept with its reason, its neighbours are used.
async fn records(district: &District) -> Result<()> {
    let good = record("r1", "2026-05-02T00:00:00Z", json!(5));
    let bad = [
        ("USCC", OWN, "patent", {
            let mut record = record("bad1", "2026-05-02T00:00:00Z", json!(1));
            record["uscc"] = json!("91331102MA2X999990");
            record.to_string().into_bytes()
        }),
        ("check character", OWN, "patent", {
            let mut record = record("bad2", "2026-05-02T00:00:00Z", json!(1));
            record["uscc"] = json!(flipped(&stranger()));
            record.to_string().into_bytes()
        }),
        ("does not exist", OWN, "thirty_third", {
            let mut record = record("bad3", "2026-05-02T00:00:00Z", json!(1));
            record["category"] = json!("thirty_third");
            record.to_string().into_bytes()
        }),
        ("whole number", OWN, "patent", record("bad4", "2026-05-02T00:00:00Z", json!(1.5)).to_string().into_bytes()),
        ("an integer", OWN, "patent", record("bad5", "2026-05-02T00:00:00Z", json!(true)).to_string().into_bytes()),
        ("future", OWN, "patent", record("bad6", "2099-01-01T00:00:00Z", json!(1)).to_string().into_bytes()),
        // Nobody changes another's record, nor writes what is not theirs to write.
        ("comes from", OTHER, "patent", record("r1", "2026-05-04T00:00:00Z", json!(50)).to_string().into_bytes()),
        ("may not write", OTHER, "patent", {
            let mut record = record("r1", "2026-05-04T00:00:00Z", json!(50));
            record["source"] = json!(OTHER);
            record.to_string().into_bytes()
        }),
        ("recursion limit", OWN, "patent", {
            let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
            record("bad7", "2026-05-02T00:00:00Z", json!("deep")).to_string().replace("\"deep\"", &deep).into_bytes()
        }),
        ("200000", OWN, "patent", vec![b' '; 200_000]),
        ("", OWN, "patent", b"{ not json".to_vec()),
        ("", OWN, "patent", vec![0xff, 0xfe, 0x00]),
    ];
    for (index, (_, source, category, payload)) in bad.iter().enumerate() {
        publish_as(district, source, category, &format!("bad-{index}"), payload.clone()).await?;
    }
    too_large_for_the_broker(district).await?;
    // A duplicate event, and an older version after a newer one.
    publish(district, "patent", "good-1", good.to_string().into_bytes()).await?;
    publish(district, "patent", "good-1", good.to_string().into_bytes()).await?;
    let older = record("r1", "2026-05-01T00:00:00Z", json!(99)).to_string().into_bytes();
    publish(district, "patent", "good-2", older).await?;
    let other = record("r2", "2026-05-03T00:00:00Z", json!(2)).to_string().into_bytes();
    publish(district, "patent", "good-3", other).await?;

    let profile = eventually("the good records are in the profile", || async {
        let profile = strangers_profile(district).await?;
        Ok(profile.filter(|profile| patents(profile) == Some(7)))
    })
    .await?;
    assert_eq!(patents(&profile), Some(7), "5 of the newer version and 2 of the other record");

    let letters = eventually("every bad record is set aside", || async {
        let letters = dead_letters(district).await?;
        Ok((letters.len() >= bad.len()).then_some(letters))
    })
    .await?;
    assert_eq!(letters.len(), bad.len());
    for (index, (why, ..)) in bad.iter().enumerate() {
        let id = format!("bad-{index}");
        let letter =
            letters.iter().find(|letter| letter.event_id == id).with_context(|| format!("{id} is set aside"))?;
        let said = if *why == "USCC" { letter.reason.contains("uscc") } else { letter.reason.contains(why) };
        assert!(said && !letter.reason.is_empty(), "{id}: {}", letter.reason);
    }

    // A category can't be defined on a feature that does not exist.
    let request = PutCategoryRequest { request_id: Uuid::now_v7().to_string(), category: None };
    let refused = CategoryServiceClient::new(district.as_staff().await?).put_category(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "SCHEMA_INVALID"));
    Ok(())
}

/// 10 MB are refused where they arrive: by the client's library, and by the broker when somebody writes to it without one.
async fn too_large_for_the_broker(district: &District) -> Result<()> {
    let huge = record("huge", "2026-05-02T00:00:00Z", json!("9".repeat(10_000_000))).to_string().into_bytes();
    let refused = format!("{:#}", publish(district, "patent", "huge", huge.clone()).await.unwrap_err());
    assert!(refused.to_lowercase().contains("payload"), "{refused}");

    let address = district.nats().strip_prefix("nats://").context("an address")?;
    let (answers, mut broker) = TcpStream::connect(address).await?.into_split();
    let answers = tokio::spawn(async move {
        let mut lines = BufReader::new(answers).lines();
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("-ERR") {
                return Ok(line);
            }
        }
        anyhow::bail!("the broker closed without a word")
    });
    broker.write_all(format!("CONNECT {{}}\r\nPUB gov.data.v1.patent {}\r\n", huge.len()).as_bytes()).await?;
    // it may well close before it has read all
    let _ = broker.write_all(&huge).await;
    let refused = answers.await??;
    assert!(refused.contains("Maximum Payload Violation"), "{refused}");
    Ok(())
}

/// A code whose last character is not its check character.
fn flipped(uscc: &Uscc) -> String {
    let (first, last) = uscc.as_str().split_at(17);
    format!("{first}{}", if last == "0" { '1' } else { '0' })
}

async fn order_count(district: &District) -> Result<usize> {
    let request = ListOrdersRequest { page_size: 500, ..ListOrdersRequest::default() };
    Ok(OrderServiceClient::new(district.as_staff().await?).list_orders(request).await?.into_inner().orders.len())
}

/// Orders that can't be taken.
async fn orders(district: &District, parts: &[Part]) -> Result<()> {
    let part = parts.first().context("an enterprise")?;
    let offers = liandu::calculate(district, part, CalculateView::Eligible).await?;
    let offer = liandu::best_offer(&offers, part)?;
    let good = liandu::order_request(part, &offer);
    let client = OrderServiceClient::new(district.as_enterprise(&part.uscc).await?);
    let refused = async |change: &dyn Fn(&mut PlaceOrderRequest)| {
        let mut request = PlaceOrderRequest { request_id: Uuid::now_v7().to_string(), ..good.clone() };
        change(&mut request);
        client.clone().place_order(request).await.unwrap_err()
    };

    for amount in [0, -1, i64::MIN] {
        let status = refused(&|request| request.amount_fen = amount).await;
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["amount_fen".to_owned()]));
    }
    let status = refused(&|request| request.amount_fen = i64::MAX).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "AMOUNT_ABOVE_LIMIT"));
    let status = refused(&|request| request.product_id = Uuid::now_v7().to_string()).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "PRODUCT_NOT_FOUND"));
    let status = refused(&|request| request.consent = None).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "CONSENT_MISSING"));
    let status = refused(&|request| request.term_months = 0).await;
    assert_eq!(fields(&status), ["term_months"]);
    let status = refused(&|request| request.request_id = "again".to_owned()).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.get_error_details().localized_message().is_some(), "people read Chinese");
    assert_eq!(order_count(district).await?, 0, "nothing was ordered");

    // The same request twice is one order; the same id with another body is refused.
    let first = client.clone().place_order(good.clone()).await?.into_inner().order.context("an order")?;
    let again = client.clone().place_order(good.clone()).await?.into_inner().order.context("an order")?;
    assert_eq!(first, again);
    let other = PlaceOrderRequest { amount_fen: good.amount_fen - 1, ..good.clone() };
    let status = client.clone().place_order(other).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    assert_eq!(order_count(district).await?, 1);
    Ok(())
}

/// Answers that an institution may not give.
async fn answers(district: &District, parts: &[Part]) -> Result<()> {
    let part = parts.get(1).context("an enterprise")?;
    let order = liandu::order(district, part).await?;
    let own: InstitutionId = order.institution_id.parse()?;
    let another: InstitutionId =
        if own.as_str() == "sample-puhui-bank" { "sample-gongmao-bank" } else { "sample-puhui-bank" }.parse()?;
    let bank = BankOrderServiceClient::new(district.as_bank(&own).await?);
    let other = BankOrderServiceClient::new(district.as_bank(&another).await?);

    let approve = |amount_fen: i64| ApproveLoanRequest {
        request_id: Uuid::now_v7().to_string(),
        order_id: order.order_id.clone(),
        amount_fen,
        rate_ppm: 35_000,
        term_months: order.term_months,
        bank_reference: format!("STORY-{amount_fen}"),
        ..ApproveLoanRequest::default()
    };
    let status = other.clone().approve_loan(approve(order.amount_fen)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "ORDER_NOT_FOUND"), "another's order");
    let reject = RejectOrderRequest {
        request_id: Uuid::now_v7().to_string(),
        order_id: order.order_id.clone(),
        reason_zh: "示例".to_owned(),
    };
    let status = other.clone().reject_order(reject.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let inbox = other.clone().list_inbox(ListInboxRequest::default()).await?.into_inner().entries;
    assert!(
        inbox
            .iter()
            .all(|entry| entry.order.as_ref().is_some_and(|order: &Order| order.institution_id == another.as_str()))
    );

    for amount in [0, -5] {
        let status = bank.clone().approve_loan(approve(amount)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(fields(&status).contains(&"amount_fen".to_owned()), "{status:?}");
    }
    let status = bank.clone().approve_loan(approve(order.amount_fen + 1)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "AMOUNT_ABOVE_REQUEST"));

    bank.clone().reject_order(RejectOrderRequest { request_id: Uuid::now_v7().to_string(), ..reject.clone() }).await?;
    let status = bank.clone().approve_loan(approve(order.amount_fen)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "ORDER_CLOSED"),
        "a second answer"
    );
    let accept = AcceptOrderRequest { request_id: Uuid::now_v7().to_string(), order_id: order.order_id.clone() };
    assert_eq!(reason(&bank.clone().accept_order(accept).await.unwrap_err()), "ORDER_CLOSED");
    assert_eq!(liandu::report(district).await?["loans_approved"], 0, "no loan came of it");
    Ok(())
}

/// Callers that may not, and a message that is too large.
async fn tokens(district: &District, parts: &[Part]) -> Result<()> {
    let part = parts.first().context("an enterprise")?;
    let inbox =
        async |channel| BankOrderServiceClient::new(channel).list_inbox(ListInboxRequest::default()).await.unwrap_err();
    let status = inbox(district.as_nobody()).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_MISSING"));
    let status = inbox(district.with_token("not.a.token")).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_MALFORMED"));
    let status = inbox(district.as_enterprise(&part.uscc).await?).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "ROLE_NOT_ALLOWED"));
    let status = inbox(district.with_token(&district.expired_bank_token().await?)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_EXPIRED"));

    // One enterprise never sees another's profile.
    let other = parts.get(1).context("another enterprise")?;
    let request = GetProfileRequest { enterprise_id: other.uscc.to_string() };
    let channel = district.as_enterprise(&part.uscc).await?;
    let status = ProfileServiceClient::new(channel.clone()).get_profile(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let before = order_count(district).await?;
    let huge = PlaceOrderRequest { purpose_zh: "长".repeat(100_000_000 / 3), ..PlaceOrderRequest::default() };
    let status =
        OrderServiceClient::new(channel).max_encoding_message_size(usize::MAX).place_order(huge).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"), "{status:?}");
    assert_eq!(order_count(district).await?, before);
    Ok(())
}
