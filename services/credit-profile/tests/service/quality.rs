//! The quality-enterprise pool: loans, orders and ratings in any order put an enterprise in and take it out, each time with
//! reasons and a fact.

use crate::scored::flag;
use crate::world::{PATIENCE, World, as_enterprise, enterprise, id, staff};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    Fact,
    feedback::v1::{Rating, RatingLevel, RatingReceived},
    matching::v1::{
        Loan, LoanApproved, LoanDefaulted, LoanDisbursed, LoanRepaid, LoanSettled, LoanState, Order, OrderPlaced,
    },
    profile::v1::{
        EnterpriseErased, EraseEnterpriseRequest, GetQualityStandingRequest, ListQualityChangesRequest,
        ListQualityEnterprisesRequest, QualityCriterionKind as Kind, QualityDelisted, QualityListed, QualityStanding,
        erasure_service_client::ErasureServiceClient, quality_pool_service_client::QualityPoolServiceClient,
    },
};
use zhirong_testkit::eventually;

const FLAG: &str = "is_quality_enterprise";

/// Facts with the id of their events, so that they can come twice and in any order.
enum Told {
    Placed(OrderPlaced),
    Approved(LoanApproved),
    Disbursed(LoanDisbursed),
    Repaid(LoanRepaid),
    Settled(LoanSettled),
    Defaulted(LoanDefaulted),
    Rated(RatingReceived),
}

#[expect(clippy::disallowed_methods, reason = "the service runs on the real day")]
fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(8))).date()
}

fn days_ago(days: i64) -> String {
    today().saturating_sub(jiff::Span::new().days(days)).to_string()
}

fn at(days: i64) -> Option<prost_types::Timestamp> {
    let day = today().saturating_sub(jiff::Span::new().days(days));
    let instant = day.at(4, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    Some(prost_types::Timestamp { seconds: instant.as_second(), nanos: 0 })
}

/// A loan of 90 days ago, repaid in two parts and settled; rated with the highest level.
fn life(uscc: &Uscc, late: bool) -> Vec<(String, Told)> {
    let loan = Loan {
        loan_id: id(),
        order_id: id(),
        enterprise_id: uscc.to_string(),
        amount_fen: 1_000,
        approved_at: at(90),
        disbursed_on: days_ago(89),
        matures_on: days_ago(2),
        ..Loan::default()
    };
    let after = |version, state: LoanState, outstanding_fen| {
        Some(Loan { version, state: state.into(), outstanding_fen, ..loan.clone() })
    };
    let order = Order {
        order_id: loan.order_id.clone(),
        enterprise_id: uscc.to_string(),
        placed_at: at(91),
        ..Order::default()
    };
    let rating = Rating {
        rating_id: id(),
        loan_id: loan.loan_id.clone(),
        enterprise_id: uscc.to_string(),
        level: RatingLevel::VerySatisfied.into(),
        received_at: at(80),
        ..Rating::default()
    };
    let repaid = |version, outstanding, days, overdue| {
        Told::Repaid(LoanRepaid {
            loan: after(version, LoanState::Disbursed, outstanding),
            principal_fen: 500,
            interest_fen: 5,
            paid_on: days_ago(days),
            overdue,
        })
    };
    [
        Told::Placed(OrderPlaced { order: Some(order) }),
        Told::Approved(LoanApproved { loan: after(1, LoanState::Approved, 0), ..LoanApproved::default() }),
        Told::Disbursed(LoanDisbursed { loan: after(2, LoanState::Disbursed, 1_000) }),
        repaid(3, 500, 40, late),
        repaid(4, 0, 3, false),
        Told::Settled(LoanSettled { loan: after(5, LoanState::Settled, 0), settled_on: days_ago(3) }),
        Told::Rated(RatingReceived { rating: Some(rating) }),
    ]
    .into_iter()
    .map(|told| (id(), told))
    .collect()
}

async fn tell(world: &World, id: &str, told: &Told) {
    let key = Uuid::now_v7().to_string();
    match told {
        Told::Placed(fact) => world.tell(id, &key, fact).await,
        Told::Approved(fact) => world.tell(id, &key, fact).await,
        Told::Disbursed(fact) => world.tell(id, &key, fact).await,
        Told::Repaid(fact) => world.tell(id, &key, fact).await,
        Told::Settled(fact) => world.tell(id, &key, fact).await,
        Told::Defaulted(fact) => world.tell(id, &key, fact).await,
        Told::Rated(fact) => world.tell(id, &key, fact).await,
    }
}

fn client(world: &World) -> QualityPoolServiceClient<tonic::transport::Channel> {
    QualityPoolServiceClient::new(world.channel.clone())
}

async fn standing(world: &World, uscc: &Uscc) -> Option<QualityStanding> {
    let request = as_enterprise(uscc, GetQualityStandingRequest::default());
    match client(world).get_quality_standing(request).await {
        Ok(response) => response.into_inner().standing,
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            None
        }
    }
}

