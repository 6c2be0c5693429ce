//! The sandbox: a private PostgreSQL and NATS, the five services and the gateway as processes of their own, the seeds, the
//! demonstration district; then it waits for Ctrl-C. Data stay for the next start.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::{Clock as _, SystemClock, business_date};
use zhirong_servers::{Nats, NatsOptions, Postgres, PostgresOptions};

use crate::{
    client::Gateway,
    play::{self, Stage},
    records,
    seed::{self, Staff},
    token::{self, Bearer},
};

mod crashes;
mod reference;
mod stack;

/// The services, by context and by the name of their program.
const SERVICES: [(&str, &str); 5] = [
    ("profile", "credit-profile"),
    ("catalog", "product-catalog"),
    ("matching", "matching"),
    ("subsidy", "subsidy"),
    ("feedback", "feedback"),
];
/// Days that the sandbox's tokens hold.
const TOKEN_DAYS: i64 = 30;

/// What to start.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folder that holds everything the sandbox keeps; remove it to begin anew
    #[arg(long, default_value = ".zhirong/sandbox")]
    pub dir: PathBuf,
    /// Where the gateway listens; another port is taken when it is in use
    #[arg(long, default_value = "127.0.0.1:7000")]
    pub listen: std::net::SocketAddr,
    /// Folder with the seeds
    #[arg(long, default_value = "seeds")]
    pub seeds: PathBuf,
    /// Do not play the demonstration district
    #[arg(long)]
    pub no_play: bool,
    /// Let PostgreSQL skip its fsync: faster, for tests that never cut the power
    #[arg(long)]
    pub no_fsync: bool,
}

/// Where everything is; written to `sandbox.json` for programs.
#[derive(Debug, Serialize)]
struct Addresses {
    gateway: String,
    nats: String,
    postgres: String,
    pid: u32,
    tokens: Tokens,
}

#[derive(Debug, Serialize)]
struct Tokens {
    bank: PathBuf,
    enterprise: PathBuf,
    staff: PathBuf,
    reviewer: PathBuf,
    operator: PathBuf,
}

/// Runs the sandbox until Ctrl-C or SIGTERM.
pub async fn run(options: Options) -> Result<()> {
    let began = Instant::now();
    fs::create_dir_all(&options.dir).with_context(|| format!("making {}", options.dir.display()))?;
    let dir = options.dir.canonicalize()?;
    let _lock = lock(&dir)?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;

    println!("starting PostgreSQL and NATS below {}", dir.display());
    let postgres = Postgres::start(&dir.join("postgres"), PostgresOptions { durable: !options.no_fsync }).await?;
    if postgres.dir() != dir.join("postgres") {
        println!("PostgreSQL's user can't reach that folder; its data are in {}", postgres.dir().display());
    }
    let nats = Nats::start(&dir.join("nats"), NatsOptions { durable: !options.no_fsync }).await?;
    for (context, _) in SERVICES {
        postgres.ensure_database(context).await?;
    }

    let keys = dir.join("keys");
    token::ensure_keys(&keys)?;
    println!("starting the five services and the gateway (logs in {})", dir.join("log").display());
    let stack = stack::Stack::start(&dir, &postgres, &nats, &keys, options.listen, stop.clone()).await?;

    let outcome = tokio::select! {
        outcome = prepare(&options, &dir, &keys, &stack, &nats, &postgres) => outcome,
        () = stop.cancelled() => Ok(()),
    };
    if outcome.is_ok() && !stop.is_cancelled() {
        println!("ready after {:.1} s; Ctrl-C stops, data stay in {}", began.elapsed().as_secs_f32(), dir.display());
        stop.cancelled().await;
    }
    println!("stopping");
    stop.cancel();
    stack.stopped().await;
    nats.stop().await?;
    postgres.stop().await?;
    outcome
}

/// Seeds, play, and the words at the end.
async fn prepare(
    options: &Options,
    dir: &Path,
    keys: &Path,
    stack: &stack::Stack,
    nats: &Nats,
    postgres: &Postgres,
) -> Result<()> {
    stack.ready().await?;
    let gateway = Gateway::connect(&stack.gateway()).await?;
    let broker = records::Broker::open(&nats.url());
    let stage = Stage { gateway, nats: &broker, keys, seeds: &options.seeds };
    let staff = Staff {
        author: stage.as_(&Bearer::Staff, "sandbox-author")?,
        reviewer: stage.as_(&Bearer::Staff, "sandbox-reviewer")?,
    };
    once(dir, "seeded", &options.seeds, async || {
        println!("loading the seeds");
        seed::load(&staff, &options.seeds).await
    })
    .await?;
    reference::assume(&staff.author, business_date(SystemClock.now())).await?;
    if !options.no_play {
        once(dir, "played", &options.seeds, async || {
            println!("playing the demonstration district");
            play::play(&stage, &options.seeds.join("demo/liandu.yaml")).await
        })
        .await?;
    }
    let tokens = tokens(dir, keys, &options.seeds)?;
    let addresses = Addresses {
        gateway: stack.gateway(),
        nats: nats.url(),
        postgres: postgres.url("postgres"),
        pid: std::process::id(),
        tokens,
    };
    fs::write(dir.join("sandbox.json"), serde_json::to_string_pretty(&addresses)?)?;
    welcome(&addresses);
    Ok(())
}

