//! The operator's program is killed while it loads a file of records: run again it goes on there, nothing is taken twice, and the
//! report names the refused rows of both runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{
    GetProfileRequest, feature_value::Kind, profile_service_client::ProfileServiceClient,
};
use zhirong_tests::{
    district::{District, eventually, program},
    quiet::quiet,
    records::record,
};

const ENTERPRISES: usize = 20;
const ROWS: u64 = 12_000;
/// One row of so many has a category that nobody declared: the first of them soon, so that the broker has it before the kill.
const BAD_EVERY: u64 = 2_000;
const FIRST_BAD: u64 = 100;

/// Row `number`, from 1: a trademark of an enterprise.
fn row(uscc: &Uscc, number: u64) -> Value {
    let data = json!({ "trademark_count": 1, "well_known_trademark_count": 0 });
    let mut row = record(uscc, "trademark", "2026-10-01", &data);
    row["record_id"] = json!(format!("{uscc}-trademark-{number}"));
    if number % BAD_EVERY == FIRST_BAD {
        row["category"] = json!("trade_mark");
    }
    row
}

/// Rows that an unfinished run has noted as sent; none when there is no such run.
fn noted(progress: &Path) -> Option<u64> {
    serde_json::from_slice::<Value>(&fs::read(progress).ok()?).ok()?["rows"].as_u64()
}

/// Kills a load in the middle of the file and says how many rows it had noted as sent. One that was too fast for that begins anew.
async fn killed_midway(load: impl Fn() -> Command, progress: &Path) -> Result<u64> {
    for _ in 0..10 {
        let mut run = load().stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        eventually("some rows are sent", || async { Ok(noted(progress).filter(|rows| *rows >= FIRST_BAD)) }).await?;
        run.kill().await?;
        match noted(progress) {
            Some(rows) if rows < ROWS => return Ok(rows),
            Some(_) => fs::remove_file(progress)?,
            None => {}
        }
    }
    bail!("a load of {ROWS} rows is always over before it can be killed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_goes_on_where_it_was() -> Result<()> {
    let district = District::start().await?;
    let enterprises: Vec<Uscc> = (0..ENTERPRISES)
        .map(|number| Uscc::with_check(&format!("91331102MA2T{number:05}")))
        .collect::<Result<_, _>>()?;
    let file = district.folder().join("trademarks.ndjson");
    let each = (1..=ROWS).zip(enterprises.iter().cycle());
    let rows: Vec<String> = each.map(|(number, uscc)| row(uscc, number).to_string()).collect();
    fs::write(&file, rows.join("\n"))?;
    let file = file.display().to_string();
    let load = || {
        let mut command = Command::new(program("zhirong"));
        command.args(["records", "--wait-s", "300", "--nats", district.nats(), &file]).env("HOME", district.folder());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    };

    let progress = PathBuf::from(format!("{file}.progress"));
    let sent_before = killed_midway(load, &progress).await?;

    let second = load().output().await?;
    let (said, complained) = (String::from_utf8(second.stdout)?, String::from_utf8(second.stderr)?);
    assert!(said.contains(&format!("{sent_before} rows were sent before; going on there")), "{said}");
    let bad = ROWS / BAD_EVERY;
    let sent = ROWS - sent_before;
    assert!(said.contains(&format!("{sent} sent, {bad} refused")), "only the rest is sent: {said}");
    assert!(!second.status.success() && complained.contains(&format!("{bad} rows were refused")), "{complained}");
    let report = fs::read_to_string(format!("{file}.refused.csv"))?;
    let refused: Vec<&str> = report.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    let expected: Vec<String> = (0..bad).map(|place| (place * BAD_EVERY + FIRST_BAD).to_string()).collect();
    assert_eq!(refused, expected, "of the run that was killed too");
    assert_eq!(noted(&progress), None, "nothing is left to do");

    // Each good row counts once.
    quiet(&district).await?;
    let mut marks: i64 = 0;
    for uscc in &enterprises {
        let request = GetProfileRequest { enterprise_id: uscc.to_string() };
        let mut profiles = ProfileServiceClient::new(district.as_staff().await?);
        let profile = profiles.get_profile(request).await?.into_inner().profile.context("a profile")?;
        let count = profile.features.get("trademark_count").and_then(|value| value.kind.clone());
        let Some(Kind::Integer(count)) = count else { bail!("{uscc} has trademarks") };
        marks += count;
    }
    assert_eq!(marks, i64::try_from(ROWS - bad)?);
    district.stop().await
}
