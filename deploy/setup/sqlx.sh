#!/usr/bin/env bash
# Renews .sqlx, the compile-time cache of all queries, on a private PostgreSQL; with --check only says whether it is stale.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
if [ -z "${ZHIRONG_TEST_POSTGRES:-}" ]; then
  deploy/setup/setup.sh
  cargo build --quiet -p zhirong-testkit --bin with-servers
  exec target/debug/with-servers "$0" "$@"
fi
psql=$(find /usr/lib/postgresql/*/bin/psql 2>/dev/null | sort -V | tail -n 1)
psql=${psql:-psql}
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
prepare() { # CRATE CONTEXT FOLDER
  crate=$1 context=$2 folder=$3
  "$psql" -q "$ZHIRONG_TEST_POSTGRES/postgres" -c "CREATE DATABASE $context"
  for file in services/shared/runtime/migrations/*.sql $([ "$folder" = services/shared/runtime ] || ls "$folder"/migrations/*.sql); do
    "$psql" -q -v ON_ERROR_STOP=1 --single-transaction "$ZHIRONG_TEST_POSTGRES/$context" -f "$file" >/dev/null
  done
  touch "$folder/src/lib.rs"
  echo "  $crate"
  env SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$fresh" \
    "$(echo "$context" | tr '[:lower:]' '[:upper:]')_DATABASE_URL=$ZHIRONG_TEST_POSTGRES/$context" \
    cargo check --quiet -p "$crate" --all-targets
}
# first: the others are built on it
prepare zhirong-runtime runtime services/shared/runtime
prepare credit-profile profile services/credit-profile
prepare product-catalog catalog services/product-catalog
prepare matching matching services/matching
prepare subsidy subsidy services/subsidy
prepare feedback feedback services/feedback
if [ "${1:-}" = --check ]; then
  diff -rq "$fresh" "$root/.sqlx" || { echo "run make sqlx and commit .sqlx" >&2; exit 1; }
else
  rm -rf "$root/.sqlx"
  mkdir "$root/.sqlx"
  cp "$fresh"/* "$root/.sqlx/"
fi
