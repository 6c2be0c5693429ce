//! The operator's program is killed while it loads a file of records: run again it goes on there, nothing is taken twice, and the
//! report names the refused rows of both runs.

use std::{fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
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
const ROWS: u64 = 20_000;
/// One row of so many has a category that nobody declared.
const BAD_EVERY: u64 = 2_500;
/// Rows that the broker has before the kill, at least.
const BEFORE: u64 = 3_000;

/// Row `number`, from 1: a trademark of an enterprise.
fn row(uscc: &Uscc, number: u64) -> Value {
    let data = json!({ "trademark_count": 1, "well_known_trademark_count": 0 });
    let mut row = record(uscc, "trademark", "2026-10-01", &data);
    row["record_id"] = json!(format!("{uscc}-trademark-{number}"));
    if number.is_multiple_of(BAD_EVERY) {
        row["category"] = json!("trade_mark");
    }
    row
}

/// Rows that an unfinished run has noted as sent; none when there is no such run.
fn noted(progress: &Path) -> Option<u64> {
    serde_json::from_slice::<Value>(&fs::read(progress).ok()?).ok()?["rows"].as_u64()
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
    let arguments = ["records", "--wait-s", "300", "--nats", district.nats(), &file];

    let mut first = Command::new(program("zhirong"))
        .args(arguments)
        .env("HOME", district.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let progress = format!("{file}.progress");
    eventually("some rows are sent", || async { Ok(noted(Path::new(&progress)).filter(|rows| *rows >= BEFORE)) })
        .await?;
    first.kill().await?;
    let sent_before = noted(Path::new(&progress)).context("a run that was broken off")?;
    ensure!(sent_before < ROWS, "it was killed in the middle of the file, not after {sent_before} rows");

    let said = district.zhirong(&arguments).await?;
    assert!(said.contains(&format!("{sent_before} rows were sent before; going on there")), "{said}");
    let bad = ROWS / BAD_EVERY;
    let sent = ROWS - sent_before;
    assert!(said.contains(&format!("{sent} sent, {bad} refused")), "only the rest is sent: {said}");
    let report = fs::read_to_string(format!("{file}.refused.csv"))?;
    let refused: Vec<&str> = report.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    let expected: Vec<String> = (1..=bad).map(|place| (place * BAD_EVERY).to_string()).collect();
    assert_eq!(refused, expected, "of the run that was killed too");
    assert_eq!(noted(Path::new(&progress)), None, "nothing is left to do");

    // Each good row counts once.
    quiet(&district).await?;
    let mut marks: i64 = 0;
    for uscc in &enterprises {
        let request = GetProfileRequest { enterprise_id: uscc.to_string() };
        let mut profiles = ProfileServiceClient::new(district.as_staff().await?);
        let profile = profiles.get_profile(request).await?.into_inner().profile.context("a profile")?;
        let count = profile.features.get("trademark_count").and_then(|value| value.kind.clone());
        let Some(Kind::Integer(count)) = count else { anyhow::bail!("{uscc} has trademarks") };
        marks += count;
    }
    assert_eq!(marks, i64::try_from(ROWS - bad)?);
    district.stop().await
}
