//! The credit profile's figures: records taken in beside a bare batch insert of the same rows, how soon one is seen, and what it costs
//! an enterprise with many.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use async_nats::{
    HeaderMap,
    jetstream::{self, consumer::PullConsumer},
};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions, types::Json};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{
    GetProfileRequest, TryScorecardRequest, feature_value::Kind, profile_service_client::ProfileServiceClient,
    scorecard_service_client::ScorecardServiceClient,
};

use super::{Figures, Measure, changed, median, spine::cpu};
use crate::district::{District, seeds};

/// Enterprises with one record of each category.
const ENTERPRISES: usize = 1_000;
const CATEGORIES: usize = 32;
const TURNS: usize = 5;
/// Rows of one statement of the bare insert; as many as the profile takes at once.
const BATCH: usize = 500;
const ROUNDS: i64 = 50;
/// What the contract asks for at light load.
const LIMIT_MS: f64 = 100.0;

/// Runs the group.
pub async fn run() -> Result<Figures> {
    println!("starting a district (release build)");
    let district = District::start_durable().await?;
    let pool = PgPoolOptions::new().max_connections(2).connect(&district.postgres("profile")).await?;

    // by turns, because a machine is not always equally fast
    let (mut bare, mut ours, mut used) = (Vec::new(), Vec::new(), String::new());
    for turn in 1..=TURNS {
        let records = records(turn)?;
        println!("{} records of {ENTERPRISES} enterprises, turn {turn} of {TURNS}", records.len());
        bare.push(bare_insert(&pool, &records).await?);
        let (rate, seconds) = ingest(&district, &pool, turn, &records).await?;
        ours.push(rate);
        used = seconds;
        computed(&pool).await?;
    }
    let (bare, ours) = (median(&mut bare), median(&mut ours));
    println!("one record after the other");
    let seen = seen(&district).await?;
    println!("a scorecard that is tried");
    let tried = tried(&district).await?;
    println!("one changed record of {} of an enterprise", changed::RECORDS);
    let (by_change, as_a_whole) = changed::measure(&district, &pool, &examples()?).await?;
    district.stop().await?;

    let count = ENTERPRISES * CATEGORIES;
    let notes = vec![
        format!(
            "ingest: {count} records in {:.2} s (median of {TURNS} turns), from the broker to the committed row, the profiles after them; processor seconds of the last turn: {used}",
            count as f64 / ours
        ),
        format!(
            "a record is in the profile after {:.1} ms (median), {:.1} ms at worst of {ROUNDS}",
            seen[seen.len() / 2],
            seen[seen.len() - 1]
        ),
        tried,
    ];
    let figures = vec![
        Measure {
            name: "ingest_vs_bare_insert".to_owned(),
            ours,
            baseline: bare,
            baseline_name: format!("the same rows inserted, {BATCH} a statement"),
            unit: "records/s".to_owned(),
            goal: Some(0.5),
        },
        Measure {
            name: "record_to_profile_ms".to_owned(),
            ours: seen[seen.len() / 2],
            baseline: LIMIT_MS,
            baseline_name: "the limit at light load".to_owned(),
            unit: "ms (less)".to_owned(),
            goal: Some(1.0),
        },
        Measure {
            name: "changed_record_vs_whole".to_owned(),
            ours: by_change,
            baseline: as_a_whole,
            baseline_name: format!("the same profiles from all {} records", changed::RECORDS),
            unit: "profiles/s".to_owned(),
            goal: Some(3.0),
        },
    ];
    Ok((figures, notes))
}

/// One record of each category, as they are published.
fn examples() -> Result<Vec<Value>> {
    let folder = seeds().join("../docs/data");
    let mut examples = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        if file.to_string_lossy().ends_with(".example.json") {
            examples.push(serde_json::from_str::<Value>(&fs::read_to_string(file)?)?);
        }
    }
    ensure!(examples.len() == CATEGORIES, "{} examples", examples.len());
    Ok(examples)
}

/// One record of each category for each enterprise, as the published examples have them.
fn records(turn: usize) -> Result<Vec<Value>> {
    let examples = examples()?;
    let mut records = Vec::new();
    for number in 0..ENTERPRISES {
        let uscc = Uscc::with_check(&format!("91331102MA9{number:06}"))?;
        for example in &examples {
            let mut record = example.clone();
            record["uscc"] = json!(uscc.as_str());
            record["record_id"] = json!(format!("{uscc}-{turn}"));
            records.push(record);
        }
    }
    Ok(records)
}

