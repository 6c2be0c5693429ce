//! Every service is made to abort at every one of its crash points while the district works: between commit and publish,
//! between publish and mark, between handling and acknowledging, around the SMS provider. The sandbox starts it again. In
//! the end everything stands as if nothing had happened.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;
use zhirong_proto::{
    catalog::v1::{
        Institution, InstitutionKind, RegisterInstitutionRequest, institution_service_client::InstitutionServiceClient,
    },
    feedback::v1::{SmsKind, SmsState},
    matching::v1::{CalculateView, Order},
    subsidy::v1::GrantState,
};
use zhirong_tests::{
    apart::{computed_apart, loans},
    district::{District, eventually},
    liandu,
    quiet::quiet,
};

const LOANS: usize = 23;
/// The points of whoever takes events in.
const INBOX: [&str; 2] = ["inbox_before_commit", "inbox_after_commit"];
/// The points of whoever has told something.
const OUTBOX: [&str; 3] = ["outbox_before_publish", "outbox_after_publish", "outbox_after_mark"];
/// The points around the SMS provider.
const SMS: [&str; 2] = ["sms_before_send", "sms_after_send"];
const SERVICES: [(&str, &str); 5] = [
    ("credit-profile", "profile"),
    ("product-catalog", "catalog"),
    ("matching", "matching"),
    ("subsidy", "subsidy"),
    ("feedback", "feedback"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_district_whose_services_abort_at_every_crash_point_ends_right() -> Result<()> {
    // Shorter waits until others take over what a dead process had taken: an event from the broker, a message to send. What
    // a dead process had in hand counts as delivered, so that an event may be at its fourth delivery with nothing wrong.
    let inbox = "[inbox]\nack_wait_s = 5\nretry_ms = [500, 1000, 2000]\n";
    let feedback = format!("{inbox}[sms]\nclaim_s = 15\ntimeout_ms = 5000\n");
    let settings =
        SERVICES.map(|(program, _)| (program, if program == "feedback" { feedback.as_str() } else { inbox }));
    let district = District::start_set(&settings).await?;
    let parts = liandu::parts()?;
    for (program, points) in points() {
        district.crash_at(program, &points).await?;
    }

    register_an_institution(&district).await?;
    liandu::data_arrive(&district).await?;
    eventually("every contact is kept", || async {
        liandu::contacts(&district, &parts).await?;
        Ok(Some(()))
    })
    .await?;
    for part in &parts {
        liandu::calculate(&district, part, CalculateView::Eligible).await?;
    }
    let mut orders = Vec::new();
    for part in parts.iter().filter(|part| part.amount_fen.is_some()) {
        orders.push(liandu::order_patiently(&district, part).await?);
    }
    let mut banks = liandu::banks(&district, &orders).await?;
    let orders = liandu::answered(&district, &parts).await?;
    eventually("every loan is paid out and told", || async {
        let report = liandu::report(&district).await?;
        Ok((report["loans_disbursed"] == LOANS && report["sms_sent"] == LOANS).then_some(()))
    })
    .await?;
    for bank in &mut banks {
        bank.kill().await?;
    }
    for (program, points) in points() {
        for point in points {
            eventually(&format!("{program} has aborted at {point}"), || async {
                Ok(district.has_crashed_at(program, point)?.then_some(()))
            })
            .await?;
        }
    }
    eventually("feedback is back from its last crash", || async { Ok(Some(liandu::report(&district).await?)) }).await?;
    quiet(&district).await?;
    ends_right(&district, &orders).await?;
    district.stop().await
}

/// Where each service aborts. It takes in, then tells: in this order it reaches all points.
fn points() -> [(&'static str, Vec<&'static str>); 5] {
    let both = [INBOX.as_slice(), &OUTBOX].concat();
    [
        ("credit-profile", both.clone()),
        ("product-catalog", OUTBOX.to_vec()),
        ("matching", both.clone()),
        ("subsidy", both),
        ("feedback", [INBOX.as_slice(), &SMS, &OUTBOX].concat()),
    ]
}

/// Gives the catalog something to tell.
async fn register_an_institution(district: &District) -> Result<()> {
    let client = InstitutionServiceClient::new(district.as_staff().await?);
    let request = RegisterInstitutionRequest {
        request_id: Uuid::now_v7().to_string(),
        institution: Some(Institution {
            institution_id: "sample-late-bank".to_owned(),
            name_zh: "示例后来银行".to_owned(),
            kind: InstitutionKind::Bank.into(),
            ..Institution::default()
        }),
    };
    eventually("an institution is registered", || async {
        Ok(Some(client.clone().register_institution(request.clone()).await?))
    })
    .await?;
    Ok(())
}

/// The same end as without any crash, and nothing half done.
async fn ends_right(district: &District, orders: &[Order]) -> Result<()> {
    // Each event was published and nothing was laid aside.
    for (program, database) in SERVICES {
        let mut connection = PgConnection::connect(&district.postgres(database)).await?;
        for (what, query) in [
            ("every event of it is published", "SELECT count(*) FROM runtime.outbox WHERE published_at IS NULL"),
            ("none of its events is a dead letter", "SELECT count(*) FROM runtime.dead_letter"),
        ] {
            let connection = tokio::sync::Mutex::new(&mut connection);
            eventually(&format!("{program}: {what}"), || async {
                let left: i64 = sqlx::query_scalar(query).fetch_one(&mut **connection.lock().await).await?;
                Ok((left == 0).then_some(()))
            })
            .await?;
        }
    }

    let loans = loans(district, orders).await?;
    assert_eq!(loans.len(), LOANS);
    let computed = computed_apart(&loans)?;
    let grants = eventually("every loan that a policy names has its grant", || async {
        let grants = liandu::grants(district).await?;
        let active = grants.iter().filter(|grant| grant.state() == GrantState::Active).count();
        Ok((active == computed.len()).then_some(grants))
    })
    .await?;
    let granted: BTreeMap<String, (String, i64)> =
        grants.iter().map(|grant| (grant.loan_id.clone(), (grant.policy_id.clone(), grant.planned_fen))).collect();
    assert_eq!(granted.len(), grants.len(), "a loan has one grant");
    assert_eq!(granted, computed, "each as the independent computation has it");

    let messages = liandu::messages(district, SmsKind::RatingRequest).await?;
    let told: BTreeSet<&String> = messages.iter().map(|message| &message.loan_id).collect();
    assert_eq!((messages.len(), told.len()), (LOANS, LOANS), "a loan has one message");
    assert!(messages.iter().all(|message| message.state() == SmsState::Sent));
    let notices = eventually("every subsidised loan's borrower is told", || async {
        let notices = liandu::messages(district, SmsKind::GrantNotice).await?;
        let sent = notices.iter().filter(|notice| notice.state() == SmsState::Sent).count();
        Ok((sent == granted.len()).then_some(notices))
    })
    .await?;
    let told: BTreeSet<&String> = notices.iter().map(|notice| &notice.loan_id).collect();
    assert_eq!(told, granted.keys().collect(), "each once");
    let sent = std::fs::read_to_string(district.folder().join("sms.ndjson"))?;
    let sent: Vec<Value> = sent.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let once: BTreeSet<String> = sent.iter().map(|line| line["sms_id"].to_string()).collect();
    let all = LOANS + notices.len();
    assert_eq!((sent.len(), once.len()), (all, all), "the provider got each message once");

    let report = liandu::report(district).await?;
    let planned: i64 = grants.iter().map(|grant| grant.planned_fen).sum();
    let expected = json!({
        "enterprises_computed": 38, "orders_placed": 30, "orders_rejected": 4,
        "loans_approved": LOANS, "approved_fen": 12_100_000_000_i64,
        "loans_disbursed": LOANS, "disbursed_fen": 12_100_000_000_i64,
        "subsidy_grants": grants.len(), "subsidy_planned_fen": planned, "subsidy_waiting": 0,
        "sms_queued": LOANS, "sms_sent": LOANS,
    });
    for (name, value) in expected.as_object().context("figures")? {
        assert_eq!(&report[name], value, "{name}");
    }
    Ok(())
}
