#!/usr/bin/env bash
# Format, lints, and every test on a private PostgreSQL and NATS; with a word, only the tests whose name contains it.
set -euo pipefail
cd "$(dirname "$0")/../.."
only=${1:-}
deploy/setup/setup.sh test
export PATH="$PATH:$PWD/.zhirong/bin"
if [ -z "$only" ]; then
  cargo fmt --all --check
  cargo clippy --workspace --all-targets -- -D warnings
fi
cargo build --workspace --bins
exec target/debug/with-servers cargo nextest run --workspace ${only:+-E "test($only)"}
