//! Whatever the order in which a history is told, and however often: the end is the same, byte for byte.

mod history;

use std::{path::Path, sync::Arc};

use prost::Message as _;
use tonic::Code;
use zhirong_kernel::clock::{Clock as _, SystemClock};
use zhirong_proto::profile::v1::{
    Category, DecideObjectionRequest, DraftScorecardRequest, EraseEnterpriseRequest, GetIpAppraisalRequest,
    ListScorecardsRequest, ObjectionState, Profile, ProfileUpdated, PutCategoryRequest, QualityStanding,
    RaiseObjectionRequest, ReviewScorecardRequest, Scorecard, TierStanding,
    appraisal_service_client::AppraisalServiceClient, category_service_client::CategoryServiceClient,
    erasure_service_client::ErasureServiceClient, objection_service_client::ObjectionServiceClient,
    scorecard_service_client::ScorecardServiceClient,
};
use zhirong_runtime::streams;
use zhirong_testkit::{Deliveries, Event, ManualClock, eventually};

use self::history::{ENTERPRISES, History, Teller};
use crate::{
    load,
    world::{PATIENCE, World, as_enterprise, enterprise, id, staff},
};

/// The categories that the history is of: what the scorecard, the pool, the appraisal and the tiers go by.
const CATEGORIES: [&str; 12] = [
    "abnormal_list",
    "administrative_penalty",
    "annual_report",
    "business_change",
    "business_registration",
    "credit_record",
    "dishonest_debtor",
    "high_tech",
    "patent",
    "power_use",
    "tax_credit",
    "tax_payment",
];

/// What staff and an enterprise do beside, and after how much of the history.
#[derive(Debug, Clone, Copy)]
struct Beside {
    card_after: usize,
    erasure_after: usize,
}

fn categories() -> Vec<Category> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds/categories");
    let all = load::categories(&folder).unwrap().into_iter();
    let of_history = all.filter(|of| CATEGORIES.contains(&of.category.as_str()));
    // from whatever source the history has
    of_history.map(|of| Category { sources: vec![], ..of }).collect()
}

/// Until every event was taken, every reload applied and every profile computed.
async fn settled(world: &World) {
    eventually(PATIENCE * 2, "all is taken and computed", || async {
        for (stream, durable) in [
            (streams::GOVDATA, "profile-records"),
            (streams::MATCHING, "profile-loans"),
            (streams::FEEDBACK, "profile-ratings"),
        ] {
            if !zhirong_testkit::heard(&world.events, stream, durable).await? {
                return Ok(None);
            }
        }
        let undone: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM reload WHERE judged_to IS NOT NULL OR forgetting)
                  + (SELECT count(*) FROM profile WHERE stale OR changed IS NOT NULL)",
        )
        .fetch_one(&world.pool().await)
        .await?;
        Ok((undone == 0).then_some(()))
    })
    .await
    .unwrap();
}

async fn dispute(world: &World) {
    let mut client = ObjectionServiceClient::new(world.channel.clone());
    for (number, decision) in [(0, Some(ObjectionState::Upheld)), (1, Some(ObjectionState::Upheld)), (2, None)] {
        let uscc = enterprise(number);
        let request = RaiseObjectionRequest {
            request_id: id(),
            source: "office".to_owned(),
            category: "patent".to_owned(),
            record_id: format!("disputed-{number}"),
            statement: "有误".to_owned(),
        };
        let raised = client.raise_objection(as_enterprise(&uscc, request)).await.unwrap().into_inner();
        if let Some(decision) = decision {
            let request = DecideObjectionRequest {
                request_id: id(),
                objection_id: raised.objection.unwrap().objection_id,
                decision: decision.into(),
                answer: "已核实".to_owned(),
            };
            client.decide_objection(staff("judge", request)).await.unwrap();
        }
    }
}

