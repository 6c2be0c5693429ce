//! Starts the credit profile.

use std::process::ExitCode;

fn main() -> ExitCode {
    zhirong_runtime::run_main("credit-profile", credit_profile::DEFAULTS, credit_profile::serve)
}
