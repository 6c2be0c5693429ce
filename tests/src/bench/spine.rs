//! The spine's figures: the calculator at the gateway, and approved loans through the whole chain.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;
use uuid::Uuid;
use zhirong_kernel::id::InstitutionId;
use zhirong_proto::matching::v1::{
    ApproveLoanRequest, CalculateRequest, CalculateView, Order, PlaceOrderRequest,
    bank_order_service_client::BankOrderServiceClient, calculator_service_client::CalculatorServiceClient,
    order_service_client::OrderServiceClient,
};

use super::{Figures, Measure, bare, fresh};
use crate::{
    district::{Authorised, District},
    liandu::{self, Part},
};

const CONCURRENT: usize = 64;
const TIME: Duration = Duration::from_secs(8);
const LOANS: usize = 600;
const APPROVERS: usize = 32;
/// The processes that a loan goes through.
const CHAIN: [&str; 4] = ["gateway", "matching", "subsidy", "feedback"];

/// Runs the group; gives figures and where the time went.
pub async fn run() -> Result<Figures> {
    println!("starting a district (release build)");
    let district = District::start_durable().await?;
    let parts = liandu::parts()?;
    liandu::data_arrive(&district).await?;
    liandu::contacts(&district, &parts).await?;
    let mut notes = Vec::new();

    println!("the calculator, {CONCURRENT} calls at once");
    let part = parts.first().context("an enterprise")?;
    liandu::calculate(&district, part, CalculateView::Eligible).await?;
    let ours = load(CalculatorServiceClient::new(district.as_enterprise(&part.uscc).await?)).await?;
    let bare = load(CalculatorServiceClient::new(crate::district::without_token(bare::relay().await?))).await?;
    notes.push(format!(
        "calculator over 216 credit products of 311: p50 {:.1} ms, p99 {:.1} ms; bare echo through a bare relay: p50 {:.2} ms, p99 {:.2} ms",
        ours.p50, ours.p99, bare.p50, bare.p99
    ));

    println!("approved loans through the whole chain");
    let orders = orders(&district, &parts).await?;
    let before = cpu(&district, &CHAIN)?;
    let chain = chain(&district, orders).await?;
    let after = cpu(&district, &CHAIN)?;
    let used: Vec<String> = after
        .iter()
        .map(|(name, seconds)| format!("{name} {:.2}", seconds - before.get(name).copied().unwrap_or(0.0)))
        .collect();
    notes.push(format!(
        "chain: {LOANS} loans in {:.2} s; processor seconds by process: {}",
        chain.seconds,
        used.join(", ")
    ));
    println!("changes on their way to the answers");
    let fresh = fresh::measure(&district, part).await?;
    for (what, times) in [("profile", &fresh.profiles), ("product", &fresh.products)] {
        notes.push(format!(
            "a changed {what} is in an answer at the gateway {:.1} ms after its fact was published (median), {:.1} ms at worst of {}",
            times[times.len() / 2],
            times.last().copied().unwrap_or(0.0),
            times.len()
        ));
    }
    let plain = bare::two_row_transactions(&bare::opened(&district.postgres("postgres"), 32).await?, TIME).await?;
    district.stop().await?;

    let measure = |name: &str, ours: f64, baseline: f64, baseline_name: &str, unit: &str| Measure {
        name: name.to_owned(),
        ours,
        baseline,
        baseline_name: baseline_name.to_owned(),
        unit: unit.to_owned(),
        goal: None,
    };
    let figures = vec![
        measure("calculator_at_gateway", ours.rate, bare.rate, "bare tonic echo through a bare relay", "calls/s"),
        measure("calculator_at_gateway_p99", ours.p99, bare.p99, "bare tonic echo through a bare relay", "ms"),
        measure("approved_loans_whole_chain", chain.rate, plain, "two-row transactions, 32 connections", "per second"),
    ];
    Ok((figures, notes))
}