/// A second card, dearer for overdue payments and with a lower bar of what must be known.
async fn card(world: &World) {
    let mut client = ScorecardServiceClient::new(world.channel.clone());
    let first = client.list_scorecards(staff("a", ListScorecardsRequest::default())).await.unwrap().into_inner();
    let mut card: Scorecard = first.scorecards[0].scorecard.clone().unwrap();
    card.version = 0;
    let overdue = card.characteristics.iter_mut().find(|of| of.feature == "overdue_count_24m").unwrap();
    overdue.bands[1].points = -40;
    overdue.bands[2].points = -200;
    let request = DraftScorecardRequest { request_id: id(), scorecard: Some(card) };
    client.draft_scorecard(staff("author", request)).await.unwrap();
    let request = ReviewScorecardRequest { request_id: id(), version: 2, approve: true, reason: String::new() };
    client.review_scorecard(staff("reviewer", request)).await.unwrap();
}

async fn erase(world: &World) {
    let request = EraseEnterpriseRequest { request_id: id(), enterprise_id: String::new() };
    let mut client = ErasureServiceClient::new(world.channel.clone());
    client.erase_enterprise(as_enterprise(&enterprise(ENTERPRISES - 1), request)).await.unwrap();
}

/// Tells a history to a new district; gives all that is known in the end.
async fn told(clock: &Arc<ManualClock>, history: &History, seed: Option<u64>, beside: Beside) -> Vec<String> {
    let world = World::scored_by(Arc::<ManualClock>::clone(clock), &["annual_revenue_fen"]).await;
    for category in categories() {
        let request = PutCategoryRequest { request_id: id(), category: Some(category) };
        CategoryServiceClient::new(world.channel.clone()).put_category(staff("a", request)).await.unwrap();
    }
    Deliveries::new(history.disputed.clone()).publish(&world.events).await.unwrap();
    settled(&world).await;
    dispute(&world).await;
    let deliveries = Deliveries::new(history.rest.clone());
    let deliveries = match seed {
        None => deliveries,
        Some(seed) => {
            // everything twice, what was disputed once more, and every third under another id as well
            let again =
                history.disputed.iter().chain(history.rest.iter().step_by(3)).map(|of| of.clone().with("ce-id", &id()));
            let all: Vec<Event> = history.rest.iter().cloned().chain(again).collect();
            Deliveries::new(all).twice().shuffled(seed)
        }
    };
    let events = deliveries.events();
    for (place, chunk) in events.chunks(events.len().div_ceil(10)).enumerate() {
        if place == beside.card_after {
            card(&world).await;
        }
        if place == beside.erasure_after {
            erase(&world).await;
        }
        Deliveries::new(chunk.to_vec()).publish(&world.events).await.unwrap();
        if place % 3 == 1 {
            // profiles of parts of it are computed as well
            settled(&world).await;
        }
    }
    if beside.card_after >= 10 {
        card(&world).await;
    }
    if beside.erasure_after >= 10 {
        erase(&world).await;
    }
    settled(&world).await;
    let end = state(&world).await;
    world.stop().await;
    end
}

