//! Scorecards over gRPC: drafted, tried on all profiles, reviewed by another person, and every score computed again.

use crate::scored::integer;
use crate::world::{PATIENCE, World, as_enterprise, enterprise, id, staff};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{
    Distribution, DraftScorecardRequest, ListScorecardsRequest, ListScoresRequest, Profile, RecomputeScoreRequest,
    RecomputeScoreResponse, ReviewScorecardRequest, Scorecard, ScorecardState, ScorecardStatus, ScorecardTrial,
    ScorecardTrialProgress, StreamScorecardTrialRequest, TryScorecardRequest,
    scorecard_service_client::ScorecardServiceClient, stream_scorecard_trial_response::Element,
};
use zhirong_testkit::eventually;

const FEATURES: [&str; 7] = [
    "annual_revenue_fen",
    "net_profit_fen",
    "overdue_count_24m",
    "penalty_count_36m",
    "tax_credit_grade",
    "is_dishonest",
    "tax_months_12m",
];

/// An enterprise with as many overdue payments.
fn data(overdue: u32) -> Value {
    json!({
        "annual_revenue_fen": 9_000_000_000_i64, "net_profit_fen": 500_000_000, "overdue_count_24m": overdue,
        "penalty_count_36m": 0, "tax_credit_grade": "A", "is_dishonest": false, "tax_months_12m": 12,
    })
}

fn client(world: &World) -> ScorecardServiceClient<Channel> {
    ScorecardServiceClient::new(world.channel.clone())
}

async fn in_force(world: &World) -> Scorecard {
    let page = client(world).list_scorecards(staff("a", ListScorecardsRequest::default())).await.unwrap().into_inner();
    let all: Vec<ScorecardStatus> =
        page.scorecards.into_iter().filter(|card| card.state() == ScorecardState::InForce).collect();
    assert_eq!(all.len(), 1, "one card counts");
    all[0].scorecard.clone().unwrap()
}

async fn draft(world: &World, card: Scorecard) -> Result<ScorecardStatus, Status> {
    let request = DraftScorecardRequest { request_id: id(), scorecard: Some(Scorecard { version: 0, ..card }) };
    Ok(client(world).draft_scorecard(staff("author", request)).await?.into_inner().scorecard.unwrap())
}

async fn review(world: &World, by: &str, version: i32, approve: bool) -> Result<ScorecardStatus, Status> {
    let reason = if approve { String::new() } else { "权重依据不足".to_owned() };
    let request = ReviewScorecardRequest { request_id: id(), version, approve, reason };
    Ok(client(world).review_scorecard(staff(by, request)).await?.into_inner().scorecard.unwrap())
}

async fn recompute(world: &World, uscc: &Uscc, profile: i64, card: i32) -> Result<RecomputeScoreResponse, Status> {
    let request =
        RecomputeScoreRequest { enterprise_id: String::new(), profile_version: profile, scorecard_version: card };
    Ok(client(world).recompute_score(as_enterprise(uscc, request)).await?.into_inner())
}

