//! How much sooner profiles are there when one record of many has changed and only what it concerns is computed, beside all of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::jetstream;
use serde_json::{Value, json};
use sqlx::{PgPool, types::Json};
use zhirong_kernel::uscc::Uscc;

use super::{
    median,
    profile::{computed, publish},
};
use crate::district::District;

const ENTERPRISES: usize = 20;
/// Records of each enterprise, alike many of each category.
pub const RECORDS: usize = 5_000;
const TURNS: usize = 7;

/// Profiles a second by what has changed, and as a whole: from the publishing of one record of each enterprise until all profiles have
/// it, so that both have the same way to the profile in them.
pub async fn measure(district: &District, pool: &PgPool, examples: &[Value]) -> Result<(f64, f64)> {
    let enterprises: Vec<String> = (0..ENTERPRISES)
        .map(|number| Ok(Uscc::with_check(&format!("91331102MA7{number:06}"))?.to_string()))
        .collect::<Result<_>>()?;
    fill(pool, examples, &enterprises).await?;
    computed(pool).await?;
    let context = jetstream::new(async_nats::connect(district.nats()).await?);
    let (mut by_change, mut as_a_whole) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        for (whole, rates) in [(false, &mut by_change), (true, &mut as_a_whole)] {
            let revision = 2 * turn + usize::from(whole) + 1;
            if whole {
                let mark = "UPDATE profile SET stale = true WHERE enterprise_id = ANY($1)";
                sqlx::query(mark).bind(&enterprises).execute(pool).await?;
            }
            rates.push(changed(&context, pool, &enterprises, revision).await?);
        }
    }
    Ok((median(&mut by_change), median(&mut as_a_whole)))
}

/// Puts records where they would have come one by one.
async fn fill(pool: &PgPool, examples: &[Value], enterprises: &[String]) -> Result<()> {
    let text = |name: &str| -> Vec<&str> { examples.iter().map(|record| record[name].as_str().unwrap()).collect() };
    let data: Vec<_> = examples.iter().map(|record| Json(&record["data"])).collect();
    sqlx::query(
        "INSERT INTO record (source, category, record_id, uscc, observed_at, withdrawn, data, tie_break)
         SELECT source, category, uscc || '-' || number, uscc, '2026-02-01'::timestamptz + number * interval '1 minute', false, data,
                md5(number::text)
         FROM unnest($1::text[], $2::text[], $3::jsonb[]) AS e (source, category, data),
              unnest($4::text[]) AS uscc, generate_series(1, $5) AS number",
    )
    .bind(text("source"))
    .bind(text("category"))
    .bind(data)
    .bind(enterprises)
    .bind(i32::try_from(RECORDS.div_ceil(examples.len()))?)
    .execute(pool)
    .await?;
    sqlx::query(
        "INSERT INTO profile (enterprise_id, version, content, computed_on, stale)
         SELECT uscc, 0, '', '2026-01-01', true FROM unnest($1::text[]) AS uscc",
    )
    .bind(enterprises)
    .execute(pool)
    .await?;
    sqlx::raw_sql("ANALYZE record").execute(pool).await?;
    Ok(())
}

async fn changed(context: &jetstream::Context, pool: &PgPool, enterprises: &[String], revision: usize) -> Result<f64> {
    let query = "SELECT sum(version)::bigint, bool_or(stale OR changed IS NOT NULL) FROM profile
                 WHERE enterprise_id = ANY($1)";
    let standing = || sqlx::query_as::<_, (i64, bool)>(query).bind(enterprises).fetch_one(pool);
    let wanted = standing().await?.0 + i64::try_from(enterprises.len())?;
    let began = Instant::now();
    let mut pending = Vec::new();
    for uscc in enterprises {
        let record = json!({
            "source": "sample-patent", "category": "patent", "record_id": format!("{uscc}-1"), "uscc": uscc,
            "revision": revision, "observed_at": "2026-03-01T00:00:00Z",
            "data": { "patent_count": revision, "invention_patent_count": 0 },
        });
        pending.push(publish(context, &format!("changed-{uscc}-{revision}"), &record).await?);
    }
    for ack in pending {
        ack.await?;
    }
    loop {
        let (version, marked) = standing().await?;
        if version >= wanted && !marked {
            return Ok(enterprises.len() as f64 / began.elapsed().as_secs_f64());
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "the profiles are not computed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
