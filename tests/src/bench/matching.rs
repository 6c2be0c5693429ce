//! The matching engine beside rule engines, a database and the memory: one thread unless said.

use std::{
    hint::black_box,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sqlx::PgPool;
use zhirong_engine::{Engine, Id, Population, Product, Row, Symbols, Terms, Weights};
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue, Features},
    rule::{Expected, Inputs, Rule},
};
use zhirong_testkit::TestDatabase;

use super::{
    Figures, Measure,
    products::{Dice, Sample, products, profile},
};

const LPR_PPM: i64 = 30_000;
const INPUTS: Inputs = Inputs { requested_fen: 0, term_months: 12, lpr_1y_ppm: LPR_PPM };
const ENTERPRISES: usize = 1_000_000;
/// Profiles that are taken in turns, so that no single lucky one is measured.
const PROFILES: usize = 64;
const TIME: Duration = Duration::from_millis(1_500);

/// Runs the group.
pub async fn run() -> Result<Figures> {
    let (mut measures, mut notes) = (Vec::new(), Vec::new());
    let large = Contest::new(10_000, 7).await?;
    let small = Contest::new(311, 7).await?;
    println!("other engines, compiled in a workspace of their own (the first time takes minutes)");
    let (peers, small_peers) = (large.peers()?, small.peers()?);
    println!("PostgreSQL");
    let (database_all, database_best) = large.postgres().await?;
    println!("ours");
    let (all_ns, best_ns, small_ns) = (large.all(), large.best(), small.all());
    for (which, contest, peers) in [("10 000", &large, &peers), ("311", &small, &small_peers)] {
        notes.push(contest.agreement(which, peers)?);
    }
    let engine =
        |peers: &Value, name: &str, what: &str| peers[name][what].as_f64().with_context(|| format!("{name} {what}"));
    let mut faster = |name: &str, ours_ns: f64, baseline_ns: f64, baseline: &str, goal: f64| {
        // As rates, so that the ratio says how many times faster ours is.
        measures.push(Measure {
            name: name.to_owned(),
            ours: 1e9 / ours_ns,
            baseline: 1e9 / baseline_ns,
            baseline_name: baseline.to_owned(),
            unit: "profiles/s".to_owned(),
            goal: Some(goal),
        });
    };
    let table = "PostgreSQL, filter and order over indexed columns";
    faster("top20_of_10000_vs_postgres", best_ns, database_best, table, 1_000.0);
    let expression = engine(&peers, "zen_expression", "best_ns")?;
    faster("top20_of_10000_vs_zen", best_ns, expression, "zen-expression, compiled", 5_000.0);
    faster("top20_of_10000_vs_cel", best_ns, engine(&peers, "cel", "best_ns")?, "cel, compiled", 10_000.0);
    faster("one_x_10000_vs_cel", all_ns, engine(&peers, "cel", "all_ns")?, "cel, compiled", 1_000.0);
    let decision = engine(&peers, "zen_engine", "all_ns")?;
    faster("one_x_10000_vs_zen", all_ns, decision, "zen-engine, one decision table", 500.0);
    faster("one_x_10000_vs_postgres", all_ns, database_all, "PostgreSQL, filter", 100.0);
    faster("one_x_311_vs_cel", small_ns, engine(&small_peers, "cel", "all_ns")?, "cel, compiled", 1_000.0);
    notes.push(format!(
        "ours: best 20 of 10 000 in {best_ns:.0} ns, all of 10 000 in {all_ns:.0} ns, all of 311 in {small_ns:.0} ns; thresholds \
         take {} bytes a product",
        large.engine.bytes() / 10_000
    ));
    println!("a million enterprises");
    whole_population(&small, &mut measures, &mut notes);
    Ok((measures, notes))
}

/// Products and profiles that all contestants get.
struct Contest {
    samples: Vec<Sample>,
    symbols: Arc<Symbols>,
    products: Vec<Arc<Product>>,
    engine: Engine,
    profiles: Vec<Features>,
    rows: Vec<Row>,
    database: PgPool,
    _server: TestDatabase,
}

impl Contest {
    async fn new(count: usize, seed: u64) -> Result<Self> {
        let samples = products(count, seed);
        let symbols = Arc::new(Symbols::default());
        let products: Vec<Arc<Product>> =
            samples.iter().map(|sample| Ok(Arc::new(compiled(&symbols, sample)?))).collect::<Result<_>>()?;
        let engine = Engine::new(products.clone(), Weights::default(), LPR_PPM);
        let mut dice = Dice::new(seed + 1);
        let profiles: Vec<Features> = (0..PROFILES).map(|_| profile(&mut dice)).collect();
        let rows = profiles.iter().map(|profile| Row::new(&symbols, profile, INPUTS)).collect();
        let server = TestDatabase::empty().await?;
        let database = server.pool().await?;
        Ok(Self { samples, symbols, products, engine, profiles, rows, database, _server: server })
    }

