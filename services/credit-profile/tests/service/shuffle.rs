//! Whatever the order in which a history is told, and however often: the end is the same, byte for byte.

mod history;
mod kept;
mod trust;

use std::{path::Path, sync::Arc};

use prost::Message as _;
use tonic::Code;
use zhirong_kernel::clock::{Clock as _, SystemClock};
use zhirong_proto::profile::v1::{
    Category, DecideObjectionRequest, DraftScorecardRequest, EraseEnterpriseRequest, GetIpAppraisalRequest,
    ListScorecardsRequest, ObjectionState, Profile, ProfileUpdated, PutCategoryRequest, RaiseObjectionRequest,
    ReviewScorecardRequest, Scorecard, appraisal_service_client::AppraisalServiceClient,
    category_service_client::CategoryServiceClient, erasure_service_client::ErasureServiceClient,
    objection_service_client::ObjectionServiceClient, scorecard_service_client::ScorecardServiceClient,
};
use zhirong_runtime::streams;
use zhirong_testkit::{Aside, Deliveries, Event, ManualClock, State, eventually};

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

/// What this history has nothing of; `trust` has.
const ELSEWHERE: [Aside; 12] = [
    Aside::untouched("consent", "no order has one"),
    Aside::untouched("released_profile", "no order hands over anything"),
    Aside::untouched("order_disclosure", "no order hands over anything"),
    Aside::untouched("candidates_named", "nobody is named"),
    Aside::untouched("institution", "no consent names one"),
    Aside::untouched("release", "only who asks is released anything"),
    Aside::untouched("enterprise_code", "only who asks has one"),
    Aside::untouched("legal_representative", "only who says has one"),
    Aside::untouched("delivery_end", "no delivery ends"),
    Aside::table("audit_entry", "only commands go on the trail"),
    Aside::table("audit_head", "only commands go on the trail"),
    Aside::table("audit_checkpoint", "made by the clock"),
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
        Ok(world.computed().await.then_some(()))
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
async fn told(clock: &Arc<ManualClock>, history: &History, seed: Option<u64>, beside: Beside) -> State {
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
    if seed.is_none() {
        assert_rich(&world, history.seed).await;
    }
    let end = state(&world).await;
    world.stop().await;
    end
}

/// All that is kept; and that what others hear of last, and go by in what they compute in advance, is what is kept.
async fn state(world: &World) -> State {
    let pool = world.pool().await;
    let last: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT DISTINCT ON (aggregate_id) aggregate_id, payload FROM runtime.outbox WHERE aggregate_kind = 'profile'
         ORDER BY aggregate_id, aggregate_version DESC",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    for (enterprise_id, payload) in last {
        let told = ProfileUpdated::decode(payload.as_slice()).unwrap().profile.unwrap();
        let kept: Vec<u8> = sqlx::query_scalar("SELECT content FROM profile WHERE enterprise_id = $1")
            .bind(&enterprise_id)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(told.encode_to_vec(), kept, "what was told last of {enterprise_id}");
    }
    let kept = State::of(&pool, &[&kept::COMPUTED[..], &kept::LISTED, &ELSEWHERE].concat()).await.unwrap();
    kept.with("appraisal", appraisals(world).await)
}

async fn appraisals(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for number in 0..ENTERPRISES {
        let request = as_enterprise(&enterprise(number), GetIpAppraisalRequest::default());
        match AppraisalServiceClient::new(world.channel.clone()).get_ip_appraisal(request).await {
            Ok(answer) => {
                let mut appraisal = answer.into_inner().appraisal.unwrap();
                appraisal.profile_version = 0;
                all.push(format!("{number} {:?}", appraisal.encode_to_vec()));
            }
            Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
        }
    }
    all
}

/// The history has something of everything.
async fn assert_rich(world: &World, seed: u64) {
    for (query, least) in [
        ("SELECT count(*) FROM tier_standing WHERE tier <> ''", 1),
        ("SELECT count(*) FROM quality_standing WHERE listed", 1),
        ("SELECT count(*) FROM quality_standing WHERE NOT listed", 1),
        ("SELECT count(*) FROM record WHERE source = 'centre' AND gone", 1),
        ("SELECT count(*) FROM record WHERE source = 'office' AND withdrawn", 5),
        ("SELECT count(*) FROM objection", 3),
        ("SELECT count(*) FROM loan_step WHERE state = 'settled'", 2),
        ("SELECT count(*) FROM loan_step WHERE kind = 'other'", 1),
    ] {
        let found = world.rows::<i64>(query).await[0];
        assert!(found >= least, "seed {seed}: {query}: {found}");
    }
    let contents = world.rows::<Vec<u8>>("SELECT content FROM profile").await;
    let profiles = contents.iter().map(|content| Profile::decode(content.as_slice()).unwrap());
    assert!(profiles.filter(|of| of.score.as_ref().is_some_and(|of| of.scorecard_version == 2)).count() >= 4);
    assert!(appraisals(world).await.len() >= 4);
}

async fn the_same_end(seed: u64) {
    // It stands still, so that all is told on one day.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let history = Teller::new(seed, clock.now(), &categories()).history();
    let straight = told(&clock, &history, None, Beside { card_after: 10, erasure_after: 10 }).await;
    for (order, beside) in [
        (seed * 100 + 1, Beside { card_after: 3, erasure_after: 0 }),
        (seed * 100 + 2, Beside { card_after: 0, erasure_after: 6 }),
    ] {
        let other = told(&clock, &history, Some(order), beside).await;
        straight.ensure_same(&other).unwrap_or_else(|why| panic!("seed {seed}, order {order}: {why}"));
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