/// Rows a second into a table of the same shape with the same indexes, one transaction a batch.
async fn bare_insert(pool: &PgPool, records: &[Value]) -> Result<f64> {
    sqlx::raw_sql(
        "CREATE TABLE bench_record (LIKE record INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
         ALTER TABLE bench_record ADD PRIMARY KEY (source, category, record_id);
         CREATE INDEX ON bench_record (uscc, category) WHERE NOT withdrawn;",
    )
    .execute(pool)
    .await?;
    let began = Instant::now();
    for batch in records.chunks(BATCH) {
        let text = |name: &str| -> Vec<&str> { batch.iter().map(|record| record[name].as_str().unwrap()).collect() };
        let data: Vec<_> = batch.iter().map(|record| Json(&record["data"])).collect();
        let done = sqlx::query(
            "INSERT INTO bench_record (source, category, record_id, uscc, observed_at, withdrawn, data, tie_break)
             SELECT source, category, record_id, uscc, observed_at::timestamptz, false, data, md5(record_id)
             FROM (SELECT unnest($1::text[]) AS source, unnest($2::text[]) AS category, unnest($3::text[]) AS record_id,
                          unnest($4::text[]) AS uscc, unnest($5::text[]) AS observed_at, unnest($6::jsonb[]) AS data) i",
        )
        .bind(text("source"))
        .bind(text("category"))
        .bind(text("record_id"))
        .bind(text("uscc"))
        .bind(text("observed_at"))
        .bind(data)
        .execute(pool)
        .await?;
        ensure!(done.rows_affected() == u64::try_from(batch.len())?, "all rows");
    }
    let rate = records.len() as f64 / began.elapsed().as_secs_f64();
    sqlx::raw_sql("DROP TABLE bench_record").execute(pool).await?;
    Ok(rate)
}

/// Records a second from the broker to the committed row. They wait at the broker while the profile is stopped, so that what
/// is measured is the profile and not the one who sends.
async fn ingest(district: &District, pool: &PgPool, turn: usize, records: &[Value]) -> Result<(f64, String)> {
    district.signal("credit-profile", "STOP").await?;
    let context = jetstream::new(async_nats::connect(district.nats()).await?);
    let mut pending = Vec::new();
    for (number, record) in records.iter().enumerate() {
        pending.push(publish(&context, &format!("{turn}-{number}"), record).await?);
        if pending.len() >= 500 {
            for ack in pending.drain(..) {
                ack.await?;
            }
        }
    }
    for ack in pending {
        ack.await?;
    }
    district.signal("credit-profile", "CONT").await?;
    let before = cpu(district, &["credit-profile"])?;
    let began = Instant::now();
    let wanted = i64::try_from(records.len())?;
    let stream = context.get_stream("GOVDATA").await?;
    let mut consumer: PullConsumer = stream.get_consumer("profile-records").await.map_err(anyhow::Error::from_boxed)?;
    loop {
        let info = consumer.info().await?;
        // acknowledged after the commit
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            let rate = records.len() as f64 / began.elapsed().as_secs_f64();
            let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM record WHERE right(record_id, 2) = $1")
                .bind(format!("-{turn}"))
                .fetch_one(pool)
                .await?;
            ensure!(kept == wanted, "{kept} of {wanted} records were kept");
            let used: Vec<String> = cpu(district, &["credit-profile"])?
                .iter()
                .map(|(name, seconds)| format!("{name} {:.2}", seconds - before.get(name).copied().unwrap_or(0.0)))
                .collect();
            return Ok((rate, used.join(", ")));
        }
        ensure!(began.elapsed() < Duration::from_secs(300), "not all records were taken within five minutes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Milliseconds in order from the publishing of a record to its figure in an answer at the gateway.
async fn seen(district: &District) -> Result<Vec<f64>> {
    let context = jetstream::new(async_nats::connect(district.nats()).await?);
    let mut client = ProfileServiceClient::new(district.as_staff().await?);
    let uscc = Uscc::with_check("91331102MA8000000")?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let record = json!({
            "source": "sample-patent", "category": "patent", "record_id": "seen", "uscc": uscc, "revision": round,
            "observed_at": "2026-03-01T00:00:00Z", "data": { "patent_count": round, "invention_patent_count": 0 },
        });
        let began = Instant::now();
        publish(&context, &format!("seen-{round}"), &record).await?.await?;
        loop {
            let request = GetProfileRequest { enterprise_id: uscc.to_string() };
            let answer = client.get_profile(request).await.ok().and_then(|answer| answer.into_inner().profile);
            let count =
                answer.and_then(|profile| profile.features.get("patent_count").and_then(|value| value.kind.clone()));
            if count == Some(Kind::Integer(round)) {
                break;
            }
            ensure!(began.elapsed() < Duration::from_secs(30), "the record is not seen");
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// How long it takes to try a scorecard on all profiles.
async fn tried(district: &District) -> Result<String> {
    let mut scorecards = ScorecardServiceClient::new(district.as_staff().await?);
    let began = Instant::now();
    let request = TryScorecardRequest { version: 1 };
    let trial = scorecards.try_scorecard(request).await?.into_inner().trial.context("a trial")?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!(
        "a scorecard is tried on {} profiles in {seconds:.2} s, {:.0} a second",
        trial.profiles,
        trial.profiles as f64 / seconds
    ))
}

/// Returns when no profile is to be computed any more.
pub async fn computed(pool: &PgPool) -> Result<()> {
    while sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM profile WHERE stale OR changed IS NOT NULL)")
        .fetch_one(pool)
        .await?
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

pub async fn publish(
    context: &jetstream::Context,
    id: &str,
    record: &Value,
) -> Result<jetstream::context::PublishAckFuture> {
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id);
    headers.insert("ce-source", record["source"].as_str().context("a source")?);
    headers.insert("ce-type", "cn.zhirong.gov.record.observed.v1");
    headers.insert("content-type", "application/json");
    let category = record["category"].as_str().context("a category")?;
    let subject = format!("gov.data.v1.{category}");
    Ok(context.publish_with_headers(subject, headers, record.to_string().into()).await?)
}
