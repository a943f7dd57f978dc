# What a person does with this repository; `make` alone lists it. Nothing here reads standard input.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The cargo profile of what `demo` runs: `release`, or `dev` where the tests' build is there already.
PROFILE ?= release
# More arguments for the command that a target runs: `make demo ARGS=--once`.
ARGS ?=

# Colours for people alone.
export CARGO_TERM_COLOR ?= $(if $(MAKE_TERMOUT),always,never)

# Plugins have a target folder of their own, which the tests use too: two builds side by side do not wait for each other.
GUESTS := target/guests
# cargo puts the profile `dev` in `debug`.
BIN := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/rowmill

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## the compiler's wasm32-unknown-unknown target, if it is missing
	@scripts/setup-wasm.sh

.PHONY: plugins
plugins: setup ## the bundled plugins, into plugins/dist; a running gateway loads them
	@scripts/with-wasm.sh cargo build --profile plugin --target wasm32-unknown-unknown --target-dir $(GUESTS) \
	    -p row-filter -p trade-document
	@scripts/publish.sh $(GUESTS)/wasm32-unknown-unknown/plugin/row_filter.wasm plugins/dist/10-row-filter.wasm
	@scripts/publish.sh $(GUESTS)/wasm32-unknown-unknown/plugin/trade_document.wasm plugins/dist/20-trade-document.wasm

# Always the whole workspace: with one package alone cargo would choose other features and build wasmtime a second time.
# For the same reason `dev` takes the tests along: what they depend on counts for the features too.
.PHONY: build
build: ## the gateway (PROFILE=dev for the quick build)
	@cargo build --workspace --bins $(if $(filter dev,$(PROFILE)),--tests) --profile $(PROFILE)

.PHONY: demo
demo: plugins build ## the gateway on a captured stream, with nothing installed (ARGS=--once ends by itself)
	@$(BIN) demo --plugins plugins/dist $(ARGS)

# The name of a folder in examples/plugins.
NAME ?= rename-and-nest

.PHONY: example
example: setup build ## one of examples/plugins on its records (NAME=order-full): the run's summary
	@scripts/with-wasm.sh cargo build --quiet --profile plugin --target wasm32-unknown-unknown --target-dir $(GUESTS) -p $(NAME)
	@scripts/publish.sh $(GUESTS)/wasm32-unknown-unknown/plugin/$(subst -,_,$(NAME)).wasm examples/plugins/$(NAME)/dist/10-$(NAME).wasm
	@cd examples/plugins/$(NAME) && $(abspath $(BIN)) run --until-caught-up --log warn $(ARGS)

.PHONY: test
test: plugins ## all tests, against a real Kafka and Elasticsearch that it starts and stops
	@scripts/test.sh $(ARGS)

.PHONY: test-quick
test-quick: plugins ## the tests that need no servers
	@env -u ROWMILL_TEST_KAFKA -u ROWMILL_TEST_ELASTICSEARCH \
	    -u ROWMILL_TEST_KAFKA_SECURED -u ROWMILL_TEST_ELASTICSEARCH_SECURED cargo test --workspace $(ARGS)

.PHONY: chaos
chaos: plugins ## thousands of seeds of workloads, faults and kills (ARGS="mixed 0..20" for some)
	@scripts/chaos.sh $(ARGS)

.PHONY: bench
bench: plugins ## throughput and latency, with a real Kafka and Elasticsearch that it starts and stops (ARGS=counting)
	@scripts/bench.sh $(ARGS)

.PHONY: bench-swap
bench-swap: plugins ## what replacing plugins costs the rows, and what hostile files cost while they are refused
	@cargo bench --workspace --bench pipeline --bench swap --no-run # the first for its program, which compiles plugins
	@cargo bench --workspace --bench swap

.PHONY: fuzz
fuzz: ## a minute per fuzz target (ARGS=decode for one)
	@scripts/fuzz.sh $(ARGS)

.PHONY: check
check: ## format, lints, documentation, licences and advisories
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --features rowmill-sdk/harness
	@scripts/deny.sh

.PHONY: clean
clean: ## everything that was built; downloads stay in the cache
	@cargo clean
	@rm -rf plugins/dist
