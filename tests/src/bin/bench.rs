//! `make bench`: measures group by group beside baselines of the same run, prints a table, and writes
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
use zhirong_tests::bench::{self, Measure};

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
    let chosen: Vec<_> = bench::GROUPS.iter().filter(|(name, _)| only.is_empty() || only == *name).collect();
    if chosen.is_empty() {
        let names: Vec<_> = bench::GROUPS.iter().map(|(name, _)| *name).collect();
        bail!("there is no bench group `{only}`; there are: {}", names.join(", "));
    }
    for (name, run) in chosen {
        let (measures, notes) = run().await?;
        let lines: Vec<Line> = measures.into_iter().map(Line::of).collect();
        show(name, &lines, &notes);
        fs::create_dir_all("target/bench")?;
        fs::write(format!("target/bench/{name}.json"), serde_json::to_string_pretty(&lines)?)?;
    }
    Ok(())
}

impl Line {
    fn of(measure: Measure) -> Self {
        Self {
            ratio: measure.ours / measure.baseline,
            name: measure.name,
            ours: measure.ours,
            baseline: measure.baseline,
            baseline_name: measure.baseline_name,
            unit: measure.unit,
            goal: measure.goal,
        }
    }
}

fn show(group: &str, lines: &[Line], notes: &[String]) {
    println!("\n{group:<34} {:>14} {:>14} {:>9} {:>7}  {:<12} baseline", "ours", "baseline", "ratio", "goal", "unit");
    for line in lines {
        let goal = line.goal.map_or_else(String::new, |goal| format!("{goal:.2}"));
        println!(
            "{:<34} {:>14.2} {:>14.2} {:>9.2} {:>7}  {:<12} {}",
            line.name, line.ours, line.baseline, line.ratio, goal, line.unit, line.baseline_name
        );
    }
    println!();
    for note in notes {
        println!("{note}");
    }
}
