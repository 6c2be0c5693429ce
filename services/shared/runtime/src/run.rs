//! The whole of a `main`: command line, settings, telemetry, signals, exit codes.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    config::{self, HasCommon, Ops, ms},
    fault, telemetry,
};

/// Every process that has the runtime has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The settings can't be used (`EX_USAGE`).
const EXIT_CONFIG: u8 = 64;
/// The process failed (`EX_SOFTWARE`).
const EXIT_FAILED: u8 = 70;
/// Longest wait for the answer of a health check.
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    /// TOML file with settings, over the defaults and under the environment (ZHIRONG__SECTION__KEY)
    #[arg(long, env = "ZHIRONG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print all settings with their defaults and what they mean
    #[arg(long)]
    print_defaults: bool,
    /// Ask the running process whether it is ready; exit with 0 if it is
    #[arg(long)]
    health: bool,
}

/// Runs a service: `defaults` are its own sections with comments; `serve` gets the settings and a token that is cancelled
/// on SIGTERM or Ctrl-C, and returns when it has stopped.
///
/// Exits with 0 after a stop that was asked for, with 64 and one line when the settings can't be used, with 70 when the
/// service failed.
pub fn run_main<T, F>(service: &'static str, defaults: &str, serve: F) -> ExitCode
where
    T: DeserializeOwned + HasCommon,
    F: AsyncFnOnce(T, CancellationToken) -> Result<(), Error>,
{
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    if arguments.print_defaults {
        let _ = std::io::stdout().write_all(config::printable_defaults(defaults).as_bytes());
        return ExitCode::SUCCESS;
    }
    let settings: T = match config::load_from(defaults, arguments.config.as_deref(), None) {
        Ok(settings) => settings,
        Err(error) => return failed(service, &error),
    };
    if arguments.health {
        return health(&settings.common().ops);
    }
    match run(service, settings, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(service, &error),
    }
}

fn run<T, F>(service: &'static str, settings: T, serve: F) -> Result<(), Error>
where
    T: HasCommon,
    F: AsyncFnOnce(T, CancellationToken) -> Result<(), Error>,
{
    let common = settings.common();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::start(service, &common.telemetry)?
    };
    fault::arm(&common.fault.crash_at);
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(stop_on_signal(shutdown.clone())?);
        let deadline = ms(common.shutdown.deadline_ms);
        let served = serve(settings, shutdown.clone());
        tokio::pin!(served);
        tokio::select! {
            outcome = &mut served => outcome,
            () = async { shutdown.cancelled().await; tokio::time::sleep(deadline).await } => {
                Err(Error::Server("did not stop in time".to_owned()))
            }
        }
    });
    match &outcome {
        // wrong settings are said once, on standard error
        Ok(()) | Err(Error::Config(_)) => {}
        Err(error) => tracing::error!(%error, "failed"),
    }
    telemetry.shutdown();
    runtime.shutdown_background();
    outcome
}

/// The first signal asks to stop, the second ends the process.
fn stop_on_signal(shutdown: CancellationToken) -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for asked_before in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked_before {
                std::process::exit(i32::from(EXIT_FAILED));
            }
            tracing::info!("asked to stop");
            shutdown.cancel();
        }
    })
}

fn failed(service: &str, error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{service}: {error}");
    match error {
        Error::Config(_) => ExitCode::from(EXIT_CONFIG),
        _ => ExitCode::from(EXIT_FAILED),
    }
}

/// Asks `/ready` of the process that runs with the same settings.
fn health(ops: &Ops) -> ExitCode {
    let address = match std::fs::read_to_string(&ops.address_file) {
        Ok(text) => text.trim().parse().unwrap_or(ops.listen),
        Err(_) => ops.listen,
    };
    match ask(address) {
        Ok(answer) if answer.split_whitespace().nth(1) == Some("200") => ExitCode::SUCCESS,
        Ok(answer) => {
            let _ = writeln!(std::io::stderr(), "{}", answer.lines().last().unwrap_or("no answer"));
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(mut address: SocketAddr) -> std::io::Result<String> {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::from([127, 0, 0, 1]));
    }
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_PATIENCE)?;
    stream.set_read_timeout(Some(HEALTH_PATIENCE))?;
    stream.write_all(b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