struct Load {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Calls from [`CONCURRENT`] tasks for [`TIME`].
async fn load(client: CalculatorServiceClient<Authorised>) -> Result<Load> {
    let end = Instant::now() + TIME;
    let mut callers = Vec::new();
    for _ in 0..CONCURRENT {
        let mut client = client.clone();
        callers.push(tokio::spawn(async move {
            let request =
                CalculateRequest { view: CalculateView::Eligible.into(), limit: 20, ..CalculateRequest::default() };
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                client.calculate(request.clone()).await?;
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await??);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Load { rate: times.len() as f64 / TIME.as_secs_f64(), p50: at(0.5), p99: at(0.99) })
}

/// Orders enough for the chain, of the enterprises that may have some.
async fn orders(district: &District, parts: &[Part]) -> Result<Vec<Order>> {
    let mut able = Vec::new();
    for part in parts.iter().filter(|part| part.gets_a_loan()) {
        let offers = liandu::calculate(district, part, CalculateView::Eligible).await?;
        let offer = liandu::best_offer(&offers, part)?;
        let client = OrderServiceClient::new(district.as_enterprise(&part.uscc).await?);
        able.push((liandu::order_request(part, &offer), client));
    }
    let mut orders = Vec::new();
    for (request, client) in able.iter().cycle().take(LOANS) {
        let request = PlaceOrderRequest { request_id: Uuid::now_v7().to_string(), ..request.clone() };
        orders.push(client.clone().place_order(request).await?.into_inner().order.context("an order")?);
    }
    Ok(orders)
}

struct Chain {
    rate: f64,
    seconds: f64,
}

/// From the first answer of a bank until subsidy and feedback have committed the last loan.
async fn chain(district: &District, orders: Vec<Order>) -> Result<Chain> {
    let mut banks: BTreeMap<String, BankOrderServiceClient<Authorised>> = BTreeMap::new();
    for order in &orders {
        if !banks.contains_key(&order.institution_id) {
            let id: InstitutionId = order.institution_id.parse()?;
            banks.insert(order.institution_id.clone(), BankOrderServiceClient::new(district.as_bank(&id).await?));
        }
    }
    let places = Arc::new(Semaphore::new(APPROVERS));
    let began = Instant::now();
    let mut approvals = Vec::new();
    for order in orders {
        let mut bank = banks[&order.institution_id].clone();
        let place = Arc::clone(&places).acquire_owned().await?;
        approvals.push(tokio::spawn(async move {
            let request = ApproveLoanRequest {
                request_id: Uuid::now_v7().to_string(),
                amount_fen: order.amount_fen,
                rate_ppm: order.quote.map_or(0, |quote| quote.rate_ppm),
                term_months: order.term_months,
                bank_reference: format!("BENCH-{}", order.order_id),
                order_id: order.order_id,
                ..ApproveLoanRequest::default()
            };
            let answer = bank.approve_loan(request).await;
            drop(place);
            answer.map(|_| ())
        }));
    }
    for approval in approvals {
        approval.await??;
    }
    settled(district, LOANS as i64).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Chain { rate: LOANS as f64 / seconds, seconds })
}

/// Waits until both followers have committed every loan; asks the databases, so that asking costs next to nothing.
async fn settled(district: &District, loans: i64) -> Result<()> {
    let subsidy = sqlx::PgPool::connect(&district.postgres("subsidy")).await?;
    let feedback = sqlx::PgPool::connect(&district.postgres("feedback")).await?;
    loop {
        let known: i64 = sqlx::query_scalar("SELECT count(*) FROM loan").fetch_one(&subsidy).await?;
        let told: i64 = sqlx::query_scalar("SELECT count(*) FROM sms").fetch_one(&feedback).await?;
        if known >= loans && told >= loans {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processor seconds that each process of the district has used so far.
pub fn cpu(district: &District, names: &[&str]) -> Result<BTreeMap<String, f64>> {
    let mut used = BTreeMap::new();
    for name in names {
        let pid = fs::read_to_string(district.folder().join(format!("run/{name}.pid")))?;
        used.insert((*name).to_owned(), seconds_of(&pid)?);
    }
    let (mut postgres, mut nats) = (0.0, 0.0);
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let pid = entry.file_name().to_string_lossy().into_owned();
        match name.trim() {
            "postgres" => postgres += seconds_of(&pid).unwrap_or(0.0),
            "nats-server" => nats += seconds_of(&pid).unwrap_or(0.0),
            _ => {}
        }
    }
    used.insert("postgres".to_owned(), postgres);
    used.insert("nats".to_owned(), nats);
    Ok(used)
}

/// User and system time of a process; the kernel counts hundredths of a second.
fn seconds_of(pid: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("a process state")?.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}
