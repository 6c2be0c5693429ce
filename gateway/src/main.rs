//! Starts the gateway.

use std::process::ExitCode;

fn main() -> ExitCode {
    zhirong_runtime::run_main("gateway", gateway::DEFAULTS, gateway::serve)
}
