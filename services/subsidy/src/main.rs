//! Starts the subsidy service.

use std::process::ExitCode;

fn main() -> ExitCode {
    zhirong_runtime::run_main("subsidy", subsidy::DEFAULTS, subsidy::serve)
}
