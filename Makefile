# Each target installs what it needs first (deploy/setup/setup.sh), and running it again does no harm.
.PHONY: run test bench lint sqlx compose

ONLY ?=

run:
	@deploy/setup/setup.sh && cargo build --workspace --bins && exec target/debug/zhirong sandbox

test:
	@deploy/setup/test.sh "$(ONLY)"

bench:
	@deploy/setup/setup.sh && cargo build --release --workspace --bins && exec target/release/bench --only "$(ONLY)"

lint:
	@deploy/setup/lint.sh

sqlx:
	@deploy/setup/sqlx.sh

compose:
	@cd deploy && sh secrets.sh && docker-compose up -d