    /// Nanoseconds for every eligible product of a profile with limit and rate.
    fn all(&self) -> f64 {
        timed(|run| black_box(self.engine.all(&self.rows[run % PROFILES])).len())
    }

    /// Nanoseconds for the best 20.
    fn best(&self) -> f64 {
        timed(|run| black_box(self.engine.best(&self.rows[run % PROFILES], 20)).len())
    }

    /// What other rule engines take.
    fn peers(&self) -> Result<Value> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let built = Command::new("cargo").args(["build", "--release", "--quiet"]).current_dir(&folder).status()?;
        ensure!(built.success(), "the other engines do not build");
        let task = json!({
            "products": self.samples,
            "profiles": self.profiles,
            "lpr_1y_ppm": LPR_PPM,
            "milliseconds": TIME.as_millis(),
        });
        let program = folder.join("target/release/zhirong-peers");
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("its input")?.write_all(task.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "the other engines failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Says whether everybody found the same number of eligible products.
    fn agreement(&self, which: &str, peers: &Value) -> Result<String> {
        let ours: usize = self.rows.iter().map(|row| self.engine.all(row).len()).sum();
        let theirs = |name: &str| peers[name]["eligible"].as_u64().context("a count");
        let share = ours as f64 * 100.0 / (self.samples.len() * PROFILES) as f64;
        Ok(format!(
            "of {which} products: {share:.1} % eligible; pairs found: ours {ours}, cel {}, zen-expression {}, zen-engine {}",
            theirs("cel")?,
            theirs("zen_expression")?,
            theirs("zen_engine")?
        ))
    }

    /// Nanoseconds for all eligible products, and for the best 20, in a table with an index on what filters most.
    async fn postgres(&self) -> Result<(f64, f64)> {
        sqlx::raw_sql(
            "CREATE TABLE offer (id INT PRIMARY KEY, min_age BIGINT, max_age BIGINT, min_revenue BIGINT, max_overdue BIGINT,
                 min_score BIGINT, min_headcount BIGINT, industries TEXT[], classes TEXT[], revenue_share BIGINT,
                 cap_fen BIGINT, add_ppm BIGINT, each_ppm BIGINT, cut_cap_ppm BIGINT, floor_ppm BIGINT)",
        )
        .execute(&self.database)
        .await?;
        for (id, sample) in self.samples.iter().enumerate() {
            let row = &sample.row;
            sqlx::query("INSERT INTO offer VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)")
                .bind(i32::try_from(id)?)
                .bind(row.min_age)
                .bind(row.max_age)
                .bind(row.min_revenue)
                .bind(row.max_overdue)
                .bind(row.min_score)
                .bind(row.min_headcount)
                .bind(&row.industries)
                .bind(&row.classes)
                .bind(row.revenue_share)
                .bind(row.cap_fen)
                .bind(row.add_ppm)
                .bind(row.each_ppm)
                .bind(row.cut_cap_ppm)
                .bind(row.floor_ppm)
                .execute(&self.database)
                .await?;
        }
        sqlx::raw_sql("CREATE INDEX ON offer (min_score, min_revenue); ANALYZE offer").execute(&self.database).await?;
        let filter = "SELECT id, least($3 / revenue_share, cap_fen),
                greatest(30000 + add_ppm - least($9 * each_ppm, cut_cap_ppm), floor_ppm) AS rate
            FROM offer WHERE min_age <= $1 AND max_age >= $2 AND min_revenue <= $3 AND max_overdue >= $4 AND min_score <= $5
                AND min_headcount <= $6 AND industries @> ARRAY[$7] AND classes @> ARRAY[$8] AND NOT $10
                AND least($3 / revenue_share, cap_fen) >= 10000000";
        let best = format!("{filter} ORDER BY rate, id LIMIT 20");
        Ok((self.queried(filter).await?, self.queried(&best).await?))
    }

    async fn queried(&self, query: &str) -> Result<f64> {
        let mut connection = self.database.acquire().await?;
        let (began, mut runs) = (Instant::now(), 0_usize);
        while began.elapsed() < TIME {
            let profile = &self.profiles[runs % PROFILES];
            let int = |name: &str| match profile.get(name) {
                Some(FeatureValue::Int(number)) => Some(*number),
                _ => None,
            };
            let text = |name: &str| match profile.get(name) {
                Some(FeatureValue::Text(text)) => Some(text.clone()),
                _ => None,
            };
            let rows = sqlx::query(sqlx::AssertSqlSafe(query.to_owned()))
                .bind(int("age_days"))
                .bind(int("age_days"))
                .bind(int("annual_revenue_fen"))
                .bind(int("overdue_count_24m"))
                .bind(int("credit_score"))
                .bind(int("social_insurance_headcount"))
                .bind(text("industry_code"))
                .bind(text("enterprise_class"))
                .bind(int("patent_count"))
                .bind(profile.get("is_dishonest") == Some(&FeatureValue::Bool(true)))
                .fetch_all(&mut *connection)
                .await?;
            black_box(rows.len());
            runs += 1;
        }
        Ok(began.elapsed().as_nanos() as f64 / runs as f64)
    }
}

