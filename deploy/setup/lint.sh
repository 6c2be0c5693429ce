#!/usr/bin/env bash
# What is slower to install than to run: proto lint, breaking changes, licences and bans, SQL cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
deploy/setup/setup.sh
deploy/setup/setup.sh lint
buf=.zhirong/bin/buf
command -v buf >/dev/null 2>&1 && buf=buf
echo "proto: lint (STANDARD)"
"$buf" lint proto
echo "proto: breaking changes against proto/baseline.binpb"
"$buf" breaking proto --against proto/baseline.binpb
echo "dependencies: licences, bans, sources"
if cargo deny --version >/dev/null 2>&1; then
  cargo deny --offline check bans licenses sources
else
  echo "  left out: cargo install --locked cargo-deny" >&2
fi
echo "sql: the cache matches the queries"
deploy/setup/sqlx.sh --check
