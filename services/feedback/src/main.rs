//! Starts the feedback service.

use std::process::ExitCode;

fn main() -> ExitCode {
    zhirong_runtime::run_main("feedback", feedback::DEFAULTS, feedback::serve)
}
