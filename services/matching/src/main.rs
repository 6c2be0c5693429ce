//! Starts matching.

use std::process::ExitCode;

fn main() -> ExitCode {
    zhirong_runtime::run_main("matching", matching::DEFAULTS, matching::serve)
}
