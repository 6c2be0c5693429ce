//! `make bench`: measures a whole district beside baselines of the same run, prints a table, and writes
//! `target/bench/<group>.json`. Nothing is asserted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a measuring program for developers"
)]

use std::fs;

use anyhow::{Result, bail};
use clap::Parser;
use serde::Serialize;
use zhirong_tests::bench;

/// Measures.
#[derive(Parser)]
struct Arguments {
    /// Only this group
    #[arg(long, default_value = "")]
    only: String,
}

/// One line of a group's result.
#[derive(Serialize)]
struct Line {
    name: String,
    ours: f64,
    baseline: f64,
    baseline_name: String,
    unit: String,
    ratio: f64,
    goal: Option<f64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let only = Arguments::parse().only;
    if !only.is_empty() && only != "spine" {
        bail!("there is no bench group `{only}`; there is: spine");
    }
    let (measures, notes) = bench::spine::run().await?;
    let lines: Vec<Line> = measures
        .into_iter()
        .map(|measure| Line {
            ratio: measure.ours / measure.baseline,
            name: measure.name,
            ours: measure.ours,
            baseline: measure.baseline,
            baseline_name: measure.baseline_name,
            unit: measure.unit,
            goal: measure.goal,
        })
        .collect();
    println!("\n{:<34} {:>12} {:>12} {:>7}  {:<12} baseline", "spine", "ours", "baseline", "ratio", "unit");
    for line in &lines {
        println!(
            "{:<34} {:>12.1} {:>12.1} {:>7.2}  {:<12} {}",
            line.name, line.ours, line.baseline, line.ratio, line.unit, line.baseline_name
        );
    }
    println!();
    for note in notes {
        println!("{note}");
    }
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/spine.json", serde_json::to_string_pretty(&lines)?)?;
    Ok(())
}
