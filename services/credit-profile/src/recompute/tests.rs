use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use serde_json::json;
use sqlx::Acquire as _;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    Fact,
    matching::v1::{Order, OrderPlaced},
    profile::v1::{self as pb, feature_value::Kind},
};
use zhirong_runtime::inbox::{Delivery, Handler as _, Rejection};
use zhirong_testkit::eventually;

use super::*;
use crate::{
    fixture::{Fixture, NOW, PATIENCE, category, enterprise, version},
    loans::HistoryHandler,
    record::Version,
};

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn taxed(uscc: &Uscc) -> Version {
    version(uscc, "tax_payment", uscc.as_str(), 1, &json!({ "tax_paid_12m_fen": 100, "tax_months_12m": 12 }))
}

async fn world() -> Fixture {
    Fixture::new(&[category("tax_payment", &["tax_paid_12m_fen", "tax_months_12m"])]).await
}

async fn computed(fixture: &Fixture) -> BTreeSet<String> {
    let rows: Vec<(String,)> =
        fixture.rows("SELECT enterprise_id FROM profile WHERE version > 0 AND NOT stale AND changed IS NULL").await;
    rows.into_iter().map(|(id,)| id).collect()
}

async fn profile(fixture: &Fixture, uscc: &Uscc) -> Profile {
    let mut conn = fixture.connection().await;
    store::profile(&mut conn, uscc.as_str()).await.unwrap().unwrap().profile.unwrap()
}

#[tokio::test]
async fn one_that_cannot_be_computed_is_set_aside_and_everybody_else_goes_on() {
    let fixture = world().await;
    let all: Vec<Uscc> = (0..70).map(enterprise).collect();
    fixture.put(&all.iter().map(taxed).collect::<Vec<_>>()).await.unwrap();
    // One can't be read at all, and with it nobody of its batch; another fails while it is judged.
    let (unreadable, unjudged) = (&all[3], &all[55]);
    fixture.execute("UPDATE record SET data = '[1]' WHERE uscc = $1", unreadable).await;
    let broken = "INSERT INTO tier_standing (enterprise_id, tier, version, content) VALUES ($1, 'seed', 1, '\\xff')";
    fixture.execute(broken, unjudged).await;
    let recompute = fixture.recompute();
    for _ in 0..2 {
        assert!(recompute.some().await.unwrap());
    }
    assert!(!recompute.some().await.unwrap(), "what is set aside is not due at once");
    let expected: BTreeSet<String> =
        all.iter().filter(|of| *of != unreadable && *of != unjudged).map(ToString::to_string).collect();
    assert_eq!(computed(&fixture).await, expected);

    let aside = || {
        fixture.rows::<(String, i32, jiff_sqlx::Timestamp)>(
            "SELECT enterprise_id, failures, retry_at FROM profile WHERE retry_at IS NOT NULL ORDER BY 1",
        )
    };
    let expected = |failures: i32, at: Timestamp| {
        let mut both = vec![unreadable.to_string(), unjudged.to_string()];
        both.sort();
        both.into_iter().map(|id| (id, failures, at)).collect::<Vec<_>>()
    };
    let told = async || aside().await.into_iter().map(|(id, times, at)| (id, times, at.to_jiff())).collect::<Vec<_>>();
    let second = SignedDuration::from_secs(1);
    assert_eq!(told().await, expected(1, now() + second));
    // Each try waits twice as long, and no longer than five minutes; whoever is new does not wait.
    let mut waited = second;
    for failures in 2..12 {
        fixture.clock.advance(waited);
        let other = enterprise(100 + u32::try_from(failures).unwrap());
        fixture.put(&[taxed(&other)]).await.unwrap();
        for _ in 0..3 {
            recompute.some().await.unwrap();
        }
        assert!(computed(&fixture).await.contains(other.as_str()));
        waited = (waited * 2).min(SignedDuration::from_mins(5));
        assert_eq!(told().await, expected(failures, recompute.clock.now() + waited));
    }
    assert_eq!(waited, SignedDuration::from_mins(5));
    // Mended, they come back by themselves.
    fixture.execute("UPDATE record SET data = '{\"tax_months_12m\": 7}' WHERE uscc = $1", unreadable).await;
    fixture.execute("DELETE FROM tier_standing WHERE enterprise_id = $1", unjudged).await;
    fixture.clock.advance(waited);
    while recompute.some().await.unwrap() {}
    assert!(told().await.is_empty());
    let months = profile(&fixture, unreadable).await.features["tax_months_12m"].kind.clone();
    assert_eq!(months, Some(Kind::Integer(7)));
}

