#!/usr/bin/env bash
# What `make test` leaves out: proto lint and breaking changes, licences and bans of dependencies, dependencies that nothing
# uses, the cache of queries.
set -euo pipefail
cd "$(dirname "$0")/../.."
deploy/setup/setup.sh lint
# The pinned ones first: another version may know other rules.
export PATH="$PWD/.zhirong/bin:$PATH"
echo "proto: lint (STANDARD)"
buf lint proto
echo "proto: no breaking change since proto/baseline.binpb"
# After a release: .zhirong/bin/buf build proto -o proto/baseline.binpb
buf breaking proto --against proto/baseline.binpb
echo "dependencies: licences, bans, sources"
cargo deny --log-level error check bans licenses sources
echo "dependencies: each is used"
cargo shear
echo "sql: .sqlx matches the queries and the migrations"
deploy/setup/sqlx.sh --check