/// Does something once for this state of the seeds, and again when they have changed. Doing it twice would do no harm, only
/// take time.
async fn once(dir: &Path, name: &str, seeds: &Path, work: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let marker = dir.join(name);
    let state = fingerprint(seeds)?;
    if fs::read_to_string(&marker).is_ok_and(|done| done == state) {
        return Ok(());
    }
    work().await?;
    fs::write(marker, state)?;
    Ok(())
}

fn fingerprint(folder: &Path) -> Result<String> {
    let mut files = vec![folder.to_path_buf()];
    let mut hashes = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path).with_context(|| format!("reading the seeds in {}", path.display()))? {
                files.push(entry?.path());
            }
        } else {
            let digest = Sha256::digest(fs::read(&path)?);
            hashes.push(format!("{}:{}", path.display(), hex::encode(digest)));
        }
    }
    hashes.sort();
    Ok(hex::encode(Sha256::digest(hashes.join("\n"))))
}

/// Fresh tokens for one sample bank, one sample enterprise and the staff.
fn tokens(dir: &Path, keys: &Path, seeds: &Path) -> Result<Tokens> {
    let folder = dir.join("tokens");
    fs::create_dir_all(&folder)?;
    let institutions = seed::list(seed::yaml(&seeds.join("institutions.yaml"))?)?;
    let bank = institutions
        .iter()
        .find(|one| one.get("kind").and_then(|kind| kind.as_str()) == Some("INSTITUTION_KIND_BANK"))
        .and_then(|one| one.get("institution_id")?.as_str())
        .context("no bank in institutions.yaml")?
        .parse()?;
    let parts: Vec<play::Part> = serde_norway::from_str(&fs::read_to_string(seeds.join("demo/liandu.yaml"))?)?;
    let enterprise = parts.first().context("no enterprise in demo/liandu.yaml")?.uscc.clone();
    let write = |name: &str, bearer: &Bearer, subject: &str| -> Result<PathBuf> {
        let token = token::issue(&token::signing_key_file(keys), bearer, subject, SystemClock.now(), TOKEN_DAYS)?;
        let file = folder.join(name);
        fs::write(&file, token)?;
        Ok(file)
    };
    Ok(Tokens {
        bank: write("bank", &Bearer::Bank(bank), "sample-bank-core")?,
        enterprise: write("enterprise", &Bearer::Enterprise(enterprise), "sample-enterprise")?,
        staff: write("staff", &Bearer::Staff, "sandbox-author")?,
        reviewer: write("reviewer", &Bearer::Staff, "sandbox-reviewer")?,
        operator: write("operator", &Bearer::Operator, "sandbox-operator")?,
    })
}

fn welcome(addresses: &Addresses) {
    let Addresses { gateway, nats, postgres, tokens, .. } = addresses;
    let program =
        std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_else(|_| "zhirong".to_owned());
    let today = business_date(SystemClock.now());
    println!("\nZhirong 智融 is running.");
    println!("  gateway     {gateway}   (gRPC, gRPC-Web, health, reflection)");
    println!("  broker      {nats}");
    println!("  database    {postgres}");
    println!("  tokens      bank {}", tokens.bank.display());
    println!("              enterprise {}", tokens.enterprise.display());
    println!("              staff {}", tokens.staff.display());
    println!("\nThree things to try:");
    println!("  1. what can this enterprise have?");
    println!(
        "     {program} call --gateway {gateway} --token-file {} CalculatorService/Calculate '{}'",
        tokens.enterprise.display(),
        play::calculator_request()
    );
    println!("  2. the same by any gRPC client, such as grpcurl (reflection tells it the rest)");
    println!(
        "     grpcurl -plaintext -H \"authorization: Bearer $(cat {})\" -d '{{\"pageSize\":3}}' {} zhirong.matching.v1.BankOrderService/ListInbox",
        tokens.bank.display(),
        gateway.trim_start_matches("http://")
    );
    println!("  3. what has the district achieved today?");
    println!(
        "     {program} report --gateway {gateway} --token-file {} --from {today} --to {today}\n",
        tokens.staff.display()
    );
}

/// One sandbox a folder: two would run one database.
fn lock(dir: &Path) -> Result<nix::fcntl::Flock<File>> {
    let file = File::create(dir.join("lock"))?;
    match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err(_) => bail!("a sandbox already runs in {}; stop it, or choose another folder with --dir", dir.display()),
    }
}

fn stop_on_signal(stop: CancellationToken) -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
