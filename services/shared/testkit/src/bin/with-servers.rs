//! Runs a command with one private PostgreSQL for all its tests, and ends with the command's exit code.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::process::Command;
use zhirong_servers::{Postgres, PostgresOptions};
use zhirong_testkit::POSTGRES_VARIABLE;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: with-servers COMMAND [ARGUMENT…]")?;
    let dir = zhirong_testkit::folder()?;
    let postgres = Postgres::start(&dir.path().join("postgres"), PostgresOptions { durable: false }).await?;
    let url = postgres.url("");
    let status =
        Command::new(&program).args(arguments).env(POSTGRES_VARIABLE, url.trim_end_matches('/')).status().await;
    postgres.stop().await?;
    let code = status.with_context(|| format!("running {}", program.display()))?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
