# Each command installs what it needs first (deploy/setup/setup.sh); running it again does no harm.
#   make run                       the sandbox: a whole district on this machine, until Ctrl-C
#   make test  [ONLY=story_liandu] formats, lints and tests; with ONLY, the tests whose name contains it
#   make bench [ONLY=group]        release build and measurements, into target/bench/<group>.json
#   make lint                      proto files, dependencies, the cache of queries
#   make sqlx                      renews that cache after a change of SQL
#   make schemas                   renews docs/data, what government data engineers are given
#   make compose                   the production layout in containers
.PHONY: run test bench lint sqlx schemas compose

ONLY ?=
# rustup's programs, where the shell's profile has not been read
export PATH := $(PATH):$(HOME)/.cargo/bin

run:
	@deploy/setup/setup.sh && cargo build --workspace --bins && exec target/debug/zhirong sandbox

test:
	@exec deploy/setup/test.sh "$(ONLY)"

bench:
	@deploy/setup/setup.sh && cargo build --release --workspace --bins && exec target/release/bench $(if $(ONLY),--only "$(ONLY)")

lint:
	@exec deploy/setup/lint.sh

sqlx:
	@exec deploy/setup/sqlx.sh

schemas:
	@deploy/setup/setup.sh && cargo run --quiet -p credit-profile --example schemas

compose:
	@cd deploy && sh secrets.sh && if docker compose version >/dev/null 2>&1; then exec docker compose up -d; else exec docker-compose up -d; fi
