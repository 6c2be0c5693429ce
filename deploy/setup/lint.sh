#!/usr/bin/env bash
# What `make test` leaves out: proto lint and breaking changes, licences and bans of dependencies, the cache of queries.
set -euo pipefail
cd "$(dirname "$0")/../.."
deploy/setup/setup.sh lint
# The pinned one first: another version may know other rules.
buf=.zhirong/bin/buf
[ -x $buf ] || buf=buf
echo "proto: lint (STANDARD)"
$buf lint proto
echo "proto: no breaking change since proto/baseline.binpb"
# After a release: .zhirong/bin/buf build proto -o proto/baseline.binpb
$buf breaking proto --against proto/baseline.binpb
echo "dependencies: licences, bans, sources"
if cargo deny --version >/dev/null 2>&1; then
  cargo deny --log-level error check bans licenses sources
else
  echo "  left out, because cargo-deny is missing: cargo install --locked cargo-deny (some minutes)" >&2
fi
echo "sql: .sqlx matches the queries and the migrations"
deploy/setup/sqlx.sh --check