#[tokio::test]
async fn the_oldest_mark_goes_first_whoever_it_is() {
    let fixture = world().await;
    // marked from the last to the first by their names
    let all: Vec<Uscc> = (0..120).rev().map(enterprise).collect();
    for uscc in &all {
        fixture.put(&[taxed(uscc)]).await.unwrap();
    }
    let recompute = fixture.recompute();
    let names = |all: &[Uscc]| all.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    recompute.some().await.unwrap();
    assert_eq!(computed(&fixture).await, names(&all[..50]));
    // who changes again goes behind those who wait; a mark on a mark gains and loses nothing
    for uscc in all[..50].iter().chain(&all[110..]) {
        fixture.put(&[Version { revision: 1, ..taxed(uscc) }]).await.unwrap();
    }
    recompute.some().await.unwrap();
    assert_eq!(computed(&fixture).await, names(&all[50..100]));
    recompute.some().await.unwrap();
    assert_eq!(computed(&fixture).await, names(&[&all[50..120], &all[..30]].concat()));
}

async fn finished_or_waiting(fixture: &Fixture, newcomer: &Uscc) {
    eventually(PATIENCE, "it is computed or waits", || async {
        let done = computed(fixture).await.contains(newcomer.as_str());
        Ok((done || fixture.somebody_waits().await).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_while_a_card_comes_into_force_is_scored_by_it() {
    let fixture = world().await;
    let (before, newcomer) = (enterprise(1), enterprise(2));
    fixture.put(&[taxed(&before)]).await.unwrap();
    let first = {
        let mut conn = fixture.connection().await;
        scorecards::in_force(&mut conn).await.unwrap().card().clone()
    };
    let mut change = fixture.pool.begin().await.unwrap();
    scorecards::lock(&mut change).await.unwrap();
    scorecards::insert(&mut change, &pb::Scorecard { version: 2, ..first }, "author", now()).await.unwrap();
    scorecards::review(&mut change, 2, true, "reviewer", now(), "").await.unwrap();
    // The change has marked whom it saw, and is not committed.
    fixture.put(&[taxed(&newcomer)]).await.unwrap();
    let recompute = Arc::new(fixture.recompute());
    let at_work = tokio::spawn({
        let recompute = Arc::clone(&recompute);
        async move { recompute.some().await.unwrap() }
    });
    finished_or_waiting(&fixture, &newcomer).await;
    change.commit().await.unwrap();
    at_work.await.unwrap();
    while recompute.some().await.unwrap() {}
    for uscc in [&before, &newcomer] {
        assert_eq!(profile(&fixture, uscc).await.score.unwrap().scorecard_version, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_while_a_category_changes_is_computed_by_the_new_schema() {
    let fixture = world().await;
    let newcomer = enterprise(3);
    let mut change = fixture.pool.begin().await.unwrap();
    store::put_category(&mut change, &category("tax_payment", &["tax_months_12m"])).await.unwrap();
    fixture.put(&[taxed(&newcomer)]).await.unwrap();
    let recompute = Arc::new(fixture.recompute());
    let at_work = tokio::spawn({
        let recompute = Arc::clone(&recompute);
        async move { recompute.some().await.unwrap() }
    });
    finished_or_waiting(&fixture, &newcomer).await;
    change.commit().await.unwrap();
    at_work.await.unwrap();
    while recompute.some().await.unwrap() {}
    let features = profile(&fixture, &newcomer).await.features;
    assert!(features.contains_key("tax_months_12m") && !features.contains_key("tax_paid_12m_fen"), "{features:?}");
}

/// Two replicas compute, two hear of records, two of loans, and staff change cards, schemas and erase, all over the same enterprises:
/// the database never has to end one because two waited in a circle.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_and_writers_never_wait_in_a_circle() {
    let fixture = Arc::new(world().await);
    let all: Vec<Uscc> = (0..40).map(enterprise).collect();
    let rounds = 0..25_u32;
    let mut at_work = tokio::task::JoinSet::new();
    for replica in 0..2_u32 {
        let (of, payers) = (Arc::clone(&fixture), all.clone());
        let rounds_of_records = rounds.clone();
        at_work.spawn(async move {
            for round in rounds_of_records {
                let mut versions: Vec<Version> = payers.iter().map(taxed).collect();
                versions.rotate_left(usize::try_from((round * 7 + replica * 13) % 40).unwrap());
                versions.iter_mut().for_each(|of| of.revision = i32::try_from(round * 2 + replica).unwrap());
                of.put(&versions).await?;
            }
            Ok::<(), Error>(())
        });
        let (of, borrowers) = (Arc::clone(&fixture), all.clone());
        let rounds_of_loans = rounds.clone();
        at_work.spawn(async move {
            let handler = HistoryHandler {
                clock: Arc::<zhirong_kernel::clock::ManualClock>::clone(&of.clock),
                stale: Arc::new(Notify::new()),
            };
            for round in rounds_of_loans {
                let mut deliveries: Vec<Delivery> = borrowers.iter().map(placed).collect();
                deliveries.rotate_left(usize::try_from((round * 11 + replica * 17) % 40).unwrap());
                let deliveries: Vec<&Delivery> = deliveries.iter().collect();
                let mut tx = of.pool.begin().await?;
                if round % 2 == 0 {
                    handler.handle_all(&mut tx, &deliveries).await.map_err(database)?;
                } else {
                    // one by one, as after a neighbour's failure
                    let mut savepoint = tx.begin().await?;
                    handler.lock(&mut savepoint, &deliveries).await.map_err(database)?;
                    savepoint.commit().await?;
                    for delivery in deliveries {
                        handler.handle(&mut tx, delivery).await.map_err(database)?;
                    }
                }
                tx.commit().await?;
            }
            Ok(())
        });
        let (of, computing) = (Arc::clone(&fixture), rounds.clone());
        at_work.spawn(async move {
            let recompute = of.recompute();
            for _ in computing {
                recompute.some().await?;
            }
            Ok(())
        });
    }
    let of = Arc::clone(&fixture);
    let changes = rounds.clone();
    at_work.spawn(async move {
        for round in changes {
            let features: &[&str] =
                if round % 2 == 0 { &["tax_months_12m"] } else { &["tax_paid_12m_fen", "tax_months_12m"] };
            let mut tx = of.pool.begin().await?;
            store::put_category(&mut tx, &category("tax_payment", features)).await?;
            tx.commit().await?;
            let mut tx = of.pool.begin().await?;
            scorecards::lock(&mut tx).await?;
            let version = scorecards::next_version(&mut tx).await?;
            let card = scorecards::in_force(&mut tx).await?.card().clone();
            scorecards::insert(&mut tx, &pb::Scorecard { version, ..card }, "author", now()).await?;
            scorecards::review(&mut tx, version, true, "reviewer", now(), "").await?;
            tx.commit().await?;
        }
        Ok(())
    });
    let of = Arc::clone(&fixture);
    at_work.spawn(async move {
        for round in rounds {
            let uscc = enterprise(round % 40);
            let mut tx = of.pool.begin().await?;
            store::erasure::note(&mut tx, uscc.as_str(), now()).await?;
            store::erasure::history(&mut tx, uscc.as_str()).await?;
            tx.commit().await?;
        }
        Ok(())
    });
    while let Some(ended) = at_work.join_next().await {
        ended.unwrap().unwrap();
    }
    let recompute = fixture.recompute();
    while recompute.some().await.unwrap() {}
    assert_eq!(computed(&fixture).await.len(), all.len());
    assert_eq!(fixture.rows::<(i64,)>("SELECT count(*) FROM profile WHERE failures > 0").await, [(0,)]);
}

fn database(rejection: Rejection) -> Error {
    match rejection {
        Rejection::Retry(error) => Error::Database(*error.downcast::<sqlx::Error>().unwrap()),
        other => panic!("{other}"),
    }
}

fn placed(uscc: &Uscc) -> Delivery {
    let order = Order {
        order_id: uuid::Uuid::now_v7().to_string(),
        enterprise_id: uscc.to_string(),
        placed_at: Some(proto_time(now())),
        ..Order::default()
    };
    let payload = OrderPlaced { order: Some(order) }.encode_to_vec();
    crate::fixture::delivery(OrderPlaced::TYPE, payload)
}

#[tokio::test]
async fn a_new_day_comes_in_slices_after_new_data_and_makes_versions_where_something_moved() {
    let mut registration = category("business_registration", &["age_days"]);
    (registration.fields[0].r#type, registration.fields[0].unit) = (pb::FieldType::Date.into(), String::new());
    let fixture = Fixture::new(&[registration, category("tax_payment", &["tax_months_12m"])]).await;
    let all: Vec<Uscc> = (0..110).map(enterprise).collect();
    let (aged, ageless) = all.split_at(100);
    let founded =
        |uscc: &Uscc| version(uscc, "business_registration", uscc.as_str(), 1, &json!({ "age_days": "2026-03-01" }));
    fixture.put(&aged.iter().map(founded).chain(ageless.iter().map(taxed)).collect::<Vec<_>>()).await.unwrap();
    let recompute = fixture.recompute();
    while recompute.some().await.unwrap() {}
    fixture.clock.advance(SignedDuration::from_hours(24));
    let newcomer = enterprise(200);
    fixture.put(&[taxed(&newcomer)]).await.unwrap();
    let of_today = || fixture.rows::<(i64,)>("SELECT count(*) FROM profile WHERE computed_on = '2026-03-11'");
    let mut slices = Vec::new();
    while recompute.some().await.unwrap() {
        slices.push(of_today().await[0].0);
    }
    assert_eq!(slices, [1, 51, 101, 111], "who changed first, and then the day, a slice at a time");
    for (number, uscc) in (0..).zip(&all) {
        let profile = profile(&fixture, uscc).await;
        let expected = if number < 100 { (2, Some(Kind::Integer(10))) } else { (1, None) };
        assert_eq!((profile.version, profile.features.get("age_days").and_then(|of| of.kind.clone())), expected);
    }
}
