//! Starts the product catalog.

use std::process::ExitCode;

fn main() -> ExitCode {
    zhirong_runtime::run_main("product-catalog", product_catalog::DEFAULTS, product_catalog::serve)
}
