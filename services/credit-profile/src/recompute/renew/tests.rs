use std::sync::Arc;

use serde_json::json;

use zhirong_kernel::{clock::Clock as _, uscc::Uscc};
use zhirong_proto::profile::v1::feature_value::Kind;
use zhirong_testkit::eventually;

use super::{
    super::{AT_ONCE, Recompute, compute},
    history::{History, schemas},
    *,
};
use crate::{
    fixture::{DECLARATION, Fixture, PATIENCE, category, enterprise, version},
    marks::Marks,
    record::Version,
    store,
};

/// All that is kept of a profile but when it was marked.
type Kept = (String, i64, Vec<u8>, Vec<u8>);

const KEPT: &str = "SELECT enterprise_id, version, content, provenance FROM profile ORDER BY 1";

/// What is kept, when nothing is left to be computed.
async fn kept(fixture: &Fixture) -> Vec<Kept> {
    let recompute = fixture.recompute();
    while recompute.some().await.unwrap() {}
    fixture.rows(KEPT).await
}

/// What would be kept, were all profiles computed from all records; changes nothing.
async fn whole(fixture: &Fixture) -> Vec<Kept> {
    let (recompute, now) = (fixture.recompute(), fixture.clock.now());
    let mut tx = fixture.pool.begin().await.unwrap();
    sqlx::query("UPDATE profile SET stale = true").execute(&mut *tx).await.unwrap();
    let rules = recompute.rules(&mut tx).await.unwrap();
    let today = zhirong_kernel::clock::business_date(now);
    loop {
        let stale = profiles::take_stale(&mut tx, today, DECLARATION, AT_ONCE).await.unwrap();
        if stale.is_empty() {
            break;
        }
        compute(&mut tx, stale, &rules, now).await.unwrap();
    }
    let kept = sqlx::query_as(KEPT).fetch_all(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    kept
}

/// Says where they differ in words.
fn assert_same(kept: &[Kept], whole: &[Kept], when: &str) {
    let told = |(enterprise, version, content, provenance): &Kept| {
        let provenance = zhirong_proto::profile::v1::GetProfileResponse::decode(provenance.as_slice()).unwrap();
        (enterprise.clone(), *version, Profile::decode(content.as_slice()).unwrap(), provenance)
    };
    for (kept, whole) in kept.iter().zip(whole) {
        if kept != whole {
            assert_eq!(told(kept), told(whole), "{when}");
        }
    }
    assert!(kept == whole, "{when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_computed_by_parts_is_byte_for_byte_what_all_records_give() {
    let mut versions = 0;
    for seed in 0..5 {
        let fixture = Fixture::new(&schemas(false)).await;
        let mut history = History::new(seed);
        for number in 0..100 {
            history.step(&fixture).await.unwrap();
            // sometimes several changes come before anybody computes
            if (number * 7 + seed) % 3 == 0 {
                let kept = kept(&fixture).await;
                assert_same(&kept, &whole(&fixture).await, &format!("seed {seed}, step {number}"));
            }
        }
        versions += kept(&fixture).await.iter().map(|of| of.1).sum::<i64>();
    }
    assert!(versions > 250, "profiles have changed only {versions} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_come_while_somebody_computes_lose_nothing() {
    let fixture = Arc::new(Fixture::new(&schemas(false)).await);
    let mut writers = tokio::task::JoinSet::new();
    for seed in 100..103 {
        let of = Arc::clone(&fixture);
        writers.spawn(async move {
            let mut history = History::new(seed);
            for _ in 0..80 {
                history.step(&of).await?;
            }
            Ok::<(), Error>(())
        });
    }
    let done = tokio_util::sync::CancellationToken::new();
    let mut replicas = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (recompute, done) = (fixture.recompute(), done.clone());
        replicas.spawn(async move {
            while !done.is_cancelled() {
                if !recompute.some().await? {
                    tokio::task::yield_now().await;
                }
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap().unwrap();
    }
    done.cancel();
    while let Some(ended) = replicas.join_next().await {
        ended.unwrap().unwrap();
    }
    assert_same(&kept(&fixture).await, &whole(&fixture).await, "at the end");
}

async fn world() -> Fixture {
    Fixture::new(&[category("patent", &["patent_count"]), category("trademark", &["trademark_count"])]).await
}

fn counted(uscc: &Uscc, of: &str, count: i64, revision: i32) -> Version {
    let feature = format!("{of}_count");
    Version { revision, ..version(uscc, of, uscc.as_str(), 1, &json!({ feature: count })) }
}

async fn count(fixture: &Fixture, uscc: &Uscc, of: &str) -> Option<i64> {
    let mut conn = fixture.connection().await;
    let profile = store::profile(&mut conn, uscc.as_str()).await.unwrap().unwrap().profile.unwrap();
    match profile.features.get(&format!("{of}_count"))?.kind {
        Some(Kind::Integer(count)) => Some(count),
        _ => None,
    }
}

/// Nobody can read the records of a category any more.
async fn unreadable(fixture: &Fixture, of: &str) {
    sqlx::query("UPDATE record SET data = '[1]' WHERE category = $1").bind(of).execute(&fixture.pool).await.unwrap();
}

async fn mark(fixture: &Fixture, marks: &Marks) {
    let mut conn = fixture.connection().await;
    let today = zhirong_kernel::clock::business_date(fixture.clock.now());
    store::mark(&mut conn, marks, today).await.unwrap();
}

#[tokio::test]
async fn records_of_categories_that_are_not_concerned_are_not_read() {
    let fixture = world().await;
    let uscc = enterprise(1);
    fixture.put(&[counted(&uscc, "patent", 1, 0), counted(&uscc, "trademark", 5, 0)]).await.unwrap();
    kept(&fixture).await;
    unreadable(&fixture, "trademark").await;
    fixture.put(&[counted(&uscc, "patent", 2, 1)]).await.unwrap();
    kept(&fixture).await;
    assert_eq!((count(&fixture, &uscc, "patent").await, count(&fixture, &uscc, "trademark").await), (Some(2), Some(5)));
    // what is no record reads none
    unreadable(&fixture, "patent").await;
    let mut marks = Marks::default();
    marks.other(uscc.as_str());
    mark(&fixture, &marks).await;
    kept(&fixture).await;
    assert_eq!(fixture.rows::<(i32,)>("SELECT failures FROM profile").await, [(0,)]);

    let mut conn = fixture.connection().await;
    fixture.put(&[counted(&uscc, "patent", 3, 2)]).await.unwrap();
    let read = live::of_categories(&mut conn, &[(uscc.as_str(), "patent"), ("nobody", "trademark")]).await.unwrap();
    let read: Vec<(&str, usize)> = read.iter().map(|(of, records)| (of.as_str(), records.len())).collect();
    assert_eq!(read, [(uscc.as_str(), 1)]);

    // one that fails is tried again as a whole
    fixture.put(&[counted(&uscc, "trademark", 6, 1)]).await.unwrap();
    unreadable(&fixture, "patent").await;
    kept(&fixture).await;
    let standing = "SELECT failures, stale FROM profile";
    assert_eq!(fixture.rows::<(i32, bool)>(standing).await, [(1, true)]);
    fixture.put(&[counted(&uscc, "patent", 4, 3)]).await.unwrap();
    fixture.clock.advance(jiff::SignedDuration::from_mins(5));
    kept(&fixture).await;
    assert_eq!((count(&fixture, &uscc, "patent").await, count(&fixture, &uscc, "trademark").await), (Some(4), Some(6)));
}

#[tokio::test]
async fn marks_add_up_and_what_adds_nothing_writes_nothing() {
    let fixture = world().await;
    let uscc = enterprise(1);
    fixture.put(&[counted(&uscc, "patent", 1, 0), counted(&uscc, "trademark", 5, 0)]).await.unwrap();
    kept(&fixture).await;
    let standing = async || {
        let query = "SELECT changed, mark, xmin::text, stale, declaration FROM profile";
        fixture.rows::<(Option<Vec<String>>, i64, String, bool, i64)>(query).await.remove(0)
    };
    assert_eq!((standing().await.0, standing().await.4), (None, DECLARATION));
    fixture.put(&[counted(&uscc, "trademark", 6, 1)]).await.unwrap();
    let first = standing().await;
    assert_eq!(first.0.as_deref(), Some(["trademark".to_owned()].as_slice()));
    let mut other = Marks::default();
    other.other(uscc.as_str());
    for _ in 0..2 {
        mark(&fixture, &other).await;
        fixture.put(&[counted(&uscc, "trademark", 7, 2)]).await.unwrap();
        assert_eq!(standing().await, first, "nothing is new");
    }
    fixture.put(&[counted(&uscc, "patent", 2, 1)]).await.unwrap();
    let both = standing().await;
    assert_eq!((both.0.unwrap(), both.1), (vec!["patent".to_owned(), "trademark".to_owned()], first.1));
    // as a program marks that knows nothing of categories: all is computed, at the place in the row that it had
    fixture.execute("UPDATE profile SET stale = true WHERE enterprise_id = $1 AND NOT stale", &uscc).await;
    let all = standing().await;
    assert_eq!((all.1, all.3, all.4), (first.1, true, 0));
    fixture.put(&[counted(&uscc, "patent", 3, 2)]).await.unwrap();
    assert_eq!(standing().await, all);
    kept(&fixture).await;
    let last = standing().await;
    assert_eq!((last.0, last.3, last.4), (None, false, DECLARATION));
    mark(&fixture, &other).await;
    assert_eq!((standing().await.0, standing().await.1 > first.1), (Some(vec![]), true));
}

/// While a file is taken in, each of an enterprise's categories would write its profile once more.
#[tokio::test]
async fn a_profile_of_which_much_has_changed_is_computed_as_a_whole_and_written_no_more() {
    let fixture = world().await;
    let uscc = enterprise(1);
    fixture.put(&[counted(&uscc, "patent", 1, 0)]).await.unwrap();
    kept(&fixture).await;
    let standing = async || {
        let query = "SELECT cardinality(changed), mark, xmin::text, stale FROM profile";
        fixture.rows::<(i32, i64, String, bool)>(query).await.remove(0)
    };
    let concerned = async |of: &str| {
        let mut marks = Marks::default();
        marks.record(uscc.as_str(), of);
        mark(&fixture, &marks).await;
    };
    for of in ["patent", "trademark", "tax_payment", "invoice"] {
        concerned(of).await;
    }
    let four = standing().await;
    assert_eq!((four.0, four.3), (4, false));
    concerned("customs").await;
    let whole = standing().await;
    assert_eq!((whole.1, whole.3), (four.1, true), "at the place that it had");
    concerned("power_use").await;
    assert_eq!(standing().await, whole, "nothing more is written");
    kept(&fixture).await;
    assert_eq!(fixture.rows::<(bool, bool)>("SELECT stale, changed IS NULL FROM profile").await, [(false, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_comes_while_its_profile_is_computed_is_kept_for_the_next_time() {
    let fixture = world().await;
    let uscc = enterprise(1);
    fixture.put(&[counted(&uscc, "patent", 1, 0), counted(&uscc, "trademark", 5, 0)]).await.unwrap();
    kept(&fixture).await;
    fixture.put(&[counted(&uscc, "patent", 2, 1)]).await.unwrap();
    // somebody computes what has changed, and has not committed
    let (recompute, now) = (fixture.recompute(), fixture.clock.now());
    let mut computing = fixture.pool.begin().await.unwrap();
    let today = zhirong_kernel::clock::business_date(now);
    let stale = profiles::take_stale(&mut computing, today, DECLARATION, AT_ONCE).await.unwrap();
    let rules = recompute.rules(&mut computing).await.unwrap();
    compute(&mut computing, stale, &rules, now).await.unwrap();
    let again = [counted(&uscc, "patent", 3, 2)];
    let (heard, ()) = tokio::join!(fixture.put(&again), async {
        eventually(PATIENCE, "the mark waits", || async { Ok(fixture.somebody_waits().await.then_some(())) })
            .await
            .unwrap();
        computing.commit().await.unwrap();
    });
    heard.unwrap();
    assert_eq!(count(&fixture, &uscc, "patent").await, Some(2));
    kept(&fixture).await;
    assert_eq!((count(&fixture, &uscc, "patent").await, count(&fixture, &uscc, "trademark").await), (Some(3), Some(5)));
}

#[tokio::test]
async fn a_schema_that_changes_before_a_withdrawal_is_computed_leaves_nothing_of_what_was_withdrawn() {
    let fixture = world().await;
    let uscc = enterprise(1);
    fixture.put(&[counted(&uscc, "patent", 1, 0), counted(&uscc, "trademark", 5, 0)]).await.unwrap();
    kept(&fixture).await;
    let withdrawn = Version { withdrawn: true, data: "{}".to_owned(), ..counted(&uscc, "patent", 1, 1) };
    fixture.put(&[withdrawn]).await.unwrap();
    let mut tx = fixture.pool.begin().await.unwrap();
    store::put_category(&mut tx, &category("patent", &[])).await.unwrap();
    // what it fed is fed by another now, of which the enterprise has no record
    store::put_category(&mut tx, &category("ip_pledge", &["patent_count"])).await.unwrap();
    tx.commit().await.unwrap();
    assert_same(&kept(&fixture).await, &whole(&fixture).await, "after the change");
    assert_eq!(count(&fixture, &uscc, "patent").await, None);
}

#[tokio::test]
async fn what_another_release_computed_is_computed_as_a_whole_without_a_new_day_and_only_forward() {
    let fixture = world().await;
    let all: Vec<Uscc> = (0..70).map(enterprise).collect();
    let of = |count| move |uscc: &Uscc| [counted(uscc, "patent", count, 0), counted(uscc, "trademark", 5, 0)];
    fixture.put(&all.iter().flat_map(of(1)).collect::<Vec<_>>()).await.unwrap();
    kept(&fixture).await;
    // a change that nobody marked shows what is computed from all records
    sqlx::query("UPDATE record SET data = '{\"patent_count\": 9}' WHERE category = 'patent'")
        .execute(&fixture.pool)
        .await
        .unwrap();
    fixture.put(&[counted(&all[0], "trademark", 6, 1)]).await.unwrap();
    let before = fixture.recompute();
    while before.some().await.unwrap() {}
    assert_eq!(count(&fixture, &all[0], "patent").await, Some(1));

    let after = Recompute { declaration: DECLARATION + 1, ..fixture.recompute() };
    fixture.put(&[counted(&all[1], "trademark", 6, 1)]).await.unwrap();
    assert!(after.some().await.unwrap());
    assert_eq!(count(&fixture, &all[1], "patent").await, Some(9), "the mark is of trademarks alone");
    assert_eq!(count(&fixture, &all[0], "patent").await, Some(1), "who changed goes first");
    let mut slices = 0;
    while after.some().await.unwrap() {
        slices += 1;
    }
    assert_eq!(slices, 2, "the others without a mark, a slice at a time");
    for uscc in &all {
        assert_eq!(count(&fixture, uscc, "patent").await, Some(9));
    }
    // A replica of the release before goes on with what is marked, and undoes nothing; the new one follows it.
    assert!(!before.some().await.unwrap());
    fixture.put(&[counted(&all[2], "trademark", 7, 2)]).await.unwrap();
    assert!(before.some().await.unwrap() && !before.some().await.unwrap());
    let of_before = "SELECT count(*) FROM profile WHERE declaration = 1";
    assert_eq!(fixture.rows::<(i64,)>(of_before).await, [(1,)]);
    assert!(after.some().await.unwrap() && !after.some().await.unwrap());
    assert_eq!(fixture.rows::<(i64,)>(of_before).await, [(0,)]);
}

#[tokio::test]
async fn replicas_of_one_release_have_one_number_and_every_change_gets_the_next() {
    let fixture = world().await;
    let number = async |fingerprint: u8| {
        let mut conn = fixture.connection().await;
        store::declarations::number(&mut conn, &[fingerprint; 32]).await.unwrap()
    };
    let together = futures::future::join_all((0..5).map(|_| number(1))).await;
    assert_eq!(together, [1; 5]);
    assert_eq!([number(2).await, number(2).await, number(1).await, number(1).await], [2, 2, 3, 3]);
}