/// The card with a dearer second overdue payment.
fn stricter(mut card: Scorecard) -> Scorecard {
    let overdue = card.characteristics.iter_mut().find(|of| of.feature == "overdue_count_24m").unwrap();
    overdue.bands[1].points = -40;
    overdue.bands[2].points = -200;
    card
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_card_is_tried_reviewed_by_another_and_then_counts_for_all() {
    let world = World::scored(&FEATURES).await;
    // Points by the first card: 500 + 34 + 26 + 25 + 34 + 10 + 18 = 647, and 45, 0 or -80 for overdue payments.
    let enterprises: Vec<(Uscc, i64, i64)> = [(0, 692, 692), (1, 647, 607), (2, 647, 607), (3, 567, 447)]
        .into_iter()
        .enumerate()
        .map(|(number, (_, before, after))| (enterprise(u32::try_from(number).unwrap()), before, after))
        .collect();
    for (overdue, (uscc, ..)) in (0..).zip(&enterprises) {
        world.observe(uscc, 1, &data(overdue)).await;
    }
    for (uscc, before, _) in &enterprises {
        world.profile_when(uscc, "it has its score", |of| integer(of, "credit_score") == Some(*before)).await;
    }
    let first = in_force(&world).await;
    let drafted = draft(&world, stricter(first.clone())).await.unwrap();
    let version = drafted.scorecard.unwrap().version;
    assert_eq!(
        (version, drafted.state.try_into(), drafted.drafted_by.as_str()),
        (2, Ok(ScorecardState::Draft), "author")
    );

    let request = TryScorecardRequest { version };
    let trial = client(&world).try_scorecard(staff("author", request)).await.unwrap().into_inner().trial.unwrap();
    assert_eq!((trial.compared_with, trial.profiles, trial.scored_by_both), (1, 4, 4));
    let moves: Vec<(&str, &str, i64)> =
        trial.grade_moves.iter().map(|of| (of.from.as_str(), of.to.as_str(), of.enterprises)).collect();
    assert_eq!(moves, [("BBB", "BBB", 1), ("BB", "BB", 2), ("B", "D", 1)]);
    let spread = |least, low, high, most, mean_milli| Distribution {
        mean_milli,
        least,
        p5: least,
        p25: least,
        p50: low,
        p75: high,
        p95: most,
        most,
    };
    assert_eq!(trial.before, Some(spread(567, 647, 647, 692, 638_250)));
    assert_eq!(trial.after, Some(spread(447, 607, 607, 692, 588_250)));
    assert_eq!(trial.change, Some(spread(-120, -40, -40, 0, -50_000)));
    assert_eq!(trial.largest_moves.len(), 3);
    assert_eq!(trial.largest_moves[0].enterprise_id, enterprises[3].0.as_str());
    let still = world.profile(&enterprises[3].0).await.unwrap();
    assert_eq!(integer(&still, "credit_score"), Some(567), "a trial changes nothing");

    let same = review(&world, "author", version, true).await.unwrap_err();
    assert_eq!((same.code(), reason(&same).as_str()), (Code::FailedPrecondition, "SAME_PERSON"));
    assert_eq!(review(&world, "reviewer", version, true).await.unwrap().state(), ScorecardState::InForce);
    assert_eq!(in_force(&world).await.version, 2);
    let again = review(&world, "reviewer", version, false).await.unwrap_err();
    assert_eq!(reason(&again), "SCORECARD_STATE");
    for (uscc, _, after) in &enterprises {
        let profile =
            world.profile_when(uscc, "it is scored by the new card", |of| integer(of, "credit_score") == Some(*after));
        if *after != 692 {
            assert_eq!(profile.await.score.unwrap().scorecard_version, 2);
        }
    }

    // What was said before can be said again.
    let uscc = &enterprises[3].0;
    let request = |page_token| ListScoresRequest { page_size: 1, page_token, ..ListScoresRequest::default() };
    let newest = client(&world).list_scores(as_enterprise(uscc, request(String::new()))).await.unwrap().into_inner();
    let oldest = client(&world).list_scores(as_enterprise(uscc, request(newest.next_page_token))).await.unwrap();
    let given: Vec<(i64, i32)> = [newest.scores, oldest.into_inner().scores]
        .concat()
        .into_iter()
        .map(|given| (given.profile_version, given.score.unwrap().points))
        .collect();
    assert_eq!(given, [(2, 447), (1, 567)]);
    let then = recompute(&world, uscc, 1, 0).await.unwrap();
    assert!(then.same);
    assert_eq!((then.scorecard_version, then.score.as_ref().unwrap().points), (1, 567));
    assert_eq!(then.score, then.recorded);
    let now = recompute(&world, uscc, 0, 0).await.unwrap();
    assert_eq!((now.same, now.profile_version, now.score.unwrap().points), (true, 2, 447));
    let sum: i32 = then.contributions.iter().map(|of| of.points).sum();
    assert_eq!(then.base_points + sum, 567);
    // 67 points above the base of four to one, doubling every 50: a little over ten to one.
    assert!((10_100..10_200).contains(&then.odds_milli), "{}", then.odds_milli);
    let otherwise = recompute(&world, uscc, 1, 2).await.unwrap();
    assert_eq!((otherwise.same, otherwise.score.unwrap().points), (false, 447));
    assert_eq!(recompute(&world, uscc, 99, 0).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(reason(&recompute(&world, uscc, 1, 99).await.unwrap_err()), "SCORECARD_NOT_FOUND");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_on_many_profiles_tells_how_far_it_has_come_and_is_of_one_moment() {
    let world = World::scored(&FEATURES).await;
    world.observe(&enterprise(0), 1, &data(3)).await;
    let one = world.profile_when(&enterprise(0), "it has its score", |of| integer(of, "credit_score").is_some()).await;
    let drafted = draft(&world, stricter(in_force(&world).await)).await.unwrap();
    let version = drafted.scorecard.unwrap().version;
    let (many, added) = (1_200, 1_300);
    alike(&world, &one, 1..many).await;

    let request = StreamScorecardTrialRequest { version };
    let mut told = client(&world).stream_scorecard_trial(staff("author", request)).await.unwrap().into_inner();
    let (mut progress, mut ends) = (Vec::<ScorecardTrialProgress>::new(), Vec::<ScorecardTrial>::new());
    while let Some(message) = told.message().await.unwrap() {
        match message.element.unwrap() {
            Element::Progress(far) => {
                if progress.is_empty() {
                    alike(&world, &one, many..added).await;
                }
                assert!(ends.is_empty(), "the end comes last");
                progress.push(far);
            }
            Element::Trial(trial) => ends.push(trial),
        }
    }
    let of = i64::from(many);
    assert_eq!(progress, [500, 1_000].map(|profiles| ScorecardTrialProgress { profiles, of }));
    let [end] = ends.try_into().unwrap();
    assert_eq!((end.profiles, end.scored_by_both, end.change.unwrap().mean_milli), (of, of, -120_000));

    let request = TryScorecardRequest { version };
    let now = client(&world).try_scorecard(staff("author", request)).await.unwrap().into_inner().trial.unwrap();
    assert_eq!(now.profiles, i64::from(added));
    let unknown = StreamScorecardTrialRequest { version: 99 };
    let refused = client(&world).stream_scorecard_trial(staff("author", unknown)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "SCORECARD_NOT_FOUND"));
    world.stop().await;
}

/// Enterprises of whom the same is known.
async fn alike(world: &World, one: &Profile, numbers: std::ops::Range<u32>) {
    let (ids, contents): (Vec<String>, Vec<Vec<u8>>) = numbers
        .map(|number| {
            let enterprise_id = enterprise(number).to_string();
            (enterprise_id.clone(), Profile { enterprise_id, ..one.clone() }.encode_to_vec())
        })
        .unzip();
    // Of a day to come, so that they are not computed again from records that are not there.
    let statement = "INSERT INTO profile (enterprise_id, version, content, computed_on, stale)
                     SELECT id, 1, content, now()::date + 2, false FROM unnest($1::text[], $2::bytea[]) AS of (id, content)";
    sqlx::query(statement).bind(ids).bind(contents).execute(&world.pool().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_cannot_be_used_is_refused_by_its_fields() {
    let world = World::scored(&FEATURES).await;
    let first = in_force(&world).await;
    let mut broken = first.clone();
    broken.characteristics[0].bands[1].from = Some(300);
    broken.characteristics[3].bands[2].points = 999;
    let refused = draft(&world, broken).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "SCORECARD_INVALID"));
    let details = refused.get_error_details();
    let told: Vec<(&str, &str)> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.description.as_str()))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], ("scorecard.characteristics[0].bands[1]", "overlaps bands[0]: both hold 300 to below 365"));
    assert_eq!(told[1].0, "scorecard.characteristics[3].bands");
    assert!(told[1].1.starts_with("1 to below 3 is better than 3 and above but has 0 points"), "{told:?}");

    let refused = draft(&world, first.clone()).await.unwrap().scorecard.unwrap().version;
    assert_eq!(review(&world, "reviewer", refused, false).await.unwrap().state(), ScorecardState::Refused);
    assert_eq!(reason(&review(&world, "reviewer", refused, true).await.unwrap_err()), "SCORECARD_STATE");
    assert_eq!(in_force(&world).await, first, "nothing else came into force");
    let changed = world.execute("UPDATE scorecard SET content = '\\x00' WHERE version = 1").await;
    assert!(changed.is_err(), "what a card says never changes");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authors_at_once_get_versions_without_gap() {
    let world = World::scored(&FEATURES).await;
    let first = in_force(&world).await;
    let drafts = (0..4).map(|_| draft(&world, first.clone()));
    let mut versions: Vec<i32> = Vec::new();
    for drafted in futures::future::join_all(drafts).await {
        versions.push(drafted.unwrap().scorecard.unwrap().version);
    }
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5]);
    // Two reviewers at once: one after the other, and one card counts in the end.
    let (one, other) = tokio::join!(review(&world, "b", 2, true), review(&world, "c", 3, true));
    one.unwrap();
    other.unwrap();
    let counting = eventually(PATIENCE, "one counts", || async { Ok(Some(in_force(&world).await.version)) }).await;
    assert!([2, 3].contains(&counting.unwrap()));
    world.stop().await;
}
