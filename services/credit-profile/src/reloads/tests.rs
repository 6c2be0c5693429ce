use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::{
    fixture::{Fixture, category, enterprise, version},
    record::{Reload, Version},
};

/// What a source sends: a version of a record, or the end of a reload.
#[derive(Clone)]
enum Sent {
    Record(Box<Version>),
    End(Reload),
}

async fn world() -> Fixture {
    Fixture::new(&[category("patent", &["patent_count"])]).await
}

fn record(number: u32, day: i8, patents: u32, reload: Option<&str>) -> Sent {
    let data = json!({ "patent_count": patents });
    let version = version(&enterprise(number % 17), "patent", &format!("r{number:04}"), day, &data);
    Sent::Record(Box::new(Version { reload_id: reload.map(str::to_owned), ..version }))
}

fn end(name: &str, day: i8, record_count: i64) -> Sent {
    let as_of = jiff::civil::date(2026, 3, day).at(0, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    Sent::End(Reload {
        source: "office".to_owned(),
        category: "patent".to_owned(),
        reload_id: name.to_owned(),
        as_of,
        record_count,
    })
}

async fn hear(fixture: &Fixture, sent: &[Sent]) -> Result<(), sqlx::Error> {
    let versions: Vec<Version> = sent
        .iter()
        .filter_map(|of| match of {
            Sent::Record(version) => Some(Version::clone(version)),
            Sent::End(_) => None,
        })
        .collect();
    let ends: Vec<Reload> = sent
        .iter()
        .filter_map(|of| match of {
            Sent::End(end) => Some(end.clone()),
            Sent::Record(_) => None,
        })
        .collect();
    fixture.hear(&versions, &ends).await
}

/// 300 records of before; two reloads, of which the second misses what the first has and the other way round; live data.
fn before() -> Vec<Sent> {
    (0..300).map(|number| record(number, 1, 1, None)).collect()
}

fn during() -> Vec<Sent> {
    let mut all: Vec<Sent> = (0..300).filter(|of| of % 2 == 0).map(|of| record(of, 2, 2, Some("first"))).collect();
    all.push(end("first", 5, 150));
    all.extend((0..330).filter(|of| of % 3 == 0).map(|of| record(of, 3, 3, Some("second"))));
    all.push(end("second", 6, 110));
    // newer than both, older than the second alone, and of records that nobody knew
    all.extend((0..300).filter(|of| of % 5 == 0).map(|of| record(of, 9, 5, None)));
    all.extend((0..300).filter(|of| of % 7 == 0).map(|of| record(of, 4, 7, None)));
    all.extend((300..400).map(|of| record(of, if of % 2 == 0 { 4 } else { 8 }, 1, None)));
    all
}

async fn finish(fixture: &Fixture) {
    let worker = fixture.reloads(AT_ONCE);
    while worker.slice().await.unwrap() {}
}

/// All that is there, in a fixed order; without when it came.
async fn state(fixture: &Fixture) -> Vec<String> {
    let mut all = Vec::new();
    for query in [
        "SELECT r::text FROM record r ORDER BY source, category, record_id",
        "SELECT m::text FROM reload_member m ORDER BY m::text",
        "SELECT row(source, category, reload_id, as_of, record_count, member_count, applied_as_of, judged_to, forgetting,
                    given_up_at)::text
         FROM reload ORDER BY source, category, reload_id",
    ] {
        all.extend(fixture.rows::<(String,)>(query).await.into_iter().map(|(row,)| row));
    }
    // and it is what the definition says
    let wrong = "SELECT count(*) FROM record r LEFT JOIN reload f
                     ON (f.source, f.category) = (r.source, r.category) AND f.applied_as_of IS NOT NULL
                 WHERE r.gone <> (f.reload_id IS NOT NULL AND r.observed_at <= f.applied_as_of
                                  AND NOT EXISTS (SELECT FROM reload_member m
                                                  WHERE (m.source, m.category, m.reload_id, m.record_id)
                                                      = (f.source, f.category, f.reload_id, r.record_id)))";
    assert_eq!(fixture.rows::<(i64,)>(wrong).await, [(0,)], "a record is not judged by the reload in force");
    all
}

async fn reference() -> Vec<String> {
    let fixture = world().await;
    hear(&fixture, &before()).await.unwrap();
    hear(&fixture, &during()).await.unwrap();
    finish(&fixture).await;
    state(&fixture).await
}