fn compiled(symbols: &Symbols, sample: &Sample) -> Result<Product> {
    let compile = |text: &str, expected| Rule::compile(text, FeatureDictionary::standard(), expected);
    let conditions: Vec<Rule> =
        sample.cel.iter().map(|text| compile(text, Expected::Bool)).collect::<std::result::Result<_, _>>()?;
    let terms = Terms {
        conditions: &conditions.iter().collect::<Vec<_>>(),
        limit: &compile(&sample.limit, Expected::Int)?,
        rate: &compile(&sample.rate, Expected::Int)?,
        min_amount_fen: sample.min_fen,
        max_amount_fen: sample.max_fen,
        score_ppm: 0,
    };
    Product::compile(symbols, terms).context("a product")
}

/// Mean nanoseconds of a run.
fn timed(mut one: impl FnMut(usize) -> usize) -> f64 {
    let (began, mut runs) = (Instant::now(), 0_usize);
    while began.elapsed() < TIME {
        // The clock is looked at seldom: it costs as much as some of the runs.
        for _ in 0..64 {
            black_box(one(runs));
            runs += 1;
        }
    }
    began.elapsed().as_nanos() as f64 / runs as f64
}

/// Seconds of the fastest of some runs: what the machine does beside it makes the others slower.
fn least<T>(mut one: impl FnMut() -> T) -> f64 {
    let run = |_| {
        let began = Instant::now();
        black_box(one());
        began.elapsed().as_secs_f64()
    };
    (0..9).map(run).fold(f64::INFINITY, f64::min)
}

/// Every enterprise against every product, beside reading the columns that the products look at once.
fn whole_population(contest: &Contest, measures: &mut Vec<Measure>, notes: &mut Vec<String>) {
    let mut dice = Dice::new(99);
    let mut population = Population::new(Arc::clone(&contest.symbols));
    for number in 0..ENTERPRISES {
        let mut id: Id = [b'0'; 18];
        id[10..].copy_from_slice(&(number as u64).to_be_bytes());
        population.put(id, 1, &profile(&mut dice));
    }
    let (bytes, pairs) =
        (population.bytes() as f64 / ENTERPRISES as f64, (ENTERPRISES * contest.products.len()) as f64);
    let began = Instant::now();
    let Some(coded) = population.coded(&contest.engine, INPUTS) else { return };
    let coding = began.elapsed().as_secs_f64();
    let sweep = |part: std::ops::Range<usize>| {
        let (mut eligible, mut sum) = (0_u64, 0_i64);
        population.each_coded(part, &contest.engine, &coded, |found| {
            eligible += 1;
            sum = sum.wrapping_add(found.limit_fen).wrapping_add(found.rate_ppm);
        });
        black_box(sum);
        eligible
    };
    let eligible = sweep(0..coded.len());
    let one = least(|| sweep(0..coded.len()));
    let half = coded.len() / 2;
    let two = least(|| {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| sweep(0..half));
            sweep(half..coded.len()) + other.join().unwrap_or(0)
        })
    });
    let read = least(|| population.read(&contest.products));
    measures.push(Measure {
        name: "all_x_all_vs_memory".to_owned(),
        ours: one,
        baseline: read,
        baseline_name: "reading the touched columns once".to_owned(),
        unit: "s".to_owned(),
        goal: Some(4.0),
    });
    measures.push(Measure {
        name: "bytes_per_enterprise".to_owned(),
        ours: bytes,
        baseline: (1_u64 << 30) as f64 / ENTERPRISES as f64,
        baseline_name: "1 GiB for a million".to_owned(),
        unit: "bytes".to_owned(),
        goal: Some(1.0),
    });
    notes.push(format!(
        "all x all: {ENTERPRISES} enterprises x {} products, {:.1} % eligible: {:.0} million evaluations/s on one thread, \
         {:.0} million on two; limits and rates of the eligible are computed; finding every value's place among the thresholds \
         once took {coding:.2} s and {} bytes an enterprise",
        contest.products.len(),
        eligible as f64 * 100.0 / pairs,
        pairs / one / 1e6,
        pairs / two / 1e6,
        coded.bytes() / ENTERPRISES
    ));
}