/// All that is known, in a fixed order. Left out is what tells the way and not the end: ids that are made on the way, clocks, and the
/// numbers of versions with the day of the last change, which count how often a profile was computed to something else, and how
/// often an enterprise went in and out of pool and tiers. Who is in none, and of whom nothing is said, is as if it had never been.
async fn state(world: &World) -> Vec<String> {
    let pool = world.pool().await;
    let mut all = Vec::new();
    for query in [
        "SELECT 'record ' || r::text FROM record r ORDER BY source, category, record_id",
        "SELECT 'reload ' || row(source, category, reload_id, as_of, record_count, member_count, applied_as_of)::text
         FROM reload ORDER BY source, category, reload_id",
        "SELECT 'member ' || m::text FROM reload_member m ORDER BY m::text",
        "SELECT 'loan ' || s::text FROM loan_step s ORDER BY loan_id, version",
        "SELECT 'erased loan ' || l::text FROM erased_loan l ORDER BY loan_id",
        "SELECT 'demand ' || d::text FROM financing_demand d ORDER BY order_id",
        "SELECT 'rating ' || r::text FROM enterprise_rating r ORDER BY rating_id",
        "SELECT 'objection ' || row(enterprise_id, record_id, statement, state, answer, observed_at, revision, tie_break,
                                    computed_values, taken_out, version)::text
         FROM objection ORDER BY enterprise_id, record_id",
        "SELECT 'provenance ' || enterprise_id || encode(provenance, 'hex') FROM profile ORDER BY enterprise_id",
        "SELECT 'dead letter ' || reason FROM runtime.dead_letter WHERE consumer <> 'profile-orders' ORDER BY reason",
    ] {
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&pool).await.unwrap();
        all.extend(rows);
    }
    let contents =
        async |query: &'static str| -> Vec<Vec<u8>> { sqlx::query_scalar(query).fetch_all(&pool).await.unwrap() };
    let mut profiles = Vec::new();
    for content in contents("SELECT content FROM profile ORDER BY enterprise_id").await {
        let mut profile = Profile::decode(content.as_slice()).unwrap();
        (profile.version, profile.computed_at) = (0, None);
        profiles.push(hex(&profile));
        all.push(format!("profile {} {profile:?}", hex(&profile)));
    }
    // what others hear of last, and go by in what they compute in advance
    let last = "SELECT DISTINCT ON (aggregate_id) payload FROM runtime.outbox WHERE aggregate_kind = 'profile'
                ORDER BY aggregate_id, aggregate_version DESC";
    for (place, content) in contents(last).await.into_iter().enumerate() {
        let mut profile = ProfileUpdated::decode(content.as_slice()).unwrap().profile.unwrap();
        (profile.version, profile.computed_at) = (0, None);
        assert_eq!(hex(&profile), profiles[place], "what was told last of {}", profile.enterprise_id);
    }
    for content in contents("SELECT content FROM quality_standing ORDER BY enterprise_id").await {
        let mut standing = QualityStanding::decode(content.as_slice()).unwrap();
        standing.version = 0;
        standing.since_on.clear();
        if standing.listed || !standing.criteria.is_empty() {
            all.push(format!("pool {} {standing:?}", hex(&standing)));
        }
    }
    for content in contents("SELECT content FROM tier_standing WHERE tier <> '' ORDER BY enterprise_id").await {
        let mut standing = TierStanding::decode(content.as_slice()).unwrap();
        standing.version = 0;
        standing.since_on.clear();
        standing.from_tier.clear();
        all.push(format!("tier {} {standing:?}", hex(&standing)));
    }
    for number in 0..ENTERPRISES {
        let request = as_enterprise(&enterprise(number), GetIpAppraisalRequest::default());
        match AppraisalServiceClient::new(world.channel.clone()).get_ip_appraisal(request).await {
            Ok(answer) => {
                let mut appraisal = answer.into_inner().appraisal.unwrap();
                appraisal.profile_version = 0;
                all.push(format!("appraisal {number} {} {appraisal:?}", hex(&appraisal)));
            }
            Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
        }
    }
    all
}

fn hex(message: &impl prost::Message) -> String {
    message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn the_same_end(seed: u64) {
    // It stands still, so that all is told on one day.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let history = Teller::new(seed, clock.now(), &categories()).history();
    let straight = told(&clock, &history, None, Beside { card_after: 10, erasure_after: 10 }).await;
    let count = |beginning: &str, word: &str| {
        straight.iter().filter(|line| line.starts_with(beginning) && line.contains(word)).count()
    };
    // The history has something of everything.
    for (beginning, word, least) in [
        ("profile", "scorecard_version: 2", 4),
        ("tier", "", 1),
        ("pool", "listed: true", 1),
        ("pool", "listed: false", 1),
        ("appraisal", "", 4),
        ("record (centre", ",t)", 1),
        ("record (office", ",t,", 5),
        ("objection", "", 3),
        ("loan", "settled", 2),
    ] {
        assert!(count(beginning, word) >= least, "seed {seed}: {beginning} {word}: {}", count(beginning, word));
    }
    assert_eq!(count("dead letter", ""), 0, "{straight:#?}");
    for (order, beside) in [
        (seed * 100 + 1, Beside { card_after: 3, erasure_after: 0 }),
        (seed * 100 + 2, Beside { card_after: 0, erasure_after: 6 }),
    ] {
        let other = told(&clock, &history, Some(order), beside).await;
        let only = |here: &[String], there: &[String]| {
            here.iter().filter(|line| !there.contains(line)).take(3).cloned().collect::<Vec<_>>()
        };
        let (missing, added) = (only(&straight, &other), only(&other, &straight));
        assert!(straight == other, "seed {seed}, order {order}: in order {missing:#?}, otherwise {added:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_ends_the_same() {
    the_same_end(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_another_history_ends_the_same() {
    the_same_end(2).await;
}