#[tokio::test]
async fn slices_and_live_data_in_any_order_and_kills_between_end_the_same() {
    let expected = reference().await;
    for seed in 1..=3 {
        let fixture = world().await;
        hear(&fixture, &before()).await.unwrap();
        let mut during = during();
        let again = during.clone();
        during.extend(again);
        during.shuffle(&mut StdRng::seed_from_u64(seed));
        let mut slices = 0;
        for sent in during.chunks(40) {
            hear(&fixture, sent).await.unwrap();
            // killed in the middle of a slice: nothing of it is there
            let mut killed = fixture.pool.begin().await.unwrap();
            reloads::slice(&mut killed, "office", "patent", 16).await.unwrap();
            killed.rollback().await.unwrap();
            // and after one: another goes on from there
            slices += i32::from(fixture.reloads(16).slice().await.unwrap());
        }
        while fixture.reloads(16).slice().await.unwrap() {
            slices += 1;
        }
        assert!(slices > 20, "seed {seed}: {slices}");
        assert_eq!(state(&fixture).await, expected, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_at_once_with_writers_end_the_same() {
    let expected = reference().await;
    let fixture = Arc::new(world().await);
    hear(&fixture, &before()).await.unwrap();
    let writers = CancellationToken::new();
    let mut workers = JoinSet::new();
    for _ in 0..2 {
        let (of, writers) = (Arc::clone(&fixture), writers.clone());
        workers.spawn(async move {
            loop {
                // looked at first: what was written by then is seen below
                let last = writers.is_cancelled();
                let worked = of.reloads(8).slice().await?;
                if last && !worked {
                    return Ok::<(), sqlx::Error>(());
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let mut at_work = JoinSet::new();
    for seed in 10..13 {
        let of = Arc::clone(&fixture);
        at_work.spawn(async move {
            let mut during = during();
            during.shuffle(&mut StdRng::seed_from_u64(seed));
            for sent in during.chunks(9) {
                hear(&of, sent).await?;
            }
            Ok::<(), sqlx::Error>(())
        });
    }
    while let Some(ended) = at_work.join_next().await {
        ended.unwrap().unwrap();
    }
    writers.cancel();
    while let Some(ended) = workers.join_next().await {
        ended.unwrap().unwrap();
    }
    finish(&fixture).await;
    assert_eq!(state(&fixture).await, expected);
}

#[tokio::test]
async fn who_hears_of_the_end_judges_nothing_and_what_comes_then_is_judged_at_once() {
    let fixture = world().await;
    hear(&fixture, &before()).await.unwrap();
    hear(&fixture, &[record(0, 2, 2, Some("full")), end("full", 5, 1)]).await.unwrap();
    let gone = async || fixture.rows::<(String,)>("SELECT record_id FROM record WHERE gone ORDER BY 1").await;
    assert!(gone().await.is_empty(), "however many there are, they do not hold up who hears");
    hear(&fixture, &[record(299, 3, 3, None), record(400, 4, 1, None), record(401, 6, 1, None)]).await.unwrap();
    assert_eq!(gone().await, [("r0299".to_owned(),), ("r0400".to_owned(),)]);
    let unmarked = "UPDATE profile SET stale = false, changed = NULL";
    sqlx::query(unmarked).execute(&fixture.pool).await.unwrap();
    assert!(fixture.reloads(10).slice().await.unwrap());
    assert_eq!(gone().await.len(), 2 + 9, "one slice: r0000 belongs to the reload");
    assert_eq!(fixture.rows::<(i64,)>("SELECT count(*) FROM profile WHERE changed = '{patent}'").await, [(9,)]);
    finish(&fixture).await;
    assert_eq!(gone().await.len(), 300);
    state(&fixture).await;
}

#[tokio::test]
async fn a_name_used_again_begins_anew_and_what_was_given_up_stays_so() {
    let fixture = world().await;
    let members = |name: &'static str, day| (0..30).map(move |of| record(of, day, 1, Some(name)));
    hear(&fixture, &members("again", 1).chain([end("again", 2, 30)]).collect::<Vec<_>>()).await.unwrap();
    hear(&fixture, &members("other", 3).chain([end("other", 4, 30)]).collect::<Vec<_>>()).await.unwrap();
    let worker = fixture.reloads(20);
    // two slices of records, and one of members that nobody needs any more
    for _ in 0..3 {
        assert!(worker.slice().await.unwrap());
    }
    let of_again = "SELECT count(*) FROM reload_member WHERE reload_id = 'again'";
    assert_eq!(fixture.rows::<(i64,)>(of_again).await, [(10,)]);
    hear(&fixture, &[end("again", 6, 2)]).await.unwrap();
    hear(&fixture, &[record(29, 5, 1, Some("again")), record(1, 5, 1, Some("again"))]).await.unwrap();
    finish(&fixture).await;
    let left = "SELECT record_id FROM record WHERE NOT gone ORDER BY 1";
    assert_eq!(fixture.rows::<(String,)>(left).await, [("r0001".to_owned(),), ("r0029".to_owned(),)]);

    let half: Vec<Sent> = members("broken", 7).take(5).collect();
    hear(&fixture, &half).await.unwrap();
    let give_up = async |name| {
        let mut conn = fixture.connection().await;
        reloads::give_up(&mut conn, ("office", "patent", name), fixture.clock.now()).await.unwrap()
    };
    assert!(give_up("broken").await && !give_up("again").await, "what is in force is not given up");
    hear(&fixture, &members("broken", 7).chain([end("broken", 8, 30)]).collect::<Vec<_>>()).await.unwrap();
    finish(&fixture).await;
    let named = "SELECT reload_id FROM reload WHERE applied_as_of IS NOT NULL";
    assert_eq!(fixture.rows::<(String,)>(named).await, [("again".to_owned(),)]);
    assert_eq!(fixture.rows::<(i64,)>("SELECT count(*) FROM reload_member WHERE reload_id <> 'again'").await, [(0,)]);
    state(&fixture).await;
}