/// The standing once all of a life was heard, and whether it is as expected.
async fn standing_when(world: &World, uscc: &Uscc, expected: impl Fn(&QualityStanding) -> bool) -> QualityStanding {
    eventually(PATIENCE, "the standing is as expected", || async {
        Ok(standing(world, uscc).await.filter(|standing| expected(standing)))
    })
    .await
    .unwrap()
}

fn unmet(standing: &QualityStanding) -> Vec<Kind> {
    standing.criteria.iter().filter(|of| !of.met).map(|of| of.kind()).collect()
}

fn found(standing: &QualityStanding, kind: Kind) -> i64 {
    standing.criteria.iter().find(|of| of.kind() == kind).unwrap().found
}

fn decode<F: Fact>(told: &(String, Vec<u8>)) -> F {
    assert_eq!(told.0, F::TYPE);
    F::decode(told.1.as_slice()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enterprise_comes_in_by_its_history_and_goes_out_by_a_default() {
    let world = World::scored(&["is_dishonest", "annual_revenue_fen"]).await;
    let (good, late) = (enterprise(1), enterprise(2));
    assert_eq!(standing(&world, &good).await, None, "nothing is said of an enterprise without a loan");
    for (id, told) in life(&good, false).iter().chain(&life(&late, true)) {
        tell(&world, id, told).await;
    }
    let whole = |of: &QualityStanding| of.criteria[0].text_zh == "近730天还款2次，其中按时2次";
    let listed = standing_when(&world, &good, |of| of.listed && whole(of)).await;
    assert_eq!((unmet(&listed), listed.version, listed.since_on.as_str()), (vec![], 1, today().to_string().as_str()));
    world.profile_when(&good, "products see that it is in", |of| flag(of, FLAG) == Some(true)).await;
    let not =
        standing_when(&world, &late, |of| found(of, Kind::Rating) == 5_000_000 && found(of, Kind::OnTime) == 500_000)
            .await;
    assert_eq!((unmet(&not), not.version), (vec![Kind::OnTime], 0));
    world.profile_when(&late, "products see that it is not in", |of| flag(of, FLAG) == Some(false)).await;

    let request = staff("a", ListQualityEnterprisesRequest::default());
    let page = client(&world).list_quality_enterprises(request).await.unwrap().into_inner();
    assert_eq!((page.enterprise_count, page.standings.len()), (1, 1));
    assert_eq!(page.standings[0].enterprise_id, good.as_str());

    // Another loan goes into default.
    let defaulted = Loan {
        loan_id: id(),
        enterprise_id: good.to_string(),
        version: 3,
        state: LoanState::Defaulted.into(),
        outstanding_fen: 700,
        approved_at: at(30),
        ..Loan::default()
    };
    let fact = LoanDefaulted { loan: Some(defaulted), defaulted_on: days_ago(1), overdue_interest_fen: 3 };
    tell(&world, &id(), &Told::Defaulted(fact)).await;
    let out = standing_when(&world, &good, |of| !of.listed).await;
    assert_eq!((unmet(&out), out.version), (vec![Kind::NoLoss], 2));
    world.profile_when(&good, "products see that it is out", |of| flag(of, FLAG) == Some(false)).await;

    let changes = client(&world).list_quality_changes(as_enterprise(&good, ListQualityChangesRequest::default())).await;
    let changes = changes.unwrap().into_inner().changes;
    assert_eq!(changes.iter().map(|of| (of.version, of.listed)).collect::<Vec<_>>(), [(1, true), (2, false)]);
    let told = world.told("quality").await;
    assert_eq!(told.len(), 2);
    assert_eq!(decode::<QualityListed>(&told[0]).standing, Some(changes[0].clone()));
    assert_eq!(decode::<QualityDelisted>(&told[1]).standing, Some(changes[1].clone()));
    let other = GetQualityStandingRequest { enterprise_id: good.to_string() };
    let refused = client(&world).get_quality_standing(as_enterprise(&late, other)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "another's standing does not exist for an enterprise");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_in_any_order_and_twice_give_the_same_standing() {
    let world = World::scored(&["is_dishonest"]).await;
    let (straight, shuffled) = (enterprise(3), enterprise(4));
    for (id, told) in &life(&straight, false) {
        tell(&world, id, told).await;
    }
    let life = life(&shuffled, false);
    for (id, told) in life.iter().rev() {
        tell(&world, id, told).await;
    }
    for (place, (event_id, told)) in life.iter().enumerate() {
        // The same event, and the same fact in another event.
        tell(&world, event_id, told).await;
        if place % 2 == 0 {
            tell(&world, &id(), told).await;
        }
    }
    let whole =
        |of: &QualityStanding| of.listed && found(of, Kind::Rating) > 0 && of.criteria[0].text_zh.contains("2次");
    let first = standing_when(&world, &straight, whole).await;
    let second = standing_when(&world, &shuffled, whole).await;
    assert_eq!(first.criteria, second.criteria);

    // The list of dishonest debtors keeps out; taken back, it does not.
    world.observe(&straight, 1, &json!({ "is_dishonest": true })).await;
    let out = standing_when(&world, &straight, |of| !of.listed).await;
    assert_eq!(unmet(&out), [Kind::NotBarred]);
    world.observe(&straight, 2, &json!({ "is_dishonest": false })).await;
    let back = standing_when(&world, &straight, |of| of.listed).await;
    assert_eq!(back.version, out.version + 1);

    // What breaks the form is set aside, and its neighbours are used.
    let nobody = Loan { loan_id: "x".to_owned(), ..Loan::default() };
    tell(&world, &id(), &Told::Approved(LoanApproved { loan: Some(nobody), ..LoanApproved::default() })).await;
    let reasons = eventually(PATIENCE, "it is set aside", || async {
        let letters = world.dead_letters().await;
        Ok((!letters.is_empty()).then_some(letters))
    });
    assert_eq!(reasons.await.unwrap(), ["`loan.approved_at` is missing or out of range"]);
    world.stop().await;
}

/// Waits until this many facts of loans, orders and ratings were dealt with.
async fn heard(world: &World, facts: usize) {
    let query = "SELECT count(*) FROM runtime.inbox WHERE consumer IN ('profile-loans', 'profile-ratings')";
    let pool = world.pool().await;
    eventually(PATIENCE, "the facts were heard", || async {
        let seen: i64 = sqlx::query_scalar(query).fetch_one(&pool).await.unwrap();
        Ok((usize::try_from(seen).unwrap() >= facts).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_stays_out_whichever_comes_first_and_a_bad_record_stays() {
    let world = World::scored(&["is_dishonest", "annual_revenue_fen"]).await;
    let (pool, mut told_so_far) = (world.pool().await, 0);
    for (round, before) in [(0, 0), (1, 4), (2, 7)] {
        let (good, late) = (enterprise(10 + round), enterprise(20 + round));
        for (uscc, is_late) in [(&good, false), (&late, true)] {
            let mut facts = life(uscc, is_late);
            if round == 1 {
                facts.reverse();
            }
            let (first, second) = facts.split_at(before);
            for (id, told) in first {
                tell(&world, id, told).await;
            }
            heard(&world, told_so_far + first.len()).await;
            if round == 2 && !is_late {
                standing_when(&world, uscc, |of| of.listed).await;
            }
            for request_id in [id(), id()] {
                let request = EraseEnterpriseRequest { request_id, enterprise_id: String::new() };
                let mut client = ErasureServiceClient::new(world.channel.clone());
                client.erase_enterprise(as_enterprise(uscc, request)).await.unwrap();
            }
            for (id, told) in second {
                tell(&world, id, told).await;
            }
            told_so_far += facts.len();
            heard(&world, told_so_far).await;
        }
        let left = |uscc: &Uscc| {
            let (pool, uscc) = (pool.clone(), uscc.to_string());
            async move {
                let steps: Vec<(String, bool, String, i64)> = sqlx::query_as(
                    "SELECT kind, overdue, state, outstanding_fen FROM loan_step WHERE enterprise_id = $1",
                )
                .bind(&uscc)
                .fetch_all(&pool)
                .await
                .unwrap();
                let others: i64 = sqlx::query_scalar(
                    "SELECT (SELECT count(*) FROM financing_demand WHERE enterprise_id = $1)
                          + (SELECT count(*) FROM enterprise_rating WHERE enterprise_id = $1)",
                )
                .bind(&uscc)
                .fetch_one(&pool)
                .await
                .unwrap();
                (steps, others)
            }
        };
        assert_eq!(left(&good).await, (vec![], 0), "round {round}");
        let bad = ("repaid".to_owned(), true, "settled".to_owned(), 0);
        assert_eq!(left(&late).await, (vec![bad], 0), "round {round}");
        if round == 2 {
            // Who was in the pool leaves it, with nothing said of what it was judged by.
            let out = standing_when(&world, &good, |of| !of.listed).await;
            assert_eq!((out.version, out.criteria.len()), (2, 0));
            world.profile_when(&good, "products are told nothing", |of| flag(of, FLAG).is_none()).await;
            let request = as_enterprise(&good, ListQualityChangesRequest::default());
            let changes = client(&world).list_quality_changes(request).await.unwrap().into_inner().changes;
            // The second erasure may have come after the exit, which then is gone too; the entry is gone in any case.
            assert!(changes.iter().all(|of| of.version == 2 && of.criteria.is_empty()), "{changes:?}");
            let versions: Vec<(i64, i64)> = sqlx::query_as(
                "SELECT v.version, p.version FROM profile_version v JOIN profile p USING (enterprise_id)
                 WHERE enterprise_id = $1",
            )
            .bind(good.as_str())
            .fetch_all(&pool)
            .await
            .unwrap();
            assert!(versions.iter().all(|(kept, present)| kept == present), "{versions:?}");
        }
    }
    let told: Vec<Vec<u8>> = sqlx::query_scalar("SELECT payload FROM runtime.outbox WHERE event_type = $1")
        .bind(EnterpriseErased::TYPE)
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(told.len(), 12, "each erasure is told");
    world.stop().await;
}
