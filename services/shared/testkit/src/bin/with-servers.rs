//! Runs a command with one private PostgreSQL for all its tests, and ends with the command's exit code.

use std::{io::Write as _, os::unix::process::ExitStatusExt as _, process::ExitCode};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};
use zhirong_servers::{Postgres, PostgresOptions};
use zhirong_testkit::POSTGRES_VARIABLE;

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "with-servers: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("usage: with-servers COMMAND [ARGUMENT…]")?;
    // Ctrl-C reaches the command too; wait for it and clean up.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;

    let dir = zhirong_testkit::folder()?;
    let postgres = Postgres::start(&dir.path().join("postgres"), PostgresOptions { durable: false }).await?;
    let url = postgres.url("");
    let mut command = Command::new(&program)
        .args(arguments)
        .env(POSTGRES_VARIABLE, url.trim_end_matches('/'))
        .spawn()
        .with_context(|| format!("running {}", program.display()))?;
    let status = loop {
        tokio::select! {
            status = command.wait() => break status?,
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {
                if let Some(pid) = command.id() {
                    let _ = kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM);
                }
            }
        }
    };
    postgres.stop().await?;
    // As a shell tells it: 128 and the signal's number.
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
